r"""Plane tilt: a linear background in a drawn direction.

A sample that is not perpendicular to the tip, or a set point that drifts, adds a plane to a map:

$$I(x, y) = c(x, y) + h\, \frac{x \cos\alpha + y \sin\alpha}{L_x |\cos\alpha| + L_y |\sin\alpha|}, \qquad
h = s\, \mathrm{std}(c),$$

with coordinates about the centre of the field, whose sides are $L_x$ and $L_y$. So $h$ is the height of the plane from
its lowest to its highest corner. The strength $s$ is uniform in its range and the direction $\alpha$ uniform in the
circle, for each image; the standard deviation of the clean image is that of :class:`qpibench.corruptions.Draft`.

The stream ``plane tilt`` has one draw: the words of strength and direction. ``docs/arithmetic.md`` defines the bits,
and ``kernels_cuda/plane_tilt.cu`` states the same operations.

Source: the background that plane levelling removes; see Nečas and Klapetek, Cent. Eur. J. Phys. 10, 181 (2012),
doi:10.2478/s11534-011-0096-2.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from qpibench.arithmetic.compiled import compiled
from qpibench.arithmetic.elementary import sincospi_f64
from qpibench.arithmetic.ieee import fma
from qpibench.arithmetic.philox import unit, words
from qpibench.arithmetic.sums import deviation
from qpibench.columns import Column
from qpibench.corruptions import Draft
from qpibench.grid import Grid
from qpibench.ranges import Strengths

STAGE = "image"
ORDER = 70
EXAMPLE = {"strength": [0.5, 2.0]}


class Settings(BaseModel):
    """Settings of a plane tilt."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    strength: Strengths = Field(
        description="height of the plane from lowest to highest corner, in standard deviations of the clean image"
    )


COLUMNS = (
    Column(
        name="tilt_height",
        dtype="<f4",
        per="observation",
        units="1",
        long_name="height of the plane in the image, from its lowest to its highest corner",
        absent=0.0,
    ),
    Column(
        name="tilt_direction",
        dtype="<f8",
        per="observation",
        units="rad",
        long_name="direction in which the plane rises, from x to y",
        absent=math.nan,
    ),
)

_TWO_PI = 2 * math.pi


def numbers(settings: Settings, key: Callable[[str], np.uint64], grid: Grid) -> tuple[np.generic, ...]:
    """Key of the plane; lower end and length of the range of the strength; sides and half pitches in nm."""
    low, high = settings.strength
    sides = grid.size_x_nm, grid.size_y_nm, grid.pitch_x_nm / 2, grid.pitch_y_nm / 2
    return key("plane tilt"), *map(np.float64, (low, high - low, *sides))


def corrupt(settings: Settings, draft: Draft) -> dict[str, NDArray[Any]]:
    """Tilt the images of a draft; see :class:`qpibench.corruptions.Corruption`."""
    height, direction = np.empty(len(draft), np.float32), np.empty(len(draft), np.float64)
    drawn_by = numbers(settings, draft.key, draft.grid)
    _tilt(draft.start, draft.per_kernel, *drawn_by, draft.variance, draft.image, height, direction)
    return {"tilt_height": height, "tilt_direction": direction}


def reference(clean: NDArray[np.floating], grid: Grid, height: float, direction: float) -> NDArray[np.float64]:
    """Add a plane to an image.

    Parameters
    ----------
    clean
        (y, x) image.
    grid
        Its grid.
    height
        Height of the plane from its lowest to its highest corner.
    direction
        Direction in which it rises, in rad from x to y.

    Returns
    -------
    ndarray
        (y, x) float64.
    """
    cosine, sine = np.cos(direction), np.sin(direction)
    along = grid.x_nm * cosine + grid.y_nm[:, None] * sine
    tilted: NDArray[np.float64] = clean + height * along / np.ptp(along)
    return tilted


@compiled(nogil=True, error_model="numpy")
def _tilt(  # type: ignore[no-untyped-def]
    start, per_kernel, key, low, span, size_x, size_y, half_x, half_y, variance, image, height, direction
):
    """Add planes to ``image`` (observation, y, x) float32; fill ``height`` and ``direction`` (observation,)."""
    ny, nx = image.shape[1:]
    for row in range(len(image)):
        kernel, index = divmod(start + row, per_kernel)
        drawn = words(key, 0, index, kernel)
        height[row] = deviation(variance[row], low + unit(drawn[0]) * span)
        direction[row] = _TWO_PI * unit(drawn[1])
        sine, cosine = sincospi_f64(2.0 * unit(drawn[1]))
        slope = np.float64(height[row]) / (size_x * abs(cosine) + size_y * abs(sine))
        along_x = slope * cosine * half_x
        along_y = slope * sine * half_y
        for iy in range(ny):
            level = along_y * np.float64(2 * iy - (ny - 1))
            for ix in range(nx):
                plane = fma(along_x, np.float64(2 * ix - (nx - 1)), level)
                image[row, iy, ix] = image[row, iy, ix] + np.float32(plane) + np.float32(0)
