"""Relative L2 error ``||p - t|| / ||t||``, with the Euclidean norm over pixels; its capped mean ranks entries.

Zeros score exactly 1. Kernels of a lattice or a surface state have most of their energy in a core around the scatterer,
which tells nothing about the waves; their errors are taken over the pixels outside of it. Without a core these are all
pixels.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from qpibench.evaluation.metrics import Case, Images, Metric, PerImage, Values


def relative_l2(case: Case) -> Values:
    """Relative L2 error; against a truth of zeros, zeros score 0 and everything else infinity."""
    error, norm = (np.sqrt(_sum_of_squares(images)) for images in (case.error, case.known))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((norm == 0) & (error == 0), 0.0, error / norm)


def relative_l2_outside(case: Case) -> Values:
    """Relative L2 error over the pixels whose distance from the scatterer is at least the radius of the core."""
    outside = outside_core(case)
    return relative_l2(replace(case, prediction=case.prediction * outside, truth=case.known * outside))


def outside_core(case: Case) -> NDArray[np.bool_]:
    """Return which pixels, (y, x), are at least as far from the scatterer as the radius of the core."""
    x, y = case.grid.x_nm, case.grid.y_nm[:, None]
    return np.asarray(x * x + y * y >= case.core_nm**2)


def _sum_of_squares(images: Images) -> Values:
    total: Values = np.einsum("nyx,nyx->n", images, images)
    return total


RELATIVE_L2 = PerImage(name="rel_l2", label="relative L2 error", measure=relative_l2)
OUTSIDE = PerImage(name="rel_l2_outside", label="relative L2 error outside the core", measure=relative_l2_outside)

METRICS = (
    Metric(
        name="rel_l2_capped",
        label="relative L2, capped",
        description="Mean over images of min(relative L2 error, 1).",
        better="lower",
        bounds=(0.0, 1.0),
        columns=(RELATIVE_L2,),
        of=lambda error: np.minimum(error, 1.0),
        at_most="rel_l2_mean",
    ),
    Metric(
        name="rel_l2_mean",
        label="relative L2, mean",
        description="Relative L2 error ‖p - t‖ / ‖t‖, mean over images.",
        better="lower",
        columns=(RELATIVE_L2,),
        on_board=False,
    ),
    Metric(
        name="rel_l2_median",
        label="relative L2, median",
        description="Relative L2 error, median over images.",
        better="lower",
        columns=(RELATIVE_L2,),
        aggregation="quantile",
        quantile=0.5,
        at_most="rel_l2_q90",
    ),
    Metric(
        name="rel_l2_q90",
        label="relative L2, 90 % quantile",
        description="Relative L2 error, 90 % quantile over images.",
        better="lower",
        columns=(RELATIVE_L2,),
        aggregation="quantile",
        quantile=0.9,
        on_board=False,
    ),
    Metric(
        name="rel_l2_outside_capped",
        label="relative L2 outside the core, capped",
        description="Mean over images of min(relative L2 error over the pixels outside the core, 1).",
        better="lower",
        bounds=(0.0, 1.0),
        columns=(OUTSIDE,),
        of=lambda error: np.minimum(error, 1.0),
    ),
    Metric(
        name="rel_l2_outside_median",
        label="relative L2 outside the core, median",
        description="Relative L2 error over the pixels outside the core, median over images.",
        better="lower",
        columns=(OUTSIDE,),
        aggregation="quantile",
        quantile=0.5,
        on_board=False,
    ),
)
