"""The kernel of an image in polar coordinates: symmetry, harmonics, length scales, noise and nuisance by evidence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from qpibench.grid import Grid
from shared.evidence import (
    Factors,
    Fit,
    Hyperparameters,
    LinearModel,
    expected_noise,
    fit,
    maximise,
    posterior_of_amplitudes,
)
from shared.harmonic_kernel import HarmonicKernel, interpolated, sites
from shared.noise import noise_level
from shared.nuisance import SETS, Nuisance, of_instrument, waves_from_outside
from shared.polar import Points
from shared.polar_basis import PolarBasis, Sums, sums
from shared.polar_found import Candidate, Found, missing_variance
from shared.polar_screening import screen, thinned
from shared.separable import held, separable

Values = NDArray[np.float64]

SPLINES = 140
"""Radial splines of a kernel; fewer if neighbours would be closer than pixels."""

STEPS = 10
"""Steps of the hyper-parameters of a separable kernel on all pixels."""

FAINT, FAINT_CLEAN = 1e-3, 1e-5
"""Expected size of a kernel, over its largest coefficient, below which it is taken to be 0; the second one is for noise
below NEARLY_CLEAN."""

NEARLY_CLEAN = 3e-4
"""Variance of the noise, over that of the image, below which finer splines lower the error."""

FINE_SPACING = 0.65
"""Distance of the finer splines in pixels."""

FINEST = 0.7
"""Largest wavenumber of a kernel with many harmonics, over the Nyquist wavenumber of the pixels."""

FIRST = 2
"""Multiples of the fold that a kernel of several harmonics has at first."""


FIRST_STEPS = 15
"""Steps of the hyper-parameters with these harmonics."""

LEAST_SEEN = 0.2
"""Variance of a function of the prior, over that with which the image determines it, below which it is left out."""

SYMMETRY_PIXELS = 4096
"""Pixels of which the mirror line follows; more are thinned out."""

MOST_COLUMNS = 1500
"""Columns of the linear model, at most."""

HIGHEST, TRACE_SPLINES = 24, 64
"""Largest order of the harmonics of which traces are searched in a residual, and number of their splines."""

BORDER, EDGE_EXCESS = 0.1, 1.15
"""Width of the border over the field's side, and excess of the residual there that shows waves from outside. Without
these, the residual of a separable kernel is at most 1.07 times as large in the border as in the middle."""

EDGE_ROUNDS = 4
"""Rounds in which the waves from outside follow the kernel. Each takes the mean of the last two kernels: with the last
one alone they alternate."""

KERNEL_SHARE = 0.99
"""Share of the energy of a kernel within the distance up to which scatterers outside are assumed."""

MORE_THAN_ROUNDING = 3.0
"""Variance of a residual, over what rounded places leave to first order, below which no harmonics are added."""

GROUPS = (2, 3, 4, 6)
"""Folds of lattices, which are tried where a separable kernel has total symmetry or none."""

SHARE_STD, LEAST_EXCESS = 0.22, 4.0
"""Standard deviation of a harmonic's share of a white residual, and the mean excess in units of its own that asks."""


def find(
    image: Values,
    pixels: Points,
    scatterers: Points,
    grid: Grid,
    *,
    rounding_nm: tuple[float, float] = (0.0, 0.0),
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

    Returns
    -------
    Found
        None if the image is constant, or no scatterer reaches a pixel.
    """
    scale = _scale(image)
    if not scale:
        return None
    found = _Search(image / scale, pixels, scatterers, grid).find(rounding_nm)
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
    """

    kernel: HarmonicKernel
    covariance: Values
    nuisance: str
    noise: float


def first_look(image: Values, pixels: Points, scatterers: Points, grid: Grid) -> FirstLook | None:
    """Find a separable kernel of an image whose scatterers may be wrong, which would ask :func:`find` for harmonics.

    Parameters and None are those of :func:`find`.
    """
    scale = _scale(image)
    if not scale:
        return None
    search = _Search(image / scale, pixels, scatterers, grid)
    best, nuisance = search.simplest()
    return FirstLook(
        kernel=best.basis.kernel(scale * best.coefficient),
        covariance=scale**2 * best.hyperparameters.prior.covariance(best.basis.knots_nm),
        nuisance=nuisance,
        noise=scale * math.sqrt(best.hyperparameters.noise),
    )


class _Search:
    """The steps of :func:`find` for an image of unit variance."""

    def __init__(self, image: Values, pixels: Points, scatterers: Points, grid: Grid) -> None:
        self.image, self.pixels, self.scatterers, self.grid = image, pixels, scatterers, grid
        self.nuisance = {name: of_instrument(pixels, name) for name in SETS}
        self.open_edge = False
        self.pitch = max(grid.pitch_x_nm, grid.pitch_y_nm)
        self.side = min(grid.size_x_nm, grid.size_y_nm)
        self.reach = math.hypot(grid.size_x_nm, grid.size_y_nm)

    def find(self, rounding_nm: tuple[float, float]) -> Found:
        best, choice = self.simplest()
        if best.hyperparameters.noise > NEARLY_CLEAN:  # else nothing is left to explain
            if self.edge_shows(best, choice):
                best, choice = self.with_open_edge(best)
            elif best.hyperparameters.noise > MORE_THAN_ROUNDING * self.rounding_left(best, rounding_nm):
                best = self.harmonics(best, choice)
        return best.found(choice, self.missing(best), open_edge=self.open_edge)

    def simplest(self) -> tuple[Candidate, str]:
        """Find a separable kernel and what else the image shows, waves from outside included if they are known."""
        first = screen(self.image, self.pixels, self.scatterers, self.nuisance["offset and tilt"], self.grid)
        return self.full(first)

    def with_open_edge(self, best: Candidate) -> tuple[Candidate, str]:
        """Find a separable kernel together with the waves of scatterers outside the field."""
        instrument, kernels = self.nuisance, [best]
        self.open_edge = True
        for _ in range(EDGE_ROUNDS):
            outside = self.waves_from_outside(kernels[-2:])
            self.nuisance = {name: each.after(outside) for name, each in instrument.items()}
            best, choice = self.simplest()
            kernels.append(best)
        return best, choice

    def edge_shows(self, best: Candidate, nuisance: str) -> bool:
        """Whether a border of the field is explained worse than its middle."""
        residual = self.residual(best, nuisance)
        x, y = self.pixels.x, self.pixels.y
        depth = np.minimum.reduce([x - x.min(), x.max() - x, y - y.min(), y.max() - y])
        near = depth < BORDER * self.side
        return bool(near.any() and not near.all() and residual[near].var() > EDGE_EXCESS * residual[~near].var())

    def rounding_left(self, best: Candidate, rounding_nm: tuple[float, float]) -> float:
        """Mean square of what rounded places leave of the image, to first order."""
        if not any(rounding_nm):
            return 0.0
        pairs = best.kernel.pairs(self.pixels, self.scatterers, nearest_nm=self.pitch / 2)
        left = sum(std**2 * float((by**2).sum()) for std, by in zip(rounding_nm, pairs[1:], strict=True))
        return left / len(self.image)

    def residual(self, best: Candidate, nuisance: str) -> Values:
        """The image (pixel,) without the kernels and without what else it shows."""
        left = self.image - best.kernel.superposed(self.pixels, self.scatterers)
        return self.nuisance[nuisance].removed(left, best.hyperparameters.noise)

    def waves_from_outside(self, found: Sequence[Candidate]) -> Nuisance:
        """Columns for scatterers outside, as dense as those inside, with the mean of kernels found so far."""
        basis = found[-1].basis
        profile = found[-1].hyperparameters.prior.envelope(basis.knots_nm) ** 2 * basis.knots_nm
        share = np.cumsum(profile) / max(float(profile.sum()), np.finfo(np.float64).tiny)
        reach = float(basis.knots_nm[min(int(np.searchsorted(share, KERNEL_SHARE)), len(share) - 1)])
        density = float(self.scatterers.strength.sum()) / (self.grid.size_x_nm * self.grid.size_y_nm)
        kernels = [one.kernel for one in found]
        return waves_from_outside(kernels, self.pixels, density, min(max(reach, 2 * self.pitch), self.side))

    def sums(self, basis: PolarBasis, nuisance: str, *, dtype: type[np.floating] = np.float32) -> Sums:
        """Sums with the columns of one set of nuisance."""
        return sums(self.image, self.pixels, self.scatterers, basis, self.nuisance[nuisance], dtype=dtype)

    def without(self, every: Sums, nuisance: str, noise: float) -> tuple[LinearModel, float]:
        """The linear model after marginalising over one set of nuisance, and its Occam factor."""
        return every.without(self.nuisance[nuisance].size, noise)

    def full(self, coarse: Candidate) -> tuple[Candidate, str]:
        """Fit a separable kernel to all pixels, as far as it reaches; choose what else the image shows."""
        clean = coarse.hyperparameters.noise < NEARLY_CLEAN
        pitch = self.pitch * (FINE_SPACING if clean else 1.0)
        reach = self.reach_of(coarse, FAINT_CLEAN if clean else FAINT)
        basis = PolarBasis.reaching(reach, max(pitch, reach / SPLINES), coarse.basis.orders)
        first = coarse.on(basis)
        every = self.sums(basis, SETS[-1], dtype=np.float64 if clean else np.float32)
        none = SETS[0]
        best = self.separable(every, basis, none, first)
        seen = {name: self.seen(every, basis, name, best) for name in SETS}
        choice = max(seen, key=lambda name: seen[name].evidence)
        if choice == none:
            return best, none
        best, other = (self.separable(every, basis, name, seen[name]) for name in (none, choice))
        return (other, choice) if other.evidence > best.evidence else (best, none)

    def reach_of(self, coarse: Candidate, faint: float) -> float:
        """Distance from which on a kernel is expected to be fainter than a share of its largest coefficient."""
        r_nm, prior = coarse.basis.knots_nm, coarse.hyperparameters.prior
        expected = math.exp(prior.log_scale) * prior.envelope(r_nm)
        seen = expected > faint * float(np.abs(coarse.coefficient).max())
        return min(self.reach, 1.1 * float(r_nm[seen].max(initial=0.0)) + 4 * self.pitch)

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

    def harmonics(self, best: Candidate, nuisance: str) -> Candidate:
        """Add harmonics as long as the evidence grows."""
        fold = self.asked_fold(best, nuisance)
        if not fold:
            return best
        some = self.on(thinned(len(self.image), SYMMETRY_PIXELS))
        spacing = max(self.pitch, self.reach / (2 * SPLINES))
        basis = PolarBasis.reaching(self.reach, spacing, tuple(range(0, FIRST * fold + 1, fold)))
        basis = replace(basis, finest=FINEST * math.pi / self.pitch)
        first = some.fitted(basis, nuisance, best.hyperparameters)
        first = some.fitted(_mirrored(first), nuisance, first.hyperparameters, steps=FIRST_STEPS)
        basis = replace(basis, orders=tuple(range(0, 2 * FIRST * fold + 1, fold)))
        free = some.fitted_where_seen(basis, nuisance, first.hyperparameters)
        mirrored = some.fitted_where_seen(_mirrored(free), nuisance, first.hyperparameters)
        like = mirrored if mirrored.evidence > free.evidence else free
        found = self.fitted_where_seen(like.basis, nuisance, like.hyperparameters)
        if found.evidence <= best.evidence:
            return best
        more = True
        while more:
            basis = replace(found.basis, orders=tuple(range(0, 2 * found.basis.orders[-1] + 1, fold)))
            wider = self.fitted_where_seen(basis, nuisance, found.hyperparameters)
            if wider.evidence <= found.evidence:
                return found
            more, found = wider.basis.orders[-1] > found.basis.orders[-1], wider
        return found

    def on(self, some: NDArray[np.intp]) -> _Search:
        """The search on some of the pixels."""
        thin = copy(self)
        thin.image, thin.pixels = self.image[some], Points(*(part[some] for part in self.pixels))
        thin.nuisance = {name: each.of_pixels(some) for name, each in self.nuisance.items()}
        return thin

    def fitted(self, basis: PolarBasis, nuisance: str, start: Hyperparameters, *, steps: int = 0) -> Candidate:
        """Fit a kernel of several harmonics; without steps only the noise is estimated again."""
        model, occam = self.without(self.sums(basis, nuisance), nuisance, start.noise)
        layout = basis.layout
        if steps:
            found = maximise(model, layout, start, steps=steps)
        else:
            noise = expected_noise(model, fit(model, layout, start).posterior, start.noise)
            found = fit(model, layout, replace(start, log_noise=math.log(noise)))
        return Candidate.of_harmonics(basis, found, occam)

    def fitted_where_seen(self, basis: PolarBasis, nuisance: str, start: Hyperparameters) -> Candidate:
        """As :meth:`fitted` without steps, in functions of which the image says something.

        If these are too many, the highest harmonics are left out.
        """
        prior = self.seen_functions(basis, start)
        sizes = np.cumsum([block.shape[1] for block in prior.blocks])
        kept = {m for m, size in zip(basis.functions, sizes, strict=True) if size <= MOST_COLUMNS}
        basis = replace(basis, orders=tuple(sorted(kept)))
        prior = Factors(prior.blocks[: len(basis.functions)])
        shown = sums(self.image, self.pixels, self.scatterers, basis, self.nuisance[nuisance], functions=prior.blocks)
        model, occam = self.without(shown, nuisance, start.noise)
        noise = expected_noise(model, posterior_of_amplitudes(model, prior, start.noise), start.noise)
        found = Fit(replace(start, log_noise=math.log(noise)), posterior_of_amplitudes(model, prior, noise))
        return Candidate.of_harmonics(basis, found, occam)

    def seen_functions(self, basis: PolarBasis, at: Hyperparameters) -> Factors:
        """The prior of a basis without the functions of which the image says nothing."""
        some = thinned(len(self.image))
        thin, layout = Points(*(part[some] for part in self.pixels)), basis.layout
        norms = sum(np.einsum("pc,pc->c", columns, columns) for _, columns in basis.columns(thin, self.scatterers))
        shown = norms * (len(self.image) / len(some) / at.noise)  # variance of the image over that of the noise
        # Distances that the image does not show keep their functions, for what they say of the standard deviation.
        shown = np.maximum(shown, 1e-3 * shown.max())
        return layout.factors(at.prior.at(layout.separations).covariance).seen(shown, least=LEAST_SEEN)

    def missing(self, best: Candidate) -> float:
        """Factor of :func:`missing_variance` of a kernel of several harmonics."""
        if best.kind != "harmonics":
            return 0.0
        basis, prior = best.basis, best.hyperparameters.prior
        r_nm = sites(basis.splines, basis.spacing_nm)
        profile = interpolated(missing_variance(basis, prior, r_nm), basis.spacing_nm)
        each = HarmonicKernel(basis.spacing_nm, (0,), profile[None]).superposed(self.pixels, self.scatterers)
        unexplained = max(best.hyperparameters.noise - _noise_level(self.image, self.pixels, self.grid) ** 2, 0.0)
        return unexplained / max(float(each.mean()), np.finfo(np.float64).tiny)

    def asked_fold(self, best: Candidate, nuisance: str) -> int:
        """The fold of whose harmonics the residual shows more than of others and of white noise; 0 if there is none.

        The power of a harmonic is the sum over radial splines of the squared product of residual and column, over the
        variance of the residual and the square of the column: near 1 for each spline in white noise.
        """
        fold = best.basis.orders[-1]
        orders = tuple(m for m in range(0, HIGHEST + 1, fold or 1) if m not in best.basis.orders[1:])
        basis = PolarBasis.reaching(self.side / 2, max(self.pitch, self.side / (2 * TRACE_SPLINES)), orders)
        residual = self.residual(best, nuisance)
        thin = thinned(len(self.image))
        pixels, left = Points(*(part[thin] for part in self.pixels)), residual[thin] - residual.mean()
        size = len(basis.functions) * basis.splines
        shown, norms = np.zeros(size), np.zeros(size)
        for rows, columns in basis.columns(pixels, self.scatterers):
            shown += left[rows].astype(np.float32) @ columns
            norms += np.einsum("pc,pc->c", columns, columns)
        seen = norms > 1e-3 * norms.max()
        power = np.where(seen, shown**2 / np.where(seen, norms, 1), 0).reshape(-1, basis.splines) / left.var()
        counts = seen.reshape(-1, basis.splines)
        pairs = (len(orders) - 1, 2 * basis.splines)
        shares = power[1:].reshape(pairs).sum(axis=1) / np.maximum(counts[1:].reshape(pairs).sum(axis=1), 1)
        of_order = np.array(orders[1:])
        best_excess, asked = LEAST_EXCESS, 0
        for tried in (fold,) if fold > 1 else GROUPS:
            own = of_order % tried == 0
            rest = float(shares[~own].mean()) if not own.all() else 1.0
            excess = (float(shares[own].mean()) - rest) * math.sqrt(own.sum()) / SHARE_STD
            if excess > best_excess:
                best_excess, asked = excess, tried
        return asked


def _scale(image: Values) -> float:
    """Standard deviation of an image, 0 if it is constant but for rounding."""
    scale = float(np.std(image))
    return scale if scale > 1e-12 * float(np.abs(image).max(initial=0.0)) else 0.0


def _noise_level(image: Values, pixels: Points, grid: Grid) -> float:
    """Standard deviation of the white noise, from differences of neighbouring pixels."""
    whole = np.full(grid.shape, np.nan)
    row = np.rint((pixels.y - grid.y_nm[0]) / grid.pitch_y_nm).astype(int)
    column = np.rint((pixels.x - grid.x_nm[0]) / grid.pitch_x_nm).astype(int)
    whole[row, column] = image
    return noise_level(whole)


def _mirrored(found: Candidate) -> PolarBasis:
    """The basis without sines about a mirror line: along it the radial functions of harmonics have one phase each."""
    kernel, fold = found.kernel, found.basis.orders[1]
    weight = kernel.coefficient[1::2] + 1j * kernel.coefficient[2::2]
    turns = np.arange(180) * np.pi / (180 * fold)
    orders = np.array(found.basis.orders[1:])
    odd = [((weight * np.exp(-1j * orders * turn)[:, None]).imag ** 2).sum() for turn in turns]
    return replace(found.basis, axis=float(turns[int(np.argmin(odd))]), mirrored=True)
