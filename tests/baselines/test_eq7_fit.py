"""The fit of eq. 7: sums against the reference formula, and kernels that it must find."""

import numpy as np
import pytest
from eq7_fit import Model
from shared.eq7_kernel import Eq7, fits, ranges_of
from shared.extractor import Observation
from shared.polar import ORIGIN, Points, pixels_of
from shared.scatterers import Scatterers

from qpibench.families.eq7 import reference
from qpibench.grid import Grid

GRID = Grid(ny=32, nx=40, size_y_nm=5.0, size_x_nm=6.4)
PATCH = Grid(ny=16, nx=16, size_y_nm=2.4, size_x_nm=2.4)
PHASES = {0: np.pi / 2, 2: 0.4, 3: 1.1, 4: 2.0, 6: 0.3}


def parameters(fold):
    return {"fold": fold, "phi1": PHASES[fold], "B": 2.4, "phi2": 1.3, "C": 0.2}


def kernel_of(fold, grid=GRID):
    return reference(grid.x_nm, grid.y_nm[:, None], **parameters(fold))


def observed(fold=4, *, count=12, noise=0.0, grid=GRID, kernel_grid=GRID, seed=0):
    """An image of eq. 7 and its scatterers; beside it the standard deviation of the noise."""
    rng = np.random.default_rng(seed)
    row, column = rng.uniform(0, grid.ny - 1, count), rng.uniform(0, grid.nx - 1, count)
    x, y = (column - (grid.nx - 1) / 2) * grid.pitch_x_nm, (row - (grid.ny - 1) / 2) * grid.pitch_y_nm
    image = sum(
        reference(grid.x_nm - x0, grid.y_nm[:, None] - y0, **parameters(fold)) for x0, y0 in zip(x, y, strict=True)
    )
    image = image + noise * image.std() * rng.normal(size=grid.shape)
    return Observation(
        image=image, grid=grid, scatterers=Scatterers(row, column, np.ones(count)), kernel_grid=kernel_grid
    )


@pytest.mark.parametrize("fold", PHASES)
def test_superpositions_and_their_derivatives_are_those_of_the_formula(fold):
    at = parameters(fold)
    names, pixels = ("phi1", "B", "phi2", "C"), pixels_of(Grid(ny=5, nx=5, size_y_nm=2.0, size_x_nm=3.0))
    value, slopes = Eq7(fold, np.array([*(at[name] for name in names), 1.0])).superposed(pixels, ORIGIN)
    assert value == pytest.approx(reference(pixels.x, pixels.y, **at), abs=1e-12)
    for name, slope in zip(names, slopes[:4], strict=True):
        if fold or name != "phi1":
            more, less = (reference(pixels.x, pixels.y, **{**at, name: at[name] + step}) for step in (1e-6, -1e-6))
            assert slope == pytest.approx((more - less) / 2e-6, abs=1e-8)


@pytest.mark.parametrize("fold", PHASES)
def test_a_clean_image_gives_its_fold_and_its_kernel_to_rounding(fold):
    found = Model().extract(observed(fold))
    assert found.diagnostics["fold"] == fold
    assert found.kernel == pytest.approx(kernel_of(fold), abs=1e-6)


def seen_as(image, like):
    return Observation(image=image, grid=like.grid, scatterers=like.scatterers, kernel_grid=like.kernel_grid)


@pytest.mark.parametrize("factor", [3.7, 0.2, 1e-12, -0.6])
def test_an_image_in_other_units_gives_a_kernel_in_these_units(factor):
    seen = observed(noise=0.1)
    found = Model().extract(seen_as(factor * seen.image, seen))
    assert found.kernel / factor == pytest.approx(kernel_of(4), abs=0.03)
    assert found.diagnostics["amplitude"] == pytest.approx(factor, rel=0.05)
    assert np.abs((found.kernel - factor * kernel_of(4)) / found.std).mean() < 2


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_an_amplitude_of_1_is_taken_as_known(noise):
    assert Model().extract(observed(noise=noise)).diagnostics["amplitude"] == 1


def test_a_stated_amplitude_is_kept():
    seen = observed(noise=0.1)
    found = Model(amplitude=2.5).extract(seen_as(2.6 * seen.image, seen))
    assert found.diagnostics["amplitude"] == 2.5


@pytest.mark.parametrize("amplitude", [0.0, np.nan, np.inf])
def test_an_amplitude_that_is_no_factor_is_refused(amplitude):
    with pytest.raises(ValueError, match="amplitude is a finite number other than 0"):
        Model(amplitude=amplitude).extract(observed())


def backgrounds():
    lines = np.random.default_rng(5).normal(size=(GRID.ny, 1)) * np.ones(GRID.nx)
    return {"offset": np.ones(GRID.shape), "offset and tilt": 1 + GRID.x_nm - GRID.y_nm[:, None], "lines": lines}


@pytest.mark.parametrize("what", backgrounds())
@pytest.mark.parametrize("factor", [1, 3.7])
def test_what_an_instrument_adds_does_not_change_the_kernel(what, factor):
    seen = observed(noise=0.1)
    image = factor * (seen.image + 0.7 * seen.image.std() * backgrounds()[what])
    assert Model().extract(seen_as(image, seen)).kernel / factor == pytest.approx(kernel_of(4), abs=0.03)


def test_pixels_that_are_nan_are_left_out():
    seen = observed()
    image = seen.image.copy()
    image[3:9, 10:20] = np.nan
    masked = Observation(image=image, grid=GRID, scatterers=seen.scatterers, kernel_grid=PATCH)
    assert Model().extract(masked).kernel == pytest.approx(kernel_of(4, PATCH), abs=1e-6)


def test_the_kernel_is_known_on_every_offset_of_the_field():
    assert Model().extract(observed()).kernel_full == pytest.approx(kernel_of(4, GRID.offsets), abs=1e-6)


def test_errors_in_noise_are_as_large_as_stated():
    found = [Model().extract(observed(3, noise=0.3, seed=seed)) for seed in range(6)]
    errors = np.array([(one.kernel - kernel_of(3)) / one.std for one in found])
    assert 0.5 < np.sqrt((errors**2).mean()) < 1.6


def test_the_noise_is_estimated():
    seen = observed(noise=0.5)
    clean = observed()
    assert Model().extract(seen).diagnostics["noise"] == pytest.approx((seen.image - clean.image).std(), rel=0.1)


def test_a_kernel_in_splines_is_the_formula():
    kernel = Eq7(6, np.array([0.3, 2.4, 1.3, 0.2, 1.0]))
    assert kernel.harmonic(8.0, 0.05).image(GRID) == pytest.approx(kernel.image(GRID), abs=1e-4)


@pytest.mark.parametrize("image", [np.zeros(GRID.shape), np.ones(GRID.shape), 1e-12 * np.eye(32, 40)])
def test_an_image_of_another_kind_gives_a_finite_kernel(image):
    seen = observed()
    found = Model().extract(Observation(image=image, grid=GRID, scatterers=seen.scatterers, kernel_grid=GRID))
    assert np.isfinite(found.kernel).all()
    assert np.isfinite(found.std).all()


def test_an_image_without_pixels_is_refused():
    seen = observed()
    blank = np.full(GRID.shape, np.nan)
    with pytest.raises(ValueError, match="0 of the image's 1280 pixels are finite numbers, and at least 16 are needed"):
        Model().extract(Observation(image=blank, grid=GRID, scatterers=seen.scatterers, kernel_grid=GRID))


def test_scatterers_far_outside_leave_the_kernel_unknown():
    far = Points(np.array([1e4]), np.zeros(1), np.ones(1))
    pixels, ranges = pixels_of(GRID), ranges_of(GRID)
    found = fits(np.zeros(pixels.size), pixels, far, ranges)[0]
    assert found.kernel.std(GRID, found.covariance(1e-3, ranges)).max() > 0.3
