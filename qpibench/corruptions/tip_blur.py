r"""Tip blur: a tip of finite size averages over its surroundings.

The clean image is convolved with a normalised Gaussian of the full width at half maximum $w$,

$$I(\mathbf r) = \int c(\mathbf r - \mathbf s)\, G(\mathbf s)\, \mathrm d^2 s, \qquad
G(\mathbf s) = \frac{4 \ln 2}{\pi w^2}\; 2^{-4 |\mathbf s|^2 / w^2},$$

as a sum over the pixels within five standard deviations $w / \sqrt{8 \ln 2}$ along x and y. The width is uniform in its
range for each kernel, and the same for all its images. The kernel's image, which is the target, is blurred in the same
way, because it is meant as the instrument shows it. Images and kernels are computed with a border, so no edge
contributes.

Stream ``tip blur``: the first word of draw 0 of image 0 of a kernel gives its width. ``docs/arithmetic.md`` defines the
bits, and ``kernels_cuda/tip_blur.cu`` states the same operations.

Source: this model of the tip is our own; cf. Tersoff and Hamann, Phys. Rev. B 31, 805 (1985),
doi:10.1103/PhysRevB.31.805, for the resolution of tips of finite size.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from qpibench.arithmetic.compiled import compiled
from qpibench.arithmetic.elementary import exp2_f64
from qpibench.arithmetic.filters import filter_image
from qpibench.arithmetic.philox import unit, words
from qpibench.columns import Column
from qpibench.corruptions import Draft
from qpibench.grid import Grid
from qpibench.ranges import RISING, one_or_two

if TYPE_CHECKING:
    from qpibench.specs.spec import ReleaseSpec

STAGE = "image"
ORDER = 10
SHOWN_IN_KERNELS = True
EXAMPLE = {"fwhm_nm": [0.3, 0.5]}

REACH = 5.0
"""Half the width of the Gaussian in standard deviations; what is left out has a weight of 6e-7."""

LARGEST_SHARE = 0.25
"""Largest width, as a share of the shorter side of the field."""

_FWHM_PER_SIGMA = 2.3548200450309493

Width = Annotated[float, Field(ge=1e-3, le=1e6, allow_inf_nan=False)]


class Settings(BaseModel):
    """Settings of the blur by the tip."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fwhm_nm: Annotated[tuple[Width, Width], RISING, one_or_two("a width in nm", Width)] = Field(
        description="full width at half maximum of the Gaussian tip; at most a quarter of the field's shorter side"
    )


COLUMNS = (
    Column(
        name="tip_fwhm_nm",
        dtype="<f8",
        per="observation",
        units="nm",
        long_name="full width at half maximum of the tip that blurs the image and its kernel",
        absent=0.0,
    ),
)


def check(settings: Settings, spec: ReleaseSpec) -> None:
    """Refuse tips as wide as the field; see :class:`qpibench.corruptions.Restricted`."""
    most_nm = LARGEST_SHARE * min(spec.grid.size_x_nm, spec.grid.size_y_nm)
    if settings.fwhm_nm[1] > most_nm:
        raise ValueError(
            f"corruptions.tip_blur.fwhm_nm = {settings.fwhm_nm[1]:g} must be at least 0.001 and at most {most_nm:g} nm,"
            " a quarter of the field's shorter side"
        )


def border_px(settings: Settings, grid: Grid) -> int:
    """Reach of the widest tip in pixels; see :class:`qpibench.corruptions.OfInstrument`."""
    return math.ceil(REACH * settings.fwhm_nm[1] / (_FWHM_PER_SIGMA * min(grid.pitch_x_nm, grid.pitch_y_nm)))


def numbers(settings: Settings, key: Callable[[str], np.uint64], grid: Grid) -> tuple[np.generic, ...]:
    """Key of the widths; lower end and length of their range, and the pitches of the pixels, in nm."""
    low, high = settings.fwhm_nm
    return key("tip blur"), *map(np.float64, (low, high - low, grid.pitch_x_nm, grid.pitch_y_nm))


def corrupt(settings: Settings, draft: Draft) -> dict[str, NDArray[Any]]:
    """Blur the images of a draft; see :class:`qpibench.corruptions.OfInstrument`."""
    fwhm = np.empty(len(draft), np.float64)
    border = border_px(settings, draft.grid)
    count, height, width = draft.image.shape
    source, draft.image = draft.image, np.empty((count, height - 2 * border, width - 2 * border), np.float32)
    drawn_by = numbers(settings, draft.key, draft.grid)
    _blur(draft.start, draft.per_kernel, *drawn_by, border, source, draft.image, fwhm)
    return {"tip_fwhm_nm": fwhm}


def reference(image: NDArray[np.floating], grid: Grid, *, fwhm_nm: float, border: int) -> NDArray[np.float64]:
    """Blur an image.

    Parameters
    ----------
    image
        (y, x) with a border of pixels on every side.
    grid
        Grid of the image; its border is not part of it.
    fwhm_nm
        Width of the tip.
    border
        Number of pixels that count on every side.

    Returns
    -------
    ndarray
        (y, x) float64, without the border.
    """
    blurred = np.asarray(image, np.float64)
    for axis, pitch_nm in enumerate((grid.pitch_y_nm, grid.pitch_x_nm)):
        weights = np.exp(-4 * np.log(2) * (np.arange(-border, border + 1) * pitch_nm / fwhm_nm) ** 2)
        window = np.lib.stride_tricks.sliding_window_view(blurred, 2 * border + 1, axis=axis)
        blurred = window @ (weights / weights.sum())
    return blurred


@compiled(nogil=True, error_model="numpy")
def _blur(start, per_kernel, key, low, span, pitch_x, pitch_y, border, source, image, fwhm):  # type: ignore[no-untyped-def]
    """Fill ``image`` (observation, y, x) float32 with the blurred ``source`` and ``fwhm`` (observation,) float64."""
    along_x, along_y = np.empty(border + 1, np.float64), np.empty(border + 1, np.float64)
    for row in range(len(image)):
        fwhm[row] = low + unit(words(key, 0, 0, (start + row) // per_kernel)[0]) * span
        _set_weights(2.0 * pitch_x / fwhm[row], along_x)
        _set_weights(2.0 * pitch_y / fwhm[row], along_y)
        filter_image(along_y, along_x, source[row], image[row])
        pixels = image[row].reshape(-1)
        for k in range(len(pixels)):
            pixels[k] = pixels[k] + np.float32(0)


@compiled()
def _set_weights(ratio, weights):  # type: ignore[no-untyped-def]
    """Fill weights of the offsets 0, 1, ... pixels; ``ratio`` is a pixel over half of the width."""
    total = 0.0
    for j in range(len(weights)):
        weights[j] = exp2_f64(-(ratio * ratio * np.float64(j * j)))
        total += weights[j] if j == 0 else 2.0 * weights[j]
    for j in range(len(weights)):
        weights[j] = weights[j] / total
