"""Denoising before the extraction: an image is smoothed, then handed to another entry. It asks if denoising helps.

The filters are those of ``qpibench prepare``: Gaussian, median and box, light and heavy, with the radii of
arXiv:2506.05325 (:mod:`qpibench.maps.preparation.gaussian` and its neighbours). Every entry here is named after the
entry that extracts, the filter and its strength, such as ``denoised.py:polar_gaussian_light``; ``VARIANTS`` has them
all. ``Model`` is that of ``tikhonov_gaussian_light``.

A linear filter replaces the kernel by the filtered kernel, because the image is a sum of kernels. The entry behind it
extracts that one: nothing here undoes the filter. Standard deviations are those that the entry states for the smoothed
image as if it were measured, so they take its noise for independent from pixel to pixel.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import product
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qpibench import Batch, Prediction
from qpibench.grid import Grid
from qpibench.maps.measurement import Channel, Maps, Source
from qpibench.maps.preparation import apply

needs = "raster"
knows: list[str] = []

ENTRIES = ("polar", "tikhonov", "wiener", "two_step", "one_step")
FILTERS = ("gaussian", "median", "box")
STRENGTHS = ("light", "heavy")

VARIANTS = {"_".join(parts): parts for parts in product(ENTRIES, FILTERS, STRENGTHS)}
"""Entry, filter and strength by the name of the variant."""

WEIGHTS = {name: (f"weights/{name}/weights.safetensors",) for name in ("two_step", "one_step")}
"""Files that an entry reads, by its name."""


class Model:
    """Smooths every image and extracts the kernel from the smoothed one.

    Parameters
    ----------
    entry
        The shipped entry that extracts, one of ``ENTRIES``.
    filter_name, strength
        The denoising, as ``qpibench prepare`` names it.

    Attributes
    ----------
    trained_on, weights, takes_pixels
        Declarations of the entry that extracts.
    """

    def __init__(self, entry: str = "tikhonov", filter_name: str = "gaussian", strength: str = "light") -> None:
        self._model = _model(entry)
        self._filter, self._strength = filter_name, strength
        self.weights = WEIGHTS.get(entry, ())
        self.trained_on = getattr(self._model, "trained_on", None)
        self.takes_pixels = getattr(self._model, "takes_pixels", None)

    def predict(self, batch: Batch) -> Prediction:
        """Predict the kernels of a batch as the entry does for the smoothed images."""
        image = smoothed(batch.image, batch.grid, self._filter, self._strength)
        found: Prediction = self._model.predict(replace(batch, image=image))
        return found


def smoothed(
    image: NDArray[np.float32], grid: Grid, filter_name: str, strength: str | float
) -> NDArray[np.floating[Any]]:
    """Smooth images (n, y, x) as a step of ``qpibench prepare`` does; NaN stays NaN and makes no other pixel NaN."""
    channels = tuple(Channel(name=str(number), unit="", values=values) for number, values in enumerate(image))
    maps = Maps(grid=grid, channels=channels, source=Source(file="batch", format="array", sha256=""))
    prepared = apply(maps, filter_name, strength=strength).channels
    return np.array([channel.values for channel in prepared], dtype=image.dtype).reshape(image.shape)


def __getattr__(name: str) -> Any:
    if name in VARIANTS:
        return _variant(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@cache
def _variant(name: str) -> Model:
    return Model(*VARIANTS[name])


def _model(entry: str) -> Any:
    # Written as import statements, which the hash of the code follows; only the asked one runs, as some need torch.
    module: ModuleType
    match entry:
        case "polar":
            import polar as module
        case "tikhonov":
            import tikhonov as module
        case "wiener":
            import wiener as module
        case "two_step":
            import two_step as module
        case _:
            import one_step as module
    return module.Model()
