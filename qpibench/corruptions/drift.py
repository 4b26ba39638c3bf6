r"""Drift: the sample moves under the tip while the image is taken.

An image is scanned line by line from the lowest y upwards, each line along x. The pixel at the place $\mathbf r$, which
is scanned at the time $t$ from 0 to 1, shows the sample at another place:

$$I(\mathbf r) = c(\mathbf r + \mathbf d(t)), \qquad
\mathbf d(t) = \left(t - \tfrac12\right) \mathbf v + \left[\ell(t) - \ell(\tfrac12)\right] \mathbf k, \qquad
\ell(t) = \frac{\ln(1 + 16\, t)}{\ln 17}.$$

The first term is thermal drift by $|\mathbf v|$ over the image. The second is creep of the piezos by $|\mathbf k|$,
which is logarithmic in time and distorts the first lines most. Both vectors are movements of the tip over the sample,
so what the image shows is displaced by $-\mathbf d$. The displacement is 0 in the middle of the scan. Both lengths are
uniform in their ranges and both directions uniform in the circle, for each image. True and told positions, and the
target, are those of the undistorted frame.

The clean image is resampled by the interpolating cubic B-spline. It is computed with a border, so no edge contributes.

The stream ``drift`` has one draw: the words of length and direction of the drift, and of the creep.
``docs/arithmetic.md`` defines the bits, and ``kernels_cuda/drift.cu`` states the same operations.

Source: drift and creep of STM images, cf. Yothers, Browder and Bumm, Rev. Sci. Instrum. 88, 013708 (2017),
doi:10.1063/1.4974271; the curve of the creep is our own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field

from qpibench.arithmetic.compiled import compiled
from qpibench.arithmetic.elementary import minus2ln_f32, sincospi_f64
from qpibench.arithmetic.filters import SPLINE_REACH, filter_image, spline_value, spline_weights
from qpibench.arithmetic.ieee import fma
from qpibench.arithmetic.philox import unit, words
from qpibench.columns import Column
from qpibench.corruptions import Draft
from qpibench.grid import Grid
from qpibench.ranges import RISING, UNSIGNED_ZERO, one_or_two

if TYPE_CHECKING:
    from qpibench.specs.spec import ReleaseSpec

STAGE = "image"
ORDER = 20
SHOWN_IN_KERNELS = False
EXAMPLE = {"drift_nm": [0.2, 1.0], "creep_nm": [0.0, 0.5]}

LARGEST_SHARE = 0.5
"""Largest displacement, as a share of the shorter side of the field."""

_STEEPNESS = 16.0
_PER_MINUS2LN = -0.17647806193238058  # -1 / (2 ln 17)
_MIDDLE = 0.7755238700769802  # ln 9 / ln 17

Length = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False), UNSIGNED_ZERO]
_Lengths = Annotated[tuple[Length, Length], RISING, one_or_two("a length in nm", Length)]


class Settings(BaseModel):
    """Settings of drift and creep; together they displace no pixel by more than half of the field's shorter side."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    drift_nm: _Lengths = Field(description="length of the thermal drift over the image")
    creep_nm: _Lengths = Field(default=(0.0, 0.0), description="length of the logarithmic creep over the image")


COLUMNS = tuple(
    Column(
        name=f"{name}_{axis}_nm",
        dtype="<f8",
        per="observation",
        units="nm",
        long_name=f"{what} of the tip over the sample along {axis}, in the time of the image",
        absent=0.0,
    )
    for name, what in (("drift", "thermal drift"), ("creep", "creep"))
    for axis in ("x", "y")
)


def check(settings: Settings, spec: ReleaseSpec) -> None:
    """Refuse displacements as large as the field; see :class:`qpibench.corruptions.Restricted`."""
    most_nm = LARGEST_SHARE * min(spec.grid.size_x_nm, spec.grid.size_y_nm)
    if _largest_nm(settings) > most_nm:
        raise ValueError(
            f"corruptions.drift displaces pixels by up to drift_nm / 2 + creep_nm = {_largest_nm(settings):g}, and"
            f" 0 to {most_nm:g} nm are allowed, half of the field's shorter side"
        )


def _largest_nm(settings: Settings) -> float:
    return settings.drift_nm[1] / 2 + settings.creep_nm[1]


def border_px(settings: Settings, grid: Grid) -> int:
    """Largest displacement in pixels, and the reach of the spline; see :class:`qpibench.corruptions.OfInstrument`."""
    return math.ceil(_largest_nm(settings) / min(grid.pitch_x_nm, grid.pitch_y_nm)) + 2 + SPLINE_REACH


def numbers(settings: Settings, key: Callable[[str], np.uint64], grid: Grid) -> tuple[np.generic, ...]:
    """Key; lower ends and lengths of both ranges and pitches of the pixels in nm; pixels of the field."""
    (drift, farthest), (creep, longest) = settings.drift_nm, settings.creep_nm
    lengths = drift, farthest - drift, creep, longest - creep, grid.pitch_x_nm, grid.pitch_y_nm
    return key("drift"), *map(np.float64, lengths), np.int32(grid.nx), np.int32(grid.ny)


def corrupt(settings: Settings, draft: Draft) -> dict[str, NDArray[Any]]:
    """Distort the images of a draft; see :class:`qpibench.corruptions.OfInstrument`."""
    border = border_px(settings, draft.grid)
    count, height, width = draft.image.shape
    source, draft.image = draft.image, np.empty((count, height - 2 * border, width - 2 * border), np.float32)
    drift = np.empty((4, count), np.float64)
    drawn_by = numbers(settings, draft.key, draft.grid)
    _resample(draft.start, draft.per_kernel, *drawn_by, border, source, draft.image, drift)
    return {column.name: drift[k] for k, column in enumerate(COLUMNS)}


def reference_displacement(grid: Grid, *, drift_nm: ArrayLike, creep_nm: ArrayLike) -> NDArray[np.float64]:
    """Displacements (xy, y, x) in nm of all pixels, from the vectors of drift and creep in nm."""
    t = (np.arange(grid.ny * grid.nx) + 0.5).reshape(grid.shape) / (grid.ny * grid.nx)
    creep = np.log(1 + 16 * t) / np.log(17) - np.log(9) / np.log(17)
    displacement: NDArray[np.float64] = np.multiply.outer(np.asarray(drift_nm, np.float64), t - 0.5)
    displacement += np.multiply.outer(np.asarray(creep_nm, np.float64), creep)
    return displacement


def reference(
    image: NDArray[np.floating], grid: Grid, *, displacement_nm: NDArray[np.float64], border: int
) -> NDArray[np.float64]:
    """Resample an image at displaced pixels.

    Parameters
    ----------
    image
        (y, x) with a border of pixels on every side.
    grid
        Grid of the image; its border is not part of it.
    displacement_nm
        (xy, y, x) from :func:`reference_displacement`.
    border
        Width of the border in pixels.

    Returns
    -------
    ndarray
        (y, x) float64, without the border.
    """
    from scipy.ndimage import map_coordinates

    rows, columns = np.indices(grid.shape) + float(border)
    dx, dy = displacement_nm
    places = [rows + dy / grid.pitch_y_nm, columns + dx / grid.pitch_x_nm]
    resampled: NDArray[np.float64] = map_coordinates(np.asarray(image, np.float64), places, order=3, mode="mirror")
    return resampled


@compiled(nogil=True, error_model="numpy")
def _resample(  # type: ignore[no-untyped-def]
    start,
    per_kernel,
    key,
    low_drift,
    span_drift,
    low_creep,
    span_creep,
    pitch_x,
    pitch_y,
    field_nx,
    field_ny,
    border,
    source,
    image,
    drift,
):
    """Fill ``image`` (observation, y, x) float32 from ``source``, and ``drift`` (4, observation) float64 in nm."""
    ny, nx = image.shape[1:]
    weights = spline_weights()
    inner = border - SPLINE_REACH
    coefficients = np.empty((ny + 2 * inner, nx + 2 * inner), np.float32)
    for row in range(len(image)):
        kernel, index = divmod(start + row, per_kernel)
        drawn = words(key, 0, index, kernel)
        length = low_drift + unit(drawn[0]) * span_drift
        sine, cosine = sincospi_f64(2.0 * unit(drawn[1]))
        drift[0, row], drift[1, row] = length * cosine, length * sine
        length = low_creep + unit(drawn[2]) * span_creep
        sine, cosine = sincospi_f64(2.0 * unit(drawn[3]))
        drift[2, row], drift[3, row] = length * cosine, length * sine
        filter_image(weights, weights, source[row], coefficients)
        for iy in range(ny):
            line = min(max(iy - (ny - field_ny) // 2, 0), field_ny - 1)
            for ix in range(nx):
                place = min(max(ix - (nx - field_nx) // 2, 0), field_nx - 1)
                t = (np.float64(line * field_nx + place) + 0.5) / np.float64(field_nx * field_ny)
                logarithm = np.float64(minus2ln_f32(np.float32(fma(_STEEPNESS, t, 1.0))))
                crept = fma(logarithm, _PER_MINUS2LN, -_MIDDLE)
                dx = fma(t - 0.5, drift[0, row], crept * drift[2, row])
                dy = fma(t - 0.5, drift[1, row], crept * drift[3, row])
                y = np.float64(iy + inner) + dy / pitch_y
                x = np.float64(ix + inner) + dx / pitch_x
                image[row, iy, ix] = np.float32(spline_value(coefficients, y, x)) + np.float32(0)
