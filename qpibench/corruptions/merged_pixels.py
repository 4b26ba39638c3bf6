r"""Merged raster pixels: positions are told as the cells of a raster, and the scatterers of one cell are told once.

The raster is that of the image's pixels. Its cells are squares of ``cell_px`` x ``cell_px`` pixels, the first at the
field's lower left corner; both numbers of pixels must be multiples of ``cell_px``. A pixel has the points that are
nearer to it than to other pixels, so the raster reaches half a pixel beyond the field: a coordinate $x$ belongs to the
pixel

$$j = \left\lfloor \frac{x + L_x/2}{p_x} + \frac12 \right\rfloor,$$

in float64, where $L_x$ is the width of the field and $p_x$ the distance of neighbouring pixels. A cell is told as its
centre, the mean of its first and its last pixel's coordinates. With ``cell_px = 1`` each told position is the
coordinates of a pixel; both kinds of activation maps then mark exactly this pixel.

The first position of each cell remains, in the order of the told positions. A position outside the raster, such as that
of a scatterer in a margin, is left out. An image may therefore be left without told positions. The corruption draws no
random numbers. It is the last of its stage.

Source: scatterers in one pixel of the raster are told once, as in the activation maps of arXiv 2506.05325.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from qpibench.arithmetic.compiled import compiled
from qpibench.columns import Column
from qpibench.corruptions import Draft
from qpibench.grid import Grid

if TYPE_CHECKING:
    from qpibench.specs.spec import ReleaseSpec

STAGE = "told"
ORDER = 40
EXAMPLE = {"cell_px": 2}


class Settings(BaseModel):
    """Settings of merged pixels.

    ``cell_px`` is the side of a cell of the raster in pixels; 1 for the pixels themselves.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cell_px: Annotated[int, Field(ge=1, le=1000)] = Field(
        description="side of a raster cell, whose scatterers are told once, at its centre; divides ny and nx"
    )


COLUMNS = (
    Column(
        name="n_merged",
        dtype="<i4",
        per="observation",
        units="1",
        long_name="number of told positions left out because an earlier one is in the same cell",
        absent=0,
    ),
    Column(
        name="n_off_raster",
        dtype="<i4",
        per="observation",
        units="1",
        long_name="number of told positions left out because they lie outside the raster",
        absent=0,
    ),
)


def check(settings: Settings, spec: ReleaseSpec) -> None:
    """Refuse cells that do not divide the image; see :class:`qpibench.corruptions.Restricted`."""
    ny, nx = spec.grid.shape
    if ny % settings.cell_px or nx % settings.cell_px:
        fitting = [str(size) for size in range(1, min(ny, nx) + 1) if ny % size == nx % size == 0]
        raise ValueError(
            f"corruptions.merged_pixels.cell_px = {settings.cell_px} must divide the {ny} x {nx} pixels of the grid:"
            f" choose one of {', '.join(fitting)}"
        )


def corrupt(settings: Settings, draft: Draft) -> dict[str, NDArray[Any]]:
    """Rasterise the told positions of a draft; see :class:`qpibench.corruptions.Corruption`."""
    grid, side = draft.grid, settings.cell_px
    made = {column.name: np.zeros(len(draft), np.int32) for column in COLUMNS}
    sizes = grid.size_x_nm, grid.size_y_nm, grid.pitch_x_nm, grid.pitch_y_nm
    centres = [(axis[::side] + axis[side - 1 :: side]) / 2 for axis in (grid.x_nm, grid.y_nm)]
    _merge(side, *sizes, *centres, draft.told_position_nm, draft.told_index, *made.values())
    return made


def reference(grid: Grid, position_nm: NDArray[np.float64], cell_px: int) -> NDArray[np.float64]:
    """Told positions of one image.

    Parameters
    ----------
    grid
        Grid of the image.
    position_nm
        (scatterer, xy) positions, without padding.
    cell_px
        Side of a cell in pixels.

    Returns
    -------
    ndarray
        (cell, xy) float64: centres of the occupied cells, in the order of their first scatterers.
    """
    size_nm = np.array([grid.size_x_nm, grid.size_y_nm])
    pixels = np.array([grid.nx, grid.ny])
    pixel = np.floor((position_nm + size_nm / 2) / (size_nm / (pixels - 1)) + 0.5)
    cell = pixel[((pixel >= 0) & (pixel < pixels)).all(axis=1)] // cell_px
    _, first = np.unique(cell, axis=0, return_index=True)
    middle_px = cell[np.sort(first)] * cell_px + (cell_px - 1) / 2
    centre: NDArray[np.float64] = middle_px * (size_nm / (pixels - 1)) - size_nm / 2
    return centre


@compiled(nogil=True, error_model="numpy")
def _merge(  # type: ignore[no-untyped-def]
    side, size_x, size_y, pitch_x, pitch_y, centre_x, centre_y, told, index, n_merged, n_off_raster
):
    """Replace the positions of ``told`` (observation, scatterer, xy) by the centres of their cells, each once."""
    last = np.full((len(centre_y), len(centre_x)), -1)
    for row in range(len(told)):
        kept = 0
        n = 0
        while n < told.shape[1] and index[row, n] >= 0:
            column = int(np.floor((told[row, n, 0] + size_x / 2.0) / pitch_x + 0.5)) // side
            line = int(np.floor((told[row, n, 1] + size_y / 2.0) / pitch_y + 0.5)) // side
            k = index[row, n]
            n += 1
            if column < 0 or line < 0 or column >= len(centre_x) or line >= len(centre_y):
                n_off_raster[row] += 1
            elif last[line, column] == row:
                n_merged[row] += 1
            else:
                last[line, column] = row
                told[row, kept, 0] = centre_x[column]
                told[row, kept, 1] = centre_y[line]
                index[row, kept] = k
                kept += 1
        told[row, kept:n] = np.nan
        index[row, kept:n] = -1
