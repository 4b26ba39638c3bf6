"""A kernel in polar coordinates, while it is searched (:class:`Candidate`) and as it is found (:class:`Found`)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from qpibench.grid import Grid
from shared.evidence import Posterior
from shared.harmonic_kernel import HarmonicKernel, interpolated, sites
from shared.hyperparameters import Fit, Hyperparameters
from shared.polar import pixels_of
from shared.polar_basis import PolarBasis
from shared.radial import spline_values
from shared.radial_prior import RadialPrior
from shared.separable import Separable

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Found:
    """A kernel and how well it is known, in units of the image.

    Attributes
    ----------
    basis
        Basis of the kernel.
    coefficient
        (column,).
    root
        (row, column): the covariance of the coefficients is ``root.T @ root``.
    noise
        Standard deviation of the noise.
    fold
        Rotational symmetry, 0 for total.
    kind
        ``separable``, ``total`` or ``harmonics``.
    prior
        Hyper-parameters of the radial functions, for an image of mean square 1.
    missing
        Factor of :func:`missing_variance` that explains what the basis leaves of the image and the noise does not.
    nuisance
        What else the image shows.
    open_edge
        Whether scatterers outside the field are assumed.
    evidence
        Logarithm of the probability of the image, up to a constant.
    """

    basis: PolarBasis
    coefficient: Values
    root: Values
    noise: float
    fold: int
    kind: str
    prior: RadialPrior
    missing: float
    nuisance: str
    open_edge: bool
    evidence: float

    @property
    def kernel(self) -> HarmonicKernel:
        """The kernel."""
        return self.basis.kernel(self.coefficient)

    def std(self, grid: Grid) -> Values:
        """Standard deviation of the kernel on a grid, (y, x)."""
        std = self.basis.std(self.root, grid)
        if self.kind != "harmonics":
            return std
        pixels = pixels_of(grid)
        variance = self.missing * missing_variance(self.basis, self.prior, np.hypot(pixels.x, pixels.y))
        return np.sqrt(std**2 + variance.reshape(grid.shape))


def missing_variance(basis: PolarBasis, prior: RadialPrior, r_nm: Values) -> Values:
    """Prior variance (distance,), up to a factor, of the harmonics of higher orders than a basis has."""
    step = basis.orders[1]
    highest = np.minimum(basis.finest, math.pi / basis.spacing_nm) * r_nm
    orders: Values = np.maximum(np.floor(highest / step) - basis.orders[-1] // step, 0.0)
    return orders * prior.envelope(r_nm) ** 2


@dataclass(frozen=True)
class Candidate:
    """A kernel in a basis, with nuisance marginalised."""

    basis: PolarBasis
    kind: str
    hyperparameters: Hyperparameters
    coefficient: Values
    source: Separable | Posterior
    evidence: float

    @staticmethod
    def of_separable(found: Separable, basis: PolarBasis, occam: float = 0.0) -> Candidate:
        """A separable kernel, or one of total symmetry; ``occam`` is the Occam factor of what was marginalised."""
        return Candidate(
            basis=basis,
            kind="separable" if len(basis.orders) > 1 else "total",
            hyperparameters=found.fit.hyperparameters,
            coefficient=found.coefficient,
            source=found,
            evidence=found.evidence + occam,
        )

    @staticmethod
    def of_harmonics(basis: PolarBasis, found: Fit, occam: float) -> Candidate:
        """A kernel of several harmonics; ``occam`` is the Occam factor of what was marginalised."""
        return Candidate(
            basis=basis,
            kind="harmonics",
            hyperparameters=found.hyperparameters,
            coefficient=found.posterior.mean,
            source=found.posterior,
            evidence=found.evidence + occam,
        )

    @property
    def kernel(self) -> HarmonicKernel:
        """The kernel, for an image of unit variance."""
        return self.basis.kernel(self.coefficient)

    def on(self, basis: PolarBasis) -> Candidate:
        """The same kernel, interpolated in a basis of the same harmonics with other splines."""
        r_nm = sites(basis.splines, basis.spacing_nm)
        values = self.basis.spread(self.coefficient) @ spline_values(r_nm, self.basis.spacing_nm, self.basis.splines).T
        return replace(self, basis=basis, coefficient=interpolated(values, basis.spacing_nm).ravel())

    def found(self, nuisance: str, missing: float, *, open_edge: bool) -> Found:
        """The kernel with what else was found, for an image of unit variance."""
        orders = self.basis.orders
        return Found(
            basis=self.basis,
            coefficient=self.coefficient,
            root=self.source.root,
            noise=math.sqrt(self.hyperparameters.noise),
            fold=orders[1] if len(orders) > 1 else 0,
            kind=self.kind,
            prior=self.hyperparameters.prior,
            missing=missing,
            nuisance=nuisance,
            open_edge=open_edge,
            evidence=self.evidence,
        )
