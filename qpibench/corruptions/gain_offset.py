r"""Gain and offset: the scale of an image and its zero are not known.

The lock-in amplifier, the set point and the normalisation of dI/dV maps change scale and zero from map to map:

$$I(x, y) = g\, c(x, y) + b, \qquad b = o\, \mathrm{std}(c).$$

Gain $g$ and offset $o$ are uniform in their ranges for each image; the standard deviation of the clean image is that of
:class:`qpibench.corruptions.Draft`. The corruption is the last of its stage, so noise is scaled with the image. The
target keeps amplitude 1.

The stream ``gain and offset`` has one draw: the words of gain and offset. ``docs/arithmetic.md`` defines the bits, and
``kernels_cuda/gain_offset.cu`` states the same operations.

Source: set-point effects in dI/dV maps, Macdonald et al., arXiv:1606.07402 (2016).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field

from qpibench.arithmetic.compiled import compiled
from qpibench.arithmetic.ieee import fma
from qpibench.arithmetic.philox import unit, words
from qpibench.arithmetic.sums import deviation
from qpibench.columns import Column
from qpibench.corruptions import Draft
from qpibench.grid import Grid
from qpibench.ranges import MAX_STRENGTH, RISING, UNSIGNED_ZERO, one_or_two

STAGE = "image"
ORDER = 80
EXAMPLE = {"gain": [0.5, 2.0], "offset": [-1.0, 1.0]}

Gain = Annotated[float, Field(ge=1e-3, le=1e3, allow_inf_nan=False)]
Offset = Annotated[float, Field(ge=-MAX_STRENGTH, le=MAX_STRENGTH, allow_inf_nan=False), UNSIGNED_ZERO]


class Settings(BaseModel):
    """Settings of gain and offset."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gain: Annotated[tuple[Gain, Gain], RISING, one_or_two("a gain", Gain)] = Field(description="factor of the image")
    offset: Annotated[tuple[Offset, Offset], RISING, one_or_two("an offset", Offset)] = Field(
        description="constant added to the image, in standard deviations of the clean image"
    )


COLUMNS = (
    Column(
        name="image_gain",
        dtype="<f8",
        per="observation",
        units="1",
        long_name="factor of the image",
        absent=1.0,
    ),
    Column(
        name="image_offset",
        dtype="<f4",
        per="observation",
        units="1",
        long_name="constant added to the image",
        absent=0.0,
    ),
)


def numbers(settings: Settings, key: Callable[[str], np.uint64], grid: Grid) -> tuple[np.generic, ...]:
    """Key of gain and offset; lower end and length of the range of each."""
    (gain, most), (offset, highest) = settings.gain, settings.offset
    return key("gain and offset"), *map(np.float64, (gain, most - gain, offset, highest - offset))


def corrupt(settings: Settings, draft: Draft) -> dict[str, NDArray[Any]]:
    """Scale and shift the images of a draft; see :class:`qpibench.corruptions.Corruption`."""
    gain, offset = np.empty(len(draft), np.float64), np.empty(len(draft), np.float32)
    drawn_by = numbers(settings, draft.key, draft.grid)
    _scale(draft.start, draft.per_kernel, *drawn_by, draft.variance, draft.image, gain, offset)
    return {"image_gain": gain, "image_offset": offset}


def reference(image: NDArray[np.floating], gain: ArrayLike, offset: ArrayLike) -> NDArray[np.float64]:
    """Scale and shift images (..., y, x) by gains and offsets (...), in the units of the image; float64."""
    scaled: NDArray[np.float64] = (
        np.asarray(gain)[..., None, None] * np.asarray(image, np.float64) + np.asarray(offset)[..., None, None]
    )
    return scaled


@compiled(nogil=True, error_model="numpy")
def _scale(  # type: ignore[no-untyped-def]
    start, per_kernel, key, low_gain, span_gain, low_offset, span_offset, variance, image, gain, offset
):
    """Scale and shift ``image`` (observation, y, x) float32; fill ``gain`` and ``offset`` (observation,)."""
    for row in range(len(image)):
        kernel, index = divmod(start + row, per_kernel)
        drawn = words(key, 0, index, kernel)
        gain[row] = low_gain + unit(drawn[0]) * span_gain
        offset[row] = deviation(variance[row], low_offset + unit(drawn[1]) * span_offset)
        factor = np.float32(gain[row])
        pixels = image[row].reshape(-1)
        for k in range(len(pixels)):
            pixels[k] = fma(factor, pixels[k], offset[row]) + np.float32(0)
