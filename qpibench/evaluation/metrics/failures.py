"""Failure rate: the share of images whose prediction is no better than zeros."""

from __future__ import annotations

from qpibench.evaluation.metrics import Metric
from qpibench.evaluation.metrics.relative_l2 import RELATIVE_L2

METRICS = (
    Metric(
        name="failure_rate",
        label="failure rate",
        description="Share of images without a prediction or with a relative L2 error of at least 1, that of zeros.",
        better="lower",
        bounds=(0.0, 1.0),
        columns=(RELATIVE_L2,),
        aggregation="share",
        of=lambda error: error >= 1,
        at_most="rel_l2_capped",
        counts_failures=True,
    ),
)
