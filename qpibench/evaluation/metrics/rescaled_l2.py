"""Relative L2 error after the best positive scale and a small shift of the prediction.

The gain of an instrument is unknown, so the images of a kernel do not tell its amplitude; and told positions with a
common error tell the kernel with the opposite shift. The shift is at most two standard deviations of the told positions
along y and along x, and 0 if they are exact. :mod:`qpibench.evaluation.alignment` states the shift, the treatment of
the core and the search. Zeros score 1, and no prediction scores more.
"""

from __future__ import annotations

import numpy as np

from qpibench.evaluation.metrics import Case, Metric, PerImage, Values
from qpibench.evaluation.metrics.relative_l2 import relative_l2_outside


def relative_l2_rescaled(case: Case) -> Values:
    """Relative L2 error outside the core after the best positive scale and small shift; that of zeros is 1."""
    from qpibench.evaluation.alignment import least_errors  # its import loads SciPy

    limit_nm = min(case.shift_nm, case.grid.size_y_nm), min(case.shift_nm, case.grid.size_x_nm)
    return least_errors(case, relative_l2_outside(case), limit_nm=limit_nm, either_sign=False)


RESCALED = PerImage(
    name="rel_l2_rescaled", label="relative L2 error up to scale and small shift", measure=relative_l2_rescaled
)

METRICS = (
    Metric(
        name="rel_l2_rescaled_capped",
        label="relative L2 up to scale and small shift",
        description=(
            "Mean over images of the relative L2 error outside the core after the best positive scale of the prediction"
            " and its best shift within two standard deviations of the told positions."
        ),
        better="lower",
        bounds=(0.0, 1.0),
        columns=(RESCALED,),
        of=lambda error: np.minimum(error, 1.0),
        at_most="rel_l2_outside_capped",
    ),
    Metric(
        name="rel_l2_rescaled_median",
        label="relative L2 up to scale and small shift, median",
        description=(
            "Relative L2 error outside the core after the best positive scale and small shift of the prediction, median"
            " over images."
        ),
        better="lower",
        bounds=(0.0, 1.0),
        columns=(RESCALED,),
        aggregation="quantile",
        quantile=0.5,
        at_most="rel_l2_outside_median",
        on_board=False,
    ),
)
