"""A kernel of eq. 7 and its fit to an image whose scatterers are known: :class:`Eq7`, :func:`fits`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from qpibench.grid import Grid
from shared.background import Background
from shared.eq7_start import Search, search_of, starts
from shared.eq7_sums import add_eq7, descend_eq7, fill_eq7_pairs
from shared.harmonic_kernel import HarmonicKernel, interpolated, sites
from shared.polar import ORIGIN, Points, pixels_of
from shared.radial import spline_count

Values = NDArray[np.float64]

ROUNDING = 6e-8
"""Rounding of images and kernels in float32, over their size."""

FIRST_PIXELS = 1200
"""Pixels of an image of 64 x 64 from which the starts are found; the descent's end counts all."""

STARTS = 8
FIRST_STEPS = 3
"""Steps from every start."""

CONTINUED = 4
"""Starts, the best after these steps, from which the descent goes on."""

MOST_AMPLITUDE = 10.0
"""Standard deviation of an unknown amplitude, for images of about unit size."""

LEAST_ODDS = 20.0
"""Natural logarithm of the odds from which on a worse fit is given up."""


@dataclass(frozen=True)
class Eq7:
    """A kernel of eq. 7 times an amplitude.

    Attributes
    ----------
    fold
        Rotational symmetry n, 0 for total.
    parameters
        (5,): phi1 (rad), B (rad/nm), phi2 (rad), C (1/nm^2), and the amplitude.
    amplitude_known
        Whether the amplitude is no free parameter.
    """

    fold: int
    parameters: Values
    amplitude_known: bool = True

    @property
    def free(self) -> slice:
        """The parameters that are not known: all, but phi1 of total symmetry and an amplitude that is known."""
        return slice(0 if self.fold else 1, 4 if self.amplitude_known else 5)

    @property
    def amplitude(self) -> float:
        """Factor of eq. 7."""
        return float(self.parameters[4])

    def with_amplitude(self, amplitude: float, *, known: bool) -> Eq7:
        """The kernel with another amplitude."""
        return Eq7(self.fold, np.append(self.parameters[:4], amplitude), known)

    def named(self) -> dict[str, float]:
        """Fold and parameters by name, both phases in [0, pi)."""
        phi1, B, phi2, C, amplitude = (float(one) for one in self.parameters)
        return {
            "fold": self.fold,
            "phi1": phi1 % np.pi,
            "B": B,
            "phi2": phi2 % np.pi,
            "C": C,
            "amplitude": amplitude,
        }

    def superposed(self, pixels: Points, scatterers: Points) -> tuple[Values, Values]:
        """The sum (pixel,) of the kernels at all scatterers, and its derivatives (5, pixel) by the parameters."""
        value, by_parameter = np.zeros(pixels.size), np.zeros((5, pixels.size))
        add_eq7(pixels.x, pixels.y, scatterers, self.fold, self.parameters, value, by_parameter)
        by_parameter[:4] *= self.amplitude
        by_parameter[4] = value
        return self.amplitude * value, by_parameter

    def image(self, grid: Grid) -> Values:
        """The kernel on a grid, (y, x)."""
        return self.superposed(pixels_of(grid), ORIGIN)[0].reshape(grid.shape)

    def std(self, grid: Grid, covariance: Values) -> Values:
        """Standard deviation (y, x) of the kernel, from the covariance (free, free) of the free parameters."""
        slopes = self.superposed(pixels_of(grid), ORIGIN)[1][self.free]
        variance = np.einsum("ap,ab,bp->p", slopes, covariance, slopes, optimize=True)
        std: Values = np.sqrt(np.maximum(variance, 0)).reshape(grid.shape)
        return std

    def harmonic(self, reach_nm: float, spacing_nm: float) -> HarmonicKernel:
        """The kernel in splines of this knot distance, up to a reach."""
        phi1, B, phi2, C, amplitude = self.parameters
        r = sites(spline_count(reach_nm, spacing_nm), spacing_nm)
        profile = interpolated(amplitude * np.sin(B * r + phi2) ** 2 * np.exp(-C * r**2), spacing_nm)
        if not self.fold:
            return HarmonicKernel(spacing_nm, (0,), profile[None])
        weights = 0.5 * np.array([1.0, -np.cos(2 * phi1), np.sin(2 * phi1)])
        return HarmonicKernel(spacing_nm, (0, self.fold), weights[:, None] * profile)


@dataclass(frozen=True)
class Ranges:
    """What a grid can show of eq. 7: the largest B and C of a fit, and the pairs from which it starts."""

    search: Search
    limits: Values

    @property
    def prior_precision(self) -> Values:
        """Precision (5,) of the parameters before an image of about unit size is seen.

        It keeps unseen parameters from being without bound.
        """
        precision: Values = 1 / np.array([1.0, self.limits[0], 1.0, self.limits[1], MOST_AMPLITUDE]) ** 2
        return precision


def ranges_of(grid: Grid) -> Ranges:
    """Return the ranges of B and C for a grid."""
    pitch = float(np.sqrt(grid.pitch_x_nm * grid.pitch_y_nm))
    size = max(grid.size_x_nm, grid.size_y_nm, 4 * pitch)
    search = search_of(pitch, size, float(np.hypot(grid.size_x_nm, grid.size_y_nm)))
    return Ranges(search, np.array([1.5 * search.pairs[:, 0].max(), 4 * search.pairs[:, 1].max()]))


@dataclass(frozen=True)
class Eq7Fit:
    """The kernel that explains an image best.

    Attributes
    ----------
    kernel
        The kernel.
    squares
        Sum of the squared residuals.
    fisher
        (5, 5): products of the derivatives of the image by the parameters.
    """

    kernel: Eq7
    squares: float
    fisher: Values

    def noise(self, image: Values) -> float:
        """Variance of the noise, of which rounding is the least part."""
        variance = self.squares / max(len(image) - 4, 1)
        return max(variance, ROUNDING**2 * float((image**2).mean()), float(np.finfo(np.float32).tiny))

    def same_as(self, other: Eq7Fit) -> bool:
        """Whether two descents have ended, or will end, in the same place."""
        return self.kernel.fold == other.kernel.fold and bool(
            np.abs(np.sqrt(self.kernel.parameters[[1, 3]]) - np.sqrt(other.kernel.parameters[[1, 3]])).max() < 0.03
        )

    def rivals(self, other: Eq7Fit, pixels: int) -> bool:
        """Whether the odds against a worse fit are small, by the likelihood of white noise in so many pixels."""
        return bool(other.squares <= self.squares * np.exp(2 * LEAST_ODDS / pixels))

    def covariance(self, noise: float, ranges: Ranges) -> Values:
        """Covariance (free, free) of the free parameters for a variance of the noise."""
        free = self.kernel.free
        precision = self.fisher[free, free] / noise + np.diag(ranges.prior_precision[free])
        scale = 1 / np.sqrt(np.diagonal(precision))
        covariance: Values = np.linalg.inv(precision * scale * scale[:, None]) * scale * scale[:, None]
        return covariance


def fits(
    image: Values,
    pixels: Points,
    scatterers: Points,
    ranges: Ranges,
    *,
    amplitude: float | None = 1.0,
    nuisance: str = "none",
) -> list[Eq7Fit]:
    """Find the kernels that explain the values (pixel,) of an image best, over all folds.

    The first explains it best. The others are local optima that noise, or errors of the positions, could have made
    worse by their odds; most images have none.

    Parameters
    ----------
    image, pixels
        Values (pixel,) and places of the pixels.
    scatterers
        The scatterers.
    ranges
        Ranges of the parameters.
    amplitude
        The amplitude, if it is known.
    nuisance
        What else the image shows; see :func:`shared.nuisance.of_instrument`.
    """
    some = _part(pixels.size)
    part = _View.of(image[some], Points(*(values[some] for values in pixels)), scatterers, ranges, nuisance)
    tried = []
    for start in starts(part.image, part.pixels, scatterers, ranges.search, most=STARTS, background=part.background):
        known = 1.0 if amplitude is None else amplitude
        kernel = Eq7(start.fold, np.append(start.parameters, known), amplitude is not None)
        tried.append(part.descended(part.matched(kernel), FIRST_STEPS, 1e-3))
    tried.sort(key=lambda one: one.squares)
    further = [part.descended(one.kernel, 12, 1e-3) for one in tried[:CONTINUED]]
    further.sort(key=lambda one: one.squares)
    rivals: list[Eq7Fit] = []
    for one in further:
        if not any(one.same_as(other) for other in rivals) and further[0].rivals(one, len(some)):
            rivals.append(one)
    return descended([one.kernel for one in rivals], image, pixels, scatterers, ranges, nuisance=nuisance)


def descended(
    kernels: Sequence[Eq7], image: Values, pixels: Points, scatterers: Points, ranges: Ranges, *, nuisance: str
) -> list[Eq7Fit]:
    """The different fits at the ends of descents from kernels, the best first; parameters are those of :func:`fits`."""
    whole = _View.of(image, pixels, scatterers, ranges, nuisance)
    found = [whole.descended(one, 30, 1e-9) for one in kernels]
    found.sort(key=lambda one: one.squares)
    return [one for k, one in enumerate(found) if not any(one.same_as(other) for other in found[:k])]


@dataclass(frozen=True)
class _View:
    """Some pixels with their background, against which kernels are held."""

    image: Values
    pixels: Points
    scatterers: Points
    background: Background
    ranges: Ranges

    @staticmethod
    def of(image: Values, pixels: Points, scatterers: Points, ranges: Ranges, nuisance: str) -> _View:
        background = Background.of(pixels, nuisance)
        return _View(background.removed(image), pixels, scatterers, background, ranges)

    def descended(self, start: Eq7, steps: int, tolerance: float) -> Eq7Fit:
        parameters, squares, fisher = descend_eq7(
            self.pixels.x,
            self.pixels.y,
            self.image,
            self.scatterers,
            self.background,
            start.fold,
            start.parameters,
            (start.free.start, start.free.stop),
            self.ranges.limits,
            steps,
            tolerance,
        )
        return Eq7Fit(replace(start, parameters=parameters), float(squares), fisher)

    def matched(self, kernel: Eq7) -> Eq7:
        """The kernel with the amplitude that fits best, unless it is known."""
        if kernel.amplitude_known:
            return kernel
        value = self.background.removed(kernel.superposed(self.pixels, self.scatterers)[0])
        energy = float(value @ value)
        amplitude = kernel.amplitude * float(value @ self.image) / energy if energy else 0.0
        return kernel.with_amplitude(amplitude or 1.0, known=False)


def _part(pixels: int) -> NDArray[np.int64]:
    """Pixels of the first look: in no lattice, so that no wave escapes them."""
    wanted = int(FIRST_PIXELS * max(1.0, np.sqrt(pixels / 4096)))
    if wanted >= pixels:
        return np.arange(pixels)
    return np.sort(np.random.default_rng(0).permutation(pixels)[:wanted])


@dataclass(frozen=True)
class FreeEq7:
    """A kernel of eq. 7 whose free parameters are the variables of a fit; a :class:`shared.joint_fit.KernelModel`."""

    kernel: Eq7
    ranges: Ranges
    rounding: float = ROUNDING
    prior_cost: float = 0.0

    @property
    def prior_precision(self) -> Values:
        """See :class:`shared.joint_fit.KernelModel`."""
        return np.diag(self.ranges.prior_precision[self.kernel.free])

    @property
    def pull(self) -> Values:
        """See :class:`shared.joint_fit.KernelModel`."""
        return np.zeros(len(self.kernel.parameters[self.kernel.free]))

    def superposed(self, pixels: Points, scatterers: Points) -> tuple[Values, Values]:
        """See :class:`shared.joint_fit.KernelModel`."""
        value, by_parameter = self.kernel.superposed(pixels, scatterers)
        return value, by_parameter[self.kernel.free]

    def fill_pairs(
        self,
        pixels: Points,
        scatterers: Points,
        nearest_nm: float,
        single: NDArray[np.float32],
        by_x: NDArray[np.float32],
        by_y: NDArray[np.float32],
    ) -> None:
        """See :class:`shared.joint_fit.KernelModel`."""
        own = self.kernel
        fill_eq7_pairs(pixels.x, pixels.y, scatterers, own.fold, own.parameters, nearest_nm, single, by_x, by_y)

    def image(self, grid: Grid) -> Values:
        """See :class:`shared.joint_fit.KernelModel`."""
        return self.kernel.image(grid)

    def moved(self, step: Values) -> FreeEq7:
        """See :class:`shared.joint_fit.KernelModel`."""
        parameters = self.kernel.parameters.copy()
        parameters[self.kernel.free] += step
        parameters[[1, 3]] = np.clip(parameters[[1, 3]], 0, self.ranges.limits)
        return FreeEq7(replace(self.kernel, parameters=parameters), self.ranges)
