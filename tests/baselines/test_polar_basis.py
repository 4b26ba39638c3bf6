"""Bases in polar coordinates and their sums, held against float64 sums over pixels and scatterers."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.linalg import block_diag
from scipy.stats import multivariate_normal
from shared.evidence import LinearModel
from shared.nuisance import Nuisance, of_instrument
from shared.polar import Points, pixels_of
from shared.polar_basis import PolarBasis
from shared.polar_sums import Sums, sums
from shared.radial import spline_values

from qpibench.grid import Grid

GRID = Grid(ny=8, nx=10, size_y_nm=4.0, size_x_nm=6.0)
FREE = PolarBasis.reaching(5.0, 0.5, (0, 2, 4))
BASES = {
    "total": PolarBasis.reaching(5.0, 0.5, (0,)),
    "free": FREE,
    "mirrored": replace(FREE, mirrored=True, axis=0.3),
    "smooth at the scatterer": replace(FREE, axis=0.3, finest=2.0),
    "smooth and mirrored": replace(FREE, mirrored=True, axis=-0.7, finest=1.5),
    "many harmonics": PolarBasis.reaching(5.0, 0.5, tuple(range(0, 25, 3))),
}


@pytest.fixture(params=BASES)
def basis(request):
    return BASES[request.param]


def places(count, *, seed=1):
    x, y, strength = np.random.default_rng(seed).uniform(-2, 2, (3, count))
    return Points(x, y, strength)


def functions_at(basis, dx, dy):
    """Values (place, column) of the columns at places relative to one scatterer."""
    r, theta = np.hypot(dx, dy), np.arctan2(dy, dx) - basis.axis
    splines, columns = spline_values(r, basis.spacing_nm, basis.splines), []
    for k, m in enumerate(basis.orders):
        waves = [np.cos(m * theta)] if m == 0 or basis.mirrored else [np.cos(m * theta), np.sin(m * theta)]
        begin = m / basis.finest
        for wave in waves:
            beside = wave if k == 0 else np.where(r > 0, wave, 0)
            peaks = np.maximum(np.arange(basis.splines) - 1, 0) * basis.spacing_nm
            columns += [beside * splines[:, i] for i in np.flatnonzero(peaks >= begin - 2 * basis.spacing_nm)]
    return np.array(columns).T


def columns_of(basis, pixels, scatterers):
    each = [s * functions_at(basis, pixels.x - x, pixels.y - y) for x, y, s in zip(*scatterers, strict=True)]
    return np.sum(each, axis=0)


@pytest.fixture
def chunks(monkeypatch):
    monkeypatch.setattr("shared.polar_basis.CHUNK", 33)


@pytest.mark.usefixtures("chunks")
def test_columns_are_harmonics_times_splines_at_all_scatterers(basis):
    pixels, scatterers = pixels_of(GRID), places(4)
    found = list(basis.columns(pixels, scatterers))
    assert [rows.start for rows, _ in found] == [0, 33, 66]
    expected = columns_of(basis, pixels, scatterers)
    assert np.concatenate([some for _, some in found]) == pytest.approx(expected, abs=1e-5)
    assert expected.shape[1] == sum(map(len, basis.layout.splines))


def test_a_harmonic_that_begins_beyond_the_reach_has_no_columns():
    basis = replace(FREE, finest=0.5)
    assert [len(splines) for splines in basis.layout.splines] == [13, 6, 6, 0, 0]
    [(_, found)] = basis.columns(pixels_of(GRID), places(4))
    assert found == pytest.approx(columns_of(basis, pixels_of(GRID), places(4)), abs=1e-5)


@pytest.mark.usefixtures("chunks")
def test_columns_of_functions_are_combinations_of_those_of_splines(basis):
    pixels, scatterers, rng = pixels_of(GRID), places(4), np.random.default_rng(0)
    functions = [rng.normal(size=(len(splines), 2)) for splines in basis.layout.splines]
    image, nuisance = rng.normal(size=pixels.size), of_instrument(pixels, "offset and tilt")
    found = sums(image, pixels, scatterers, basis, nuisance, functions=functions)
    columns = columns_of(basis, pixels, scatterers) @ block_diag(*functions)
    assert found.model.gram == pytest.approx(columns.T @ columns, abs=1e-4 * (columns**2).sum(axis=0).max())
    assert found.model.linear == pytest.approx(columns.T @ image, abs=1e-3)
    assert found.crossed == pytest.approx((columns - found.centre).T @ nuisance.smooth, abs=1e-3)


def test_a_kernel_is_the_sum_of_the_columns(basis):
    coefficient = np.random.default_rng(0).normal(size=sum(map(len, basis.layout.splines)))
    image = basis.kernel(coefficient).superposed(pixels_of(GRID), places(4))
    assert image == pytest.approx(columns_of(basis, pixels_of(GRID), places(4)) @ coefficient, abs=1e-10)


def test_a_mirrored_kernel_is_its_own_mirror_image_across_its_axis():
    basis = BASES["mirrored"]
    kernel = basis.kernel(np.random.default_rng(0).normal(size=sum(map(len, basis.layout.splines))))
    r, aside = np.random.default_rng(1).uniform(0.1, 3, (2, 50))
    one, other = (Points(r * np.cos(0.3 + a), r * np.sin(0.3 + a), np.ones(50)) for a in (aside, -aside))
    origin = Points(np.zeros(1), np.zeros(1), np.ones(1))
    assert kernel.superposed(one, origin) == pytest.approx(kernel.superposed(other, origin), abs=1e-10)


def test_harmonics_of_a_smooth_kernel_begin_away_from_the_scatterer():
    layout = BASES["smooth at the scatterer"].layout
    assert [len(splines) for splines in layout.splines] == sorted(map(len, layout.splines), reverse=True)
    for m, splines, taper in zip((0, 2, 2, 4, 4), layout.splines, layout.tapers, strict=True):
        assert (np.diff(taper) >= 0).all()
        assert taper[layout.r_nm[splines] > m / 2 + 2].min(initial=1) > 0.95
        assert taper[layout.r_nm[splines] < m / 2].max(initial=0) < 0.5 or m == 0


@pytest.mark.parametrize("odd", [False, True], ids=["between pixels", "on a pixel"])
def test_the_standard_deviation_is_that_of_the_covariance(basis, odd):
    grid = Grid(ny=40 + odd, nx=40 + odd, size_y_nm=6.0, size_x_nm=6.0)
    size = sum(map(len, basis.layout.splines))
    # Neighbouring splines are correlated, as they are in the posterior of a smooth function.
    near = np.exp(-0.5 * np.subtract.outer(np.arange(size), np.arange(size)) ** 2 / 9)
    root = np.linalg.cholesky(near + 1e-6 * np.eye(size)).T
    pixels = pixels_of(grid)
    columns = functions_at(basis, pixels.x, pixels.y)
    expected = np.sqrt(np.einsum("pi,ij,pj->p", columns, root.T @ root, columns)).reshape(grid.shape)
    assert basis.std(root, grid) == pytest.approx(expected, abs=0.03 * expected.max())


def test_the_standard_deviation_beyond_the_reach_is_zero():
    grid = Grid(ny=3, nx=3, size_y_nm=12.0, size_x_nm=12.0)
    std = FREE.std(np.eye(sum(map(len, FREE.layout.splines))), grid)
    assert std[1, 1] > 0
    assert not np.delete(std.ravel(), 4).any()


@pytest.mark.usefixtures("chunks")
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-6)])
def test_sums_are_the_products_of_columns_image_and_nuisance(basis, dtype, tolerance):
    pixels, scatterers = pixels_of(GRID), places(5)
    image = np.random.default_rng(2).normal(size=pixels.size)
    nuisance = of_instrument(pixels, "offset, tilt and lines")
    found = sums(image, pixels, scatterers, basis, nuisance, dtype=dtype)
    columns, beside = columns_of(basis, pixels, scatterers), dense(nuisance)
    for product, expected in [
        (found.model.gram, columns.T @ columns),
        (found.model.linear, columns.T @ image),
        (found.crossed, (columns - found.centre).T @ beside),
        (found.nuisance, beside.T @ beside),
        (found.shown, beside.T @ image),
    ]:
        assert product == pytest.approx(expected, abs=tolerance * np.abs(expected).max())
    assert found.model.energy == pytest.approx(image @ image)
    assert found.model.pixels == 80


def dense(nuisance):
    """Columns (pixel, column) of a nuisance."""
    if nuisance.line is None:
        return nuisance.smooth
    lines = np.arange(nuisance.size - nuisance.smooth.shape[1])
    return np.column_stack([nuisance.smooth, nuisance.line[:, None] == lines])


@pytest.mark.parametrize("offset", [None, 0, 1])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_without_nuisance_the_sums_are_those_of_its_marginal_density(count, offset):
    rng, noise, pixels = np.random.default_rng(3), 0.2, 30
    columns, beside = rng.normal(size=(pixels, 4)), rng.normal(size=(pixels, 3))
    image, variance = rng.normal(size=pixels), np.array([2.0, 0.5, 0.1])
    centre = np.zeros(4)
    if offset is not None:
        beside[:, offset], centre = 1, rng.normal(size=4)
    held = columns - centre
    every = Sums(
        centre=centre,
        centred=LinearModel(held.T @ held, held.T @ image, float(image @ image), pixels),
        crossed=held.T @ beside,
        nuisance=beside.T @ beside,
        shown=beside.T @ image,
        variance=variance,
        offset=offset,
    )
    left, occam = every.without(count, noise)
    covariance = noise * np.eye(pixels) + beside[:, :count] * variance[:count] @ beside[:, :count].T
    weight = noise * np.linalg.inv(covariance)
    assert left.gram == pytest.approx(columns.T @ weight @ columns)
    assert left.linear == pytest.approx(columns.T @ weight @ image)
    assert left.energy == pytest.approx(image @ weight @ image)
    assert left.pixels == pixels
    density = -0.5 * left.energy / noise - 0.5 * pixels * np.log(2 * np.pi * noise) + occam
    assert density == pytest.approx(multivariate_normal(np.zeros(pixels), covariance).logpdf(image))


def test_a_nuisance_of_no_columns_leaves_the_sums_as_they_are():
    pixels = pixels_of(GRID)
    nothing = Nuisance(np.zeros((pixels.size, 0)), None, np.zeros(0))
    found = sums(np.ones(pixels.size), pixels, places(3), FREE, nothing)
    assert found.without(0, 0.1) == (found.model, 0.0)


@pytest.mark.parametrize("noise", [1e-3, 1e-9])
def test_an_offset_and_offsets_of_all_lines_leave_positive_sums(noise):
    grid = Grid(ny=32, nx=32, size_y_nm=6.5, size_x_nm=6.5)
    pixels, nuisance = pixels_of(grid), of_instrument(pixels_of(grid), "offset, tilt and lines")
    every = sums(np.ones(pixels.size), pixels, places(5), PolarBasis.reaching(9.0, 0.2, (0,)), nuisance)
    left, _ = every.without(nuisance.size, noise)
    powers = np.linalg.eigvalsh(left.gram)
    assert powers[0] > -1e-5 * powers[-1]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rounding_does_not_hide_how_far_the_prior_of_an_offset_lets_a_kernel_be_constant(dtype):
    """A constant kernel costs what the offset costs that undoes it, about N^2 v / V for N scatterers."""
    grid, rng = Grid(ny=40, nx=40, size_y_nm=6.0, size_x_nm=6.0), np.random.default_rng(4)
    pixels, scatterers = pixels_of(grid), Points(*rng.uniform(-3, 3, (2, 90)), np.ones(90))
    basis, noise = PolarBasis.reaching(9.0, 0.2, (0,)), 1e-4 if dtype is np.float32 else 1e-10
    every = sums(
        np.ones(pixels.size), pixels, scatterers, basis, of_instrument(pixels, "offset", offset=2.0), dtype=dtype
    )
    left, _ = every.without(1, noise)
    constant = np.ones(basis.splines)
    assert constant @ left.gram @ constant == pytest.approx(90**2 * noise / 2.0**2, rel=0.2)
