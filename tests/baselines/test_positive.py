"""With the knowledge that kernels are not negative, deconvolution finds those of eq. 7 better, and no others."""

import numpy as np
import pytest
from positive import Model
from shared.extractor import Observation
from shared.scatterers import Scatterers
from tikhonov import Model as Tikhonov

from qpibench.families.eq7 import reference
from qpibench.grid import Grid

GRID = Grid(ny=36, nx=40, size_y_nm=7.0, size_x_nm=7.8)
PARAMETERS = {"fold": 3, "phi1": 0.4, "B": 1.8, "phi2": 0.0, "C": 0.3}
KERNEL = reference(GRID.x_nm, GRID.y_nm[:, None], **PARAMETERS)


def observed(noise=0.0, offset=0.0, count=15):
    rng = np.random.default_rng(8)
    row, column = rng.uniform(0, GRID.ny - 1, count), rng.uniform(0, GRID.nx - 1, count)
    x, y = (column - (GRID.nx - 1) / 2) * GRID.pitch_x_nm, (row - (GRID.ny - 1) / 2) * GRID.pitch_y_nm
    image = sum(reference(GRID.x_nm - a, GRID.y_nm[:, None] - b, **PARAMETERS) for a, b in zip(x, y, strict=True))
    image = image + noise * image.std() * rng.normal(size=image.shape)
    scatterers = Scatterers(row, column, np.ones(count))
    return Observation(image=offset + image, grid=GRID, scatterers=scatterers, kernel_grid=GRID)


def error(found):
    return np.abs(found.kernel - KERNEL).mean()


@pytest.mark.parametrize("noise", [0.3, 1.0])
def test_a_kernel_of_eq_7_is_found_better_than_without_the_knowledge(noise):
    observation = observed(noise)
    assert error(Model().extract(observation)) < 0.95 * error(Tikhonov().extract(observation))


def test_the_kernel_is_nowhere_negative():
    found = Model().extract(observed(0.5))
    assert found.kernel.min() >= -1e-6
    assert found.kernel_full.min() >= -1e-6
    assert Tikhonov().extract(observed(0.5)).kernel.min() < -0.01


def test_of_a_negative_kernel_nothing_is_found():
    observation = observed()
    np.negative(observation.image, out=observation.image)
    assert np.abs(Model().extract(observation).kernel).max() < 0.2 * np.abs(KERNEL).max()


def test_it_declares_what_it_knows():
    assert Model.knows == ["non-negativity"]
