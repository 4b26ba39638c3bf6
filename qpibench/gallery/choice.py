"""Choice of the kernels and the images of a release that a gallery shows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qpibench.families import get_family
from qpibench.specs import ReleaseSpec
from qpibench.specs.species import species_count
from qpibench.synthesis.contract import Kernels
from qpibench.synthesis.cpu import CpuBackend
from qpibench.synthesis.drafts import draw
from qpibench.synthesis.draws import draw_parameters
from qpibench.synthesis.species import kernel_rows

PER_ROW = 5
"""Panels in a row of a gallery."""

MOST_KERNELS = 2 * PER_ROW

WANTED_SCATTERERS = 12
"""The effect of corruptions is shown on an image with about as many: single ripples are visible, and they overlap."""

_SEARCHED_KERNELS = 64  # strata alternate, so the first kernels have all that are common
_SEARCHED_IMAGES = 32


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The kernels and images that a gallery shows.

    Attributes
    ----------
    kernels
        The first kernels of the release, as many as are needed for `rows` and `images`.
    lines
        Rows of the kernels to show, as lines of panels: some draws of each stratum, in the order of the strata. With
        two species, a line has the kernels of one species, and the kernels of a pair are below each other.
    images
        Indices of the observations to show.
    example
        Index of the observation on which effects are shown.
    """

    kernels: Kernels
    lines: tuple[tuple[int, ...], ...]
    images: tuple[int, ...]
    example: int

    @property
    def rows(self) -> list[int]:
        """Rows of all kernels to show."""
        return [row for line in self.lines for row in line]


def choose(spec: ReleaseSpec) -> Choice:
    """Choose kernels of every stratum, and images of different kernels."""
    searched = min(spec.kernels.count, _SEARCHED_KERNELS)
    strata = draw_parameters(spec, domain="benchmark", stop=searched)[get_family(spec.kernels.family).STRATUM]
    chosen = _draws_of_strata(strata, MOST_KERNELS // species_count(spec))
    per_kernel = spec.observations_per_kernel
    places = ((kernel, image) for image in range(per_kernel) for kernel in chosen[:: max(1, len(chosen) // PER_ROW)])
    images = tuple(kernel * per_kernel + image for (kernel, image), _ in zip(places, range(PER_ROW), strict=False))
    start = chosen[0] * per_kernel
    counts = draw(spec, start, start + min(per_kernel, _SEARCHED_IMAGES), domain="benchmark").n_drawn
    example = start + int(np.abs(counts - WANTED_SCATTERERS).argmin())
    kernels = CpuBackend().kernels(spec, count=max(*chosen, *(image // per_kernel for image in images)) + 1)
    starts = range(0, len(chosen), PER_ROW)
    lines = [line for start in starts for line in kernel_rows(spec, np.array(chosen[start : start + PER_ROW])).T]
    return Choice(kernels=kernels, lines=tuple(tuple(line.tolist()) for line in lines), images=images, example=example)


def _draws_of_strata(strata: NDArray[np.int32], most: int) -> tuple[int, ...]:
    """Numbers of the first kernels or pairs of each stratum, as many of each and `most` in all, sorted by stratum."""
    different = np.unique(strata)[:most]
    draws = min(most // len(different), PER_ROW)
    return tuple(int(row) for stratum in different for row in np.flatnonzero(strata == stratum)[:draws])
