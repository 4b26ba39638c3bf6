r"""The least relative L2 error of a kernel over shifts and scales of its prediction.

A shift d is the sum of whole pixels k and a rest f of at most half a pixel along y and x. The error of a prediction p
of a truth t, with the Euclidean norm over the pixels outside the core, is

$$\min_{s, k, f} \frac{\lVert s\, p(x - k) - t(x + f) \rVert}{\lVert t(x + f) \rVert}$$

The order of operations is: the whole prediction is shifted by k, with zeros beyond its window, and the whole truth by
-f; then the pixels of the truth's core are left out of both; then the prediction is scaled by s. A scale of 0 is
allowed, so the error is at most 1.

*Shifts by a part of a pixel* are those of the truth, because it is smooth: a shift of the prediction by half a pixel
would average its noise away. The truth is interpolated by a quintic spline along y and x (``make_interp_spline`` of
SciPy, not-a-knot), which also extrapolates it by half a pixel.

*Search.* The best s leaves the error ``sqrt(1 - c^2)``, where c is the cosine between p(x - k) and t(x + f). Its square
is computed for all whole shifts with fast Fourier transforms, padded with zeros. The three highest peaks, with their
parabolas along y and x, are compared by the spline. The best of them is refined by Gauss-Newton steps of d (variable
projection: Golub and Pereyra, SIAM J. Numer. Anal. 10, 413, 1973; in the form of Kaufman, BIT 15, 49, 1975). A step is
halved until the error falls, and d stays within the limits.
The error has steps where k changes, because other pixels of the prediction count; with a noisy prediction the search
may end at such a step, above the least error by 0.01 or, in windows of about ten pixels, 0.02.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft2, next_fast_len, rfft2
from scipy.interpolate import BSpline, make_interp_spline
from scipy.ndimage import maximum_filter

from qpibench.evaluation.metrics import Case, Values
from qpibench.evaluation.metrics.relative_l2 import outside_core

Pixels = NDArray[np.float64]
Shift = tuple[float, float]
"""Shift along y and x in pixels."""

_STARTS = 3
_STEPS = 6
_HALVINGS = 4
_ENOUGH_PX = 1e-3
"""Length of a step after which the search ends; the steps shrink quadratically if the prediction is exact."""

_ENOUGH_GAIN = 1e-5
"""Decrease of the error by a step after which the search ends."""

_LEAST_HEIGHT = 0.5
"""Least height of a peak, relative to the highest one, from which the search may start."""

_LEAST_SHARE = 1e-9
"""Least share of the prediction's energy in the overlap with the truth at which a whole shift is considered."""


def least_errors(case: Case, plain: Values, *, limit_nm: tuple[float, float], either_sign: bool) -> Values:
    """Return the least relative L2 error of every image, (n,), over shifts and scales of its prediction.

    Parameters
    ----------
    case
        The images, with the truth.
    plain
        (n,) the relative L2 errors outside the core without a shift and a scale, which are upper limits. An image
        whose plain error is 0 or not finite keeps it.
    limit_nm
        Largest shifts along y and x in nm, in both directions.
    either_sign
        Whether the scale may be negative.
    """
    grid = case.grid
    limit_px = limit_nm[0] / grid.pitch_y_nm, limit_nm[1] / grid.pitch_x_nm
    alignment = Alignment(limit_px=limit_px, outside=outside_core(case).astype(np.float64), either_sign=either_sign)
    errors = plain.copy()
    for k in np.flatnonzero(np.isfinite(plain) & (plain > 0)):
        errors[k] = min(plain[k], alignment.least_error(case.prediction[k], case.known[k]))
    return errors


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """What may be done to predictions before they are compared.

    Attributes
    ----------
    limit_px
        Largest shifts along y and x in pixels, in both directions.
    outside
        (y, x) 1 for the pixels that count, 0 for those of the core.
    either_sign
        Whether the scale may be negative.
    """

    limit_px: Shift
    outside: Pixels
    either_sign: bool

    def least_error(self, prediction: Pixels, truth: Pixels) -> float:
        """Return the least relative L2 error of a (y, x) prediction, from 0 to 1; the truth has a pixel that counts."""
        largest = float(np.abs(prediction).max())
        if largest == 0:
            return 1.0
        fit = _Fit(self, prediction / largest, truth)
        best = fit.trial((0.0, 0.0))
        if max(self.limit_px) > 0:
            peaks = fit.peaks()
            whole = [(float(round(y)), float(round(x))) for y, x in peaks]
            starts = [self.clipped(shift) for shift in (*whole, *peaks)]
            best = min([best, *map(fit.trial, starts)], key=lambda trial: trial.error)
            best = fit.refined(best)
        return min(best.error, 1.0)

    def clipped(self, shift: Shift) -> Shift:
        """Return the nearest shift within the limits."""
        y, x = (max(-limit, min(limit, each)) for each, limit in zip(shift, self.limit_px, strict=True))
        return y, x


@dataclass(frozen=True, kw_only=True)
class _Trial:
    """A shift with its best scale.

    Attributes
    ----------
    shift, error
        The shift, and the relative error with the best scale.
    rest
        The part of the shift within half a pixel.
    prediction
        The prediction shifted by whole pixels, without the core.
    half, along_x
        The truth shifted by the rest along y only, and the matrix that shifts it along x.
    truth
        The truth shifted by the rest, without the core.
    """

    shift: Shift
    error: float
    rest: Shift
    prediction: Pixels
    half: Pixels
    along_x: Pixels
    truth: Pixels


class _Fit:
    """A prediction and a truth."""

    def __init__(self, alignment: Alignment, prediction: Pixels, truth: Pixels) -> None:
        self.alignment, self.prediction, self.truth = alignment, prediction, truth

    def trial(self, shift: Shift) -> _Trial:
        """Shift the prediction by whole pixels and the truth by the rest, and find the best scale."""
        whole = round(shift[0]), round(shift[1])
        rest = shift[0] - whole[0], shift[1] - whole[1]
        ny, nx = self.truth.shape
        half, along_x = _operator(ny, rest[0]) @ self.truth, _operator(nx, rest[1])
        truth = half @ along_x.T
        truth *= self.alignment.outside
        prediction = _shifted(self.prediction, whole)
        prediction *= self.alignment.outside
        energy, overlap = float(np.vdot(prediction, prediction)), float(np.vdot(prediction, truth))
        scale = overlap / energy if energy > 0 and (overlap > 0 or self.alignment.either_sign) else 0.0
        left = truth - scale * prediction
        norm = float(np.vdot(truth, truth))
        error = math.sqrt(np.vdot(left, left) / norm) if norm > 0 else 1.0
        return _Trial(
            shift=shift, error=error, rest=rest, prediction=prediction, half=half, along_x=along_x, truth=truth
        )

    def peaks(self) -> list[Shift]:
        """Shifts at the highest peaks of the squared cosine over whole shifts, each of them between pixels."""
        shape = self.prediction.shape
        reach = [min(math.ceil(limit), n - 1) for limit, n in zip(self.alignment.limit_px, shape, strict=True)]
        size = [next_fast_len(n + r, real=True) for n, r in zip(shape, reach, strict=True)]
        lags = np.ix_(*(np.arange(-r, r + 1) % n for r, n in zip(reach, size, strict=True)))

        def correlation(still: Pixels, moving: Pixels) -> Pixels:
            product = rfft2(still, size) * rfft2(moving, size).conj()
            found: Pixels = irfft2(product, size, overwrite_x=True)[lags]
            return found

        overlap = correlation(self.truth * self.alignment.outside, self.prediction)
        if not self.alignment.either_sign:
            overlap = np.maximum(overlap, 0.0)
        energy = correlation(self.alignment.outside, self.prediction**2)
        least = _LEAST_SHARE * float(np.vdot(self.prediction, self.prediction))
        return [(y - reach[0], x - reach[1]) for y, x in _peaks(overlap**2 / np.maximum(energy, least))]

    def refined(self, trial: _Trial) -> _Trial:
        """Return the best shift found from a start."""
        for _ in range(_STEPS):
            step = self._step(trial)
            for _ in range(_HALVINGS):
                found = self.trial(self.alignment.clipped((trial.shift[0] + step[0], trial.shift[1] + step[1])))
                if found.error < trial.error:
                    break
                step = (step[0] / 2, step[1] / 2)
            else:
                return trial
            gain, trial = trial.error - found.error, found
            if max(map(abs, step)) < _ENOUGH_PX or gain < _ENOUGH_GAIN:
                break
        return trial

    def _step(self, trial: _Trial) -> Shift:
        """Gauss-Newton step of the shift, at most a pixel; along one axis where the other one is at its limit."""
        ny, nx = self.truth.shape
        energy = float(np.vdot(trial.truth, trial.truth))
        if energy == 0:
            return 0.0, 0.0
        scale = float(np.vdot(trial.truth, trial.prediction)) / energy
        left = trial.prediction - scale * trial.truth
        slopes = [
            _operator(ny, trial.rest[0], derivative=True) @ self.truth @ trial.along_x.T,
            trial.half @ _operator(nx, trial.rest[1], derivative=True).T,
        ]
        for slope in slopes:
            slope *= scale * self.alignment.outside
            slope -= np.vdot(slope, trial.truth) / energy * trial.truth
        gradient = np.array([np.vdot(slope, left) for slope in slopes])
        curvature = np.array([[np.vdot(a, b) for b in slopes] for a in slopes])
        free = np.array(
            [
                abs(at) < limit or at * towards < 0
                for at, limit, towards in zip(trial.shift, self.alignment.limit_px, gradient, strict=True)
            ]
        )
        step = np.zeros(2)
        step[free] = np.linalg.pinv(curvature[np.ix_(free, free)]) @ gradient[free]
        step /= max(1.0, float(np.abs(step).max()))
        return float(step[0]), float(step[1])


def _peaks(score: Pixels) -> list[Shift]:
    """Return the places of the highest peaks of a map, (row, column), each of them between pixels."""
    y, x = np.nonzero(score == maximum_filter(score, 3, mode="constant"))
    top, offsets = score[y, x], []
    height = top.copy()
    for axis, at in enumerate((y, x)):
        n = score.shape[axis]
        before, after = (np.maximum(at - 1, 0), x), (np.minimum(at + 1, n - 1), x)
        if axis == 1:
            before, after = (y, np.maximum(at - 1, 0)), (y, np.minimum(at + 1, n - 1))
        inside = (at > 0) & (at < n - 1)
        slope = np.where(inside, (score[after] - score[before]) / 2, 0.0)
        bend = np.where(inside, 2 * top - score[after] - score[before], 0.0)
        offset = np.divide(slope, bend, out=np.zeros_like(slope), where=bend > 0)
        height += slope * offset / 2
        offsets.append(offset)
    highest = np.argsort(-height, kind="stable")[:_STARTS]
    kept = highest[height[highest] >= _LEAST_HEIGHT * height[highest[0]]]
    return [(float(y[k] + offsets[0][k]), float(x[k] + offsets[1][k])) for k in kept]


def _shifted(image: Pixels, shift: tuple[int, int]) -> Pixels:
    """Shift an image by whole pixels, less than its size; zeros move in."""
    result = np.zeros_like(image)
    to, source = (
        tuple(slice(max(sign * each, 0), n + min(sign * each, 0)) for each, n in zip(shift, image.shape, strict=True))
        for sign in (1, -1)
    )
    result[to] = image[source]
    return result


def _operator(n: int, rest: float, *, derivative: bool = False) -> Pixels:
    """Return the (n, n) matrix that gives the values of n pixels, or their derivatives, a part of a pixel further."""
    matrix: Pixels = _splines(n)[derivative](np.arange(n) + rest)
    return matrix


@cache
def _splines(n: int) -> tuple[BSpline, BSpline]:
    """Return the spline through each of n pixels that is 1 there and 0 at the others, and its derivative."""
    spline = make_interp_spline(np.arange(n), np.eye(n), k=5 if n > 5 else 1)
    return spline, spline.derivative()
