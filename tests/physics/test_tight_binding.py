"""The kernels of a point scatterer on a lattice: limits, symmetries, convergence, sites and refused input."""

import json

import numpy as np
import pytest
from scipy.special import hankel1

from qpibench.errors import UsageError
from qpibench.families import tight_binding
from qpibench.families.tight_binding.ranges import decay_length
from qpibench.specs import load_spec
from qpibench.specs.load import explain
from qpibench.synthesis import get_backend

SQUARE = {
    "lattice": "square",
    "lattice_nm": 0.4,
    "angle_rad": 0.15,
    "hopping_mev": 100.0,
    "energy_mev": [-320.0, -210.0],
    "broadening_mev": 10.0,
    "scatterer_mev": [100.0, 400.0],
    "orbital_fwhm_nm": 0.32,
}
HEXAGONAL = SQUARE | {"lattice": "hexagonal", "energy_mev": [-400.0, -300.0], "second_hopping_mev": 10.0}
NEMATIC = SQUARE | {"lattice": "nematic", "anisotropy": 0.3, "second_hopping_mev": -20.0}


def ranges_of(fields):
    return tight_binding.Ranges.model_validate_json(json.dumps({"family": "tight_binding", "count": 3} | fields))


def kernels_of(fields, uniform=((0.1, 0.9), (0.8, 0.2))):
    """The ranges and the columns of some kernels."""
    ranges, uniform = ranges_of(fields), np.array(uniform)
    return ranges, tight_binding.parameters(ranges, tight_binding.strata(ranges, 0, len(uniform)), uniform)


def one(parameters, row=0):
    return {name: values[row] for name, values in parameters.items()}


def outside(x, y, values, radius):
    """The largest value outside the core."""
    return np.abs(values[np.hypot(x, y[:, None]) > radius]).max()


@pytest.mark.parametrize("fields", [SQUARE, HEXAGONAL, NEMATIC], ids=lambda fields: fields["lattice"])
def test_samples_are_those_of_the_reference(fields):
    ranges, parameters = kernels_of(fields)
    x, y = np.linspace(-4.1, 3.0, 45), np.linspace(-1.0, 5.2, 38)
    made = tight_binding.samples(ranges, parameters, x, y)
    for row, image in enumerate(made):
        expected = tight_binding.reference(x, y[:, None], **one(parameters, row))
        assert np.abs(image - expected).max() < 1e-11 * np.abs(expected).max()


@pytest.mark.parametrize("fields", [SQUARE, HEXAGONAL, NEMATIC], ids=lambda fields: fields["lattice"])
def test_a_sample_has_the_same_bits_among_other_offsets(fields):
    ranges, parameters = kernels_of(fields)
    x = np.linspace(-5.0, 5.0, 61)
    whole = tight_binding.samples(ranges, parameters, x, x)
    part = tight_binding.samples(ranges, parameters, x[20:31], x[28:33])
    np.testing.assert_array_equal(part, whole[:, 28:33, 20:31])


@pytest.mark.parametrize(
    ("fields", "curvature", "cell"),
    [(SQUARE, 1.0, 1.0), (HEXAGONAL | {"second_hopping_mev": 0.0}, 1.5, np.sqrt(3) / 2)],
    ids=["square", "hexagonal"],
)
@pytest.mark.parametrize("V", [600.0, -2500.0, 30000.0])
def test_at_the_bottom_of_the_band_it_is_a_point_scatterer_in_a_free_electron_gas(fields, curvature, cell, V):
    # hbar^2/2m = curvature t a^2, and dN = N0/2 Re[(e^(2 i delta) - 1) H0(k r)^2], averaged over the orbital. The
    # broadening takes a share of the step N0 = m/(2 pi hbar^2) to energies below the bottom.
    t, eta, above, a, width = 1000.0, 3.0, 15.0, 0.4, 0.8
    neighbours = {"square": 2, "hexagonal": 3}[fields["lattice"]]
    energy = above - 2 * neighbours * t
    fields = fields | {"hopping_mev": t, "broadening_mev": eta, "orbital_fwhm_nm": width}
    _, parameters = kernels_of(fields | {"energy_mev": [energy, energy], "scatterer_mev": [V, V]})
    k_squared = (above + 1j * eta) / (curvature * t * a**2)
    angle = 2 * np.pi * (np.arange(2048) + 0.5) / 2048
    band = np.cos(angle) + np.cos(angle[:, None]) + (np.cos(angle - angle[:, None]) if neighbours == 3 else 0)
    T = V / (1 - V * np.mean(1 / (energy + 1j * eta + 2 * t * band)))
    phase_factor = 1 - 1j * T * cell / (2 * curvature * t)  # e^(2 i delta) = 1 - i m T/hbar^2
    r, theta = np.linspace(4 * a, 50 * a, 60), np.linspace(0, 2, 60)
    x, y = r * np.cos(theta), r * np.sin(theta)
    node, weight = np.polynomial.hermite_e.hermegauss(12)
    spread = width / np.sqrt(8 * np.log(2)) * node
    distance = np.hypot(x + spread[:, None, None], y + spread[:, None])
    gas = np.real((phase_factor - 1) * hankel1(0, np.sqrt(k_squared) * distance) ** 2) / 2
    step = 0.5 + np.arctan(above / eta) / np.pi
    expected = np.einsum("ijk,i,j", gas, weight, weight) / weight.sum() ** 2 / step
    found = tight_binding.reference(x, y, **one(parameters))
    assert np.abs(found - expected).max() < 0.006 * np.abs(expected).max()


def crystal(vectors, size, t, t2, anisotropy):
    """Hamiltonian of a torus of size x size sites, whose neighbours are found by their distance."""
    hamiltonian, sites = np.zeros((size**2, size**2)), np.eye(size)
    for m, n in ((m, n) for m in range(-2, 3) for n in range(-2, 3)):
        distance = np.hypot(*(np.array([m, n]) @ vectors)) / np.hypot(*vectors[0])
        if 0.9 < distance < 1.8:
            hopping = t2 if distance > 1.1 else t * (1 + anisotropy) if n == 0 else t * (1 - anisotropy)
            hamiltonian -= hopping * np.kron(np.roll(sites, n, axis=0), np.roll(sites, m, axis=0))
    return hamiltonian


@pytest.mark.parametrize("V", [250.0, pytest.param(-250.0, marks=pytest.mark.slow)])
@pytest.mark.parametrize("fields", [SQUARE, HEXAGONAL, NEMATIC], ids=lambda fields: fields["lattice"])
def test_the_density_changes_as_in_a_crystal_whose_one_site_has_another_level(fields, V):
    size, energy, eta, a = 33, -250.0, 120.0, 0.4
    narrow = {"broadening_mev": eta, "mesh": 256, "orbital_fwhm_nm": a / 5}
    _, parameters = kernels_of(fields | narrow | {"energy_mev": [energy, energy], "scatterer_mev": [V, V]})
    between = np.pi / 3 if fields["lattice"] == "hexagonal" else np.pi / 2
    vectors = a * np.array([[np.cos(angle), np.sin(angle)] for angle in (0.15, 0.15 + between)])
    hopping = 100.0, fields.get("second_hopping_mev", 0.0), fields.get("anisotropy", 0.0)
    inverse = (energy + 1j * eta) * np.eye(size**2) - crystal(vectors, size, *hopping)
    undisturbed = np.linalg.inv(inverse)[0, 0].imag
    inverse[0, 0] -= V
    change = (np.diag(np.linalg.inv(inverse)).imag / undisturbed - 1).reshape(size, size)
    sites = np.array([(0, 0), (1, 0), (0, 1), (1, 1), (1, -1), (3, 0), (0, 3), (-2, 4)])
    of_site = 4 * np.log(2) / np.pi * 25 * np.sin(between)  # an orbital's density at its centre
    found = tight_binding.reference(*(sites @ vectors).T, **one(parameters)) / of_site
    np.testing.assert_allclose(found, change[sites[:, 1], sites[:, 0]], atol=1e-4)


@pytest.mark.parametrize(("fields", "fold"), [(SQUARE, 4), (HEXAGONAL, 6), (NEMATIC, 2)])
def test_a_kernel_has_the_symmetry_of_its_lattice_and_no_higher_one(fields, fold):
    _, parameters = kernels_of(fields)
    x, y = np.random.default_rng(1).uniform(-4, 4, (2, 200))
    image = tight_binding.reference(x, y, **one(parameters))

    def turned(angle):
        return tight_binding.reference(
            np.cos(angle) * x - np.sin(angle) * y, np.sin(angle) * x + np.cos(angle) * y, **one(parameters)
        )

    assert one(parameters)["fold"] == fold
    assert np.abs(turned(2 * np.pi / fold) - image).max() < 1e-12
    assert np.abs(turned(np.pi / fold) - image).max() > 0.02


@pytest.mark.parametrize(
    "fields",
    [
        SQUARE | {"broadening_mev": 3.125, "energy_mev": [-210.0, -20.0]},  # exactly 8 decay lengths
        HEXAGONAL | {"broadening_mev": 5.0},
        NEMATIC | {"scatterer_mev": [-400.0, -100.0]},
        SQUARE | {"energy_mev": [-399.0, -395.0], "broadening_mev": 5.0},
    ],
)
def test_a_mesh_of_twice_the_size_changes_less_than_the_tolerance(fields):
    ranges, parameters = kernels_of(fields, [(0.0, 0.1), (0.5, 0.5), (1.0, 0.9)])
    x = np.linspace(-10, 10, 67)
    mesh = tight_binding.mesh_of(ranges)
    assert mesh >= 8 * decay_length(ranges)
    made = tight_binding.samples(ranges, parameters, x, x)
    finer = tight_binding.samples(ranges.model_copy(update={"mesh": 2 * mesh}), parameters, x, x)
    for coarse, fine in zip(made, finer, strict=True):
        assert np.abs(coarse - fine).max() < tight_binding.MESH_TOLERANCE * outside(x, x, fine, ranges.lattice_nm)


def test_kernels_are_divided_by_the_unit():
    (ranges, parameters), (halved, other) = kernels_of(SQUARE), kernels_of(SQUARE | {"unit": 0.5})
    x = np.linspace(-2, 2, 9)
    twice = tight_binding.samples(halved, other, x, x)
    np.testing.assert_allclose(twice, 2 * tight_binding.samples(ranges, parameters, x, x), rtol=1e-14)


def test_the_wavevector_is_that_of_round_contours_only():
    bottom = SQUARE | {"energy_mev": [-396.0, -396.0]}
    (_, round_one), (_, square_one), (_, nematic) = map(kernels_of, (bottom, SQUARE, NEMATIC))
    q = tight_binding.wavevector(round_one)
    np.testing.assert_allclose(q, 2 * np.sqrt(4.0 / 100.0) / 0.4, rtol=0.01)
    assert np.isnan(tight_binding.wavevector(square_one)[1])
    assert np.isnan(tight_binding.wavevector(nematic)).all()


def test_the_shortest_period_is_the_spacing_of_rows_or_a_shorter_wave():
    assert tight_binding.shortest_period_nm(ranges_of(SQUARE)) == pytest.approx(0.4)
    assert tight_binding.shortest_period_nm(ranges_of(HEXAGONAL)) == pytest.approx(0.4 * np.sqrt(3) / 2)


def snapped(ranges, drawn, half, hole=(-1.0, -1.0), first=0):
    """Scatterers after their move to sites."""
    position = drawn.copy()
    numbers = np.full(len(drawn), first, np.int32)
    tight_binding.snap(ranges, position, first=numbers, hole_nm=hole, half_nm=half)
    return position


def sites_of(ranges):
    """All sites near the centre, (site, xy)."""
    turn = np.pi / 3 if ranges.lattice == "hexagonal" else np.pi / 2
    a1, a2 = (0.4 * np.array([np.cos(angle), np.sin(angle)]) for angle in (0.15, 0.15 + turn))
    index = np.arange(-15, 16)
    return (index[:, None, None] * a1 + index[:, None] * a2).reshape(-1, 2) + np.array(ranges.origin_nm)


@pytest.mark.parametrize("hole", [(-1.0, -1.0), (1.4, 0.9)], ids=["field", "frame"])
@pytest.mark.parametrize("fields", [SQUARE, HEXAGONAL, NEMATIC], ids=lambda fields: fields["lattice"])
def test_scatterers_move_to_the_nearest_free_sites(fields, hole):
    ranges = ranges_of(fields | {"origin_nm": [0.13, -0.21]})
    drawn = np.random.default_rng(2).uniform(-1, 1, (20, 30, 2)) * [2.0, 1.5]
    drawn[3, 20:] = np.nan
    moved = snapped(ranges, drawn, (2.0, 1.5), hole, first=2)
    np.testing.assert_array_equal(moved[:, :2], drawn[:, :2])
    assert np.isnan(moved[3, 20:]).all()
    sites = sites_of(ranges)
    sites = sites[(np.abs(sites) <= [2.0, 1.5]).all(axis=1) & (np.abs(sites) > hole).any(axis=1)]
    for points, places in zip(drawn, moved, strict=True):
        free = np.ones(len(sites), bool)
        for point, place in zip(points[2:], places[2:], strict=True):
            if not np.isnan(point[0]):
                distance = np.where(free, np.hypot(*(sites - point).T), np.inf)
                np.testing.assert_allclose(place, sites[distance.argmin()], atol=1e-12)
                free[distance.argmin()] = False


def test_a_scatterer_stays_if_no_site_is_left_for_it():
    ranges = ranges_of(SQUARE)
    sites = tight_binding.site_count(ranges, 1.0, 1.0, enough=100)
    assert sites == (np.abs(sites_of(ranges)) <= 1.0).all(axis=1).sum()
    drawn = np.random.default_rng(3).uniform(-1, 1, (4, sites + 1, 2))
    moved = snapped(ranges, drawn, (1.0, 1.0))
    np.testing.assert_array_equal(moved[:, -1], drawn[:, -1])
    for places in moved:
        assert len(np.unique(places[:-1].round(9), axis=0)) == sites


def test_all_scatterers_of_an_image_lie_on_sites_and_those_outside_the_field_stay_there():
    overrides = ["kernels.count=1", "kernels.energy_mev=[50, 55]", "corruptions.unseen_scatterers.reach_nm=3"]
    spec = load_spec("square_64", overrides=overrides)
    backend = get_backend("cpu")[0]
    made = backend.observations(spec, backend.kernels(spec), 0, 20)
    a1 = 0.4 * np.array([np.cos(0.15), np.sin(0.15)])
    indices = made.position_nm @ np.array([a1, [-a1[1], a1[0]]]).T / 0.16
    assert np.nanmax(np.abs(indices - indices.round())) < 1e-9
    assert made.extra["n_unseen"].sum() > 0
    is_told = ~np.isnan(made.told[..., 0])
    is_inside = (np.abs(made.position_nm) <= 4.2).all(axis=-1)
    np.testing.assert_array_equal(is_inside, is_told)
    assert np.nanmax(np.abs(made.position_nm)) <= 4.2 + 3


def test_more_scatterers_than_sites_are_refused():
    with pytest.raises(UsageError, match=r"scatterers\.max must be at most 441, the number of lattice sites"):
        load_spec("square_64", overrides=["scatterers.max=442"])


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (
            {"energy_mev": [-450.0, -300.0]},
            "energy_mev must be from -400 to 400, the edges of the band in meV, found -450 to -300",
        ),
        ({"chemical_potential_mev": -500.0}, "energy_mev must be from 100 to 900, the edges of the band"),
        (
            {"broadening_mev": 0.1},
            "broadening_mev must be at least 0.391, because the mesh of wavevectors, at most 4096",
        ),
        ({"unit": 1e-45}, "'unit': input should be greater than or equal to 0.000001, found 1e-45"),
        ({"broadening_mev": -1.0}, "'broadening_mev': input should be greater than 0"),
        ({"mesh": 128}, r"mesh must be 8 decay lengths (160 lattice constants) or more and a power of two, one of 256"),
        ({"mesh": 300}, "mesh must be 8 decay lengths"),
        ({"scatterer_mev": [-5.0, 5.0]}, "scatterer_mev must be a range above 0 or one below 0"),
        ({"anisotropy": 0.2}, "anisotropy must be 0 for a square lattice, found 0.2"),
        ({"lattice": "nematic"}, "anisotropy must be above 0 for a nematic lattice, found 0"),
        ({"second_hopping_mev": 60.0}, "second_hopping_mev must be from -50 to 50"),
        (
            {"orbital_fwhm_nm": 0.05},
            "orbital_fwhm_nm must be from 0.08 to 0.8, a fifth to twice the lattice constant, found 0.05",
        ),
        ({"lattice": "kagome"}, "input should be 'square', 'hexagonal' or 'nematic'"),
    ],
)
def test_unphysical_input_is_one_sentence_with_the_allowed_range(changed, told):
    with pytest.raises(ValueError, match=r".*") as caught:
        ranges_of(SQUARE | changed)
    assert told in explain(caught.value, tight_binding.Ranges)
