"""Symmetry error: how far a predicted kernel is from the rotational symmetry of the true one.

It is not a difference from the true kernel: a constant is symmetric under all rotations, so it must not rank entries.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from qpibench.evaluation.metrics import Case, Metric, PerImage, Values
from qpibench.grid import Grid
from qpibench.physics.polar import inscribed_radii, on_rays, pixels_on_rays

_PIXELS_PER_PART = 6.0
_FOLDS = 12  # the number of rays is a multiple of it, so that a rotation by 2, 3, 4 or 6 turns rays into rays


def symmetry_error(case: Case) -> Values:
    """Relative L2 difference of a prediction from its mean over the rotations of the true kernel's fold.

    The prediction is sampled by its cubic spline on rays in the largest centred disc. Left out are the core, and the
    centre where a circle around the scatterer has less than 6 pixels for each of the n parts that the symmetry maps
    onto each other. Points have the weight of their area. A rotation by 360/n degrees turns rays into rays; with total
    symmetry the mean is that over all rays. The error is 0 if the prediction is zero or the fold is not known.
    """
    error = np.zeros(len(case.prediction))
    pixels, radius = _disc(case.grid)
    pitch = max(case.grid.pitch_x_nm, case.grid.pitch_y_nm)
    for row, fold in enumerate(_folds(case)):
        scale = np.abs(case.prediction[row]).max()
        if fold >= 0 and scale != 0:
            area = np.where(radius >= max(case.core_nm, _PIXELS_PER_PART * pitch * fold / (2 * np.pi)), radius, 0.0)
            rays = on_rays(case.prediction[row] / scale, pixels)
            turned = rays.reshape(int(fold) or len(rays), -1, rays.shape[1])
            norm = float((area * rays**2).sum())
            difference = float((area * (turned - turned.mean(axis=0)) ** 2).sum())
            error[row] = np.sqrt(difference / norm) if norm != 0 else 0.0
    return error


def fold_known(case: Case) -> Values:
    """1 where the fold of the true kernel is known, else 0."""
    return (_folds(case) >= 0).astype(np.float64)


def _folds(case: Case) -> NDArray[np.integer]:
    if case.fold is None:
        raise ValueError("a metric uses the fold, but uses does not say so")
    return case.fold


@lru_cache(maxsize=4)
def _disc(grid: Grid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pixels on rays, (2, ray, r), about two pixels apart at the edge, and radii (r,) in nm."""
    radius = inscribed_radii(grid)
    count = _FOLDS * int(np.ceil(np.pi * len(radius) / _FOLDS))
    return pixels_on_rays(grid, radius, count), radius


METRICS = (
    Metric(
        name="symmetry_error",
        label="symmetry error",
        description=(
            "Relative L2 difference of the prediction from its mean over the rotations of the true kernel's fold, in"
            " the largest centred disc outside the core, mean over the images of known fold; a constant scores 0."
        ),
        better="lower",
        bounds=(0.0, 1.0),
        columns=(
            PerImage(name="symmetry_error", measure=symmetry_error, uses=("fold",)),
            PerImage(name="fold_known", measure=fold_known, worse=None, uses=("fold",)),
        ),
        aggregation="ratio",
        on_board=False,
        ranks=False,
    ),
)
