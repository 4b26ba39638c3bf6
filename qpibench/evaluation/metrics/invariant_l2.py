"""Relative L2 error after the best shift, sign and scale of the prediction.

Blind deconvolution finds a kernel only up to these three: a shift of the kernel and the opposite shift of the
scatterers, or a factor of the kernel and its inverse in the scatterers, give the same image. The shift is at most a
quarter of the window along y and along x. :mod:`qpibench.evaluation.alignment` states the shift, the treatment of the
core and the search. Zeros score 1, and no prediction scores more.
"""

from __future__ import annotations

import numpy as np

from qpibench.evaluation.metrics import Case, Metric, PerImage, Values
from qpibench.evaluation.metrics.relative_l2 import relative_l2_outside

_LARGEST = 0.25
"""Largest shift along an axis, as a share of the window."""


def relative_l2_invariant(case: Case) -> Values:
    """Relative L2 error outside the core after the best shift, sign and scale; that of zeros is 1."""
    from qpibench.evaluation.alignment import least_errors  # its import loads SciPy

    limit_nm = _LARGEST * case.grid.size_y_nm, _LARGEST * case.grid.size_x_nm
    return least_errors(case, relative_l2_outside(case), limit_nm=limit_nm, either_sign=True)


INVARIANT = PerImage(
    name="rel_l2_invariant",
    label="relative L2 error up to shift, sign and scale",
    measure=relative_l2_invariant,
)

METRICS = (
    Metric(
        name="rel_l2_invariant_capped",
        label="relative L2 up to shift, sign, scale",
        description=(
            "Mean over images of the relative L2 error outside the core after the best shift (at most a quarter of the"
            " window), sign and scale of the prediction."
        ),
        better="lower",
        bounds=(0.0, 1.0),
        columns=(INVARIANT,),
        of=lambda error: np.minimum(error, 1.0),
        at_most="rel_l2_outside_capped",
    ),
    Metric(
        name="rel_l2_invariant_median",
        label="relative L2 up to shift, sign, scale, median",
        description=(
            "Relative L2 error outside the core after the best shift, sign and scale of the prediction, median over"
            " images."
        ),
        better="lower",
        bounds=(0.0, 1.0),
        columns=(INVARIANT,),
        aggregation="quantile",
        quantile=0.5,
        at_most="rel_l2_outside_median",
        on_board=False,
    ),
)
