r"""``polar`` together with the places, strengths and number of the scatterers.

A separable kernel in polar coordinates that explains the image with the told scatterers best is the start, with the
Gaussian-process prior of ``polar``. ``shared/refined.py`` then fits kernel and scatterers together, as far as the image
shows that the told ones are wrong:

- Marks of a raster move inside normal distributions as wide as their cells. Exact places and strengths get a normal
  spread if the evidence of the image, of a linearised Bayesian model, is greater with it; the evidence gives its size.
- The residual shows scatterers that are not told, told ones that are not there, and marks that stand for two: strengths
  that it would change by one, with all other variables following. A change stays if it makes the image more likely by
  enough.

``polar`` extracts the kernel with the scatterers that were found, or with the told ones if these are not wrong, so that
places that are right give what ``polar`` gives. The separable kernel of the fit is the result where ``polar`` ends with
more noise than the fit, or where the fit leaves less than a hundredth of the image and ``polar`` says otherwise. The
standard deviation includes what is left open of the scatterers, to first order. Diagnostics have the scatterers. Of
images with more than 4 million pairs of a pixel and a scatterer a random part of the pixels is used to refine.

Sources: those of ``polar``. Evidence of the spread: MacKay, Neural Computation 4, 415 (1992). The search for scatterers
is our own; it is a matching pursuit (Mallat and Zhang, IEEE Trans. Signal Process. 41, 3397, 1993) with score tests.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from polar import Model as Polar
from shared.extractor import Extraction, Extractor, Observation
from shared.free_polar import FreePolar, RadialFunctions
from shared.joint_fit import JointFit
from shared.observed import scatterer_points, seen_points
from shared.polar import ORIGIN, Points, pixels_of
from shared.polar_search import first_look
from shared.refined import refined, scatterers_found
from shared.scatterer_search import INSERTION_GAIN
from shared.scatterers import Scatterers

from qpibench.grid import Grid

needs = "raster"
knows: list[str] = []

CERTAIN = 0.5
"""Variance of the residual, over that with told scatterers, below which these are wrong for certain."""

SAME_NOISE = (0.8, 1.25)
"""Ratio of the noise by ``polar`` to that of the fit between which both have found the same kernel."""

LESS_NOISE = 0.7
"""The same below which the kernel is not separable and ``polar`` has found its harmonics."""

EXPLAINED = 0.01
"""Noise of the fit, over the standard deviation of the image, below which a separable kernel explains everything."""

LEAST_ODDS = 3.0
"""Natural logarithm of the odds of refined scatterers against told ones, of which ``polar`` gives the evidence."""


class Model(Extractor):
    """Extracts with ``polar`` from refined scatterers."""

    def extract(self, observation: Observation) -> Extraction:
        """See :class:`shared.extractor.Extractor`."""
        image, pixels = seen_points(observation)
        told = scatterer_points(observation.scatterers, observation.grid)
        first = first_look(image, pixels, told, observation.grid)
        if first is None:
            return Polar().extract(observation)
        functions = RadialFunctions.of_covariance(first.kernel.spacing_nm, first.covariance)
        start = FreePolar.of_kernel(first.kernel, functions)
        fit = refined(image, pixels, observation, start, nuisance=first.nuisance)
        if _unchanged(fit, told):
            return _with_scatterers(Polar().extract(observation), fit, observation)
        found = _with_scatterers(_extracted(observation, fit), fit, observation)
        if any(observation.scatterers.cell) or fit.noise < CERTAIN * first.noise**2:
            return found
        # The residual may be that of a kernel which is not separable: its harmonics would explain as much.
        base = Polar().extract(observation)
        odds = _evidence(found) - _evidence(base) - fit.occam - INSERTION_GAIN * abs(fit.scatterers.size - told.size)
        return found if odds > LEAST_ODDS else base


def _unchanged(fit: JointFit, told: Points) -> bool:
    return fit.scatterers.size == told.size and all(
        np.array_equal(one, other) for one, other in zip(fit.scatterers, told, strict=True)
    )


def _extracted(observation: Observation, fit: JointFit) -> Extraction:
    """The extraction by ``polar`` from the scatterers of a fit, or that of the fit if ``polar`` has lost the kernel."""
    grid = observation.grid
    row = fit.scatterers.y / grid.pitch_y_nm + (grid.ny - 1) / 2
    column = fit.scatterers.x / grid.pitch_x_nm + (grid.nx - 1) / 2
    scatterers = Scatterers(row, column, fit.scatterers.strength)
    try:
        found = Polar().extract(replace(observation, scatterers=scatterers))
    except ValueError:  # rounding has stopped it
        return _of_fit(observation, fit)
    noise, noise_of_fit = found.diagnostics.get("noise"), np.sqrt(fit.noise)
    if not isinstance(noise, float):
        return _of_fit(observation, fit)
    is_separable = noise_of_fit < EXPLAINED * fit.background.removed(fit.image).std()
    is_other = noise < LESS_NOISE * noise_of_fit and not is_separable
    is_same = SAME_NOISE[0] * noise_of_fit < noise < SAME_NOISE[1] * noise_of_fit
    return found if is_other or is_same else _of_fit(observation, fit)


def _of_fit(observation: Observation, fit: JointFit) -> Extraction:
    return Extraction(
        kernel=fit.kernel.image(observation.kernel_grid),
        kernel_full=fit.kernel.image(observation.grid.offsets),
        std=np.sqrt(_variance(fit, observation.kernel_grid, fit.known_covariance)),
        diagnostics={"noise": float(np.sqrt(fit.noise)), "kind": "separable"},
    )


def _with_scatterers(found: Extraction, fit: JointFit, observation: Observation) -> Extraction:
    """An extraction with the scatterers among its diagnostics, and with what they leave open in its deviations."""
    std = found.std
    if std is not None:
        left_open = fit.kernel_covariance() - fit.known_covariance
        std = np.sqrt(std**2 + _variance(fit, observation.kernel_grid, left_open))
    return replace(found, std=std, diagnostics={**found.diagnostics, **scatterers_found(fit)})


def _variance(fit: JointFit, grid: Grid, covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Variance (y, x) of the kernel for a covariance of its variables, to first order."""
    slopes = fit.kernel.superposed(pixels_of(grid), ORIGIN)[1]
    variance: NDArray[np.float64] = np.einsum("ap,ab,bp->p", slopes, covariance, slopes, optimize=True)
    return np.maximum(variance, 0).reshape(grid.shape)


def _evidence(found: Extraction) -> float:
    """Logarithm of the evidence that an extraction states, minus infinity if none."""
    evidence = found.diagnostics.get("evidence")
    return evidence if isinstance(evidence, float) else -np.inf
