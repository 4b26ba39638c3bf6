"""Measure how well scatterers are found in synthetic maps: ``python docs/detected_scatterers.py``."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from qpibench.errors import InvalidDataError
from qpibench.families import get_family
from qpibench.families.surface_state.ranges import electron_wavevector
from qpibench.grid import Grid
from qpibench.maps import Channel, Maps, Source
from qpibench.maps.detection import find_scatterers
from qpibench.maps.preparation import apply
from qpibench.physics.superposition import superpose

GRID = Grid(ny=128, nx=128, size_y_nm=38.1, size_x_nm=38.1)
DRAWS = 20
APART_NM = 2.0
WITHIN_NM = 0.6


def topograph(
    seed: int, count: int = 40, *, levelled: bool = True, noise: float = 3.0, ring: float = 0.0
) -> tuple[Maps, NDArray[np.float64]]:
    """Gaussian spots 1.2 nm wide and 14 to 26 pm high, a plane, line offsets of 5 pm and noise in pm.

    With ``ring`` the spots are rings of this radius in nm.
    """
    random = np.random.default_rng([seed, count])
    position_nm = _apart(random, count)
    x, y = np.meshgrid(GRID.x_nm, GRID.y_nm)
    z = 2.0 * x - y
    for x_s, y_s in position_nm:
        distance = np.hypot(x - x_s, y - y_s) - ring
        z += random.uniform(14, 26) * np.exp(-4 * np.log(2) * (distance / 1.2) ** 2)
    z += random.normal(0, 5, (GRID.ny, 1)) + random.normal(0, noise, z.shape)
    maps = _maps("Z", "m", 1e-12 * z)
    return (apply(maps, "lines") if levelled else maps), position_nm


def ripples(seed: int, count: int) -> tuple[Maps, NDArray[np.float64]]:
    """Standing waves of Ag(111), of the ranges of the spec ``ag111_64``, with white noise at 20 dB."""
    random = np.random.default_rng([seed, count])
    position_nm = _apart(random, count)
    above = random.uniform(40, 100)
    k = float(electron_wavevector(0.4, above))
    wave = {
        "energy": above - 65,
        "k": k,
        "damping": random.uniform(2, 6) * k / (2 * above),
        "delta": random.uniform(0.5, 2.6),
        "alpha": random.uniform(0, 1),
        "tip_fwhm": 0.5,
    }
    wave |= {"mass_ratio": 1, "axis": 0, "share_2": 0, "k_2": 1, "damping_2": 0, "delta_2": 0, "unit": 0.04}
    z = superpose(GRID, get_family("surface_state"), position_nm, **wave)
    return _maps("dI/dV", "S", 1e-12 * (z + 0.1 * z.std() * random.normal(size=z.shape))), position_nm


def matched(found: NDArray[np.float64], true: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distances in nm of the pairs of found and true scatterers, at most :data:`WITHIN_NM`; the nearest pair first."""
    distance = np.linalg.norm(found[:, None] - true, axis=2)
    pairs = []
    while distance.size and distance.min() <= WITHIN_NM:
        row, column = np.unravel_index(distance.argmin(), distance.shape)
        pairs.append(distance[row, column])
        distance = np.delete(np.delete(distance, row, axis=0), column, axis=1)
    return np.array(pairs)


def measured(draws: Iterable[tuple[Maps, NDArray[np.float64]]], **settings: object) -> str:
    """Cells of the table for some maps: recall, false ones, errors, sizes."""
    found_in_all, true_in_all, false, errors, sizes, empty = 0, 0, 0, [], [], 0
    for maps, position_nm in draws:
        true_in_all += len(position_nm)
        try:
            found = find_scatterers(maps, **settings)  # type: ignore[arg-type]
        except InvalidDataError:
            empty += 1
            continue
        pairs = matched(found.position_nm, position_nm)
        found_in_all += len(pairs)
        false += len(found) - len(pairs)
        errors.append(pairs)
        sizes.append(found.size_nm)
    error = np.concatenate(errors) if errors else np.empty(0)
    rms = f"{np.sqrt((error**2).mean()):.3f} nm" if len(error) else "-"
    size = f"{min(sizes):.2f} to {max(sizes):.2f} nm" if sizes else "-"
    return f"{found_in_all / true_in_all:.1%} | {false / DRAWS:.2g} | {rms} | {size} | {empty}"


def _apart(random: np.random.Generator, count: int) -> NDArray[np.float64]:
    placed = np.empty((0, 2))
    while len(placed) < count:
        place = random.uniform(-0.5, 0.5, 2) * [GRID.size_x_nm, GRID.size_y_nm]
        if not len(placed) or np.linalg.norm(placed - place, axis=1).min() > APART_NM:
            placed = np.vstack([placed, place])
    return placed


def _maps(name: str, unit: str, values: NDArray[np.float64]) -> Maps:
    source = Source(file="Synthetic map", format="synthetic", sha256="0" * 64)
    return Maps(grid=GRID, channels=(Channel(name=name, unit=unit, values=values),), source=source)


def noisy(seed: int) -> tuple[Maps, NDArray[np.float64]]:
    """:func:`topograph` whose spots are twice as high as the noise of a pixel."""
    return topograph(seed, noise=10.0)


def smoothed(seed: int) -> tuple[Maps, NDArray[np.float64]]:
    """:func:`noisy` after a light Gaussian filter."""
    maps, position_nm = noisy(seed)
    return apply(maps, "gaussian", strength="light"), position_nm


WIDE = {"size_nm": 1.8, "threshold": 3.5}

KINDS = {
    "topograph, 40": lambda s: topograph(s),
    "topograph, 40, noise of 10 pm": noisy,
    "the same, after `gaussian strength=light`": smoothed,
    "the same, `--width 1.8 --threshold 3.5`": noisy,
    "topograph, 40, lines not levelled": lambda s: topograph(s, levelled=False),
    "topograph, 120": lambda s: topograph(s, 120),
    "rings of the radius 1 nm, 20": lambda s: topograph(s, 20, ring=1.0),
    "ripples, 5": lambda s: ripples(s, 5),
    "ripples, 10": lambda s: ripples(s, 10),
    "ripples, 20": lambda s: ripples(s, 20),
    "ripples, 40": lambda s: ripples(s, 40),
    "ripples, 80": lambda s: ripples(s, 80),
}

if __name__ == "__main__":
    for kind, draw in KINDS.items():
        settings = WIDE if "--width" in kind else {}
        print(f"| {kind} | {measured((draw(seed) for seed in range(DRAWS)), **settings)} |", flush=True)
