"""Kernel, places and strengths of the scatterers from one image together: :class:`JointFit`.

Places have normal priors around the marks that a view gives, and strengths around those that it gives. The descent
lowers the negative logarithm of the posterior density; the variance of the noise is the one that explains the residual
best.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, solve_triangular

from qpibench.grid import Grid
from shared.background import Background
from shared.cholesky import lower_factor
from shared.descent import descend, misfit
from shared.polar import Points

Values = NDArray[np.float64]
Columns = NDArray[np.float32]

NEAREST = 0.25
LAST_NEAREST = 1e-3
"""Distance from a scatterer, in standard deviations of its place, within which slopes are not resolved: on the way, and
when the descent has arrived."""

LARGEST_MOVE = 2.0
"""Longest move of a scatterer in one step, in standard deviations."""

SHARP = 1e-6
"""Variance of the noise, over the mean square of the image, from which on it hides slopes that are not resolved."""


class KernelModel(Protocol):
    """A kernel and the variables on which it depends."""

    @property
    def rounding(self) -> float:
        """Error of the model's images, over their root mean square."""

    @property
    def prior_cost(self) -> float:
        """Negative logarithm of the prior density of the variables, up to a constant."""

    @property
    def prior_precision(self) -> Values:
        """Inverse covariance (d, d) of the prior."""

    @property
    def pull(self) -> Values:
        """Negative gradient (d,) of ``prior_cost``."""

    def superposed(self, pixels: Points, scatterers: Points) -> tuple[Values, NDArray[np.floating]]:
        """The image (pixel,) of the kernel at all scatterers, and its derivatives (d, pixel) by the variables."""

    def fill_pairs(
        self, pixels: Points, scatterers: Points, nearest_nm: float, single: Columns, by_x: Columns, by_y: Columns
    ) -> None:
        """Fill (scatterer, pixel) arrays like those of :class:`shared.harmonic_kernel.Pairs`."""

    def image(self, grid: Grid) -> Values:
        """The kernel on a grid, (y, x)."""

    def moved(self, step: Values) -> Self:
        """The kernel after a step (d,)."""


@dataclass(frozen=True)
class Priors:
    """What is known of scatterers before the image is seen.

    Attributes
    ----------
    marks
        Means of their places and strengths.
    sigma_nm
        (scatterer, 2): standard deviations of x and y; 0 for a place that is known.
    sigma_strength
        (scatterer,): the same of the strengths.
    told
        (scatterer,): which are told by the view, and not found in the image.
    """

    marks: Points
    sigma_nm: Values
    sigma_strength: Values
    told: NDArray[np.bool_]

    @classmethod
    def same(cls, marks: Points, sigma_nm: Sequence[float], *, told: bool = True) -> Self:
        """Those of scatterers whose places are known equally well, and whose strengths are known."""
        count = marks.size
        return cls(marks, np.tile(sigma_nm, (count, 1)), np.zeros(count), np.full(count, told))

    def of(self, which: NDArray[np.bool_] | NDArray[np.int64]) -> Priors:
        """Those of some of the scatterers."""
        return Priors(chosen(self.marks, which), self.sigma_nm[which], self.sigma_strength[which], self.told[which])

    def joined(self, more: Priors) -> Priors:
        """Those of these scatterers and of further ones."""
        return Priors(
            joined(self.marks, more.marks),
            np.concatenate([self.sigma_nm, more.sigma_nm]),
            np.concatenate([self.sigma_strength, more.sigma_strength]),
            np.concatenate([self.told, more.told]),
        )


def chosen(points: Points, which: NDArray[np.bool_] | NDArray[np.int64]) -> Points:
    """Some of the points."""
    return Points(*(values[which] for values in points))


def joined(points: Points, more: Points) -> Points:
    """The points of both."""
    return Points(*(np.concatenate(pair) for pair in zip(points, more, strict=True)))


@dataclass(frozen=True)
class JointFit:
    """A kernel and scatterers held against an image; a :class:`shared.descent.Problem`.

    The variables are those of the kernel, then x, y and strength of every scatterer for which it is not known.

    Attributes
    ----------
    image, pixels
        Values (pixel,) and places of the pixels.
    kernel
        The kernel.
    scatterers
        Where they are.
    priors
        Where they are expected.
    background
        What else the image shows; nothing is known of it before the image is seen.
    nearest
        Distance from a scatterer, in standard deviations of its place, within which slopes are not resolved.
    """

    image: Values
    pixels: Points
    kernel: KernelModel
    scatterers: Points
    priors: Priors
    background: Background
    nearest: float = NEAREST

    @cached_property
    def _superposed(self) -> tuple[Values, NDArray[np.floating]]:
        value, slopes = self.kernel.superposed(self.pixels, self.scatterers)
        self.background.remove(slopes)
        return value, slopes

    @cached_property
    def residual(self) -> Values:
        """The image less the model and the background, (pixel,)."""
        return self.background.removed(self.image - self._superposed[0])

    @property
    def shown(self) -> int:
        """Number of pixels less that of the background's columns."""
        return len(self.image) - self.background.size

    @cached_property
    def least_noise(self) -> float:
        """Variance of the rounding of the model's images."""
        return max(
            self.kernel.rounding**2 * float(self.image @ self.image) / len(self.image),
            float(np.finfo(np.float32).tiny),
        )

    @cached_property
    def _misfit(self) -> tuple[float, float]:
        return misfit(float(self.residual @ self.residual), self.shown, self.least_noise)

    @property
    def noise(self) -> float:
        """Variance of the noise that explains the residual best."""
        return self._misfit[0]

    @property
    def cost(self) -> float:
        return float(self._misfit[1] + self.kernel.prior_cost + 0.5 * (self._moves**2).sum())

    @property
    def _sigma(self) -> Values:
        """Standard deviations (3 scatterer,) of x, of y and of the strength."""
        sigma: Values = np.column_stack([self.priors.sigma_nm, self.priors.sigma_strength]).T.ravel()
        return sigma

    @property
    def _free(self) -> NDArray[np.bool_]:
        return self._sigma > 0

    @property
    def _moves(self) -> Values:
        """Distances of the free variables from their means in standard deviations."""
        off = np.concatenate([one - mean for one, mean in zip(self.scatterers, self.priors.marks, strict=True)])
        moves: Values = off[self._free] / self._sigma[self._free]
        return moves

    @property
    def size(self) -> int:
        """Number of the kernel's variables."""
        return len(self.kernel.pull)

    @cached_property
    def _pairs(self) -> Columns:
        """By x, by y and single, (3, scatterer, pixel)."""
        pairs = np.empty((3, self.scatterers.size, self.pixels.size), np.float32)
        sigma = self.priors.sigma_nm[self.priors.sigma_nm > 0]
        nearest_nm = self.nearest * float(sigma.min()) if len(sigma) else 0.0
        self.kernel.fill_pairs(self.pixels, self.scatterers, nearest_nm, pairs[2], pairs[0], pairs[1])
        self.background.remove(pairs.reshape(-1, self.pixels.size))
        return pairs

    @property
    def single(self) -> Columns:
        """The kernel at every scatterer without the background, (scatterer, pixel)."""
        single: Columns = self._pairs[2]
        return single

    @cached_property
    def columns(self) -> Columns:
        """Derivatives (variable, pixel)."""
        of_kernel: Columns = self._superposed[1].astype(np.float32, copy=False)
        free = self._free
        if not free.any():
            return of_kernel
        of_scatterers = self._pairs.reshape(-1, self.pixels.size)
        columns: Columns = np.concatenate([of_kernel, of_scatterers if free.all() else of_scatterers[free]])
        return columns

    def places_of(self, which: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Numbers, among the variables after those of the kernel, of x, y and strength of some scatterers."""
        of_free = np.cumsum(self._free) - 1
        places: NDArray[np.int64] = of_free[np.tile(which, 3) & self._free]
        return places

    @cached_property
    def gram(self) -> Values:
        """Products (variable, variable) of the derivatives over the variance of the noise."""
        gram: Values = (self.columns @ self.columns.T).astype(np.float64) / self.noise
        return gram

    @cached_property
    def slope(self) -> Values:
        """Products (variable,) of the derivatives with the residual over the variance of the noise."""
        scale = np.sqrt(self.noise)  # keeps the products within the range of float32
        slope: Values = (self.columns @ (self.residual / scale).astype(np.float32)).astype(np.float64) / scale
        return slope

    @cached_property
    def precision(self) -> Values:
        """Posterior precision of the variables, linearised."""
        matrix = self.gram.copy()
        matrix[: self.size, : self.size] += self.kernel.prior_precision
        places = np.arange(self.size, len(matrix))
        matrix[places, places] += self._sigma[self._free] ** -2
        return matrix

    def normal_equations(self) -> tuple[Values, Values]:
        """See :class:`shared.descent.Problem`."""
        downhill = self.slope.copy()
        downhill[: self.size] += self.kernel.pull
        downhill[self.size :] -= self._moves / self._sigma[self._free]
        return self.precision, downhill

    def moved(self, step: Values) -> Self:
        """See :class:`shared.descent.Problem`."""
        free, sigma = self._free, self._sigma
        moves = np.zeros(len(sigma))
        moves[free] = np.clip(step[self.size :], -LARGEST_MOVE * sigma[free], LARGEST_MOVE * sigma[free])
        x, y, strength = moves.reshape(3, -1)
        scatterers = Points(self.scatterers.x + x, self.scatterers.y + y, self.scatterers.strength + strength)
        return replace(self, kernel=self.kernel.moved(step[: self.size]), scatterers=scatterers)

    @property
    def occam(self) -> float:
        """Logarithm of what it costs the evidence that places and strengths are free (Laplace's approximation)."""
        of_kernel = np.linalg.slogdet(self.precision[: self.size, : self.size])[1]
        volume = 0.5 * (np.linalg.slogdet(self.precision)[1] - of_kernel)
        return float(volume + np.log(self._sigma[self._free]).sum() + 0.5 * (self._moves**2).sum())

    @property
    def marginal_cost(self) -> float:
        """Negative logarithm of the evidence after integration over places and strengths (Laplace's approximation)."""
        return float(self._misfit[1] + self.kernel.prior_cost + self.occam)

    @property
    def known_covariance(self) -> Values:
        """Covariance (d, d) of the kernel's variables, were the scatterers known."""
        known: Values = cho_solve((lower_factor(self.precision[: self.size, : self.size]), True), np.eye(self.size))
        return known

    def kernel_covariance(self) -> Values:
        """Posterior covariance (d, d) of the kernel's variables; errors of the scatterers are included."""
        covariance: Values = cho_solve((lower_factor(self.precision), True), np.eye(len(self.precision), self.size))[
            : self.size
        ]
        return covariance

    def strengths(self, single: Columns) -> tuple[Values, Values]:
        """Slope (s,) and curvature (s, s) of the log-likelihood by the strengths of scatterers.

        All other variables follow to first order.

        Parameters
        ----------
        single
            (s, pixel): the kernel at these scatterers, which need not be among those of the fit.
        """
        shared = (self.columns @ single.T).astype(np.float64) / self.noise
        half = solve_triangular(lower_factor(self.precision), shared, lower=True, check_finite=False)
        products = (single @ single.T).astype(np.float64) / self.noise
        curvature = products - half.T @ half
        places = np.arange(len(curvature))
        least = np.maximum(1e-5 * np.diagonal(products), np.finfo(np.float64).tiny)
        curvature[places, places] = np.maximum(np.diagonal(curvature), least)
        scale = np.sqrt(self.noise)
        slope = (single @ (self.residual / scale).astype(np.float32)).astype(np.float64) / scale
        return slope, curvature

    def single_at(self, places: Values) -> Columns:
        """The kernel (place, pixel) at places (place, xy), without the background."""
        x, y = np.ascontiguousarray(places.T)
        at = Points(x, y, np.ones(len(places)))
        single, by_x, by_y = np.empty((3, len(places), self.pixels.size), np.float32)
        self.kernel.fill_pairs(self.pixels, at, 0.0, single, by_x, by_y)
        self.background.remove(single)
        return single


def settled(fit: JointFit, *, steps: int = 20) -> JointFit:
    """The fit at the end of its descent."""
    fit = descend(fit, steps=steps)
    if not (fit.priors.sigma_nm > 0).any() or fit.noise > SHARP * float(fit.image @ fit.image) / len(fit.image):
        return fit
    return descend(replace(fit, nearest=LAST_NEAREST), steps=steps)
