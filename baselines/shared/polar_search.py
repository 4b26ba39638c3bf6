"""The kernel of an image in polar coordinates: symmetry, harmonics, length scales, noise and nuisance by evidence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from qpibench.grid import Grid
from shared.evidence import Hyperparameters, Layout, LinearModel, Posterior, expected_noise, fit, maximise
from shared.harmonic_kernel import HarmonicKernel, interpolated, sites
from shared.noise import noise_level
from shared.nuisance import SETS, Nuisance, of_instrument, waves_from_outside
from shared.polar import Points, pixels_of
from shared.polar_basis import PolarBasis, Sums, sums
from shared.radial import spline_values
from shared.radial_prior import RadialPrior
from shared.separable import Separable, separable

Values = NDArray[np.float64]

FOLDS = (1, 2, 3, 4, 5, 6, 8)
"""Symmetries that are tried besides total symmetry."""

SCREENING_SPLINES, SPLINES = 64, 140
"""Radial splines of the screening and of a kernel; fewer if neighbours would be closer than pixels."""

WAVES, NOISES = (3, 5, 8, 12), (0.3, 0.03, 0.001)
"""Waves in the field, and variances of the noise over that of the image, of the screening."""

PRIOR_SHARE = 1e-4
"""Variance of a function, over the largest, below which the screening leaves it out."""

SCREENING_PIXELS = 2048
"""Pixels of the screening; more are thinned out."""

FIRST_STEPS, LATER_STEPS = 25, 10
"""Steps of the hyper-parameters of a separable kernel, in the screening and on all pixels."""

FAINT, FAINT_CLEAN = 1e-3, 1e-5
"""Expected size of a kernel, over its largest coefficient, below which it is taken to be 0; the second one is for noise
below NEARLY_CLEAN."""

NEARLY_CLEAN = 3e-4
"""Variance of the noise, over that of the image, below which finer splines lower the error."""

FINE_SPACING = 0.65
"""Distance of the finer splines in pixels."""

FINEST = 0.7
"""Largest wavenumber of a kernel with many harmonics, over the Nyquist wavenumber of the pixels."""

MOST_COLUMNS = 1500
"""Columns of the linear model, at most."""

HIGHEST = 24
"""Largest order of the harmonics of which traces are searched in a residual."""

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
    scale = float(np.std(image))
    if not scale > 1e-12 * float(np.abs(image).max(initial=0.0)):
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
    scale = float(np.std(image))
    if not scale > 1e-12 * float(np.abs(image).max(initial=0.0)):
        return None
    search = _Search(image / scale, pixels, scatterers, grid)
    best, nuisance = search.full(search.screen())
    return FirstLook(
        kernel=best.basis.kernel(scale * best.coefficient),
        covariance=scale**2 * best.hyperparameters.prior.covariance(best.basis.knots_nm),
        nuisance=nuisance,
        noise=scale * math.sqrt(best.hyperparameters.noise),
    )


@dataclass(frozen=True)
class _Candidate:
    """A kernel in a basis, with nuisance marginalised."""

    basis: PolarBasis
    kind: str
    hyperparameters: Hyperparameters
    coefficient: Values
    source: Separable | Posterior
    evidence: float

    def on(self, basis: PolarBasis) -> _Candidate:
        """The same kernel, interpolated in a basis of the same harmonics with other splines."""
        r_nm = sites(basis.splines, basis.spacing_nm)
        values = self.basis.spread(self.coefficient) @ spline_values(r_nm, self.basis.spacing_nm, self.basis.splines).T
        return replace(self, basis=basis, coefficient=interpolated(values, basis.spacing_nm).ravel())

    def found(self, nuisance: str, missing: float, *, open_edge: bool) -> Found:
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


class _Search:
    """The steps of :func:`find` for an image of unit variance."""

    def __init__(self, image: Values, pixels: Points, scatterers: Points, grid: Grid) -> None:
        self.image, self.pixels, self.scatterers, self.grid = image, pixels, scatterers, grid
        self.outside: Nuisance | None = None
        self.white_noise = _noise_level(image, pixels, grid) ** 2
        self.pitch = max(grid.pitch_x_nm, grid.pitch_y_nm)
        self.side = min(grid.size_x_nm, grid.size_y_nm)
        self.reach = math.hypot(grid.size_x_nm, grid.size_y_nm)

    def find(self, rounding_nm: tuple[float, float]) -> Found:
        best, choice = self.simplest()
        if best.hyperparameters.noise < NEARLY_CLEAN:
            pass  # nothing is left to explain
        elif self.edge_shows(best, choice):
            kernels = [best]
            for _ in range(EDGE_ROUNDS):
                self.outside = self.waves_from_outside(kernels[-2:])
                best, choice = self.simplest()
                kernels.append(best)
        elif best.hyperparameters.noise > MORE_THAN_ROUNDING * self.rounding_left(best, rounding_nm):
            best = self.harmonics(best, choice)
        return best.found(choice, self.missing(best), open_edge=self.outside is not None)

    def simplest(self) -> tuple[_Candidate, str]:
        """Find a separable kernel, for the waves from outside that are known so far, and what else the image shows."""
        return self.full(self.screen())

    def edge_shows(self, best: _Candidate, nuisance: str) -> bool:
        """Whether a border of the field is explained worse than its middle."""
        residual = self.residual(best, nuisance)
        x, y = self.pixels.x, self.pixels.y
        depth = np.minimum.reduce([x - x.min(), x.max() - x, y - y.min(), y.max() - y])
        near = depth < BORDER * self.side
        return bool(near.any() and not near.all() and residual[near].var() > EDGE_EXCESS * residual[~near].var())

    def rounding_left(self, best: _Candidate, rounding_nm: tuple[float, float]) -> float:
        """Mean square of what rounded places leave of the image, to first order."""
        if not any(rounding_nm):
            return 0.0
        pairs = best.basis.kernel(best.coefficient).pairs(self.pixels, self.scatterers, nearest_nm=self.pitch / 2)
        left = sum(std**2 * float((by**2).sum()) for std, by in zip(rounding_nm, pairs[1:], strict=True))
        return left / len(self.image)

    def residual(self, best: _Candidate, nuisance: str) -> Values:
        """The image (pixel,) without the kernels and without what else it shows."""
        left = self.image - best.basis.kernel(best.coefficient).superposed(self.pixels, self.scatterers)
        return self.nuisance(nuisance).removed(left, best.hyperparameters.noise)

    def waves_from_outside(self, found: Sequence[_Candidate]) -> Nuisance:
        """Columns for scatterers outside, as dense as those inside, with the mean of kernels found so far."""
        basis = found[-1].basis
        profile = found[-1].hyperparameters.prior.envelope(basis.knots_nm) ** 2 * basis.knots_nm
        share = np.cumsum(profile) / max(float(profile.sum()), np.finfo(np.float64).tiny)
        reach = float(basis.knots_nm[min(int(np.searchsorted(share, KERNEL_SHARE)), len(share) - 1)])
        density = float(self.scatterers.strength.sum()) / (self.grid.size_x_nm * self.grid.size_y_nm)
        kernels = [one.basis.kernel(one.coefficient) for one in found]
        return waves_from_outside(kernels, self.pixels, density, min(max(reach, 2 * self.pitch), self.side))

    def basis(self, orders: Sequence[int], most: int) -> PolarBasis:
        """A basis with at most a number of splines, no closer than pixels."""
        return PolarBasis.reaching(self.reach, max(self.pitch, self.reach / most), tuple(orders))

    def sums(self, basis: PolarBasis, nuisance: str, *, dtype: type[np.floating] = np.float32) -> Sums:
        """Sums with the columns of one set of nuisance."""
        return sums(self.image, self.pixels, self.scatterers, basis, self.nuisance(nuisance), dtype=dtype)

    def nuisance(self, name: str) -> Nuisance:
        """The waves from outside, and what else is in a set."""
        instrument = of_instrument(self.pixels, name)
        return instrument if self.outside is None else instrument.after(self.outside)

    def without(self, every: Sums, nuisance: str, noise: float) -> tuple[LinearModel, float]:
        """The linear model after marginalising over one set of nuisance, and its Occam factor."""
        return every.without(self.nuisance(nuisance).size, noise)

    def screen(self) -> _Candidate:
        """Choose the fold with coarse splines on some of the pixels, and fit a first separable kernel."""
        basis = self.basis((0, *FOLDS), SCREENING_SPLINES)
        thin = np.arange(0, len(self.image), max(1, round(len(self.image) / SCREENING_PIXELS)) | 1)
        pixels = Points(*(part[thin] for part in self.pixels))
        nuisance = self.nuisance("offset and tilt").of_pixels(thin)
        shown = sums(self.image[thin], pixels, self.scatterers, basis, nuisance)
        model, _ = shown.without(nuisance.size, NOISES[0])
        harmonics, splines = len(basis.functions), basis.splines
        best: tuple[float, int, Hyperparameters] | None = None
        for waves in WAVES:
            start = self.start(replace(model, gram=model.gram[:splines, :splines]), basis, waves)
            # The prior has few independent functions, the same for every harmonic and every noise.
            values, vectors = np.linalg.eigh(start.prior.covariance(basis.knots_nm))
            kept = values > PRIOR_SHARE * values[-1]
            functions = vectors[:, kept] * np.sqrt(values[kept])
            inner = (model.gram.reshape(-1, splines) @ functions).reshape(harmonics, splines, harmonics, -1)
            inner = (functions.T @ inner.reshape(harmonics, splines, -1)).reshape(harmonics, -1, *inner.shape[2:])
            outer = model.linear.reshape(harmonics, splines) @ functions
            for fold in (0, *FOLDS):
                rows = _rows(fold)
                size = len(rows) * functions.shape[1]
                powers, axes = np.linalg.eigh(inner[rows][:, :, rows].reshape(size, size))
                along = axes.T @ outer[rows].ravel()
                for share in NOISES:
                    noise = share * model.energy / model.pixels
                    raised = np.maximum(powers, 0) + noise
                    evidence = 0.5 * ((along**2 / raised).sum() - model.energy) / noise
                    evidence -= 0.5 * (np.log(raised / noise).sum() + model.pixels * math.log(noise))
                    if best is None or evidence > best[0]:
                        best = evidence, fold, replace(start, log_noise=math.log(noise))
        assert best is not None
        _, fold, start = best
        columns = np.concatenate([np.arange(splines) + splines * row for row in _rows(fold)])
        own = replace(model, gram=model.gram[np.ix_(columns, columns)], linear=model.linear[columns])
        coarse = replace(basis, orders=(0, fold) if fold else (0,))
        first = fit(own, Layout.whole(basis.knots_nm, len(coarse.functions)), start).posterior.mean
        return self.candidate(
            separable(own, basis.knots_nm, start, first.reshape(-1, splines), steps=FIRST_STEPS), coarse
        )

    def start(self, model: LinearModel, basis: PolarBasis, waves: float) -> Hyperparameters:
        """Hyper-parameters of a kernel with a number of waves in the field, as bright as the image."""
        prior = RadialPrior(
            log_scale=0.0,
            log_decay=math.log(self.side / 2),
            power=1.5,
            log_core=math.log(self.side / 20),
            core_power=0.3,
            log_wavenumber=math.log(2 * math.pi * waves / self.side),
            log_coherence=math.log(self.side / 6),
            log_background=math.log(0.3),
            log_roughness=math.log(2 * basis.spacing_nm),
        )
        bright = float((model.gram * prior.covariance(basis.knots_nm)).sum())
        log_scale = 0.5 * math.log(max(model.energy, 1e-300) / max(bright, 1e-300))
        return Hyperparameters(replace(prior, log_scale=log_scale), 0.0)

    def full(self, coarse: _Candidate) -> tuple[_Candidate, str]:
        """Fit a separable kernel to all pixels, as far as it reaches; choose what else the image shows."""
        clean = coarse.hyperparameters.noise < NEARLY_CLEAN
        pitch = self.pitch * (FINE_SPACING if clean else 1.0)
        reach = self.reach_of(coarse, FAINT_CLEAN if clean else FAINT)
        basis = PolarBasis.reaching(reach, max(pitch, reach / SPLINES), coarse.basis.orders)
        first = coarse.on(basis)
        none, *others = SETS
        every = self.sums(basis, others[-1], dtype=np.float64 if clean else np.float32)
        best, choice = self.separable(every, basis, none, first), none
        widest = self.separable(every, basis, others[-1], first)
        if widest.evidence > best.evidence:
            best, choice = widest, others[-1]
            for name in others[:-1]:
                tried = self.separable(every, basis, name, widest)
                if tried.evidence > best.evidence:
                    best, choice = tried, name
        return best, choice

    def reach_of(self, coarse: _Candidate, faint: float) -> float:
        """Distance from which on a kernel is expected to be fainter than a share of its largest coefficient."""
        r_nm, prior = coarse.basis.knots_nm, coarse.hyperparameters.prior
        expected = math.exp(prior.log_scale) * prior.envelope(r_nm)
        seen = expected > faint * float(np.abs(coarse.coefficient).max())
        return min(self.reach, 1.1 * float(r_nm[seen].max(initial=0.0)) + 4 * self.pitch)

    def separable(self, every: Sums, basis: PolarBasis, nuisance: str, first: _Candidate) -> _Candidate:
        """Fit a separable kernel, or one of total symmetry, starting from another one in the same basis."""
        model, _ = self.without(every, nuisance, first.hyperparameters.noise)
        start = first.coefficient.reshape(-1, basis.splines)
        found = separable(model, basis.knots_nm, first.hyperparameters, start, steps=LATER_STEPS)
        model, occam = self.without(every, nuisance, found.fit.hyperparameters.noise)
        return self.candidate(found.again(model, basis.knots_nm), basis, occam)

    def candidate(self, found: Separable, basis: PolarBasis, occam: float = 0.0) -> _Candidate:
        return _Candidate(
            basis=basis,
            kind="separable" if len(basis.orders) > 1 else "total",
            hyperparameters=found.fit.hyperparameters,
            coefficient=found.coefficient,
            source=found,
            evidence=found.evidence + occam,
        )

    def harmonics(self, best: _Candidate, nuisance: str) -> _Candidate:
        """Add harmonics as long as the evidence grows."""
        fold = self.asked_fold(best, nuisance)
        if not fold:
            return best
        spacing = max(self.pitch, self.reach / (2 * SPLINES))
        orders = tuple(range(0, 4 * fold + 1, fold))
        basis = replace(PolarBasis.reaching(self.reach, spacing, orders), finest=FINEST * math.pi / self.pitch)
        of_free = self.sums(basis, nuisance)
        axis = _axis(self.fitted(of_free, basis, nuisance, best.hyperparameters))
        mirrored = replace(basis, axis=axis, mirrored=True)
        found = self.fitted(self.sums(mirrored, nuisance), mirrored, nuisance, best.hyperparameters, steps=20)
        free = self.fitted(of_free, basis, nuisance, found.hyperparameters)
        if free.evidence > found.evidence:
            found = self.fitted(of_free, basis, nuisance, found.hyperparameters, steps=6)
        if found.evidence <= best.evidence:
            return best
        while True:
            wider = self.wider(found.basis, fold)
            if wider == found.basis:
                return found
            tried = self.fitted(self.sums(wider, nuisance), wider, nuisance, found.hyperparameters)
            if tried.evidence <= found.evidence:
                return found
            found = tried

    def missing(self, best: _Candidate) -> float:
        """Factor of :func:`missing_variance` of a kernel of several harmonics."""
        if best.kind != "harmonics":
            return 0.0
        basis, prior = best.basis, best.hyperparameters.prior
        r_nm = sites(basis.splines, basis.spacing_nm)
        profile = interpolated(missing_variance(basis, prior, r_nm), basis.spacing_nm)
        each = HarmonicKernel(basis.spacing_nm, (0,), profile[None]).superposed(self.pixels, self.scatterers)
        unexplained = max(best.hyperparameters.noise - self.white_noise, 0.0)
        return unexplained / max(float(each.mean()), np.finfo(np.float64).tiny)

    def wider(self, basis: PolarBasis, fold: int) -> PolarBasis:
        """A basis with twice the harmonics, or as many as columns allow."""
        most = basis.orders[-1]
        wider = replace(basis, orders=tuple(range(0, 2 * most + 1, fold)))
        while sum(map(len, wider.layout.splines)) > MOST_COLUMNS and wider.orders[-1] > most:
            wider = replace(wider, orders=wider.orders[:-1])
        return wider

    def asked_fold(self, best: _Candidate, nuisance: str) -> int:
        """The fold of whose harmonics the residual shows more than of others and of white noise; 0 if there is none.

        The power of a harmonic is the sum over radial splines of the squared product of residual and column, over the
        variance of the residual and the square of the column: near 1 for each spline in white noise.
        """
        fold = best.basis.orders[-1]
        orders = tuple(m for m in range(0, HIGHEST + 1, fold or 1) if m not in best.basis.orders[1:])
        basis = PolarBasis.reaching(self.side / 2, max(self.pitch, self.side / (2 * SCREENING_SPLINES)), orders)
        residual = self.residual(best, nuisance)
        thin = np.arange(0, len(self.image), max(1, round(len(self.image) / SCREENING_PIXELS)) | 1)
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

    def fitted(
        self, every: Sums, basis: PolarBasis, nuisance: str, start: Hyperparameters, *, steps: int = 0
    ) -> _Candidate:
        """Fit a kernel of several harmonics; without steps only the noise is estimated again."""
        model, occam = self.without(every, nuisance, start.noise)
        if steps:
            found = maximise(model, basis.layout, start, steps=steps)
        else:
            found = fit(
                model, basis.layout, replace(start, log_noise=math.log(expected_noise(model, basis.layout, start)))
            )
        return _Candidate(
            basis=basis,
            kind="harmonics",
            hyperparameters=found.hyperparameters,
            coefficient=found.posterior.mean,
            source=found.posterior,
            evidence=found.evidence + occam,
        )


def _noise_level(image: Values, pixels: Points, grid: Grid) -> float:
    """Standard deviation of the white noise, from differences of neighbouring pixels."""
    whole = np.full(grid.shape, np.nan)
    row = np.rint((pixels.y - grid.y_nm[0]) / grid.pitch_y_nm).astype(int)
    column = np.rint((pixels.x - grid.x_nm[0]) / grid.pitch_x_nm).astype(int)
    whole[row, column] = image
    return noise_level(whole)


def _rows(fold: int) -> list[int]:
    """Numbers of the harmonics of a fold among 1, cos and sin of all folds."""
    return [0, 2 * FOLDS.index(fold) + 1, 2 * FOLDS.index(fold) + 2] if fold else [0]


def _axis(found: _Candidate) -> float:
    """The mirror line of a kernel of several harmonics: its radial functions have one phase each along it."""
    kernel, fold = found.basis.kernel(found.coefficient), found.basis.orders[1]
    weight = kernel.coefficient[1::2] + 1j * kernel.coefficient[2::2]
    turns = np.arange(180) * np.pi / (180 * fold)
    orders = np.array(found.basis.orders[1:])
    odd = [np.abs((weight * np.exp(-1j * orders * turn)[:, None]).imag).__pow__(2).sum() for turn in turns]
    return float(turns[int(np.argmin(odd))])
