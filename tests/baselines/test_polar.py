"""The polar linear model, held against float64 sums in NumPy and SciPy, and the extraction that stands on it."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy.interpolate import BSpline
from scipy.stats import multivariate_normal
from shared.alignment import Alignment, Kernel, align
from shared.cholesky import lower_factor
from shared.descent import descend
from shared.extraction import Extraction, extract
from shared.polar import ORIGIN, Points, Symmetry, linearise, pixels_of, quadratic_form, superposed
from shared.radial import RadialBasis, spline_count, spline_values
from shared.refinement import Observation, Refinement, refine
from shared.scatterers import Scatterers
from shared.symmetry import estimate_linearly, estimate_noise

from qpibench.grid import Grid

GRID = Grid(ny=24, nx=24, size_y_nm=8.0, size_x_nm=8.0)
OBLONG = Grid(ny=14, nx=20, size_y_nm=5.0, size_x_nm=9.0)
SPACING = 0.3
FOLDS = (2, 3, 4, 6)


@dataclass
class Waves:
    """Profiles that are a decaying bump plus independent decaying waves; a shape is their coefficients."""

    waves: int = 6
    reach_nm: float = 11.5

    def __post_init__(self):
        count = spline_count(self.reach_nm, SPACING)
        r_nm = np.linspace(0, self.reach_nm, 4 * count)
        mean = 0.5 * np.exp(-((r_nm / 2) ** 2))
        waves = [0.4 * np.exp(-((r_nm / 2.5) ** 2)) * np.cos(k * r_nm) for k in range(1, self.waves + 1)]
        splines = np.linalg.lstsq(spline_values(r_nm, SPACING, count), np.column_stack([mean, *waves]), rcond=None)[0]
        self.basis = RadialBasis(SPACING, splines)
        self.spread = np.ones(self.waves)
        self.mean, self.precision = np.zeros(self.waves), np.eye(self.waves)

    def alternatives(self):
        return ()

    def coefficient(self, shape):
        return np.concatenate([[1.0], shape])

    def tangent(self, shape):
        return np.eye(len(shape) + 1)[:, 1:]

    def starts(self, coefficient):
        return coefficient[None, 1:], coefficient[None]


class Family(Waves):
    """The waves of a narrow family: shapes that hardly differ from 0; all other shapes are an alternative."""

    def __post_init__(self):
        super().__post_init__()
        self.precision = 1e8 * np.eye(self.waves)

    def alternatives(self):
        return (WAVES,)


WAVES = Waves()


def places(count, grid=GRID, *, seed=0):
    half = np.array([grid.size_x_nm, grid.size_y_nm]) / 2
    x, y = np.random.default_rng(seed).uniform(-half, half, (count, 2)).T
    return Points(x, y, np.ones(count))


def splines_at(r_nm, basis):
    """Values (r, function) of a basis by SciPy, 0 beyond its reach."""
    count = len(basis.splines)
    knots = basis.spacing_nm * np.arange(-3, count + 1)
    return np.where(
        (r_nm < basis.reach_nm)[:, None], BSpline(knots, basis.splines, 3)(np.minimum(r_nm, knots[count])), 0
    )


def harmonics_at(dx, dy, folds):
    angle, beside = np.arctan2(dy, dx), np.hypot(dx, dy) > 0
    rows = [np.ones_like(dx)]
    for fold in folds:
        rows += [beside * np.cos(fold * angle), beside * np.sin(fold * angle)]
    return np.array(rows)


def design(pixels, scatterers, basis, folds):
    """Columns (pixel, harmonic, function) of the linear model, one scatterer after the other."""
    columns = 0
    for x, y, strength in zip(*scatterers, strict=True):
        dx, dy = pixels.x - x, pixels.y - y
        radial = splines_at(np.hypot(dx, dy), basis)
        columns = columns + strength * harmonics_at(dx, dy, folds).T[:, :, None] * radial[:, None]
    return columns


def image_of(scatterers, symmetry, shape, *, grid=GRID, model=WAVES):
    """Image (pixel,) of a kernel by brute force."""
    folds = (symmetry.fold,) if symmetry.fold else ()
    columns = design(pixels_of(grid), scatterers, model.basis, folds)
    return np.einsum("phf,h,f", columns, symmetry.weights, model.coefficient(shape))


def scatterers_at(points, grid=GRID, *, cell=(0.0, 0.0)):
    row = points.y / grid.pitch_y_nm + (grid.ny - 1) / 2
    column = points.x / grid.pitch_x_nm + (grid.nx - 1) / 2
    return Scatterers(row, column, points.strength, cell)


def marks_of(points, grid=GRID):
    """Centres of cells of one pixel that hold the points; points that share a cell have one mark."""
    cells = {(round(x / grid.pitch_x_nm), round(y / grid.pitch_y_nm)) for x, y in zip(points.x, points.y, strict=True)}
    x, y = np.array(sorted(cells)).T * np.array([[grid.pitch_x_nm], [grid.pitch_y_nm]])
    return Points(x, y, np.ones(len(x)))


def observe(image, grid=GRID):
    return Observation(image, pixels_of(grid), (grid.pitch_x_nm / 12**0.5, grid.pitch_y_nm / 12**0.5))


def test_splines_are_the_cubic_ones_on_equally_spaced_knots():
    r_nm = np.array([0, 1e-12, 0.29, 0.3, 1.0, 2.99, np.nextafter(3, 0), 3, 3.1])
    basis = RadialBasis(0.3, np.eye(13))
    np.testing.assert_allclose(spline_values(r_nm, 0.3, 13), splines_at(r_nm, basis), atol=1e-13)
    assert basis.reach_nm == pytest.approx(3)
    assert spline_count(3.0, 0.3) == 13


@pytest.mark.parametrize("grid", [GRID, OBLONG], ids=["square", "oblong pixels"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 2e-6)])
def test_the_quadratic_form_holds_the_products_of_the_columns(grid, dtype, tolerance):
    scatterers = places(7, grid)._replace(strength=np.linspace(0.5, 1.5, 7))
    scatterers.x[0], scatterers.y[0] = grid.x_nm[3], grid.y_nm[4]  # on a pixel
    image = np.random.default_rng(1).normal(size=grid.shape)
    form = quadratic_form(image, pixels_of(grid), scatterers, WAVES.basis, FOLDS, dtype=dtype)
    columns = design(pixels_of(grid), scatterers, WAVES.basis, FOLDS)
    gram = np.einsum("phf,pkg->hkfg", columns, columns)
    np.testing.assert_allclose(form.gram, gram, atol=tolerance * gram.max())
    linear = np.einsum("phf,p->hf", columns, image.ravel())
    np.testing.assert_allclose(form.linear, linear, atol=tolerance * np.abs(linear).max())
    assert form.energy == pytest.approx((image**2).sum())


def test_the_part_of_a_fold_is_the_form_of_that_fold():
    image, pixels = np.random.default_rng(1).normal(size=GRID.shape), pixels_of(GRID)
    of_all, of_one = (quadratic_form(image, pixels, places(5), WAVES.basis, folds) for folds in (FOLDS, (4,)))
    part = of_all.of_fold(4)
    assert part.folds == of_one.folds == (4,)
    np.testing.assert_allclose(part.gram, of_one.gram, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(part.linear, of_one.linear, rtol=1e-5, atol=1e-4)
    assert of_all.of_fold(0).gram.shape == (1, 1, 7, 7)


@pytest.mark.parametrize("symmetry", [Symmetry(0, 0.0), Symmetry(2, 1.0), Symmetry(6, -2.0)])
def test_an_image_is_the_sum_over_its_scatterers(symmetry):
    scatterers, shape = places(6), np.random.default_rng(2).normal(size=6)
    found = superposed(pixels_of(GRID), scatterers, WAVES.basis, symmetry, WAVES.coefficient(shape))
    np.testing.assert_allclose(found, image_of(scatterers, symmetry, shape), atol=1e-12)
    form = quadratic_form(found, pixels_of(GRID), scatterers, WAVES.basis, FOLDS, dtype=np.float64)
    distance = form.of_fold(symmetry.fold).squared_distance(symmetry.weights, WAVES.coefficient(shape))
    assert distance == pytest.approx(0, abs=1e-6 * form.energy)


@pytest.mark.parametrize("symmetry", [Symmetry(0, 0.0), Symmetry(3, 0.7)])
def test_derivatives_are_those_of_finite_differences(symmetry):
    pixels, scatterers = pixels_of(GRID), places(4)._replace(strength=np.array([1.0, 0.5, 2.0, 1.0]))
    coefficient = WAVES.coefficient(np.random.default_rng(3).normal(size=6))
    at = linearise(pixels, scatterers, WAVES.basis, symmetry, coefficient, nearest_nm=1e-6)
    start = np.concatenate([coefficient, [symmetry.phase], np.column_stack(scatterers[:2]).ravel()])

    def image(variables):
        x, y = variables[8:].reshape(4, 2).T
        moved = Symmetry(symmetry.fold, variables[7])
        return superposed(pixels, Points(x, y, scatterers.strength), WAVES.basis, moved, variables[:7])

    numerical = [(image(start + step) - image(start - step)) / 2e-6 for step in 1e-6 * np.eye(len(start))]
    np.testing.assert_allclose(at.columns, np.transpose(numerical), atol=1e-5)
    np.testing.assert_allclose(at.single.sum(axis=1), image(start), atol=1e-5)
    assert at.single[:, 2] == pytest.approx(image_of(Points(*(v[2:3] for v in scatterers)), symmetry, coefficient[1:]))


def test_a_slope_at_a_scatterer_is_limited():
    scatterer = Points(GRID.x_nm[8:9] + 1e-9, GRID.y_nm[8:9], np.ones(1))
    at = linearise(
        pixels_of(GRID), scatterer, WAVES.basis, Symmetry(2, 0.3), WAVES.coefficient(np.zeros(6)), nearest_nm=0.05
    )
    assert np.abs(at.columns).max() < 0.5 * 2 * 0.5 / 0.05


def test_factors_of_a_symmetry_are_those_of_its_weights():
    pixels = pixels_of(Grid(ny=5, nx=7, size_y_nm=2.0, size_x_nm=3.0))
    symmetry = Symmetry(4, 0.9)
    harmonics = harmonics_at(pixels.x, pixels.y, (4,))
    for found, weights in zip(symmetry.factors(pixels), (symmetry.weights, symmetry.slopes), strict=True):
        np.testing.assert_allclose(found, weights @ harmonics, atol=1e-14)


@pytest.mark.parametrize("noise", [0.05, 0.5])
def test_differences_of_evidence_are_those_of_the_marginal_densities(noise, monkeypatch):
    grid, model, scatterers = OBLONG, Waves(waves=2), places(3, OBLONG)
    monkeypatch.setattr("shared.symmetry.estimate_noise", lambda form: noise**2)
    truth = image_of(scatterers, Symmetry(3, np.pi / 8), np.array([0.5, -1.0]), grid=grid, model=model)
    image = truth + noise * np.random.default_rng(0).normal(size=truth.shape)
    columns = design(pixels_of(grid), scatterers, model.basis, FOLDS)

    def log_density(fold, phase):
        rows = [0] if fold == 0 else [0, 2 * FOLDS.index(fold) + 1, 2 * FOLDS.index(fold) + 2]
        mean, *waves = np.einsum("phf,h->fp", columns[:, rows], Symmetry(fold, phase).weights)
        return multivariate_normal(mean, np.transpose(waves) @ waves + noise**2 * np.eye(len(mean))).logpdf(image)

    found = {}
    for fold in (0, *FOLDS):
        form = quadratic_form(image, pixels_of(grid), scatterers, model.basis, (fold,) if fold else ())
        estimate = estimate_linearly(form, model.spread)
        found[estimate.symmetry] = estimate.evidence
    expected = np.array([log_density(*symmetry) for symmetry in found])
    evidence = np.array(list(found.values()))
    np.testing.assert_allclose(evidence - evidence.max(), expected - expected.max(), rtol=1e-3, atol=0.02)
    assert max(found, key=found.get) == Symmetry(3, np.pi / 8)


def test_the_estimate_of_the_noise_is_that_of_the_image_and_changes_nothing():
    image = 0.3 * np.random.default_rng(0).normal(size=GRID.shape) + image_of(
        places(9), Symmetry(2, 1.0), np.ones(6)
    ).reshape(GRID.shape)
    for folds in ((), FOLDS):
        form = quadratic_form(image, pixels_of(GRID), places(9), WAVES.basis, folds, dtype=np.float64)
        before = form.gram.copy()
        noise = estimate_noise(form)
        np.testing.assert_array_equal(form.gram, before)
    assert noise == pytest.approx(0.09, rel=0.15)


@dataclass
class Valley:
    """Rosenbrock's function as a sum of two squares."""

    at: np.ndarray
    evaluations: list

    @property
    def _residual(self):
        x, y = self.at
        return np.array([1 - x, 10 * (y - x * x)])

    @property
    def cost(self):
        self.evaluations.append(self.at)
        return 1e3 * (self._residual**2).sum()

    def normal_equations(self):
        slope = np.array([[-1.0, 0.0], [-20 * self.at[0], 10.0]])
        return 2e3 * slope.T @ slope, -2e3 * slope.T @ self._residual

    def moved(self, step):
        return replace(self, at=self.at + step)


def test_a_descent_follows_a_curved_valley_to_its_end():
    found = descend(Valley(np.array([-1.2, 1.0]), []), steps=50, tolerance=1e-6)
    np.testing.assert_allclose(found.at, [1, 1], atol=1e-4)


def test_a_descent_ends_where_it_starts_if_nothing_is_lower():
    start = Valley(np.array([1.0, 1.0]), [])
    assert descend(start, steps=50).at.tolist() == [1, 1]
    assert len(start.evaluations) < 5


def test_normal_equations_are_the_derivatives_of_the_cost():
    scatterers, rng = places(5), np.random.default_rng(5)
    image = image_of(scatterers, Symmetry(3, 0.4), rng.normal(size=6)) + 0.1 * rng.normal(size=576)
    form = quadratic_form(image, pixels_of(GRID), scatterers, WAVES.basis, (3,), dtype=np.float64)
    kernel = Kernel(rng.normal(size=6), Symmetry(3, 1.1))
    marks = Points(scatterers.x + 0.05, scatterers.y - 0.08, scatterers.strength)
    for point in (
        Alignment(WAVES, kernel, form),
        Refinement(WAVES, kernel, observe(image), marks, scatterers),
    ):
        matrix, downhill = point.normal_equations()
        steps = 1e-5 * np.eye(len(downhill))
        slope = [(point.moved(step).cost - point.moved(-step).cost) / 2e-5 for step in steps]
        np.testing.assert_allclose(-downhill, slope, rtol=1e-2, atol=1e-2 * np.abs(downhill).max())
        assert np.linalg.eigvalsh(matrix).min() > 0


def test_the_aligned_kernel_of_a_clean_image_is_the_true_one():
    scatterers, shape = places(8), np.array([0.5, -1.0, 0.3, 1.0, -0.2, 0.8])
    image = image_of(scatterers, Symmetry(4, 2.0), shape)
    form = quadratic_form(image, pixels_of(GRID), scatterers, WAVES.basis, (4,), dtype=np.float64)
    found = align(form, WAVES, Kernel(np.zeros(6), Symmetry(4, 1.6))).kernel
    np.testing.assert_allclose([*found.shape, found.symmetry.phase], [*shape, 2.0], atol=1e-3)


@pytest.mark.parametrize(("noise", "tolerance_nm"), [(0.0, 2e-3), (0.02, 0.06)])
def test_positions_within_their_cells_are_found(noise, tolerance_nm):
    rng, shape = np.random.default_rng(7), np.array([0.5, -1.0, 0.3, 1.0, -0.2, 0.8])
    marks = marks_of(places(12, seed=7))
    moved = [values + rng.uniform(-0.5, 0.5, 12) * GRID.pitch_x_nm for values in marks[:2]]
    truth = Points(*moved, marks.strength)
    image = image_of(truth, Symmetry(2, 0.5), shape)
    image += noise * rng.normal(size=image.shape)
    found = refine(observe(image), WAVES, Kernel(shape, Symmetry(2, 0.5)), marks)
    assert found.scatterers.size == 12
    assert np.hypot(found.scatterers.x - truth.x, found.scatterers.y - truth.y).max() < tolerance_nm


@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_two_scatterers_in_a_cell_are_told_from_one(noise):
    rng, shape = np.random.default_rng(8), np.array([0.5, -1.0, 0.3, 1.0, -0.2, 0.8])
    marks = marks_of(places(6, seed=3))
    twin = [
        np.append(values + offset, values[2] - offset) for values, offset in zip(marks[:2], (0.1, 0.08), strict=True)
    ]
    truth = Points(*twin, np.ones(7))
    image = image_of(truth, Symmetry(2, 0.5), shape)
    image += noise * rng.normal(size=image.shape)
    found = refine(observe(image), WAVES, Kernel(shape, Symmetry(2, 0.5)), marks)
    assert found.scatterers.size == 7
    assert found.marks.x[-1] == marks.x[2]
    distance = np.hypot(found.scatterers.x - truth.x[:, None], found.scatterers.y - truth.y[:, None])
    assert distance.min(axis=1).max() < 0.06


def test_no_second_scatterer_is_seen_where_the_first_leaves_no_trace():
    marks = Points(np.array([0.0, 500.0]), np.array([0.3, 0.0]), np.ones(2))
    point = Refinement(WAVES, Kernel(np.zeros(6), Symmetry(0, 0.0)), observe(np.zeros(576)), marks, marks)
    assert point.most_likely_pair() is None


@pytest.mark.parametrize("view", ["positions", "raster"])
@pytest.mark.parametrize("symmetry", [Symmetry(0, 0.0), Symmetry(3, 0.7), Symmetry(4, 4.0)], ids=lambda s: f"{s.fold}")
def test_a_kernel_is_extracted_with_its_symmetry(symmetry, view):
    shape, marks = np.array([0.5, -1.0, 0.3, 1.0, -0.2, 0.8]), marks_of(places(15, seed=2))
    offset = np.random.default_rng(4).uniform(-0.1, 0.1, (2, len(marks.x))) if view == "raster" else np.zeros((2, 1))
    image = image_of(Points(marks.x + offset[0], marks.y + offset[1], marks.strength), symmetry, shape)
    told = scatterers_at(marks, cell=(1.0, 1.0) if view == "raster" else (0.0, 0.0))
    found = extract(image.reshape(GRID.shape), GRID, told, WAVES, FOLDS)
    assert found.kernel.symmetry.fold == symmetry.fold
    turn = np.mod(found.kernel.symmetry.phase - symmetry.phase + np.pi, 2 * np.pi) - np.pi
    assert symmetry.fold == 0 or turn == pytest.approx(0, abs=1e-3)
    truth = superposed(pixels_of(OBLONG), ORIGIN, WAVES.basis, symmetry, WAVES.coefficient(shape))
    np.testing.assert_allclose(found.image(OBLONG).ravel(), truth, atol=2e-3)


def test_standard_deviations_cover_the_errors():
    scatterers, rng, within = scatterers_at(places(3)), np.random.default_rng(9), []
    for _ in range(40):
        shape, symmetry = rng.normal(size=6), Symmetry(3, rng.uniform(0, 6))
        image = image_of(places(3), symmetry, shape)
        noisy = image + 0.1 * rng.normal(size=image.shape)
        found = extract(noisy.reshape(GRID.shape), GRID, scatterers, WAVES, (3,))
        truth = superposed(pixels_of(GRID), ORIGIN, WAVES.basis, symmetry, WAVES.coefficient(shape))
        std = found.std(GRID).ravel()
        z = np.abs(found.image(GRID).ravel() - truth)[std > 1e-6] / std[std > 1e-6]
        within.append(((z < 1).mean(), (z < 1.96).mean()))
    assert np.mean(within, axis=0) == pytest.approx([0.68, 0.95], abs=0.06)


def test_a_standard_deviation_is_that_of_the_linearised_kernel():
    covariance = np.cov(np.random.default_rng(0).normal(size=(7, 20)))
    kernel = Kernel(np.ones(6), Symmetry(2, 0.4))
    found = Extraction(WAVES, kernel, covariance, 0.0, ORIGIN).std(OBLONG)
    at = linearise(
        pixels_of(OBLONG), ORIGIN, WAVES.basis, kernel.symmetry, WAVES.coefficient(kernel.shape), nearest_nm=1.0
    )
    columns = at.columns[:, 1:8].astype(float)
    np.testing.assert_allclose(
        found.ravel() ** 2, np.einsum("pi,ij,pj->p", columns, covariance, columns), rtol=1e-4, atol=1e-9
    )


@pytest.mark.parametrize("far", [0.0, 0.5])
def test_a_kernel_outside_of_the_family_is_found_by_the_wider_model(far):
    scatterers, family, symmetry = places(9), Family(), Symmetry(3, 1.0)
    shape = far * np.random.default_rng(1).standard_normal(6)
    noise = 0.01 * np.random.default_rng(2).standard_normal(GRID.shape)
    image = image_of(scatterers, symmetry, shape).reshape(GRID.shape) + noise
    found = extract(image, GRID, scatterers_at(scatterers), family, FOLDS)
    assert found.model is (WAVES if far else family)
    assert found.kernel.shape == pytest.approx(shape, abs=0.05)


def assert_is_prior(found):
    expected = superposed(pixels_of(GRID), ORIGIN, WAVES.basis, Symmetry(0, 0.0), WAVES.coefficient(WAVES.mean))
    np.testing.assert_allclose(found.image(GRID).ravel(), expected)
    assert found.std(GRID).max() > 0.4


def test_without_scatterers_the_kernel_is_the_mean_of_the_family():
    assert_is_prior(extract(np.ones(GRID.shape), GRID, Scatterers(*np.empty((3, 0))), WAVES, FOLDS))


@pytest.mark.parametrize("away_nm", [10.5, 11.4, 14.0, 15.49999, 100.0])
@pytest.mark.parametrize("brightness", [0.0, 1e-12, 1e-4])
def test_scatterers_far_outside_of_the_image_leave_the_mean_of_the_family(away_nm, brightness):
    outside = Points(np.full(2, away_nm), np.array([0.0, 1.0]), np.ones(2))
    image = brightness * np.random.default_rng(0).normal(size=GRID.shape)
    assert_is_prior(extract(image, GRID, scatterers_at(outside), WAVES, FOLDS))


@pytest.mark.parametrize("cell", [(0.0, 0.0), (1.0, 1.0)], ids=["positions", "raster"])
@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e30])
@pytest.mark.filterwarnings("error")
def test_images_of_any_brightness_have_finite_kernels(scale, cell):
    image = scale * image_of(places(8), Symmetry(3, 1.0), np.ones(6)).reshape(GRID.shape)
    found = extract(image.astype(np.float32), GRID, scatterers_at(places(8), cell=cell), WAVES, FOLDS)
    assert np.isfinite(found.image(GRID)).all()
    assert np.isfinite(found.std(GRID)).all()


def test_a_matrix_that_rounding_has_spoilt_has_a_factor_and_an_indefinite_one_an_error():
    column = np.random.default_rng(0).normal(size=(40, 5)) @ np.random.default_rng(1).normal(size=(5, 30))
    spoilt = (column.T @ column) + 1e-10 * np.diag(np.resize([1, -1], 30))
    factor = lower_factor(spoilt)
    np.testing.assert_allclose(factor @ factor.T, spoilt, atol=1e-4 * spoilt.max())
    with pytest.raises(ValueError, match="not positive definite"):
        lower_factor(np.diag([1.0, -1.0]))


def test_rounding_of_terms_that_cancelled_is_allowed_for():
    left = np.diag([1e-9, -1e-8])
    with pytest.raises(ValueError, match="not positive definite"):
        lower_factor(left)
    np.testing.assert_allclose(lower_factor(left, largest=1.0) ** 2, np.diag([1e-7, 1e-7]), atol=2e-8)
