"""A separable kernel in polar coordinates as the variables of a fit: :class:`FreePolar`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import null_space

from qpibench.grid import Grid
from shared.harmonic_kernel import HarmonicKernel
from shared.harmonic_sums import add_separable
from shared.polar import Points

Values = NDArray[np.float64]

CHUNK = 512
"""Pixels whose splines are held at once."""

PRIOR_SHARE = 1e-9
"""Variance of a radial function, over the largest, below which it is left out."""

ROUNDING = 3e-5
"""Error of splines, over the size of the kernel."""


@dataclass(frozen=True)
class RadialFunctions:
    """Radial functions, independent and of unit variance before an image is seen.

    Attributes
    ----------
    spacing_nm
        Knot distance of the splines.
    splines
        (spline, function): coefficients.
    """

    spacing_nm: float
    splines: Values

    @staticmethod
    def of_covariance(spacing_nm: float, covariance: Values) -> RadialFunctions:
        """Those of a normal prior of the spline coefficients, (spline, spline)."""
        variance, axes = np.linalg.eigh(covariance)
        kept = variance > PRIOR_SHARE * max(float(variance[-1]), np.finfo(np.float64).tiny)
        return RadialFunctions(spacing_nm, np.ascontiguousarray(axes[:, kept] * np.sqrt(variance[kept])))


@dataclass(frozen=True)
class FreePolar:
    """The kernel f(r) (w_0 + w_1 cos n theta + w_2 sin n theta), or f(r); a :class:`shared.joint_fit.KernelModel`.

    The variables are the coefficients of f, normal with variance 1, and changes of the pattern w that keep its length.

    Attributes
    ----------
    functions
        Radial functions.
    orders
        (0,) or (0, n).
    coefficient
        (function,).
    pattern
        (harmonic,) w, of unit length.
    """

    functions: RadialFunctions
    orders: tuple[int, ...]
    coefficient: Values
    pattern: Values
    rounding: float = ROUNDING

    @staticmethod
    def of_kernel(kernel: HarmonicKernel, functions: RadialFunctions) -> FreePolar:
        """The nearest separable kernel."""
        left, size, right = np.linalg.svd(kernel.coefficient, full_matrices=False)
        coefficient = np.linalg.lstsq(functions.splines, size[0] * right[0], rcond=None)[0]
        return FreePolar(functions, kernel.orders, coefficient, left[:, 0])

    @cached_property
    def kernel(self) -> HarmonicKernel:
        """The kernel."""
        coefficient = np.outer(self.pattern, self._profile)
        return HarmonicKernel(self.functions.spacing_nm, self.orders, coefficient)

    @cached_property
    def _profile(self) -> Values:
        profile: Values = self.functions.splines @ self.coefficient
        return profile

    @cached_property
    def _across(self) -> Values:
        """Directions (harmonic, harmonic - 1) in which the pattern changes."""
        across: Values = null_space(self.pattern[None])
        return across

    @property
    def prior_cost(self) -> float:
        """See :class:`shared.joint_fit.KernelModel`."""
        return 0.5 * float(self.coefficient @ self.coefficient)

    @property
    def prior_precision(self) -> Values:
        """See :class:`shared.joint_fit.KernelModel`."""
        return np.diag(np.concatenate([np.ones(len(self.coefficient)), np.full(len(self.pattern) - 1, 1e-3)]))

    @property
    def pull(self) -> Values:
        """See :class:`shared.joint_fit.KernelModel`."""
        return np.concatenate([-self.coefficient, np.zeros(len(self.pattern) - 1)])

    def superposed(self, pixels: Points, scatterers: Points) -> tuple[Values, NDArray[np.float32]]:
        """See :class:`shared.joint_fit.KernelModel`."""
        harmonics, size = len(self.pattern), len(self.coefficient)
        slopes = np.empty((size + harmonics - 1, pixels.size), np.float32)
        value = np.empty(pixels.size)
        functions = self.functions.splines.astype(np.float32)
        for start in range(0, pixels.size, CHUNK):
            rows = slice(start, start + CHUNK)
            some = Points(*(part[rows] for part in pixels))
            splines = np.zeros((some.size, len(self._profile)), np.float32)
            by_harmonic = np.zeros((some.size, harmonics))
            add_separable(
                some,
                scatterers,
                self.orders[-1],
                self.functions.spacing_nm,
                self._profile,
                self.pattern,
                splines,
                by_harmonic,
            )
            value[rows] = by_harmonic @ self.pattern
            slopes[:size, rows] = (splines @ functions).T
            slopes[size:, rows] = (by_harmonic @ self._across).T
        return value, slopes

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
        pairs = self.kernel.pairs(pixels, scatterers, nearest_nm=nearest_nm)
        single[:], by_x[:], by_y[:] = (part.T for part in pairs)

    def image(self, grid: Grid) -> Values:
        """See :class:`shared.joint_fit.KernelModel`."""
        return self.kernel.image(grid)

    def moved(self, step: Values) -> FreePolar:
        """See :class:`shared.joint_fit.KernelModel`."""
        size = len(self.coefficient)
        pattern = self.pattern + self._across @ step[size:]
        length = float(np.linalg.norm(pattern))
        coefficient = length * (self.coefficient + step[:size])
        return FreePolar(self.functions, self.orders, coefficient, pattern / length, self.rounding)
