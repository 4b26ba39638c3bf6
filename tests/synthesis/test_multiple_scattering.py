"""Multiple scattering against calculations of its own with NumPy and SciPy, its limits, and what is refused."""

import numpy as np
import pytest
from scipy.special import hankel1

from qpibench.errors import UnavailableError, UsageError
from qpibench.families import get_family
from qpibench.families.tight_binding import mesh_of
from qpibench.release import verify_release, write_release
from qpibench.specs import load_spec
from qpibench.synthesis import get_backend

FEW = ["kernels.count=2", "observations_per_kernel=3", "scatterers.superposition=multiple"]
TWO_BANDS = ["kernels.second_e0_mev=-50", "kernels.second_mass=0.3"]
ELLIPTIC = ["kernels.mass_ratio=[1.4,1.4]", "kernels.axis_rad=[0.4,0.4]"]
BESIDE = {"ag111_64": ["scatterers.min_separation_nm=1.0"], "hexagonal_64": [], "square_64": []}


def made(name, *overrides, number=6, linear=False):
    spec = load_spec(name, overrides=[*FEW, *BESIDE[name], *overrides])
    if linear:
        spec = load_spec(name, overrides=[*FEW, *BESIDE[name], *overrides, "scatterers.superposition=linear"])
    backend = get_backend("cpu")[0]
    kernels = backend.kernels(spec)
    return spec, kernels, backend.observations(spec, kernels, 0, number)


def _between(places, wave):
    waves = [[0 if i == j else wave(*(a - b)) for j, b in enumerate(places)] for i, a in enumerate(places)]
    return np.array(waves)


def seen_by_a_tip(x, y, places, *, tip_fwhm, mass_ratio, axis, alpha, unit, bands):
    """The density of states at one pixel, from Green functions and T-matrices.

    The integral over the tip is in polar coordinates around the nearest scatterer, whose logarithms they resolve.
    """
    sigma = tip_fwhm / 2.3548200450309493
    near = min(places.tolist(), key=lambda place: np.hypot(x - place[0], y - place[1]))
    far = np.hypot(x - near[0], y - near[1])
    near, far = ((x, y), 0) if far > 7 * sigma else (near, far)
    t, of_t = np.polynomial.legendre.leggauss(150)
    r = (far + 7 * sigma) * ((t[:, None] + 1) / 2) ** 2
    angle = 2 * np.pi * np.arange(300) / 300
    at_x, at_y = near[0] + r * np.cos(angle), near[1] + r * np.sin(angle)
    weight = of_t[:, None] * r * (t[:, None] + 1)
    weight = weight * np.exp(-((at_x - x) ** 2 + (at_y - y) ** 2) / (2 * sigma**2))
    total = 0.0
    for k, damping, delta, share in bands:
        # hbar = m = 1 : G0 = -(i/2) H0, T = i (alpha exp(2 i delta) - 1), N0 = 1/(2 pi)
        def green(dx, dy, k=k, damping=damping):
            u, v = np.cos(axis) * dx + np.sin(axis) * dy, np.cos(axis) * dy - np.sin(axis) * dx
            r = np.hypot(u * mass_ratio**-0.25, v * mass_ratio**0.25)
            return -0.5j * hankel1(0, k * r) * np.exp(-damping * r / 2)

        t = 1j * (alpha * np.exp(2j * delta) - 1)
        matrix = np.linalg.inv(np.eye(len(places)) / t - _between(places, green))
        waves = np.array([green(at_x - px, at_y - py) for px, py in places])
        change = -np.einsum("irt,ij,jrt->rt", waves, matrix, waves).imag / np.pi
        total += share * (change * weight).sum() / weight.sum() * 2 * np.pi / unit
    return total


def _bands(kernel):
    names = ("k", "damping", "delta"), ("k_2", "damping_2", "delta_2")
    shares = 1 - kernel["share_2"], kernel["share_2"]
    return [(*(kernel[name] for name in of), share) for of, share in zip(names, shares, strict=True) if share]


@pytest.mark.parametrize("overrides", [[], TWO_BANDS, ELLIPTIC], ids=["round", "two bands", "elliptic"])
def test_a_surface_state_between_scatterers_is_that_of_foldy_and_lax(overrides):
    spec, kernels, images = made("ag111_64", *overrides, "scatterers.count=3", "scatterers.min_separation_nm=2.5")
    image, places = images.image[0], images.position_nm[0]
    kernel = {name: float(values[0]) for name, values in kernels.parameters.items()}
    of_tip = {name: kernel[name] for name in ("tip_fwhm", "mass_ratio", "axis", "alpha", "unit")}
    distance = np.hypot(*(np.stack(np.meshgrid(spec.grid.x_nm, spec.grid.y_nm))[:, None] - places.T[:, :, None, None]))
    in_cores = [np.unravel_index(np.argmin(each), each.shape) for each in distance]
    outside = [(3, 60), (20, 20), (33, 8), (50, 50)]
    errors = []
    for row, column in [*in_cores, *outside]:
        exact = seen_by_a_tip(spec.grid.x_nm[column], spec.grid.y_nm[row], places, **of_tip, bands=_bands(kernel))
        errors.append(abs(image[row, column] - exact))
    largest = np.abs(image[(distance > 1.2).all(axis=0)]).max()  # outside the cores
    assert max(errors) < 1e-3 * largest
    assert max(errors[3:]) < 5e-7 * largest


@pytest.mark.parametrize("name", ["square_64", "hexagonal_64"])
def test_a_lattice_with_several_scatterers_is_that_of_their_potentials(name):
    spec, kernels, images = made(name, "scatterers.count=4")
    ranges, mesh = spec.kernels, mesh_of(spec.kernels)
    kernel = {column: float(values[0]) for column, values in kernels.parameters.items()}
    kx, ky = np.meshgrid(*[2 * np.pi * np.arange(mesh) / mesh] * 2)
    neighbours = [(1, 0), (0, 1)] + ([(1, -1)] if name.startswith("hex") else [])
    band = -2 * kernel["t"] * sum(np.cos(m * kx + n * ky) for m, n in neighbours)
    green = np.fft.ifft2(1 / (kernel["energy"] + kernel["mu"] + 1j * kernel["eta"] - band))  # [n, m]
    corner = np.pi / (3 if name.startswith("hex") else 2)
    a1, a2 = (kernel["a"] * np.array([np.cos(t), np.sin(t)]) for t in (kernel["angle"], kernel["angle"] + corner))
    sites = np.rint(np.linalg.solve(np.array([a1, a2]).T, (images.position_nm[0] - ranges.origin_nm).T)).astype(int)
    away = sites[:, :, None] - sites[:, None]
    matrix = np.linalg.inv(np.eye(4) / kernel["V"] - green[away[1], away[0]])  # (1/V - G)^-1, G(0) on its diagonal
    m, n = np.meshgrid(np.arange(-60, 61), np.arange(-60, 61))
    waves = np.array([green[n - j, m - i] for i, j in sites.T])
    change = np.einsum("inm,ij,jnm->nm", waves, matrix, waves).imag / green[0, 0].imag
    x, y = (ranges.origin_nm[axis] + m * a1[axis] + n * a2[axis] for axis in (0, 1))
    width = kernel["orbital_fwhm"]
    across, along = (
        np.exp(-4 * np.log(2) * ((at[:, None] - of.ravel()) / width) ** 2)
        for at, of in ((spec.grid.x_nm, x), (spec.grid.y_nm, y))
    )
    cell = a1[0] * a2[1] - a1[1] * a2[0]
    exact = 4 * np.log(2) / np.pi * cell / width**2 / kernel["unit"] * (along * change.ravel()) @ across.T
    assert np.abs(images.image[0] - exact).max() < 1e-6 * np.abs(exact).max()


@pytest.mark.parametrize("name", BESIDE)
def test_a_single_scatterer_has_the_image_of_linear_superposition(name):
    spec, _, multiple = made(name, "scatterers.count=1")
    _, _, linear = made(name, "scatterers.count=1", linear=True)
    dx, dy = (linear.position_nm[:, 0, axis, None] - at for axis, at in enumerate((spec.grid.x_nm, spec.grid.y_nm)))
    is_core = np.hypot(dx[:, None], dy[:, :, None]) < get_family(spec.kernels.family).core_radius_nm(spec.kernels)
    error = np.abs(multiple.image - linear.image) / np.abs(linear.image).max()
    assert error[~is_core].max() < 2e-6
    assert error.max() < 1e-4  # the bound of tables inside the core


@pytest.mark.parametrize("name", BESIDE)
def test_the_target_is_the_kernel_of_a_single_scatterer(name):
    _, multiple, _ = made(name)
    _, linear, _ = made(name, linear=True)
    np.testing.assert_array_equal(multiple.image, linear.image)


def difference(*overrides, name="ag111_64", number=6):
    _, _, multiple = made(name, *overrides, number=number)
    _, _, linear = made(name, *overrides, number=number, linear=True)
    change, size = (np.sqrt((each**2).mean(axis=(1, 2))) for each in (multiple.image - linear.image, linear.image))
    return change, change / size


def test_weak_scatterers_differ_from_linear_superposition_in_second_order():
    overrides = ["scatterers.count=10", "kernels.alpha=[1.0,1.0]"]
    strong, weak = (difference(*overrides, f"kernels.delta_rad=[{d},{d}]")[0] for d in (0.02, 0.01))
    np.testing.assert_allclose(strong / weak, 4, rtol=0.1)
    strong, weak = (
        difference("scatterers.count=10", f"kernels.scatterer_mev=[{v},{v}]", name="square_64")[0] for v in (2.0, 1.0)
    )
    np.testing.assert_allclose(strong / weak, 4, rtol=0.1)


@pytest.mark.parametrize(("delta", "least", "most"), [(0.2, 0.05, 0.4), (1.57, 0.3, 1.8)])
def test_strong_scatterers_differ_more(delta, least, most):
    overrides = ["scatterers.count=20", "kernels.alpha=[1.0,1.0]", f"kernels.delta_rad=[{delta},{delta}]"]
    _, relative = difference(*overrides)
    assert least < relative.min()
    assert relative.max() < most


def test_no_density_of_states_is_negative():
    overrides = [
        "kernels.unit=1.0",
        "kernels.linewidth_mev=[0.0,0.0]",
        "kernels.alpha=[0.5,1.0]",
        "scatterers.count=30",
    ]
    _, _, multiple = made("ag111_64", *overrides)
    _, _, linear = made("ag111_64", *overrides, linear=True)
    assert 1 + multiple.image.min() > 0
    assert 1 + linear.image.min() < 0


@pytest.mark.parametrize("name", BESIDE)
def test_runs_batches_and_threads_do_not_matter(name, tmp_path):
    spec, kernels, whole = made(name)
    backend = get_backend("cpu")[0]
    parts = [backend.observations(spec, kernels, start, stop) for start, stop in [(0, 1), (1, 5), (5, 6)]]
    np.testing.assert_array_equal(np.concatenate([part.image for part in parts]), whole.image)
    digests = [write_release(spec, tmp_path / f"{n}.h5", backend=backend, threads=n) for n in (1, 2)]
    assert digests[0] == digests[1] == verify_release(tmp_path / "1.h5", backend=backend)


@pytest.mark.parametrize(
    "overrides", [["corruptions.unseen_scatterers.reach_nm=8"], ["corruptions.drift.drift_nm=2.0"]]
)
def test_unseen_scatterers_and_borders_are_part_of_it(overrides):
    spec, _, images = made("ag111_64", *overrides)
    assert np.isfinite(images.image).all()
    assert images.image.shape == (6, *spec.grid.shape)


def test_the_gpu_refuses_multiple_scattering_before_anything_is_written(cupy_on_host, tmp_path):
    (folder := tmp_path / "releases").mkdir()
    with pytest.raises(UnavailableError, match="no CUDA kernel makes; use the CPU"):
        write_release(load_spec("ag111_64_multiple"), folder / "release.h5", backend=get_backend("cuda")[0])
    assert not list(folder.iterdir())


def test_the_key_that_says_linear_changes_no_spec():
    plain, linear = load_spec("paper"), load_spec("paper", overrides=["scatterers.superposition=linear"])
    assert plain.canonical_json() == linear.canonical_json()
    assert "superposition" not in plain.canonical_json()
    assert '"superposition":"multiple"' in load_spec("ag111_64_multiple").canonical_json()


def closest(position):
    distance = np.hypot(*np.moveaxis(position[:, :, None] - position[:, None], -1, 0))
    distance[:, np.arange(position.shape[1]), np.arange(position.shape[1])] = np.nan
    return np.nanmin(distance)


@pytest.mark.parametrize(
    ("name", "apart"), [("mini", 0.5), ("ag111_64", 2.0), ("square_64", 1.2), ("hexagonal_64", 0.8)]
)
def test_scatterers_keep_a_distance(name, apart):
    overrides = ["kernels.count=10", "scatterers.count=15"]
    plain, spec = (
        load_spec(name, overrides=[*overrides, *more]) for more in ([], [f"scatterers.min_separation_nm={apart}"])
    )
    backend = get_backend("cpu")[0]
    free, kept = (backend.observations(each, backend.kernels(each), 0, 40).position_nm for each in (plain, spec))
    assert closest(free) < apart * 0.99
    assert closest(kept) > apart * (1 - 1e-9)
    np.testing.assert_array_equal(kept[:, 0], free[:, 0])
    assert (kept == free).all(axis=2).mean() > 0.5
    assert np.abs(kept).max() <= spec.grid.size_x_nm / 2


@pytest.mark.usefixtures("cupy_on_host")
def test_the_gpu_makes_images_of_scatterers_that_keep_a_distance():
    spec = load_spec("mini", overrides=["scatterers.min_separation_nm=0.4"])
    cpu, cuda = (get_backend(name)[0] for name in ("cpu", "cuda"))
    kernels = cpu.kernels(spec)
    np.testing.assert_array_equal(
        cuda.observations(spec, kernels, 0, 5).image, cpu.observations(spec, kernels, 0, 5).image
    )


@pytest.mark.parametrize(
    ("name", "overrides", "words"),
    [
        (
            "mini",
            ["scatterers.superposition=multiple"],
            "needs a family that knows the T-matrix of its scatterers, surface_state or tight_binding, found"
            ' kernels.family = "eq7"',
        ),
        ("ag111_64", ["scatterers.superposition=multiple"], "needs scatterers.min_separation_nm"),
        (
            "ag111_64_multiple",
            ["species.second=drawn", "scatterers.min=2"],
            'scatterers.superposition = "multiple" needs one species of scatterers; leave out [species]',
        ),
        ("ag111_64_multiple", ["scatterers.max=101"], "at most 100 with scatterers.superposition"),
        (
            "ag111_64_multiple",
            ["corruptions.unseen_scatterers.reach_nm=20"],
            "scatterers.max must be at most 100",
        ),
        ("ag111_64_multiple", ["scatterers.min_separation_nm=3"], "at most 2.74 or lower scatterers.max"),
        ("mini", ["scatterers.count=100", "scatterers.min_separation_nm=1"], "is too large for 100 scatterers"),
        (
            "square_64",
            ["scatterers.min_separation_nm=2"],
            "min_separation_nm = 2 leaves no site for 20 scatterers: each excludes",
        ),
        ("square_64", ["scatterers.min_separation_nm=1e6"], "leaves no site for 20 scatterers"),
        (
            "ag111_64",
            ["scatterers.min_separation_nm=0"],
            "scatterers.min_separation_nm': input should be greater than 0",
        ),
        ("ag111_64", ["scatterers.superposition=foldy"], "scatterers.superposition'"),
        (
            "ag111_64_multiple",
            ["corruptions.amplitude_spread.relative_std=0.3"],
            'corruptions.amplitude_spread needs scatterers.superposition = "linear"',
        ),
    ],
)
def test_what_cannot_be_made_is_refused_with_the_allowed_range(name, overrides, words):
    with pytest.raises(UsageError) as caught:
        load_spec(name, overrides=overrides)
    assert words in str(caught.value)
