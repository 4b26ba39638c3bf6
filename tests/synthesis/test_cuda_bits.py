"""The CUDA kernels on the host compiler against the CPU backend, bit for bit.

What this cannot see: races within a thread's turn between barriers, and what the GPU's own compiler and instructions
do. The first is for compute-sanitizer, the second for test_nvrtc.py and for the hashes of test_cuda_gpu.py.
"""

import ctypes
import re

import numba as nb
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qpibench.arithmetic import elementary
from qpibench.arithmetic.superposition import Axes, Formulas, Scatterers
from qpibench.families import eq7
from qpibench.locator import locate
from qpibench.release import write_release
from qpibench.specs import load_spec
from qpibench.synthesis import get_backend
from qpibench.synthesis.fields import stream_fields
from qpibench.synthesis.gpu_kernels import tiling

FOLDS = (0, 2, 3, 4, 6)
NOISY = "mini+corruptions.white_noise.snr_db=[10.0,10.0]"
EVERY = [
    "corruptions.tip_blur.fwhm_nm=[0.2, 0.9]",
    "corruptions.drift={drift_nm=[0, 2], creep_nm=[0, 1]}",
    "corruptions.white_noise.snr_db=[0, 20]",
    "corruptions.line_noise.strength=[0, 1]",
    "corruptions.corrugation={lattice='hexagonal', lattice_constant_nm=1.1, strength=[0, 1]}",
    "corruptions.line_offsets.strength=[0, 1]",
    "corruptions.plane_tilt.strength=[0, 3]",
    "corruptions.gain_offset={gain=[0.5, 2], offset=[-1, 1]}",
]


def _bits(array):
    return np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}")


def _assert_same_bits(first, second):
    assert first.dtype == second.dtype
    assert np.array_equal(_bits(first), _bits(second))


def _assert_same_observations(spec, start, stop):
    cpu, cuda = get_backend("cpu")[0], get_backend("cuda")[0]
    kernels = cpu.kernels(spec)
    expected = cpu.observations(spec, kernels, start, stop)
    found = cuda.observations(spec, kernels, start, stop)
    assert ("noise_sigma" in expected.columns()) == ("white_noise" in (spec.corruptions or {}))
    assert found.columns().keys() == expected.columns().keys()
    for name, values in expected.columns().items():
        _assert_same_bits(found.columns()[name], values)


def test_the_coefficients_are_those_of_the_cpu():
    source = (locate("kernels_cuda") / "elementary.cuh").read_text()
    arrays = re.findall(r"const (float|double) (\w+)\[\] = \{([^}]*)\}", source)
    assert len(arrays) == 10
    for kind, name, numbers in arrays:
        dtype = {"float": np.float32, "double": np.float64}[kind]
        found = np.array([dtype(number.strip().rstrip("f")) for number in numbers.split(",") if number.strip()])
        _assert_same_bits(found, np.array(getattr(elementary, name), dtype))


@pytest.mark.parametrize(
    ("name", "x"),
    [
        ("sin2pi_f32", np.linspace(-3000, 3000, 200_001, dtype=np.float32)),
        ("exp2_f32", -np.geomspace(1e-30, 1e6, 200_001, dtype=np.float32)),
        ("reciprocal_f32", np.geomspace(1e-30, 1e30, 200_001, dtype=np.float32)),
        ("minus2ln_f32", np.geomspace(1e-10, 1, 200_001, dtype=np.float32)),
        ("sin2pi_f64", np.linspace(-3000, 3000, 200_001)),
        ("exp2_f64", -np.geomspace(1e-30, 1e6, 200_001)),
    ],
)
def test_elementary_functions_have_the_bits_of_the_cpu(cuda_on_host, name, x):
    function = getattr(elementary, name)

    @nb.njit(error_model="numpy")
    def loop(x, out):
        for k in range(len(x)):
            out[k] = function(x[k])

    expected, found = np.empty_like(x), np.empty_like(x)
    loop(x, expected)
    run = getattr(cuda_on_host, f"map_{name}")
    run(*(ctypes.c_void_p(array.ctypes.data) for array in (x, found)), ctypes.c_long(len(x)))
    _assert_same_bits(found, expected)


def test_every_root_is_correctly_rounded_whatever_the_gpu_estimates(cuda_on_host):
    assert cuda_on_host.wrong_roots() == 0


@given(data=st.data())
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.usefixtures("cupy_on_host")
def test_observations_of_random_specs_have_the_bits_of_the_cpu(data):
    ny, nx = data.draw(st.integers(2, 140)), data.draw(st.integers(2, 140))
    size_y, size_x = data.draw(st.floats(0.1, 50)), data.draw(st.floats(0.1, 50))
    wavelength = 2.001 * max(size_y / (ny - 1), size_x / (nx - 1)) * data.draw(st.floats(1, 20))
    decay = data.draw(st.floats(0.01, 20))
    fewest = data.draw(st.integers(1, 40))
    overrides = [
        "name=random",
        f"seed={data.draw(st.integers(0, 2**128 - 1))}",
        f"grid={{ny={ny}, nx={nx}, size_y_nm={size_y}, size_x_nm={size_x}}}",
        f"kernels.count={data.draw(st.integers(1, 7))}",
        f"kernels.folds=[{data.draw(st.sampled_from(FOLDS))}]",
        f"kernels.wavelength_nm=[{wavelength}, {2 * wavelength}]",
        f"kernels.decay_nm=[{decay}, {3 * decay}]",
        f"observations_per_kernel={data.draw(st.integers(1, 5))}",
        f"scatterers.min={fewest}",
        f"scatterers.max={fewest + data.draw(st.integers(0, 20))}",
        f"scatterers.margin_nm={data.draw(st.floats(-0.02, 1))}",
    ]
    pitch = max(size_y / (ny - 1), size_x / (nx - 1))
    shorter = min(size_y, size_x)
    fwhm, strength = data.draw(st.floats(0.001, 0.25)) * shorter, data.draw(st.floats(0, 100))
    lattice = data.draw(st.sampled_from(["square", "hexagonal"]))
    drift = f"{{drift_nm=[0, {0.5 * shorter}], creep_nm=[0, {0.2 * shorter}]}}"
    possible = {
        "tip_blur": f"{{fwhm_nm={max(fwhm, 0.001)}}}",
        "drift": drift,
        "line_noise": f"{{strength=[0, {strength}]}}",
        "corrugation": f"{{lattice='{lattice}', lattice_constant_nm={3 * pitch}, strength={strength}}}",
        "line_offsets": f"{{strength={strength}}}",
        "plane_tilt": f"{{strength={strength}}}",
        "gain_offset": f"{{gain=[0.5, 3], offset={-strength}}}",
    }
    chosen = data.draw(st.sets(st.sampled_from(sorted(possible)), max_size=3))
    overrides += [f"corruptions.{name}={possible[name]}" for name in sorted(chosen)]
    if data.draw(st.booleans()):
        low = data.draw(st.floats(-40, 100))
        overrides.append(f"corruptions.white_noise.snr_db=[{low}, {data.draw(st.floats(low, 100))}]")
    spec = load_spec("mini", overrides=overrides)
    stop = data.draw(st.integers(1, min(spec.observation_count, 6)))
    _assert_same_observations(spec, data.draw(st.integers(0, stop - 1)), stop)


@pytest.mark.parametrize("fold", FOLDS)
@pytest.mark.parametrize(
    "overrides",
    [
        pytest.param(["grid.ny=130", "grid.nx=65"], id="tiles that are not full"),
        pytest.param(["grid.ny=2", "grid.nx=2", "kernels.wavelength_nm=[25, 30]"], id="the smallest image"),
        pytest.param(["scatterers.max=1"], id="one scatterer"),
        pytest.param(["scatterers.min=333", "scatterers.max=333"], id="many scatterers"),
        pytest.param(["scatterers.max=1", "kernels.decay_nm=[0.05, 0.3]"], id="short decays"),
        pytest.param(["scatterers.margin_nm=90"], id="far outside the field"),
        pytest.param(
            [
                "grid={ny=200, nx=260, size_y_nm=60, size_x_nm=80}",
                "scatterers.min=290",
                "scatterers.max=310",
                "kernels.wavelength_nm=[1, 5]",
                "kernels.decay_nm=[0.5, 2]",
            ],
            id="a large field and short decays",
        ),
        pytest.param(
            [
                "grid={ny=65, nx=129, size_y_nm=500, size_x_nm=900}",
                "scatterers.min=600",
                "scatterers.max=600",
                "kernels.wavelength_nm=[25, 30]",
                "kernels.decay_nm=[0.05, 5]",
            ],
            id="tiles that no scatterer reaches",
        ),
        pytest.param(["corruptions.white_noise.snr_db=10"], id="white noise"),
        pytest.param(
            ["corruptions.white_noise.snr_db=-40", "scatterers.max=1", "kernels.decay_nm=[0.001, 0.001]"],
            id="white noise of images without contrast",
        ),
        pytest.param(
            ["corruptions.white_noise.snr_db=[0, 100]", "grid.ny=70", "grid.nx=37", "scatterers.max=3"],
            id="white noise of lanes that are not full",
        ),
        pytest.param(
            ["corruptions.white_noise.sigma_over_kernel_rms=[0, 2]", "corruptions.tip_blur.fwhm_nm=0.5"],
            id="white noise over the kernel's rms",
        ),
    ],
)
@pytest.mark.usefixtures("cupy_on_host")
def test_observations_have_the_bits_of_the_cpu(fold, overrides):
    spec = load_spec("mini", overrides=[f"kernels.folds=[{fold}]", *overrides])
    _assert_same_observations(spec, 3, 6)


@pytest.mark.parametrize(
    "overrides",
    [
        pytest.param([], id="a square"),
        pytest.param(["grid={ny=33, nx=270, size_y_nm=5, size_x_nm=40}"], id="strips that are not full"),
        pytest.param(["grid={ny=259, nx=34, size_y_nm=40, size_x_nm=6}"], id="more lines than threads"),
        pytest.param(
            [
                "corruptions.tip_blur.fwhm_nm=1.2",
                "corruptions.corrugation.lattice_constant_nm=3",
                "grid={ny=5, nx=7, size_y_nm=5, size_x_nm=5}",
            ],
            id="few pixels",
        ),
        pytest.param(["corruptions.corrugation.lattice=square"], id="a square lattice"),
        pytest.param(["scatterers.max=1", "kernels.decay_nm=[0.001, 0.001]"], id="no contrast"),
    ],
)
@pytest.mark.parametrize("core_nm", [0.7, *(pytest.param(each, marks=pytest.mark.slow) for each in (0.0, 50.0))])
@pytest.mark.usefixtures("cupy_on_host")
def test_images_with_every_corruption_have_the_bits_of_the_cpu(monkeypatch, core_nm, overrides):
    monkeypatch.setattr(eq7, "core_radius_nm", lambda ranges: core_nm)
    others = ["kernels.wavelength_nm=[2.5, 4]", "scatterers.max=9"]
    _assert_same_observations(load_spec("mini", overrides=[*others, *EVERY, *overrides]), 8, 12)


@pytest.mark.usefixtures("cupy_on_host")
def test_a_corruption_without_a_cuda_kernel_ends_those_of_the_device(monkeypatch):
    spec = load_spec("mini", overrides=EVERY)
    expected = get_backend("cpu")[0].observations(spec, get_backend("cpu")[0].kernels(spec), 8, 12)
    for missing in ("tip_blur", "drift", "white_noise", "gain_offset"):
        monkeypatch.setattr(
            "qpibench.synthesis.cuda.locate",
            lambda folder, missing=missing: _Without(locate(folder), f"{missing}.cu"),
        )
        found = get_backend("cuda")[0].observations(spec, get_backend("cpu")[0].kernels(spec), 8, 12)
        for name, values in expected.columns().items():
            _assert_same_bits(found.columns()[name], values)


class _Without:
    """A folder in which one file is missing."""

    def __init__(self, folder, name):
        self.folder, self.name = folder, name

    def __truediv__(self, name):
        return self.folder / ("missing" if name == self.name else name)


@pytest.mark.usefixtures("cupy_on_host")
def test_the_largest_number_of_scatterers_has_the_bits_of_the_cpu():
    overrides = ["scatterers.min=10000", "scatterers.max=10000", "grid.ny=5", "kernels.wavelength_nm=[9, 12]"]
    spec = load_spec("mini", overrides=overrides)
    _assert_same_observations(spec, 0, 1)


@pytest.mark.parametrize("nx", [1, 4, 5, 63, 64, 65, 68, 130, 512, 4096])
@pytest.mark.parametrize("ny", [2, 65, 129, 1000])
def test_tiles_cover_an_image_and_little_else(nx, ny):
    tiles, across, down, threads = tiling(nx, ny)
    tiles_x = -(-nx // (4 * across))
    assert across <= 16
    assert down <= 16
    assert tiles == tiles_x * -(-ny // (4 * down))
    assert threads % 32 == 0
    assert max(across * down, 4 * (across + down)) <= threads <= 256
    # No axis has a row of patches more than its tiles.
    assert 4 * across * tiles_x < nx + 4 * (tiles_x + 1)


@pytest.mark.parametrize("fold", FOLDS)
def test_scatterers_on_pixels_and_beside_them_have_the_bits_of_the_cpu(cupy_on_host, fold):
    x, y = np.linspace(-3, 3, 33), np.linspace(-4, 4, 65)
    near = [(x[0], y[0]), (x[32], y[64]), (x[7] + 1e-12, y[9]), (x[7], y[9] - 1e-16), (1e-15, -1e-15), (0, 0)]
    position = np.array([*near, *((x[k], y[2 * k]) for k in range(33))])
    parameters = {"fold": np.array([fold], np.int32)}
    parameters |= {name: np.array([value]) for name, value in {"phi1": 0.7, "B": 2.0, "phi2": 1.1, "C": 0.3}.items()}
    table = eq7.coefficients(parameters)
    amplitude = np.linspace(-1, 2, len(position), dtype=np.float32)[None]
    species = np.zeros((1, len(position)), np.int32)
    scatterers = Scatterers(np.array([len(position)], np.int32), position[None], amplitude, species)
    expected = np.empty((1, 65, 33), np.float32)
    eq7.superpose(Axes(x, y), np.zeros((1, 1), np.int64), Formulas(parameters["fold"], table), scatterers, expected)

    kernel = cupy_on_host.cuda.Module().get_function("superpose")
    image = cupy_on_host.empty((1, 65, 33), np.float32)
    device = cupy_on_host.asarray
    count, folds = np.array([len(position)]), np.array([fold], np.int64)
    places = (device(position), device(count), np.int32(len(position)), device(amplitude), np.int32(len(position)))
    arguments = (*places, device(folds), device(table), image)
    tiles, across, down, threads = tiling(33, 65)
    shape = (np.int32(number) for number in (33, 65, across, down))
    kernel((tiles,), (threads,), (device(x), device(y), *shape, *arguments))
    _assert_same_bits(image.host, expected)


@pytest.mark.parametrize("fold", FOLDS)
def test_images_of_two_species_have_the_bits_of_the_cpu(cupy_on_host, fold):
    x, y = np.linspace(-3, 3, 70), np.linspace(-4, 4, 67)
    random = np.random.default_rng(fold)
    position, species = random.uniform(-5, 5, (2, 280, 2)), random.integers(0, 2, (2, 280), np.int32)
    position[:, 0] = x[7], y[9]
    drawn = {"phi1": [0.7, 0.1, 2.0, 0.7], "B": [2.0, 3, 2, 1], "phi2": [1.1, 0, 3, 2], "C": [0.3, 60, 0.05, 900]}
    parameters = {name: np.array(values) for name, values in drawn.items()}
    parameters["fold"] = np.full(4, fold, np.int32)
    table, amplitude = eq7.coefficients(parameters), np.ones((2, 280), np.float32)
    scatterers = Scatterers(np.array([280, 3], np.int32), position, amplitude, species)
    expected = np.empty((2, 67, 70), np.float32)
    row = np.array([[0, 1], [3, 2]])
    eq7.superpose(Axes(x, y), row, Formulas(parameters["fold"], table), scatterers, expected)

    kernel = cupy_on_host.cuda.Module().get_function("superpose_species")
    image = cupy_on_host.empty((2, 67, 70), np.float32)
    device = cupy_on_host.asarray
    places = (device(position), device(np.array([280, 3])), np.int32(280), device(amplitude), np.int32(280))
    folds = np.full(2, fold, np.int64)
    tiles, across, down, threads = tiling(70, 67)
    shape = (np.int32(number) for number in (70, 67, across, down))
    arguments = (*places, device(species), device(folds), device(table[row]), image)
    kernel((2 * tiles,), (threads,), (device(x), device(y), *shape, *arguments))
    _assert_same_bits(image.host, expected)


@pytest.mark.parametrize("offset", [-2, -1, 1, 2])
@pytest.mark.usefixtures("cupy_on_host")
def test_images_do_not_depend_on_the_estimate_of_the_root(cuda_on_host, offset):
    cuda_on_host.set_estimate_offset(offset)
    try:
        _assert_same_observations(load_spec("mini"), 0, 5)
    finally:
        cuda_on_host.set_estimate_offset(0)


@pytest.mark.parametrize(
    ("map_mode", "order"),
    [
        ("paper", 2),
        *(pytest.param(*each, marks=pytest.mark.slow) for each in (("exact", 1), ("exact", 2), ("paper", 1))),
    ],
    ids=["paper-shuffled", "exact-backward", "exact-shuffled", "paper-backward"],
)
def test_the_turns_that_threads_take_between_barriers_do_not_matter(cupy_on_host, monkeypatch, order, map_mode):
    monkeypatch.setattr(cupy_on_host.cuda.Module, "order", order)
    spec = load_spec("mini", overrides=["scatterers.min=40", "scatterers.max=60", *EVERY])
    _assert_same_observations(spec, 0, 10)
    overrides = ["grid.ny=70", "grid.nx=67", "scatterers.min=290", "scatterers.max=300", "kernels.decay_nm=[0.05, 0.2]"]
    _assert_same_observations(load_spec("mini", overrides=overrides), 0, 10)
    _assert_same_batches(spec, 0, 10, map_mode=map_mode)


def _assert_same_batches(spec, start, stop, *, map_mode, fields=None):
    fields = fields or stream_fields(spec)
    expected = get_backend("cpu")[0].fresh(spec, start, stop, fields=fields, map_mode=map_mode)
    found = get_backend("cuda")[0].fresh(spec, start, stop, fields=fields, map_mode=map_mode)
    assert tuple(found) == tuple(expected) == fields
    for name, values in expected.items():
        _assert_same_bits(found[name].host, values)


@pytest.mark.parametrize("map_mode", ["exact", "paper"])
@pytest.mark.parametrize(
    ("start", "overrides"),
    [
        (0, ["observations_per_kernel=1"]),
        (17, ["observations_per_kernel=3", "scatterers.margin_nm=3"]),
        (2**40 + 5, ["grid.ny=90", "grid.nx=35", "scatterers.min=200", "scatterers.max=201"]),
        (2**40 + 5, ["observations_per_kernel=3", "corruptions.white_noise.snr_db=[5, 15]"]),
        (2**40 + 5, ["observations_per_kernel=3", "scatterers.max=9", *EVERY]),
        (
            2**40 + 5,
            ["observations_per_kernel=3", "corruptions.white_noise.sigma_over_kernel_rms=1", *EVERY[:2], *EVERY[3:]],
        ),
        (2**33, ["observations_per_kernel=1", "grid.ny=3", "grid.nx=2", "kernels.wavelength_nm=[25, 30]"]),
    ],
)
@pytest.mark.usefixtures("cupy_on_host")
def test_training_batches_have_the_bits_of_the_cpu(start, overrides, map_mode):
    _assert_same_batches(load_spec("mini", overrides=overrides), start, start + 12, map_mode=map_mode)


@pytest.mark.usefixtures("cupy_on_host")
@pytest.mark.parametrize("overrides", [[], ["corruptions.white_noise.snr_db=10"]], ids=["clean", "noisy"])
@pytest.mark.parametrize("fields", [("fold", "position_nm"), ("noise_sigma",), ("snr_db", "kernel")])
def test_only_the_fields_asked_for_are_made(fields, overrides):
    spec = load_spec("mini", overrides=overrides)
    _assert_same_batches(spec, 0, 3, map_mode="exact", fields=fields)


@pytest.mark.slow
@pytest.mark.parametrize("run_bytes", [1, 1 << 17, 64 << 20])
@pytest.mark.usefixtures("cupy_on_host")
def test_the_size_of_the_runs_through_the_device_does_not_matter(monkeypatch, run_bytes):
    monkeypatch.setattr("qpibench.synthesis.cuda.RUN_BYTES", run_bytes)
    _assert_same_observations(load_spec("mini", overrides=EVERY), 13, 40)


@pytest.mark.parametrize(
    "name",
    ["mini", NOISY, "mini_species", *(pytest.param(name, marks=pytest.mark.slow) for name in ("corrupted", "paper"))],
)
@pytest.mark.usefixtures("cupy_on_host")
def test_a_release_made_by_the_cuda_kernels_has_its_hash(content_sha256, named_spec, tmp_path, name):
    backend, sentence = get_backend("auto")
    assert sentence == "CUDA backend on Host."
    digest = write_release(named_spec(name), tmp_path / "release.h5", backend=backend, threads=3)
    assert digest == content_sha256[name]
