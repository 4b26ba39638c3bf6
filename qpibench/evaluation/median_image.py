"""The image with the median error of a task, in a small format for results and for the board's tables."""

from __future__ import annotations

import base64
import binascii
import zlib
from typing import TYPE_CHECKING, Annotated, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from qpibench.evaluation.matching import first_of
from qpibench.evaluation.picks import MEDIAN, pick_by_rank
from qpibench.grid import central_pixels
from qpibench.records import Closed, Count, Finite
from qpibench.tasks.species import first_kernel

if TYPE_CHECKING:
    from qpibench.evaluation.predictions import Predictions
    from qpibench.release import Release

MOST_PIXELS = 64
"""Largest number of pixels per side; larger images are averaged over squares of pixels."""

_SIDE = Annotated[int, Field(ge=1, le=MOST_PIXELS)]
_SAME = 2  # grey levels: rounding may move a pixel by one


class MedianImage(Closed):
    """The image whose error is the median of the predicted images of a task."""

    observation: Count = Field(description="Row of the image in the release.")
    error: Finite = Field(
        description="What the ranking score is made of: the value of its first column for this image."
    )
    ny: _SIDE = Field(description="Rows of a picture.")
    nx: _SIDE = Field(description="Columns of a picture.")
    pixels: Annotated[str, Field(max_length=30_000)] = Field(
        description="Three pictures of ny by nx bytes, y up: the observation, from its least value (0) to its largest"
        " (255), and the true and the predicted kernel, both from the least to the largest value of the truth;"
        " compressed by zlib, in Base64. Kernels smaller than the observation are enlarged to its size. With two"
        " species the kernels are those of the first."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        self.pictures()
        return self

    def pictures(self) -> NDArray[np.uint8]:
        """Observation, true kernel and predicted kernel, (3, ny, nx) from 0 to 255."""
        size = 3 * self.ny * self.nx
        try:
            decoder = zlib.decompressobj()
            content = decoder.decompress(base64.b64decode(self.pixels, validate=True), size + 1)
        except (binascii.Error, zlib.error, ValueError):
            raise ValueError("pixels is not Base64 of what zlib compressed") from None
        if len(content) != size:
            raise ValueError(f"pixels has {len(content)} bytes or more, expected are 3 x {self.ny} x {self.nx}")
        return np.frombuffer(content, np.uint8).reshape(3, self.ny, self.nx)

    def shows_the_same(self, other: MedianImage) -> bool:
        """Whether another median image shows the same image with the same grey levels, up to rounding."""
        if (self.observation, self.ny, self.nx) != (other.observation, other.ny, other.nx):
            return False
        return bool(np.abs(self.pictures().astype(int) - other.pictures()).max() <= _SAME)


def median_image(
    predictions: Predictions, release: Release, task: str, errors: NDArray[np.float64], *, lower_is_worse: bool
) -> MedianImage | None:
    """Return the image with the median error, or None if no image of the task was predicted.

    Parameters
    ----------
    predictions, release, task
        As in :func:`~qpibench.evaluation.image_scores.score_images`.
    errors
        (n,) error of every image in the order of the predictions; NaN where there is no prediction.
    lower_is_worse
        Whether a lower value is a worse one, as for SSIM.

    Raises
    ------
    InvalidDataError
        If the images of the release are damaged; see :meth:`~qpibench.release.Release.check`.
    """
    picks = pick_by_rank(-errors if lower_is_worse else errors, worst=0, best=0)
    row = next((pick.row for pick in picks if pick.label == MEDIAN), None)
    if row is None:
        return None
    release.check("image")
    observation = int(predictions.index(task)[row])
    kernel = first_of(predictions.kernel(task, slice(row, row + 1)), predictions, release, task, row)
    truth = central_pixels(release.kernels.image[first_kernel(release)[observation]], kernel.shape)
    limits = float(truth.min()), float(truth.max())
    seen = _shrunk(release.image(np.array([observation]))[0])
    known, predicted = (_enlarged(_shrunk(image), seen.shape) for image in (truth, kernel))
    pictures = np.stack(
        [_grey(seen, (float(seen.min()), float(seen.max()))), _grey(known, limits), _grey(predicted, limits)]
    )
    return MedianImage(
        observation=observation,
        error=float(errors[row]),
        ny=pictures.shape[1],
        nx=pictures.shape[2],
        pixels=base64.b64encode(zlib.compress(pictures.tobytes(), 9)).decode(),
    )


def _shrunk(image: NDArray[np.float32]) -> NDArray[np.float64]:
    """Average over squares of pixels, so that no side exceeds :data:`MOST_PIXELS`; incomplete squares are dropped."""
    side = -(-max(image.shape) // MOST_PIXELS)
    ny, nx = max(1, image.shape[0] // side), max(1, image.shape[1] // side)
    kept = image[: ny * side, : nx * side].astype(np.float64)
    means: NDArray[np.float64] = kept.reshape(ny, kept.shape[0] // ny, nx, kept.shape[1] // nx).mean(axis=(1, 3))
    return means


def _enlarged(image: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.float64]:
    """Repeat pixels until a smaller image has a shape; where they do not fit, some are repeated once more."""
    y, x = (np.arange(wanted) * have // wanted for wanted, have in zip(shape, image.shape, strict=True))
    return image[np.ix_(y, x)]


def _grey(image: NDArray[np.float64], limits: tuple[float, float]) -> NDArray[np.uint8]:
    low, high = limits
    span = (high - low) or 1.0
    return np.rint(255 * np.clip((image - low) / span, 0, 1)).astype(np.uint8)
