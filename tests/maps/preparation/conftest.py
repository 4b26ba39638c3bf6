"""Synthetic maps whose truth is known."""

from types import SimpleNamespace

import numpy as np
import pytest

from qpibench.families import eq7
from qpibench.grid import Grid
from qpibench.maps import Axis, Channel, Maps, Source
from qpibench.physics.superposition import superpose

GRID = Grid(ny=96, nx=80, size_y_nm=19.0, size_x_nm=15.8)


@pytest.fixture
def maps_of():
    """Function from arrays (y, x) or (axis, y, x) by the name of a channel to maps of the pitch 0.2 nm."""

    def make(*, bias_v=None, units=None, **values):
        ny, nx = next(iter(values.values())).shape[-2:]
        return Maps(
            grid=Grid(ny=ny, nx=nx, size_y_nm=0.2 * (ny - 1), size_x_nm=0.2 * (nx - 1)),
            channels=tuple(
                Channel(name=name, unit=(units or {}).get(name, "A"), values=z) for name, z in values.items()
            ),
            axis=None if bias_v is None else Axis(name="Bias", unit="V", values=np.asarray(bias_v, np.float64)),
            source=Source(file="made.npy", format="made up", sha256="0" * 64),
        )

    return make


@pytest.fixture(scope="session")
def ripples():
    """Ripples (y, x) of 24 scatterers with the wavelength 2.1 nm and the decay 4.5 nm; standard deviation 1."""
    position_nm = np.random.default_rng(3).uniform(-0.5, 0.5, (24, 2)) * [GRID.size_x_nm, GRID.size_y_nm]
    kernel = {"fold": 4, "phi1": 0.4, "B": 1.5, "C": 0.05}
    # sin^2 - cos^2 = -cos: ripples without the positive background of one image
    image = superpose(GRID, eq7, position_nm, phi2=0.2, **kernel) - superpose(
        GRID, eq7, position_nm, phi2=0.2 + np.pi / 2, **kernel
    )
    return (image - image.mean()) / image.std()


@pytest.fixture
def error():
    """Function of two images: the norm of their difference over that of the second, over points of both."""

    def relative(found, wanted):
        both = np.isfinite(found) & np.isfinite(wanted)
        return np.linalg.norm((found - wanted)[both]) / np.linalg.norm(wanted[both])

    return relative


@pytest.fixture
def square():
    """A square lattice of the constant 0.8 nm: its wavevectors, its waves displaced by (xy, y, x) in nm, and points."""
    turn = 0.2 + np.array([0, np.pi / 2])
    q = 2 * np.pi / 0.8 * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    points = np.stack(np.meshgrid(GRID.x_nm, GRID.y_nm))

    def waves(displacement_nm=0.0, vectors=q):
        return np.cos(np.einsum("ij,jyx->iyx", vectors, points - displacement_nm) + 0.7).sum(axis=0)

    return SimpleNamespace(q=q, points=points, waves=waves)
