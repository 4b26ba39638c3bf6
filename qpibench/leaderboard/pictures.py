"""Small pictures of the board: the median image of an entry as a PNG file."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qpibench.evaluation.median_image import MedianImage
from qpibench.leaderboard.standings import Standing

COLOURS = "inferno"
"""The colour map, as in reports."""

_GAP = 4  # pixels between two pictures
_TRANSPARENT = 255  # the last entry of the palette; grey levels use the others


def picture_name(standing: Standing) -> str | None:
    """Return the name of a standing's picture, from its result file and its cell; None if it has no picture."""
    if median_of(standing) is None:
        return None
    place = next(place for place, cell in enumerate(standing.result.cells.values()) if cell is standing.cell)
    return f"{Path(standing.file).stem}-{place}.png"


def median_of(standing: Standing) -> MedianImage | None:
    """Return the median image of the first release of a standing's cell."""
    return standing.cell.parts[0].median_image


def draw_picture(median: MedianImage) -> bytes:
    """Return a PNG of observation, true kernel and predicted kernel side by side, y up."""
    levels = (median.pictures()[:, ::-1].astype(np.uint16) * (_TRANSPARENT - 1) // 255).astype(np.uint8)
    gap = np.full((median.ny, _GAP), _TRANSPARENT, np.uint8)
    return _png(np.hstack([levels[0], gap, levels[1], gap, levels[2]]), _palette())


def _palette() -> NDArray[np.uint8]:
    """Return red, green and blue of every level, (256, 3); the last level is transparent."""
    from qpibench.pages.plotting import own_style

    # isort: split
    import matplotlib as mpl

    with own_style({}):
        colours = mpl.colormaps[COLOURS](np.linspace(0, 1, _TRANSPARENT))
    return np.vstack([np.rint(255 * colours[:, :3]), np.zeros(3)]).astype(np.uint8)


def _png(levels: NDArray[np.uint8], palette: NDArray[np.uint8]) -> bytes:
    """Return a PNG of (row, column) indices into a palette of 256 colours, the last of which is transparent."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    height, width = levels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in levels)  # 0: rows are not filtered
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
            chunk(b"PLTE", palette.tobytes()),
            chunk(b"tRNS", b"\xff" * _TRANSPARENT + b"\0"),
            chunk(b"IDAT", zlib.compress(rows, 9)),
            chunk(b"IEND", b""),
        ]
    )
