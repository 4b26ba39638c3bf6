"""Excess over the Cramer-Rao bound: the error over the least one of unbiased estimates from images with white noise.

The bound of an image is the least variance of an unbiased estimate of the kernel by a method that knows its formula and
fold, summed over the pixels (the trace of the covariance); see :func:`qpibench.physics.bound.mean_variance`. It is
known for kernels of eq. 7 in images whose only corruption is white noise. An estimate that is biased may be below it,
such as that of a method that knows which kernels are likely. In strong noise no estimate reaches it, because it is the
bound of the linearised problem.
"""

from __future__ import annotations

import numpy as np

from qpibench.evaluation.metrics import Case, Metric, PerImage, Values

CONDITION_LIMIT = 1e4
"""Largest condition number of a Fisher matrix, scaled to a diagonal of ones, of an image that counts."""


def least_variance(case: Case) -> Values:
    """Bound on the mean squared error; 0 for an image that has none, or is ill-conditioned."""
    return np.where(np.isfinite(case.least), case.least, 0.0)


def bounded_error(case: Case) -> Values:
    """Mean squared error of an image with a bound, otherwise 0."""
    squared: Values = (case.error**2).mean(axis=(1, 2))
    return np.where(np.isfinite(case.least), squared, 0.0)


LEAST = PerImage(name="least_variance", measure=least_variance, worse=None, uses=("bound",))

METRICS = (
    Metric(
        name="excess",
        label="excess over the bound",
        description=(
            "Root of the summed squared error over the summed Cramer-Rao bound of unbiased estimates, over the"
            " well-conditioned images; biased estimates may be below 1."
        ),
        better="lower",
        columns=(PerImage(name="bounded_error", measure=bounded_error, uses=("truth", "bound")), LEAST),
        aggregation="root_ratio",
        ranks=False,
    ),
    Metric(
        name="ill_conditioned_share",
        label="ill-conditioned images",
        description=(
            "Share of the images whose Fisher matrix, scaled to a diagonal of ones, has a condition number above"
            f" {CONDITION_LIMIT:,.0f}, or whose bound exceeds the mean square of the kernel; excess leaves them out."
        ),
        better="lower",
        bounds=(0.0, 1.0),
        columns=(
            PerImage(
                name="ill_conditioned",
                measure=lambda case: np.isinf(case.least).astype(np.float64),
                worse=None,
                uses=("bound",),
            ),
            PerImage(
                name="with_bound",
                measure=lambda case: (~np.isnan(case.least)).astype(np.float64),
                worse=None,
                uses=("bound",),
            ),
        ),
        aggregation="coverage",
        on_board=False,
        ranks=False,
    ),
)
