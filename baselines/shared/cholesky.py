"""Cholesky factors of matrices that are positive definite but for rounding."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cholesky

ROUNDINGS = (0.0, 1e-15, 1e-13, 1e-11, 1e-9, 1e-7, 1e-5)
"""Shares of the largest diagonal element that are added to the diagonal, the first that suffices."""


def lower_factor(matrix: NDArray[np.float64], *, largest: float = 0.0) -> NDArray[np.float64]:
    """Lower Cholesky factor of a symmetric matrix, its diagonal raised as little as rounding demands.

    Parameters
    ----------
    matrix
        (n, n).
    largest
        Largest term of the sums that the matrix was computed from, if terms larger than its diagonal have cancelled:
        their rounding is left in it.

    Raises
    ------
    ValueError
        If the matrix is not positive definite by more than rounding, or not finite.
    """
    largest = float(np.diagonal(matrix).max(initial=largest))
    for rounding in ROUNDINGS:
        raised = matrix.copy()
        raised[np.diag_indices(len(matrix))] += rounding * largest
        try:
            factor: NDArray[np.float64] = cholesky(raised, lower=True, overwrite_a=True, check_finite=False)
        except LinAlgError:
            continue
        if np.isfinite(factor).all():
            return factor
    raise ValueError(
        "the normal equations of an image are not positive definite, so no kernel can be estimated from it"
    )
