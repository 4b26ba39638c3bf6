"""Synthetic maps whose truth is known."""

import numpy as np
import pytest

from qpibench.families import eq7
from qpibench.grid import Grid
from qpibench.maps import Axis, Channel, Maps, Source
from qpibench.physics.superposition import superpose

GRID = Grid(ny=96, nx=80, size_y_nm=19.0, size_x_nm=15.8)
SOURCE = Source(file="made.npy", format="made up", sha256="0" * 64)


@pytest.fixture
def maps_of():
    """Function from arrays (y, x) or (axis, y, x) by the name of a channel, with biases in V, to maps."""

    def make(*, bias_v=None, units=None, grid=None, **values):
        shape = next(iter(values.values())).shape[-2:]
        grid = grid or Grid(ny=shape[0], nx=shape[1], size_y_nm=0.2 * (shape[0] - 1), size_x_nm=0.2 * (shape[1] - 1))
        axis = None if bias_v is None else Axis(name="Bias", unit="V", values=np.asarray(bias_v, np.float64))
        channels = tuple(Channel(name=name, unit=(units or {}).get(name, "A"), values=v) for name, v in values.items())
        return Maps(grid=grid, channels=channels, source=SOURCE, axis=axis)

    return make


@pytest.fixture(scope="session")
def ripples():
    """Ripples (y, x) of 24 scatterers with the wavelength 2.1 nm and the decay 4.5 nm; standard deviation 1."""
    position = np.random.default_rng(3).uniform(-0.5, 0.5, (24, 2)) * [GRID.size_x_nm, GRID.size_y_nm]
    image = superpose(GRID, eq7, position, fold=4, phi1=0.4, B=1.5, phi2=0.2, C=0.05)
    return (image - image.mean()) / image.std()


def lattice(grid, constant_nm, angle=0.2, u=(0.0, 0.0)):
    """A square lattice of standard deviation 1, displaced by a field u in nm."""
    x, y = grid.x_nm - u[0], grid.y_nm[:, None] - u[1]
    waves = [(np.cos(angle + k * np.pi / 2), np.sin(angle + k * np.pi / 2)) for k in (0, 1)]
    return sum(np.cos(2 * np.pi / constant_nm * (cx * x + cy * y) + 0.7) for cx, cy in waves)
