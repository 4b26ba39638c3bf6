"""Draw docs/images/maps, a map before and after each step of preparation: ``python docs/prepared_maps.py``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qpibench.families import eq7
from qpibench.grid import Grid
from qpibench.maps import Axis, Channel, Maps, Source
from qpibench.physics.superposition import superpose

GRID = Grid(ny=128, nx=128, size_y_nm=25.4, size_x_nm=25.4)
CONSTANT_NM = 0.8

PREPARED: dict[str, dict[str, Any]] = {
    "plane": {},
    "lines": {},
    "streaks": {},
    "gaussian": {"strength": "heavy"},
    "median": {"strength": "heavy"},
    "box": {"strength": "heavy"},
    "bragg": {},
    "drift": {},
    "shear": {"lattice": "square", "lattice_constant_nm": CONSTANT_NM},
    "mask": {"above_quantile": 0.98, "rectangles_nm": [[4, 8, -10, -5]]},
    "crop": {"edges_nm": [-6, 8, -8, 6]},
    "derivative": {},
}
"""Settings of the steps that are drawn."""


def draw_prepared(folder: Path) -> None:
    """Draw every picture into a folder."""
    from qpibench.maps.picture import draw_steps
    from qpibench.maps.preparation import apply

    for name, settings in PREPARED.items():
        before = _with_fault(name)
        draw_steps(before, apply(before, name, **settings), folder / f"{name}.png")


def _ripples(wavenumber: float = 1.5) -> NDArray[np.float64]:
    position_nm = np.random.default_rng(4).uniform(-13, 13, (30, 2))
    common = {"fold": 4, "phi1": 0.4, "B": wavenumber, "C": 0.05}
    bright, dark = (superpose(GRID, eq7, position_nm, phi2=phase, **common) for phase in (0.2, 0.2 + np.pi / 2))
    signed: NDArray[np.float64] = bright - dark
    return signed / signed.std()


def _with_fault(step: str) -> Maps:
    random, z = np.random.default_rng(1), _ripples()
    x, y = np.meshgrid(GRID.x_nm, GRID.y_nm)
    if step == "plane":
        z = z + 0.2 * x - 0.1 * y
        z[40:60, 90:] = np.nan
    elif step == "lines":
        z = z + random.normal(size=(GRID.ny, 1))
    elif step == "streaks":
        for row, first, length in random.integers((3, 0, 20), (125, 90, 60), (25, 3)):
            z[row : row + 1 + row % 2, first : first + length] += random.choice([-6, 6])
    elif step in {"gaussian", "median", "box"}:
        z = z + random.normal(size=z.shape)
    elif step in {"bragg", "drift", "shear"}:
        if step == "shear":
            x, y = 1.05 * x + 0.06 * y, 0.96 * y
        bend = 0.35 * np.sin(y / 5) if step == "drift" else 0.0
        q = 2 * np.pi / CONSTANT_NM
        z = (0.0 if step == "shear" else 0.6 * z) + np.cos(q * (x + bend)) + np.cos(q * (y + 0.5 * bend))
        z = z + 0.2 * random.normal(size=z.shape)
    elif step == "derivative":
        bias = np.linspace(0.2, -0.2, 41)
        conductance = np.array([2 + 0.3 * _ripples(1.2 + 2 * v) for v in bias])
        conductance = conductance[:, 32:96, 32:96]  # a small file
        current = 1e-9 * np.cumsum(conductance - conductance.mean() / 9, axis=0) * (bias[1] - bias[0])
        return _maps("Current", "A", current + 2e-12 * random.normal(size=current.shape), bias)
    return _maps("Z", "m", 1e-11 * z)


def _maps(name: str, unit: str, values: NDArray[np.float64], bias: NDArray[np.float64] | None = None) -> Maps:
    grid = GRID if bias is None else GRID.central(64)
    maps = Maps(grid=grid, channels=(), source=Source(file="Synthetic map", format="synthetic", sha256="0" * 64))
    axis = None if bias is None else Axis(name="Bias", unit="V", values=bias)
    return replace(maps, axis=axis, channels=(Channel(name=name, unit=unit, values=values),))


if __name__ == "__main__":
    pictures = Path(__file__).parent / "images" / "maps"
    pictures.mkdir(parents=True, exist_ok=True)
    draw_prepared(pictures)
