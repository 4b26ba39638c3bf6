"""Colours of a gallery: few enough for a PNG with a palette, which is a third as large as one without."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.colors import Colormap

SIGNED, POSITIVE, MARKS, SPECTRUM = "RdBu_r", "inferno", "Greys", "viridis"
"""Colour maps: of signed values, symmetric about 0, of positive values, of activation maps, and of log |FFT|."""

LEVELS = 41
"""Colours of a map; the number is odd, so that 0 has the colour in the middle."""

FADED = 0.45
"""Opacity of colours under marks that are to be seen first."""

TRUE, TOLD, RING = "#20ff20", "#ff40ff", "#ff0000"
"""Colours of true positions, of told positions, and of the wavevector of ripples."""

GREYS = 25
"""Greys of the palette, from black to white."""

_SHADES = (0.45, 0.75, 1.0)  # of a mark's colour, whose outline is black


def few_levels(colours: str) -> Colormap:
    """A colour map with :data:`LEVELS` colours."""
    import matplotlib as mpl

    return mpl.colormaps[colours].resampled(LEVELS)


def in_palette(content: bytes) -> bytes:
    """A PNG with the colours of a gallery instead of all; other colours become the nearest of these."""
    from PIL import Image

    with Image.open(io.BytesIO(content)) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    found, place = np.unique(pixels.astype(np.int32) @ [1 << 16, 1 << 8, 1], return_inverse=True)
    palette = _palette()
    distance = (found[:, np.newaxis, np.newaxis] >> [16, 8, 0] & 255) - palette.astype(np.int32)
    nearest = (distance**2).sum(axis=2).argmin(axis=1).astype(np.uint8)
    indices = Image.fromarray(nearest[place].reshape(pixels.shape[:2]))
    indices.putpalette(palette.tobytes())
    target = io.BytesIO()
    indices.save(target, "png", optimize=True)
    return target.getvalue()


def _palette() -> NDArray[np.uint8]:
    """All colours, (colour, RGB), at most 256."""
    from matplotlib.colors import to_rgb

    steps = np.arange(LEVELS)
    maps = [few_levels(name)(steps)[:, :3] for name in (SIGNED, POSITIVE, SPECTRUM)]
    faded = [FADED * each + 1 - FADED for each in maps[:2]]
    greys = np.linspace(0, 1, GREYS)[:, np.newaxis].repeat(3, axis=1)
    marks = [[shade * np.array(to_rgb(colour)) for shade in _SHADES] for colour in (TRUE, TOLD, RING)]
    colours: NDArray[np.float64] = np.rint(255 * np.concatenate([greys, *maps, *faded, *marks]))
    return colours.astype(np.uint8)
