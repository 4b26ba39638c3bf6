"""Measure what the steps `lines` and `streaks` do to images that have no such fault.

``python docs/undamaged_ripples.py``; docs/preparation.md has the figures.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qpibench.grid import Grid
from qpibench.maps import Channel, Maps, Source
from qpibench.maps.preparation import apply
from qpibench.specs import load_spec
from qpibench.synthesis import get_backend

SPECS = ("ag111_64", "cu111_64", "square_64", "nematic_64", "paper")
IMAGES = 40


def images(name: str) -> tuple[Grid, NDArray[np.float64]]:
    """Images of as many kernels, without noise: (image, y, x)."""
    spec = load_spec(name, overrides=["seed=5", f"kernels.count={IMAGES}", "observations_per_kernel=1"])
    backend, _ = get_backend("cpu")
    seen = backend.observations(spec, backend.kernels(spec), 0, IMAGES)
    return spec.grid, seen.image.astype(float)


def maps(grid: Grid, image: NDArray[np.float64]) -> Maps:
    """An image as the topograph of a file."""
    source = Source(file="Synthetic map", format="synthetic", sha256="0" * 64)
    return Maps(grid=grid, channels=(Channel(name="Z", unit="m", values=image),), source=source)


def levelled(image: NDArray[np.float64], grid: Grid) -> NDArray[np.float64]:
    """The image without its plane."""
    return apply(maps(grid, image), "plane").channel("Z").values


def measured(name: str) -> str:
    """Cells of the table for one spec."""
    grid, stack = images(name)
    changes, marked = [], []
    for image in stack:
        plain, lines = levelled(image, grid), levelled(apply(maps(grid, image), "lines").channel("Z").values, grid)
        changes.append(np.sqrt(((lines - plain) ** 2).mean() / (plain**2).mean()))
        marked.append((apply(maps(grid, image), "streaks").channel("Z").values != image).sum())
    low, middle, high = np.quantile(changes, [0.1, 0.5, 0.9])
    return f"{middle:.0%} ({low:.0%} to {high:.0%}) | {sum(marked)} of {stack.size:,}"


if __name__ == "__main__":
    print("| spec | change by `lines`: median (10 % to 90 % of images) | pixels that `streaks` marks |")
    print("| --- | --- | --- |")
    for name in SPECS:
        print(f"| `{name}` | {measured(name)} |", flush=True)
