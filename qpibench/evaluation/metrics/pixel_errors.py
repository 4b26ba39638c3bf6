"""Mean absolute and mean squared errors, in native units and in the published convention.

The published convention maps truth and prediction by the truth's minimum and maximum to [0, 1] and multiplies the error
by 2, which is the error of images on [-1, 1] (code of arXiv:2506.05325). R is the truth's range, see
:func:`qpibench.evaluation.metrics.value_range`.
"""

from __future__ import annotations

import numpy as np

from qpibench.evaluation.metrics import Case, Metric, PerImage, Values, value_range


def absolute_error(case: Case) -> Values:
    """Mean absolute error, ``mean |p - t|``."""
    error: Values = np.abs(case.error).mean(axis=(1, 2))
    return error


def squared_error(case: Case) -> Values:
    """Mean squared error, ``mean (p - t)^2``."""
    error: Values = (case.error**2).mean(axis=(1, 2))
    return error


def root_mean_square_error(case: Case) -> Values:
    """Root of the mean squared error, ``sqrt(mean (p - t)^2)``."""
    return np.sqrt(squared_error(case))


def absolute_error_published(case: Case) -> Values:
    """``2 mean |p - t| / R``."""
    return 2 * absolute_error(case) / value_range(case.known)


def squared_error_published(case: Case) -> Values:
    """``4 mean (p - t)^2 / R^2``."""
    return 4 * squared_error(case) / value_range(case.known) ** 2


def root_mean_square_error_published(case: Case) -> Values:
    """``2 sqrt(mean (p - t)^2) / R``."""
    return 2 * root_mean_square_error(case) / value_range(case.known)


METRICS = (
    Metric(
        name="mae",
        label="MAE",
        unit="native units",
        description="Mean absolute error per image, averaged over images.",
        better="lower",
        columns=(PerImage(name="mae", measure=absolute_error),),
        at_most="rmse",
    ),
    Metric(
        name="mse",
        label="MSE",
        unit="native units squared",
        description="Mean squared error per image, averaged over images.",
        better="lower",
        columns=(PerImage(name="mse", measure=squared_error),),
        on_board=False,
    ),
    Metric(
        name="rmse",
        label="RMSE",
        unit="native units",
        description="Root-mean-square error per image, averaged over images; not the root of the mean MSE.",
        better="lower",
        columns=(PerImage(name="rmse", measure=root_mean_square_error),),
        square_at_most="mse",
        on_board=False,
    ),
    Metric(
        name="mae_published",
        label="MAE, published convention",
        description="MAE in the published convention: 2 MAE / (truth's max - min).",
        better="lower",
        columns=(PerImage(name="mae_published", measure=absolute_error_published),),
        at_most="rmse_published",
    ),
    Metric(
        name="mse_published",
        label="MSE, published convention",
        description="MSE in the published convention: 4 MSE / (truth's max - min)^2.",
        better="lower",
        columns=(PerImage(name="mse_published", measure=squared_error_published),),
        on_board=False,
    ),
    Metric(
        name="rmse_published",
        label="RMSE, published convention",
        description="RMSE in the published convention: 2 RMSE / (truth's max - min).",
        better="lower",
        columns=(PerImage(name="rmse_published", measure=root_mean_square_error_published),),
        square_at_most="mse_published",
    ),
)
