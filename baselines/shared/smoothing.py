"""Weights of the regularised deconvolution, which follow from the noise of the image and from the error of the model.

The constants were chosen by coordinate search on 24 images drawn like those of the release `paper`, from another seed,
clean and with noise at 10 and 0 dB, for the least mean of the relative L2 errors of ``tikhonov`` and ``positive``. The
rule for the model error (``shared/held_out.py``) was chosen on draws of six specs from other seeds, clean, noisy and
with the errors of the track `robust`: out of blocks of a fourth to an eighth of the field, margins of 0 to 20 %, and
one or two sets of held-out blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from qpibench.grid import Grid
from shared.deconvolution import (
    Lattice,
    LeastSquares,
    Penalty,
    Superposition,
    envelope_penalty,
    penalty,
    superposition,
)
from shared.extractor import Observation
from shared.held_out import held_out, most
from shared.noise import noise_level

MOST_NOISE = 100.0
"""Largest ratio of noise to signal that the weights follow."""

LEAST_VARIANCE = 1e-3
"""Least variance of an image that the model error refers to, over its largest square."""

SMOOTHNESS, CONFINEMENT = 0.03, 0.5
"""Weights of the first solution without noise."""

FINAL_SMOOTHNESS = 0.005
"""Smoothness of the second solution without noise."""

SMOOTHNESS_BY_NOISE, CONFINEMENT_BY_NOISE = 0.3, 0.1
"""Increase of the weights with the ratio of the variances of noise and signal."""

MODEL_ERRORS = (1.0, 0.3, 0.1, 0.03, 0.001)
"""Shares of the image's variance that the model may leave beside noise and rounding."""

Solver = Callable[[LeastSquares, Lattice], Lattice]
"""Minimises, from coefficients to start from."""


@dataclass(frozen=True, kw_only=True)
class Smoothing:
    """What a user may state about the weights.

    Attributes
    ----------
    smoothness, confinement
        Factors of the weights.
    noise
        Standard deviation of the noise in the units of the image; estimated from the image if None.
    model_error
        Variance that the model leaves of a pixel beside noise and rounding, over the variance of the image; found by
        cross-validation if None.
    """

    smoothness: float = 1.0
    confinement: float = 1.0
    noise: float | None = None
    model_error: float | None = None

    def __post_init__(self) -> None:
        for name in ("smoothness", "confinement"):
            if not 0 < getattr(self, name) < np.inf:
                raise ValueError(f"the option {name} is a factor above 0, found {getattr(self, name)}")
        for name in ("noise", "model_error"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < np.inf:
                raise ValueError(f"the option {name} is a number from 0, found {value}")


@dataclass(frozen=True, kw_only=True)
class Deconvolved:
    """Coefficients of the kernel in the units of the image, with the noise and the model error that were taken."""

    coefficient: Lattice
    noise: float
    model_error: float


@dataclass(frozen=True, kw_only=True)
class Weighed:
    """Image of one observation, the superposition that explains it, and the weights that both ask for.

    Attributes
    ----------
    model
        Superposition at the scatterers.
    grid
        Grid of the image.
    image
        (y, x) float32 in units of its largest value; 0 where a pixel cannot be used.
    variance
        Variance of the image.
    noise_variance, raster_variance
        Variances of the noise, and of the rounding of positions in a raster.
    smoothing
        What the user states.
    """

    model: Superposition
    grid: Grid
    image: NDArray[np.float32]
    variance: float
    noise_variance: float
    raster_variance: float
    smoothing: Smoothing

    def ratio(self, model_error: float = 0.0) -> float:
        """Variance of noise and model error over that of the signal."""
        signal = self.variance - self.noise_variance
        unexplained = self.noise_variance + model_error * self.variance
        return min(unexplained / signal, MOST_NOISE) if signal > 0 else MOST_NOISE

    def first(self) -> LeastSquares:
        """Problem of the first solution."""
        scale, ratio = self.model.scale, self.ratio()
        return self._problem(
            penalty(
                self.grid,
                self.model.lattice,
                smoothness=self.smoothing.smoothness * scale * (SMOOTHNESS + SMOOTHNESS_BY_NOISE * ratio),
                confinement=self.smoothing.confinement * scale * (CONFINEMENT + CONFINEMENT_BY_NOISE * ratio),
            )
        )

    def second(self, first: Lattice, model_error: float) -> LeastSquares:
        """Problem of the second solution, for a first one and a model error."""
        unexplained = self.noise_variance + self.raster_variance + model_error * self.variance
        smoothness = FINAL_SMOOTHNESS + SMOOTHNESS_BY_NOISE * self.ratio(model_error)
        return self._problem(
            envelope_penalty(
                self.grid,
                first,
                smoothness=self.smoothing.smoothness * self.model.scale * smoothness,
                unexplained=self.smoothing.confinement * unexplained,
            )
        )

    def _problem(self, weights: Penalty) -> LeastSquares:
        return LeastSquares(model=self.model, image=self.image, penalty=weights)

    def model_error(self, first: Lattice, solve: Solver) -> float:
        """Largest model error with which the other pixels predict the held-out ones as well as they can.

        The error of a prediction is its mean square less that of the noise.
        """
        seen = self.model.seen > 0
        held = held_out(seen)
        if not held.any() or held.sum() == seen.sum():
            return MODEL_ERRORS[-1]
        kept = replace(self, model=replace(self.model, seen=(seen & ~held).astype(np.float32)))
        found = np.zeros_like(first)

        def error(model_error: float) -> float:
            nonlocal found
            found = solve(kept.second(first, model_error), found)
            residual = (self.model.shown(fft.rfft2(found)) - self.image)[held]
            return float(np.mean(residual**2)) - self.noise_variance

        return most(MODEL_ERRORS, error)


def deconvolved(observation: Observation, smoothing: Smoothing, solve: Solver, final: Solver) -> Deconvolved:
    """Solve twice: confined by the distance, then confined by the envelope of the first solution.

    Parameters
    ----------
    observation
        Image and scatterers.
    smoothing
        What the user states about the weights.
    solve
        Minimises in the first solution and in cross-validation.
    final
        Minimises in the second solution.

    Raises
    ------
    ValueError
        If no pixel can be used, or no scatterer lies in the field or near it.
    """
    model = superposition(observation)
    used = observation.image[observation.seen]
    scale = float(np.abs(used).max())
    nothing = np.zeros(model.lattice, dtype=np.float32)
    if scale == 0:
        return Deconvolved(coefficient=nothing, noise=0.0, model_error=0.0)
    image = np.where(observation.seen, observation.image, np.nan) / scale
    sigma = noise_level(image) if smoothing.noise is None else smoothing.noise / scale
    weighed = Weighed(
        model=model,
        grid=observation.grid,
        image=np.nan_to_num(image).astype(np.float32),
        # A constant image has no variance, but the model does not explain it without an error.
        variance=max(float(np.var(used / scale)), LEAST_VARIANCE),
        noise_variance=sigma**2,
        raster_variance=raster_variance(image, observation.scatterers.cell, sigma),
        smoothing=smoothing,
    )
    first = solve(weighed.first(), nothing)
    if not first.any():
        return Deconvolved(coefficient=nothing, noise=scale * sigma, model_error=0.0)
    model_error = smoothing.model_error
    if model_error is None:
        model_error = weighed.model_error(first, solve)
    coefficient = np.float32(scale) * final(weighed.second(first, model_error), first)
    return Deconvolved(coefficient=coefficient, noise=scale * sigma, model_error=model_error)


def raster_variance(image: NDArray[np.floating], cell: tuple[float, float], noise: float) -> float:
    """Variance of an image by positions that are known to a cell.

    Scatterers that lie anywhere in cells of c pixels have displacements of the variance c^2 / 12. As they are
    independent, the image varies by c^2 / 12 times the mean square of its gradient. The gradient is that of differences
    between neighbours, less the part of white noise.

    Parameters
    ----------
    image
        (y, x) observation, not finite where a pixel cannot be used.
    cell
        Sides of the cells in pixels along y and x.
    noise
        Standard deviation of the white noise.
    """
    total = 0.0
    for axis, side in enumerate(cell):
        steps = np.diff(image, axis=axis)
        steps = steps[np.isfinite(steps)]
        if side and steps.size:
            total += side**2 / 12 * max(float(np.mean(steps**2)) - 2 * noise**2, 0.0)
    return total
