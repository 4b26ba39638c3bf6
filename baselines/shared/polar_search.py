"""The kernel of an image in polar coordinates: symmetry, harmonics, length scales, noise and nuisance by evidence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from qpibench.grid import Grid
from shared.evidence import LinearModel
from shared.harmonic_kernel import HarmonicKernel, interpolated, sites
from shared.noise import noise_level
from shared.nuisance import SETS, Nuisance, waves_from_outside
from shared.polar import Points
from shared.polar_basis import PolarBasis
from shared.polar_found import Candidate, Found, missing_variance
from shared.polar_harmonics import asked_fold, harmonics, likeliest
from shared.polar_screening import fitted_again, screen
from shared.polar_sums import Sums
from shared.separable import held, separable
from shared.shown import Shown

Values = NDArray[np.float64]

SPLINES, SPLINES_A_PERIOD = 140, 6.0
"""Radial splines of a kernel, and those in a period of the finest ripples, at least; fewer if neighbours would be
closer than pixels."""

STEPS = 10
"""Steps of the hyper-parameters of a separable kernel on all pixels."""

FAINT, FAINT_CLEAN = 1e-3, 1e-5
"""Expected size of a kernel, over its largest coefficient, below which it is taken to be 0; the second one is for noise
below NEARLY_CLEAN."""

LOST = 0.01
"""Variance of an image that kernels have where they are taken to be 0, over that of the noise, at most."""

NEARLY_CLEAN = 3e-4
"""Variance of the noise, over that of the image, below which finer splines lower the error."""

AS_COMPUTED = 1e-8
"""Variance of the noise, over that of the image, below which evidences are rounded by more than they differ: a kernel
that reaches across the field could then be taken for another one and an offset, which may be of any size."""

FINE_SPACING = 0.65
"""Distance of the finer splines in pixels."""

EDGE_CHANCE = 3.0
"""What is added to EDGE_EXCESS, in standard deviations of the ratio of two variances of white noise."""

BORDER, EDGE_EXCESS = 0.1, 1.15
"""Width of the border over the field's side, and excess of the residual there that shows waves from outside. Without
these, the residual of a separable kernel is at most 1.07 times as large in the border as in the middle."""

EDGE_ROUNDS = 4
"""Rounds in which the waves from outside follow the kernel; that of greatest evidence is taken. Each takes the mean of
the last two kernels: with the last one alone they alternate."""

KERNEL_SHARE = 0.99
"""Share of the energy of a kernel within the distance up to which scatterers outside are assumed."""

MORE_THAN_ROUNDING = 10.0
"""Variance of a residual, over what rounded places leave to first order, up to which these explain it. In 572 clean
rasters of eq. 7 it was at most 7.6; offsets and lines that are then added can move the kernel's mean far."""


def find(
    image: Values,
    pixels: Points,
    scatterers: Points,
    grid: Grid,
    *,
    rounding_nm: tuple[float, float] = (0.0, 0.0),
    look: FirstLook | None = None,
) -> Found | None:
    """Find the kernel of an image.

    Parameters
    ----------
    image, pixels
        Values (pixel,) and places of the pixels that are used.
    scatterers
        The scatterers.
    grid
        Grid of the image.
    rounding_nm
        Standard deviations of the told x and y, if they are rounded to a raster.
    look
        What :func:`first_look` has found with the same arguments, to go on from; it does not change what is found.

    Returns
    -------
    Found
        None if the image is constant, or no scatterer reaches a pixel.
    """
    scale = _scale(image)
    if not scale:
        return None
    search = _Search(Shown.of(image / scale, pixels, scatterers, grid), rounding_nm)
    found = search.find(None if look is None else (look.candidate, look.nuisance))
    return replace(
        found,
        coefficient=scale * found.coefficient,
        root=scale * found.root,
        missing=scale**2 * found.missing,
        noise=scale * found.noise,
    )


@dataclass(frozen=True)
class FirstLook:
    """A separable kernel, in units of the image.

    Attributes
    ----------
    kernel
        The kernel.
    covariance
        (spline, spline): prior covariance of the radial function's coefficients.
    nuisance
        Name of what else the image shows; see :func:`shared.nuisance.of_instrument`.
    noise
        Standard deviation of the noise, errors of the scatterers included.
    candidate
        The kernel for an image of unit variance.
    """

    kernel: HarmonicKernel
    covariance: Values
    nuisance: str
    noise: float
    candidate: Candidate


def first_look(
    image: Values,
    pixels: Points,
    scatterers: Points,
    grid: Grid,
    *,
    rounding_nm: tuple[float, float] = (0.0, 0.0),
) -> FirstLook | None:
    """Find a separable kernel of an image whose scatterers may be wrong, which would ask :func:`find` for harmonics.

    Parameters and None are those of :func:`find`.
    """
    scale = _scale(image)
    if not scale:
        return None
    best, nuisance = _Search(Shown.of(image / scale, pixels, scatterers, grid), rounding_nm).simplest()
    return FirstLook(
        kernel=best.basis.kernel(scale * best.coefficient),
        covariance=scale**2 * best.hyperparameters.prior.covariance(best.basis.knots_nm),
        nuisance=nuisance,
        noise=scale * math.sqrt(best.hyperparameters.noise),
        candidate=best,
    )


@dataclass(frozen=True)
class _Search:
    """The steps of :func:`find` for an image of unit variance."""

    shown: Shown
    rounding_nm: tuple[float, float]
    open_edge: bool = False

    def find(self, simplest: tuple[Candidate, str] | None = None) -> Found:
        best, choice = simplest or self.simplest()
        if self.edge_shows(best, choice):
            return self.with_open_edge(best).find()
        best, choice = self.with_harmonics(best, choice)
        if self.edge_shows(best, choice):  # harmonics had hidden it
            return self.with_open_edge(best).find()
        found = best.found(choice, self.missing(best), open_edge=self.open_edge)
        return replace(found, root=np.concatenate([found.root, self.by_rounding(best, found.root)]))

    def simplest(self) -> tuple[Candidate, str]:
        """Find a separable kernel and what else the image shows."""
        return self.full(screen(self.shown))

    def explained(self, best: Candidate) -> bool:
        """Whether next to nothing is left of the image, or no more than rounded places leave."""
        noise = best.hyperparameters.noise
        return noise <= NEARLY_CLEAN or noise <= MORE_THAN_ROUNDING * self.rounding_left(best)

    def with_open_edge(self, best: Candidate) -> _Search:
        """The same image with the waves of scatterers outside the field, found together with a separable kernel."""
        some = self.shown.thinned()
        kernels = [best]
        rounds: list[tuple[float, list[Candidate]]] = []
        for _ in range(EDGE_ROUNDS):
            last = kernels[-2:]
            wavy = some.with_waves(self.waves_from_outside(last, some))
            kernels.append(fitted_again(wavy, last[-1]) if rounds else screen(wavy))
            rounds.append((kernels[-1].evidence, last))
        _, last = max(rounds, key=lambda one: one[0])
        return replace(self, shown=self.shown.with_waves(self.waves_from_outside(last, self.shown)), open_edge=True)

    def edge_shows(self, best: Candidate, nuisance: str) -> bool:
        """Whether a border of the field is explained worse than its middle."""
        if self.open_edge or self.explained(best):
            return False
        residual = self.left(best, nuisance)
        x, y = self.shown.pixels.x, self.shown.pixels.y
        depth = np.minimum.reduce([x - x.min(), x.max() - x, y - y.min(), y.max() - y])
        near = depth < BORDER * self.shown.side_nm
        inner, outer = residual[~near], residual[near]
        if not (len(inner) and len(outer)):
            return False
        chance = EDGE_CHANCE * math.sqrt(2 / len(inner) + 2 / len(outer))
        return bool(outer.var() > (EDGE_EXCESS + chance) * inner.var())

    def rounding_left(self, best: Candidate) -> float:
        """Mean square of what rounded places leave of the image, to first order."""
        if not any(self.rounding_nm):
            return 0.0
        shown = self.shown
        pairs = best.kernel.pairs(shown.pixels, shown.scatterers, nearest_nm=shown.pitch_nm / 2)
        left = sum(std**2 * float((by**2).sum()) for std, by in zip(self.rounding_nm, pairs[1:], strict=True))
        return left / len(shown.image)

    def by_rounding(self, best: Candidate, root: Values) -> Values:
        """Changes of the coefficients, (place, column), if each rounded place is wrong by its standard deviation.

        A wrong place changes the image, to first order, by the kernel's derivative around it. Unlike white noise, that
        is as smooth as the kernel, which follows it.
        """
        shown, scatterers = self.shown, self.shown.scatterers
        rounded = [std for std in self.rounding_nm if std]
        product = np.zeros((root.shape[1], len(rounded) * scatterers.size))
        if not rounded:
            return product.T
        for rows, columns in shown.columns(best.basis):
            some = Points(*(part[rows] for part in shown.pixels))
            _, *by = best.kernel.pairs(some, scatterers, nearest_nm=shown.pitch_nm / 2)
            changes = [std * each for std, each in zip(self.rounding_nm, by, strict=True) if std]
            product += columns.T @ np.concatenate(changes, axis=1)
        # Scatterers in one pixel, told as one of their joint strength, are wrong independently of each other.
        product /= np.sqrt(np.tile(np.maximum(scatterers.strength, 1.0), len(rounded)))
        response: Values = root.T @ (root @ product) / best.hyperparameters.noise
        return response.T

    def left(self, best: Candidate, nuisance: str) -> Values:
        """What a kernel and what else the image shows leave of it, (pixel,)."""
        return self.shown.left(best.kernel, nuisance, best.hyperparameters.noise)

    def waves_from_outside(self, found: Sequence[Candidate], shown: Shown) -> Nuisance:
        """Columns for scatterers outside, as dense as those inside, with the mean of kernels found so far."""
        basis = found[-1].basis
        profile = found[-1].hyperparameters.prior.envelope(basis.knots_nm) ** 2 * basis.knots_nm
        share = np.cumsum(profile) / max(float(profile.sum()), np.finfo(np.float64).tiny)
        reach = float(basis.knots_nm[min(int(np.searchsorted(share, KERNEL_SHARE)), len(share) - 1)])
        reach = min(max(reach, 2 * shown.pitch_nm), shown.side_nm)
        return waves_from_outside([one.kernel for one in found], shown.pixels, shown.density, reach)

    def without(self, every: Sums, nuisance: str, noise: float) -> tuple[LinearModel, float]:
        """The linear model after marginalising over one set of nuisance, and its Occam factor."""
        return every.without(self.shown.nuisance[nuisance].size, noise)

    def full(self, coarse: Candidate) -> tuple[Candidate, str]:
        """Fit a separable kernel to all pixels, as far as it reaches; choose what else the image shows."""
        clean = coarse.hyperparameters.noise < NEARLY_CLEAN
        pitch = self.shown.pitch_nm * (FINE_SPACING if clean else 1.0)
        reach = self.reach_of(coarse, FAINT_CLEAN if clean else FAINT)
        spacing = max(pitch, min(reach / SPLINES, self.shown.period_nm / SPLINES_A_PERIOD))
        basis = PolarBasis.reaching(reach, spacing, coarse.basis.orders)
        first = coarse.on(basis)
        every = self.shown.sums(basis, SETS[-1], dtype=np.float64 if clean else np.float32)
        none = SETS[0]
        best = self.separable(every, basis, none, first)
        if best.hyperparameters.noise <= AS_COMPUTED:
            return best, none
        if any(self.rounding_nm) and self.explained(best):  # offsets and tilts would explain what rounding leaves
            return best, none
        seen = {name: self.seen(every, basis, name, best) for name in SETS}
        choice = likeliest({name: seen[name].evidence for name in SETS})
        if choice == none:
            return best, none
        fitted = {name: self.separable(every, basis, name, seen[name]) for name in (none, choice)}
        choice = likeliest({name: one.evidence for name, one in fitted.items()})
        return fitted[choice], choice

    def reach_of(self, coarse: Candidate, faint: float) -> float:
        """Distance from which on a kernel is expected to be faint.

        It is fainter there than a share of its largest coefficient, and all kernels together than the noise.
        """
        r_nm, prior = coarse.basis.knots_nm, coarse.hyperparameters.prior
        expected = math.exp(prior.log_scale) * prior.envelope(r_nm)
        ring = 2 * math.pi * r_nm * coarse.basis.spacing_nm * self.shown.density * expected**2
        beyond = np.cumsum(ring[::-1])[::-1]
        seen = expected > faint * float(np.abs(coarse.coefficient).max())
        seen |= beyond > LOST * coarse.hyperparameters.noise
        return min(self.shown.reach_nm, 1.1 * float(r_nm[seen].max(initial=0.0)) + 4 * self.shown.pitch_nm)

    def seen(self, every: Sums, basis: PolarBasis, nuisance: str, first: Candidate) -> Candidate:
        """The same pattern and length scales with one set of nuisance, and the noise that this leaves."""
        model, occam = self.without(every, nuisance, first.hyperparameters.noise)
        found = held(model, basis.knots_nm, first.hyperparameters, first.coefficient.reshape(-1, basis.splines))
        return Candidate.of_separable(found, basis, occam)

    def separable(self, every: Sums, basis: PolarBasis, nuisance: str, first: Candidate) -> Candidate:
        """Fit a separable kernel, or one of total symmetry, starting from another one in the same basis."""
        model, _ = self.without(every, nuisance, first.hyperparameters.noise)
        start = first.coefficient.reshape(-1, basis.splines)
        found = separable(model, basis.knots_nm, first.hyperparameters, start, steps=STEPS)
        model, occam = self.without(every, nuisance, found.fit.hyperparameters.noise)
        return Candidate.of_separable(found.again(model, basis.knots_nm), basis, occam)

    def with_harmonics(self, best: Candidate, nuisance: str) -> tuple[Candidate, str]:
        """Add harmonics if the residual asks for them."""
        if self.explained(best):
            return best, nuisance
        residual = replace(self.shown, image=self.left(best, nuisance))
        fold = asked_fold(residual, best.basis.orders[-1])
        return harmonics(self.shown, best, nuisance, fold) if fold else (best, nuisance)

    def missing(self, best: Candidate) -> float:
        """Factor of :func:`missing_variance` of a kernel of several harmonics."""
        if best.kind != "harmonics":
            return 0.0
        shown, basis, prior = self.shown, best.basis, best.hyperparameters.prior
        r_nm = sites(basis.splines, basis.spacing_nm)
        profile = interpolated(missing_variance(basis, prior, r_nm), basis.spacing_nm)
        each = HarmonicKernel(basis.spacing_nm, (0,), profile[None]).superposed(shown.pixels, shown.scatterers)
        unexplained = max(best.hyperparameters.noise - noise_level(shown.picture) ** 2, 0.0)
        return unexplained / max(float(each.mean()), np.finfo(np.float64).tiny)


def _scale(image: Values) -> float:
    """Standard deviation of an image, 0 if it is constant but for rounding."""
    scale = float(np.std(image))
    return scale if scale > 1e-12 * float(np.abs(image).max(initial=0.0)) else 0.0
