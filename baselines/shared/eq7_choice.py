"""Which assumptions of eq. 7 an image asks for: amplitude 1 or a free one, and what the instrument adds.

:class:`Look` begins with the amplitude that is expected, and an image of nothing but kernels. A free amplitude and a
background are fitted if the image asks for them by the criterion of Schwarz, Annals of Statistics 6, 461 (1978): half
the logarithm of the number of pixels for every further number. This is a criterion for white noise. Wrong scatterers
leave a residual that is not, and would ask for an amplitude, too; so the wider fit has to explain the image down to its
noise, or at least half of what the other one leaves.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from shared.background import Background
from shared.eq7_kernel import ROUNDING, Eq7, Eq7Fit, FreeEq7, Ranges, descended, fits, ranges_of
from shared.extractor import Observation
from shared.joint_fit import JointFit, settled
from shared.noise import noise_level
from shared.nuisance import SETS
from shared.observed import scatterer_points, seen_points
from shared.polar import Points
from shared.refined import refined

Values = NDArray[np.float64]

LEAST_SHARE = 0.5
"""Share of the image that a fit must explain; below it a free amplitude and a background are always tried."""

WHITE = 1.3
"""Variance of a residual, over that of the noise of the image, below which nothing is left to explain."""

MUCH = 0.5
"""Share of the squared residuals that a wider fit may leave which does not explain the image."""

CERTAIN = 3.0
"""Standard deviations by which a free amplitude must differ from the expected one at the end."""


@dataclass(frozen=True)
class Look:
    """An image of about unit size, the fits of eq. 7 with the told scatterers, and what they assume.

    Attributes
    ----------
    observation
        What was seen.
    image, pixels
        Values (pixel,) over ``scale``, and places.
    scale
        A power of 2, in units of the observation.
    ranges
        Ranges of the parameters.
    fits
        The fits, the best first.
    nuisance
        Name of what else the image shows; see :func:`shared.nuisance.of_instrument`.
    expected
        The amplitude that is known or preferred, over ``scale``.
    may_scale
        Whether the amplitude may be another one.
    level
        Variance of the noise of the image, by its finest structure.
    """

    observation: Observation
    image: Values
    pixels: Points
    scale: float
    ranges: Ranges
    fits: list[Eq7Fit]
    nuisance: str
    expected: float
    may_scale: bool
    level: float

    @staticmethod
    def at(observation: Observation, amplitude: float | None) -> Look:
        """Fit an observation with the expected amplitude and without a background.

        Parameters
        ----------
        observation
            The observation.
        amplitude
            The amplitude; if None, 1 unless the image asks for another one.

        Raises
        ------
        ValueError
            If the amplitude is 0 or not finite, or the pixels are too few.
        """
        if amplitude is not None and not (np.isfinite(amplitude) and amplitude):
            raise ValueError(f"amplitude is a finite number other than 0 in units of the image, found {amplitude}")
        image, pixels = seen_points(observation)
        scatterers = scatterer_points(observation.scatterers, observation.grid)
        ranges = ranges_of(observation.grid)
        scale = _power_of_2(image)
        expected = (1.0 if amplitude is None else amplitude) / scale
        image = image / scale
        level = (noise_level(observation.image) / scale) ** 2
        first = fits(image, pixels, scatterers, ranges, amplitude=expected)
        return Look(observation, image, pixels, scale, ranges, first, SETS[0], expected, amplitude is None, level)

    @cached_property
    def told(self) -> Points:
        """The scatterers that are told."""
        return scatterer_points(self.observation.scatterers, self.observation.grid)

    def best(self) -> Look:
        """The same look, or a wider one if the image asks for it."""
        wide = self.wider() if self.asks_for_more else self
        return wide if wide.cost < self.cost and self.gives_way(self.fits[0].squares, wide.fits[0].squares) else self

    @property
    def asks_for_more(self) -> bool:
        """Whether a free amplitude or a background may explain more than the best fit."""
        best = self.fits[0]
        explains_little = best.squares > LEAST_SHARE * float(self.image @ self.image)
        return explains_little or self.choice(best.kernel, self.told) != (False, SETS[0])

    def gives_way(self, squares: float, wider: float) -> bool:
        """Whether a wider fit explains the image, or much more of it, by the sums of squared residuals of both."""
        return self.explains(wider) or wider < MUCH * squares

    def explains(self, squares: float) -> bool:
        """Whether a sum of squared residuals is nothing but noise."""
        return squares < WHITE * len(self.image) * max(self.level, self._least / len(self.image))

    def wider(self) -> Look:
        """The look with a free amplitude, a background, or both."""
        told, amplitude = self.told, None if self.may_scale else self.expected
        widest = fits(self.image, self.pixels, told, self.ranges, amplitude=amplitude, nuisance=SETS[-1])
        _, nuisance = self.choice(widest[0].kernel, told)
        looks = []
        for is_known in (True, False) if self.may_scale else (True,):
            starts = [
                one.kernel.with_amplitude(self.expected if is_known else one.kernel.amplitude, known=is_known)
                for one in widest
            ]
            found = descended(starts, self.image, self.pixels, told, self.ranges, nuisance=nuisance)
            looks.append(replace(self, fits=found, nuisance=nuisance))
        return min(looks, key=lambda one: one.cost)

    @property
    def cost(self) -> float:
        """Schwarz's criterion of the best fit."""
        best = self.fits[0]
        size = Background.of(self.pixels, self.nuisance).size + (not best.kernel.amplitude_known)
        return self._criterion(best.squares, size)

    def choice(self, kernel: Eq7, scatterers: Points) -> tuple[bool, str]:
        """Whether a kernel, as the shape of all, asks for a free amplitude, and for which background."""
        value = kernel.with_amplitude(kernel.amplitude or 1.0, known=True).superposed(self.pixels, scatterers)[0]
        best, chosen = np.inf, (False, SETS[0])
        for nuisance in SETS:
            background = Background.of(self.pixels, nuisance)
            left, shown = background.removed(self.image), background.removed(value)
            energy = float(shown @ shown)
            for is_free in (False, True) if self.may_scale and energy else (False,):
                factor = float(shown @ left) / energy if is_free else 1.0
                cost = self._criterion(float(((left - factor * shown) ** 2).sum()), background.size + is_free)
                if cost < best:
                    best, chosen = cost, (is_free, nuisance)
        return chosen

    @property
    def _least(self) -> float:
        """Sum of the squares that rounding leaves."""
        return ROUNDING**2 * float(self.image @ self.image) + float(np.finfo(np.float32).tiny)

    def _criterion(self, squares: float, size: int) -> float:
        count = len(self.image)
        return 0.5 * count * float(np.log(max(squares, self._least) / count)) + 0.5 * size * float(np.log(count))

    def noise(self) -> float:
        """Variance of the noise of the best fit, over the square of the scale."""
        return self.fits[0].noise(self.image)

    def with_scatterers(self, *, whole: bool, most: int) -> tuple[Look, JointFit]:
        """The same look or a wider one, and its best fit together with the scatterers.

        Parameters
        ----------
        whole
            See :func:`shared.refined.refined`.
        most
            Number of fits from which the joint fit starts.
        """
        first = self.refined(whole=whole, most=most)
        if not self.asks_for_more or self._is_done(first):
            return self, first
        wide = self.wider()
        second = wide.refined(whole=whole, most=most)
        squares = (float(fit.residual @ fit.residual) for fit in (first, second))
        is_better = wide.cost_of(second) < self.cost_of(first) and self.gives_way(*squares)
        return (wide, second) if is_better else (self, first)

    def _is_done(self, fit: JointFit) -> bool:
        """Whether a joint fit explains the image without a spread of the strengths, which an amplitude may be."""
        squares = float(fit.residual @ fit.residual)
        is_plain = not fit.priors.sigma_strength.any() and len(fit.image) == len(self.image)
        return is_plain and self.explains(squares) and self.choice(_eq7(fit), fit.scatterers) == (False, SETS[0])

    def cost_of(self, fit: JointFit) -> float:
        """Schwarz's criterion of a joint fit, with the evidence of its scatterers."""
        size = fit.background.size + (not _eq7(fit).amplitude_known)
        return fit.marginal_cost + 0.5 * size * float(np.log(len(fit.image)))

    def refined(self, *, whole: bool, most: int) -> JointFit:
        """The best of joint fits; the arguments are those of :meth:`with_scatterers`."""
        return min((self._refined(one.kernel, whole=whole) for one in self.fits[:most]), key=lambda one: one.cost)

    def _refined(self, kernel: Eq7, *, whole: bool) -> JointFit:
        start = FreeEq7(kernel, self.ranges)
        found = refined(self.image, self.pixels, self.observation, start, nuisance=self.nuisance, whole=whole)
        kernel = _eq7(found)
        if kernel.amplitude_known:
            return found
        deviation = float(np.sqrt(found.kernel_covariance()[-1, -1]))
        if abs(kernel.amplitude - self.expected) > CERTAIN * deviation:
            return found
        # Wrong scatterers have asked for the amplitude.
        known = FreeEq7(kernel.with_amplitude(self.expected, known=True), self.ranges)
        return settled(replace(found, kernel=known))


def _eq7(fit: JointFit) -> Eq7:
    assert isinstance(fit.kernel, FreeEq7)
    return fit.kernel.kernel


def _power_of_2(image: Values) -> float:
    """A power of 2 near the root mean square of an image, which scales it without rounding."""
    size = float(np.abs(image).max(initial=0.0))
    size *= float(np.sqrt(np.mean((image / size) ** 2))) if size else 1.0
    return float(2.0 ** np.round(np.log2(size))) if size > np.finfo(np.float64).tiny else 1.0
