"""Write a grid that stands for a measurement, ``python docs/example_grid.py [FOLDER]``: FOLDER/grid.3ds.

The file is a Nanonis grid of a surface like Ag(111): dI/dV at 16 biases on 96 x 96 points, and a topography in which
every point scatterer is a small spot. ``docs/microscope.md`` extracts its band.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from benchmarks.nanonis_files import grid_bytes
from qpibench.families import get_family
from qpibench.families.surface_state.ranges import electron_wavevector
from qpibench.grid import Grid
from qpibench.physics.superposition import superpose

E0_MEV, MASS = -65.0, 0.40
GRID = Grid(ny=96, nx=96, size_y_nm=28.5, size_x_nm=28.5)
BIASES_V = np.linspace(-0.03, 0.27, 16)
SCATTERERS = 30


def grid_file(seed: int = 1) -> bytes:
    """The bytes of the file."""
    rng = np.random.default_rng(seed)
    positions = _apart(rng)
    family = get_family("surface_state")
    layers = []
    for bias in BIASES_V:
        k = float(electron_wavevector(MASS, 1e3 * bias - E0_MEV))
        wave = {
            "energy": 1e3 * bias,
            "k": k,
            "damping": 4 * k / (2 * (1e3 * bias - E0_MEV)),
            "delta": 1.3,
            "alpha": 0.6,
        }
        second = {"share_2": 0.0, "k_2": 1.0, "damping_2": 0.0, "delta_2": 0.0}
        layers.append(
            superpose(GRID, family, positions, **wave, **second, tip_fwhm=0.5, mass_ratio=1.0, axis=0.0, unit=0.04)
        )
    didv = np.array(layers)
    noise = 0.1 * didv.std(axis=(1, 2), keepdims=True) * rng.normal(size=didv.shape)
    x, y = np.meshgrid(GRID.x_nm, GRID.y_nm)
    spots = [np.exp(-((x - u) ** 2 + (y - v) ** 2) / 0.5) for u, v in positions]
    topography = 2e-11 * np.sum(spots, axis=0) + 1e-13 * (2 * x - y) + 1e-12 * rng.normal(size=x.shape)
    side = 1e-9 * GRID.size_x_nm * 96 / 95
    return grid_bytes(
        {"LI Demod 1 X (A)": (2e-12 + 1e-12 * (didv + noise)).astype(np.float32)},
        size_m=(side, side),
        sweep=(BIASES_V[0], BIASES_V[-1]),
        parameters={"Z (m)": topography.astype(np.float32)},
    )


def _apart(rng: np.random.Generator) -> np.ndarray:
    """Places at least 2 nm from each other and 1 nm from the edge."""
    found: list[np.ndarray] = []
    while len(found) < SCATTERERS:
        place = rng.uniform(-13.2, 13.2, 2)
        if all(np.hypot(*(place - other)) > 2 for other in found):
            found.append(place)
    return np.array(found)


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "grid.3ds").write_bytes(grid_file())
