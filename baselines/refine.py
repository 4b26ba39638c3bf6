r"""``polar`` together with the places, strengths and number of the scatterers.

A separable kernel in polar coordinates that explains the image with the told scatterers best is the start, with the
Gaussian-process prior of ``polar``. ``shared/refined.py`` then fits kernel and scatterers together, as far as the image
shows that the told ones are wrong:

- Marks of a raster move inside normal distributions as wide as their cells. Exact places and strengths get a normal
  spread if the evidence of the image, of a linearised Bayesian model, is greater with it; the evidence gives its size.
- The residual shows scatterers that are not told, told ones that are not there, and marks that stand for two: strengths
  that it would change by one, with all other variables following. A change stays if it makes the image more likely by
  enough.

Known places that leave less than a thousandth of the image are not refined. ``polar`` extracts the kernel with the
scatterers that were found, or with the told ones if these are not wrong, so that places that are right give what
``polar`` gives. Unless the told ones are wrong for certain, ``polar`` extracts with both, and its kernel or the
evidence tells which are right. If it finds another symmetry than the fit, the refinement begins again with this
symmetry, and the better fit counts. The separable kernel of the fit is the result where ``polar`` ends with more noise
than the fit, or with much less noise and another kernel though the fit leaves less than a hundredth of the image. The
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
from shared.background import Background
from shared.extractor import Extraction, Extractor, Observation
from shared.free_polar import FreePolar, RadialFunctions
from shared.harmonic_kernel import HarmonicKernel
from shared.joint_fit import JointFit, Priors
from shared.observed import rounding_nm, scatterer_points, seen_points
from shared.polar import ORIGIN, Points, pixels_of
from shared.polar_search import FirstLook, first_look
from shared.refined import refined, scatterers_found
from shared.scatterer_search import INSERTION_GAIN
from shared.scatterers import Scatterers

from qpibench.grid import Grid

needs = "raster"
knows: list[str] = []

RIGHT = 1e-6
"""Variance of the residual with told scatterers, over that of the image, up to which exact ones are taken to be right:
places that are wrong by a thousandth of a ripple's length, and do not matter, leave more."""

CERTAIN = 0.5
"""Variance of the residual, over that with told scatterers, below which these are wrong for certain."""

SAME_NOISE = (0.8, 1.12)
"""Ratio of the noise by ``polar`` to that of the fit between which both have found the same kernel."""

SAME_KERNEL = 0.1
"""Relative L2 distance of both kernels below which they are the same, and the less noise tells the better one."""

LESS_NOISE = 0.7
"""Ratio of the noises below which the kernel is not separable and ``polar`` has found its harmonics."""

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
        rounding = rounding_nm(observation.scatterers, observation.grid)
        first = first_look(image, pixels, told, observation.grid, rounding_nm=rounding)
        if first is None:
            return Polar().extract(observation)
        if first.noise**2 <= RIGHT * image.var() and not any(observation.scatterers.cell):
            found = Polar().extract(observation, first)
            background, priors = Background.of(pixels, first.nuisance), Priors.same(told, (0.0, 0.0))
            as_told = JointFit(image, pixels, _free(first), told, priors, background)
            return replace(found, diagnostics={**found.diagnostics, **scatterers_found(as_told)})
        fit = refined(image, pixels, observation, _free(first), nuisance=first.nuisance)
        if _unchanged(fit, told):
            return _with_scatterers(Polar().extract(observation, first), fit, observation)
        is_certain = any(observation.scatterers.cell) or fit.noise < CERTAIN * first.noise**2
        base = None if is_certain else Polar().extract(observation, first)
        if base is not None and fit.scatterers.size == told.size and _is_told(base, fit, told):
            return base
        second = _second_look(observation, fit)
        found = _extracted(observation, fit, second)
        if second is not None and not _agree(found, fit):
            # Wrong scatterers have hidden the symmetry at first, and a wrong symmetry moves them to wrong places.
            again = refined(image, pixels, observation, _free(second), nuisance=second.nuisance)
            if _cost(again) < _cost(fit):
                fit, found = again, _extracted(observation, again, _second_look(observation, again))
        found = _with_scatterers(found, fit, observation)
        if base is None or fit.noise < CERTAIN * first.noise**2:
            return found
        # The residual may be that of a kernel which is not separable: its harmonics would explain as much.
        odds = _evidence(found) - _evidence(base) - fit.occam - INSERTION_GAIN * abs(fit.scatterers.size - told.size)
        return found if odds > LEAST_ODDS else base


def _free(look: FirstLook) -> FreePolar:
    return FreePolar.of_kernel(look.kernel, RadialFunctions.of_covariance(look.kernel.spacing_nm, look.covariance))


def _agree(found: Extraction, fit: JointFit) -> bool:
    """Whether ``polar``, with the scatterers of a fit, finds its symmetry."""
    assert isinstance(fit.kernel, FreePolar)
    return bool(found.diagnostics.get("fold") == fit.kernel.orders[-1])


def _cost(fit: JointFit) -> float:
    """Negative logarithm of the evidence of a joint fit."""
    return fit.marginal_cost + INSERTION_GAIN * float((~fit.priors.told).sum())


def _unchanged(fit: JointFit, told: Points) -> bool:
    return fit.scatterers.size == told.size and all(
        np.array_equal(one, other) for one, other in zip(fit.scatterers, told, strict=True)
    )


def _is_told(base: Extraction, fit: JointFit, told: Points) -> bool:
    """Whether the kernel of ``polar`` leaves less of the image with the told scatterers than with those of a fit.

    A separable fit to a kernel that is not separable moves its scatterers to wrong places.
    """
    kernel = base.diagnostics.get("kernel")
    if not isinstance(kernel, HarmonicKernel):
        return False
    by_told, by_fit = (
        float((fit.background.removed(fit.image - kernel.superposed(fit.pixels, each)) ** 2).sum())
        for each in (told, fit.scatterers)
    )
    return by_told <= by_fit


def _with_places(observation: Observation, fit: JointFit) -> Observation:
    """An observation that tells of the scatterers of a fit."""
    grid = observation.grid
    row = fit.scatterers.y / grid.pitch_y_nm + (grid.ny - 1) / 2
    column = fit.scatterers.x / grid.pitch_x_nm + (grid.nx - 1) / 2
    return replace(observation, scatterers=Scatterers(row, column, fit.scatterers.strength))


def _second_look(observation: Observation, fit: JointFit) -> FirstLook | None:
    """A first look at an observation that tells of the scatterers of a fit; None if rounding stops it."""
    observation = _with_places(observation, fit)
    scatterers = scatterer_points(observation.scatterers, observation.grid)
    try:
        return first_look(*seen_points(observation), scatterers, observation.grid)
    except ValueError:
        return None


def _extracted(observation: Observation, fit: JointFit, look: FirstLook | None) -> Extraction:
    """The extraction by ``polar`` from the scatterers of a fit, or that of the fit if ``polar`` has lost the kernel."""
    if look is None:
        return _of_fit(observation, fit)
    try:
        found = Polar().extract(_with_places(observation, fit), look)
    except ValueError:  # rounding has stopped it
        return _of_fit(observation, fit)
    noise, noise_of_fit = found.diagnostics.get("noise"), np.sqrt(fit.noise)
    if not isinstance(noise, float):
        return _of_fit(observation, fit)
    is_separable = noise_of_fit < EXPLAINED * fit.background.removed(fit.image).std()
    is_other = noise < LESS_NOISE * noise_of_fit and not is_separable
    distance = _distance(found.kernel, fit.kernel.image(observation.kernel_grid))
    is_not_worse = noise < SAME_NOISE[1] * noise_of_fit
    is_same = is_not_worse and (noise > SAME_NOISE[0] * noise_of_fit or distance < SAME_KERNEL)
    return found if is_other or is_same else _of_fit(observation, fit)


def _distance(kernel: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(kernel - other) / max(float(np.linalg.norm(other)), np.finfo(np.float64).tiny))


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
