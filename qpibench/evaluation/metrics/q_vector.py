"""Error of the wavevector q of a kernel's ripples, in rad/nm.

The strongest ring of the predicted kernel (:mod:`qpibench.physics.q_vector`) is compared with q of the true kernel's
formula. A kernel whose formula gives no single q, such as those of most lattices, is compared along 12 directions with
the strongest peaks of the true kernel, and its values are means over the directions in which that peak is clear.

Half a Fourier bin is pi/L, with L the smaller side of the field. An error above it is a failure and counts as pi/L; so
does a prediction without a ring. An image is scored if the finder works on its true kernel: if the ring lies within
pi/(2 L) of q of the formula, or some direction has a clear peak. Even an exact prediction has the error of the finder.
"""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qpibench.evaluation.metrics import Case, Metric, PerImage, Used, Values
from qpibench.grid import Grid
from qpibench.physics.q_vector import direction_wavevectors, ring_wavevector


@dataclass(frozen=True)
class _Compared:
    """Error in rad/nm, share of failures, and whether the image is scored, (n,) each; 0 where it is not."""

    error: Values
    failed: Values
    scored: Values


_latest: tuple[weakref.ref[Case], _Compared] | None = None  # three columns share one comparison


def q_error(case: Case) -> Values:
    """Error of q in rad/nm, at most pi/L; 0 where the image is not scored."""
    return _compared(case).error


def q_failed(case: Case) -> Values:
    """1 where the error of q is above pi/L, or the share of directions in which it is; 0 where it is not scored."""
    return _compared(case).failed


def q_scored(case: Case) -> Values:
    """1 where q of the true kernel can be found, else 0."""
    return _compared(case).scored


def _compared(case: Case) -> _Compared:
    global _latest
    if _latest is None or _latest[0]() is not case:
        _latest = weakref.ref(case), _compare(case)
    return _latest[1]


def _compare(case: Case) -> _Compared:
    if case.wavevector is None:
        raise ValueError("a metric measures against the wavevector, but uses does not say so")
    limit = np.pi / min(case.grid.size_x_nm, case.grid.size_y_nm)
    error, failed, scored = (np.zeros(len(case.prediction)) for _ in range(3))

    known = np.isfinite(case.wavevector)
    q = case.wavevector[known]
    of_truth, of_prediction = (_rings(case, images[known]) for images in (case.known, case.prediction))
    scored[known] = np.abs(of_truth - q) <= limit / 2
    error[known], failed[known] = _limited(of_prediction - q, limit)

    truth, clear = _directions(case, case.known[~known])
    error_along, failed_along = _limited(_directions(case, case.prediction[~known])[0] - truth, limit)
    count = np.maximum(clear.sum(axis=1), 1)
    scored[~known] = clear.any(axis=1)
    error[~known] = np.where(clear, error_along, 0).sum(axis=1) / count
    failed[~known] = (clear & failed_along).sum(axis=1) / count
    spoilt = np.where(np.isfinite(case.prediction).all(axis=(1, 2)), 1.0, np.nan)
    return _Compared(error * scored * spoilt, failed * scored * spoilt, scored)


def _limited(difference: NDArray[np.float64], limit: float) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Absolute differences, at most the limit, and which of them are above it; a difference of NaN is."""
    size = np.nan_to_num(np.abs(difference), nan=np.inf)
    return np.minimum(size, limit), size > limit


def _rings(case: Case, kernels: NDArray[np.floating]) -> Values:
    def found(each: NDArray[np.floating]) -> NDArray[np.float64]:
        return ring_wavevector(case.grid, each, core_nm=case.core_nm)[:, None]

    return _once(case, "ring", kernels, found)[:, 0]


def _directions(case: Case, kernels: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    def found(each: NDArray[np.floating]) -> NDArray[np.float64]:
        peaks = direction_wavevectors(case.grid, each, core_nm=case.core_nm)
        return np.concatenate([peaks.wavevector, peaks.clear], axis=1)

    wavevector, clear = np.split(_once(case, "directions", kernels, found), 2, axis=1)
    return wavevector, clear == 1


_MOST_REMEMBERED = 50_000  # about 30 MB; a suite has fewer kernels, and an entry fewer predictions of it
_remembered: dict[tuple[str, Grid, float, bytes], NDArray[np.float64]] = {}


def _once(
    case: Case,
    kind: str,
    kernels: NDArray[np.floating],
    measure: Callable[[NDArray[np.floating]], NDArray[np.float64]],
) -> NDArray[np.float64]:
    """Measure equal kernels once: images of a kernel, and cells, share truths; a constant entry has one."""
    keys = [(kind, case.grid, case.core_nm, hashlib.sha256(kernel.tobytes()).digest()) for kernel in kernels]
    known = {key: _remembered[key] for key in keys if key in _remembered}
    new = {key: row for row, key in enumerate(keys) if key not in known}
    measured = measure(kernels[list(new.values())])
    known.update(zip(new, measured, strict=True))
    if len(_remembered) + len(new) > _MOST_REMEMBERED:
        _remembered.clear()
    _remembered.update(known)
    return np.array([known[key] for key in keys]).reshape(len(keys), measured.shape[1])


_USES: tuple[Used, ...] = ("truth", "wavevector")
_ERROR = PerImage(name="q_error", label="error of q", measure=q_error, uses=_USES)
_FAILED = PerImage(name="q_failed", label="failure of q", measure=q_failed, uses=_USES)
_SCORED = PerImage(name="q_scored", label="q is scored", measure=q_scored, worse=None, uses=_USES)

METRICS = (
    Metric(
        name="q_error",
        label="error of q",
        unit="rad/nm",
        description=(
            "Error of the wavevector of the ripples against the formula (or along 12 directions against the true"
            " kernel), at most pi/L, mean over the images in which q of the true kernel can be found."
        ),
        better="lower",
        columns=(_ERROR, _SCORED),
        aggregation="ratio",
        ranks=False,
    ),
    Metric(
        name="q_failure_rate",
        label="failures of q",
        description=(
            "Share of images whose error of q is above pi/L, half a Fourier bin, among those in which q of the true"
            " kernel can be found (along 12 directions: the share of directions)."
        ),
        better="lower",
        bounds=(0.0, 1.0),
        columns=(_FAILED, _SCORED),
        aggregation="coverage",
        ranks=False,
    ),
    Metric(
        name="q_scored_share",
        label="q can be found",
        description=(
            "Share of images in which q of the true kernel can be found: within pi/(2 L) of the formula (or, along 12"
            " directions, with a clear peak); it does not depend on the entry."
        ),
        better="higher",
        bounds=(0.0, 1.0),
        columns=(_SCORED,),
        aggregation="share",
        on_board=False,
        ranks=False,
    ),
)
