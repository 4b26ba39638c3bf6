"""Weights of the regularised deconvolution, which follow from the noise of the image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.deconvolution import Lattice, LeastSquares, Penalty, envelope_penalty, penalty, superposition
from shared.extractor import Observation
from shared.noise import noise_level, noise_to_signal

MOST_NOISE = 100.0
"""Largest ratio of noise to signal that the weights follow."""

LEAST_VARIANCE = 1e-3
"""Least variance of an image that the model error refers to, over its largest square."""

Solver = Callable[[LeastSquares, Lattice], Lattice]
"""Minimises, from coefficients to start from."""


@dataclass(frozen=True, kw_only=True)
class Smoothing:
    """Constants of the weights of the two solutions of :func:`deconvolved`.

    They were chosen by coordinate search on 24 images drawn like those of the release `paper`, from another seed, clean
    and with noise at 10 and 0 dB, for the least mean of the relative L2 errors of ``tikhonov`` and ``positive``.

    Attributes
    ----------
    smoothness, confinement
        Of the first solution. With the number n of scatterers and the ratio q of the variances of noise and signal,
        n (smoothness + smoothness_by_noise q) weighs the squared Laplacian of the coefficients, and
        n (confinement + confinement_by_noise q) (r / L)^4 their squares.
    final_smoothness
        Of the second solution, in place of ``smoothness``.
    smoothness_by_noise, confinement_by_noise
        Their increase with q.
    smoothness_factor, confinement_factor
        Factors of both weights in both solutions.
    model_error
        Variance that the model leaves of a pixel even without noise, over the variance of the image.
    """

    smoothness: float = 0.03
    confinement: float = 0.5
    final_smoothness: float = 0.005
    smoothness_by_noise: float = 0.3
    confinement_by_noise: float = 0.1
    model_error: float = 1e-3
    smoothness_factor: float = 1.0
    confinement_factor: float = 1.0

    def __post_init__(self) -> None:
        for name in ("smoothness_factor", "confinement_factor"):
            if not 0 < getattr(self, name) < np.inf:
                option = name.removesuffix("_factor")
                raise ValueError(f"the option {option} is a factor above 0, found {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class Deconvolved:
    """Coefficients of the kernel in the units of the image, and the noise level that was taken."""

    coefficient: Lattice
    noise: float


def deconvolved(
    observation: Observation, smoothing: Smoothing, first: Solver, final: Solver, *, noise: float | None = None
) -> Deconvolved:
    """Solve twice: confined by the distance, then confined by the envelope of the first solution.

    Parameters
    ----------
    observation
        Image and scatterers.
    smoothing
        Constants of the weights.
    first, final
        Minimise in the first and in the second solution.
    noise
        Standard deviation of the noise in the units of the image; estimated from the image without it.

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
        return Deconvolved(coefficient=nothing, noise=0.0)
    image = np.where(observation.seen, observation.image, np.nan) / scale
    sigma = noise_level(image) if noise is None else noise / scale
    ratio = min(noise_to_signal(image, sigma), MOST_NOISE)
    shown = np.nan_to_num(image).astype(np.float32)

    def problem(weights: Penalty) -> LeastSquares:
        return LeastSquares(model=model, image=shown, penalty=weights)

    grid = observation.grid
    smoothness = [
        smoothing.smoothness_factor * model.scale * (least + smoothing.smoothness_by_noise * ratio)
        for least in (smoothing.smoothness, smoothing.final_smoothness)
    ]
    confinement = smoothing.confinement + smoothing.confinement_by_noise * ratio
    weights = penalty(
        grid,
        model.lattice,
        smoothness=smoothness[0],
        confinement=smoothing.confinement_factor * model.scale * confinement,
    )
    start = first(problem(weights), nothing)
    if not start.any():
        return Deconvolved(coefficient=nothing, noise=scale * sigma)
    # A constant image has no variance, but the model does not explain it without an error.
    variance = max(float(np.var(used / scale)), LEAST_VARIANCE)
    raster = raster_variance(image, observation.scatterers.cell, sigma)
    unexplained = sigma**2 + raster + smoothing.model_error * variance
    weights = envelope_penalty(
        grid, start, smoothness=smoothness[1], unexplained=smoothing.confinement_factor * unexplained
    )
    return Deconvolved(coefficient=np.float32(scale) * final(problem(weights), start), noise=scale * sigma)


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
