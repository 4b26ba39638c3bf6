"""The dictionary chooses the training kernel that explains the image best."""

from types import SimpleNamespace

import numpy as np
import pytest
from dictionary import Model
from shared.extractor import Observation
from shared.scatterers import Scatterers

from qpibench.families.eq7 import reference
from qpibench.grid import Grid

GRID = Grid(ny=33, nx=41, size_y_nm=6.4, size_x_nm=8.0)
PATCH = Grid(ny=15, nx=21, size_y_nm=2.8, size_x_nm=4.0)
PARAMETERS = [
    {"fold": fold, "phi1": 0.4, "B": b, "phi2": 0.0, "C": 0.6} for fold, b in ((0, 1.8), (3, 1.8), (3, 2.4), (4, 2.0))
]


def kernels_on(grid):
    return np.array([reference(grid.x_nm, grid.y_nm[:, None], **one) for one in PARAMETERS])


def fitted(grid=GRID, **options):
    model = Model(**options)
    model.fit(SimpleNamespace(kernels=kernels_on(grid).astype(np.float32)))
    return model


def observed(which, *, row, column, kernel_grid=GRID, grid=GRID):
    x, y = (column - (grid.nx - 1) / 2) * grid.pitch_x_nm, (row - (grid.ny - 1) / 2) * grid.pitch_y_nm
    places = grid.x_nm, grid.y_nm[:, None]
    image = sum(reference(places[0] - x0, places[1] - y0, **PARAMETERS[which]) for x0, y0 in zip(x, y, strict=True))
    scatterers = Scatterers(row, column, np.ones(len(row)))
    return Observation(image=image, grid=grid, scatterers=scatterers, kernel_grid=kernel_grid)


def anywhere(count=12):
    rng = np.random.default_rng(3)
    return {"row": rng.uniform(0, GRID.ny - 1, count), "column": rng.uniform(0, GRID.nx - 1, count)}


@pytest.mark.parametrize("which", range(len(PARAMETERS)))
@pytest.mark.parametrize("kernel_grid", [GRID, PATCH], ids=["whole", "patch"])
def test_the_kernel_that_made_the_image_is_chosen(which, kernel_grid):
    found = fitted(kernel_grid).extract(observed(which, **anywhere(), kernel_grid=kernel_grid))
    assert found.diagnostics["index"] == which
    np.testing.assert_array_equal(found.kernel, kernels_on(kernel_grid)[which].astype(np.float32))


def test_the_residual_is_that_of_the_shifted_kernels():
    # Scatterers on pixels, so that a kernel need not be interpolated.
    row, column = np.array([3, 16, 25, 30]), np.array([35, 20, 4, 22])
    observation = observed(1, row=row.astype(float), column=column.astype(float), kernel_grid=PATCH)
    expected = []
    for kernel in kernels_on(PATCH):
        shown, covered = np.zeros((2, 33 + 40, 41 + 40))
        for r, c in zip(row + 20 - 7, column + 20 - 10, strict=True):
            shown[r : r + 15, c : c + 21] += kernel
            covered[r : r + 15, c : c + 21] += 1
        weight = covered[20:-20, 20:-20] / 4
        left = (weight * (observation.image - shown[20:-20, 20:-20]) ** 2).sum()
        expected.append(np.sqrt(left / (weight * observation.image**2).sum()))
    found = fitted(PATCH).extract(observation).diagnostics["residual"]
    np.testing.assert_allclose(found, expected, rtol=0.02)


def test_pixels_that_are_nan_are_left_out():
    observation = observed(2, **anywhere())
    observation.image[4:9] = np.nan
    assert fitted().extract(observation).diagnostics["index"] == 2


def test_the_full_kernel_is_the_kernel_in_its_window_and_zero_beyond():
    found = fitted(PATCH).extract(observed(3, **anywhere(), kernel_grid=PATCH))
    assert found.kernel_full.shape == (65, 81)
    np.testing.assert_allclose(found.kernel_full[32 - 7 : 32 + 8, 40 - 10 : 40 + 11], found.kernel, atol=1e-12)
    assert np.count_nonzero(found.kernel_full) <= 15 * 21


def test_without_training_kernels_there_is_a_sentence():
    with pytest.raises(ValueError, match="no training kernels: call fit"):
        Model().extract(observed(0, **anywhere()))


def test_kernels_on_another_grid_are_refused():
    with pytest.raises(ValueError, match="have 15 x 21 pixels, but kernels of 33 x 41 are wanted"):
        fitted(PATCH).extract(observed(0, **anywhere()))


def test_scatterers_whose_windows_miss_the_field_give_a_sentence():
    observation = observed(0, row=np.array([90.0]), column=np.array([5.0]), kernel_grid=PATCH)
    with pytest.raises(ValueError, match="lies in the window of a scatterer"):
        fitted(PATCH).extract(observation)
