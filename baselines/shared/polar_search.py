"""The kernel of an image in polar coordinates: symmetry, harmonics, length scales, noise and nuisance by evidence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from qpibench.grid import Grid
from shared.evidence import Fit, Hyperparameters, Layout, LinearModel, fit, maximise
from shared.harmonic_kernel import HarmonicKernel
from shared.nuisance import Nuisance, of_instrument
from shared.polar import Points
from shared.polar_basis import PolarBasis, Sums, sums
from shared.radial_prior import RadialPrior
from shared.separable import Separable, separable

Values = NDArray[np.float64]

FOLDS = (1, 2, 3, 4, 5, 6, 8)
"""Symmetries that are tried besides total symmetry."""

SCREENING_SPLINES, SPLINES = 64, 110
"""Radial splines of the screening and of a kernel; fewer if neighbours would be closer than pixels."""

SCREENING_PIXELS = 2048
"""Pixels of the screening; more are thinned out."""

NEARLY_CLEAN = 1e-5
"""Variance of the noise, over that of the image, below which finer splines lower the error."""

FINE_SPACING = 0.65
"""Distance of the finer splines in pixels."""

FINEST = 0.7
"""Largest wavenumber of a kernel with many harmonics, over the Nyquist wavenumber of the pixels."""

MOST_COLUMNS = 1500
BORDER = 0.15
"""Width of the border over the side of the field, and excess of the residual there that calls for a model of it."""


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
    nuisance
        What else the image shows.
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
    nuisance: str
    evidence: float

    @property
    def kernel(self) -> HarmonicKernel:
        """The kernel."""
        return self.basis.kernel(self.coefficient)

    def std(self, grid: Grid) -> Values:
        """Standard deviation of the kernel on a grid, (y, x)."""
        return self.basis.std(self.root, grid)


def find(image: Values, pixels: Points, scatterers: Points, grid: Grid) -> Found | None:
    """Find the kernel of an image.

    Parameters
    ----------
    image, pixels
        Values (pixel,) and places of the pixels that are used.
    scatterers
        The scatterers.
    grid
        Grid of the image.

    Returns
    -------
    Found
        None if the image is constant, or no scatterer reaches a pixel.
    """
    scale = float(np.std(image))
    if not scale > 1e-12 * float(np.abs(image).max(initial=0.0)):
        return None
    search = _Search(image / scale, pixels, scatterers, grid)
    found = search.find()
    if found is None:
        return None
    return replace(found, coefficient=scale * found.coefficient, root=scale * found.root, noise=scale * found.noise)


@dataclass(frozen=True)
class _Candidate:
    """A basis, its linear model with nuisance marginalised, and a kernel for it."""

    basis: PolarBasis
    fold: int
    kind: str
    hyperparameters: Hyperparameters
    coefficient: Values
    root: Values
    evidence: float

    def found(self, nuisance: str) -> Found:
        return Found(
            basis=self.basis,
            coefficient=self.coefficient,
            root=self.root,
            noise=math.sqrt(self.hyperparameters.noise),
            fold=self.fold,
            kind=self.kind,
            prior=self.hyperparameters.prior,
            nuisance=nuisance,
            evidence=self.evidence,
        )


class _Search:
    """The steps of :func:`find` for an image of unit variance."""

    def __init__(self, image: Values, pixels: Points, scatterers: Points, grid: Grid) -> None:
        self.image, self.pixels, self.scatterers, self.grid = image, pixels, scatterers, grid
        self.pitch = max(grid.pitch_x_nm, grid.pitch_y_nm)
        self.side = min(grid.size_x_nm, grid.size_y_nm)
        self.reach = math.hypot(grid.size_x_nm, grid.size_y_nm)
        self.instrument = of_instrument(pixels)

    def find(self) -> Found | None:
        fold, start = self.screen()
        basis = self.basis((0, fold) if fold else (0,), SPLINES)
        every = self.sums(basis, self.instrument)
        choice, start = self.choose_nuisance(basis, every, start)
        some = self.instrument.sets[choice]
        nuisance = Nuisance(self.instrument.columns[:, some], self.instrument.variance[some], {})
        best = self.separable(basis, nuisance, fold, start, every.without(some, self.instrument.variance, start.noise))
        best = self.harmonics(best, nuisance)
        if best.kind != "harmonics" and best.hyperparameters.noise < NEARLY_CLEAN:
            fine = PolarBasis.reaching(self.reach, FINE_SPACING * self.pitch, basis.orders)
            best = self.separable(fine, nuisance, fold, best.hyperparameters, dtype=np.float64)
        return self.open_edge(best, nuisance).found(choice)

    def basis(self, orders: Sequence[int], most: int) -> PolarBasis:
        """A basis with at most a number of splines, no closer than pixels."""
        return PolarBasis.reaching(self.reach, max(self.pitch, self.reach / most), tuple(orders))

    def sums(self, basis: PolarBasis, nuisance: Nuisance, *, dtype: type[np.floating] = np.float32) -> Sums:
        return sums(self.image, self.pixels, self.scatterers, basis, nuisance.columns, dtype=dtype)

    def screen(self) -> tuple[int, Hyperparameters]:
        """Choose the fold with coarse splines on some of the pixels, with a prior of few alternatives."""
        basis = self.basis((0, *FOLDS), SCREENING_SPLINES)
        thin = np.arange(0, len(self.image), max(1, round(len(self.image) / SCREENING_PIXELS)) | 1)
        pixels = Points(*(part[thin] for part in self.pixels))
        some = self.instrument.sets["offset and tilt"]
        shown = sums(self.image[thin], pixels, self.scatterers, basis, self.instrument.columns[np.ix_(thin, some)])
        model, _ = shown.without(some, self.instrument.variance, 0.01)
        splines = basis.splines
        gram = model.gram.reshape(len(basis.functions), splines, len(basis.functions), splines)
        linear = model.linear.reshape(-1, splines)

        def of_fold(fold: int) -> LinearModel:
            rows = [0] if not fold else [0, 2 * FOLDS.index(fold) + 1, 2 * FOLDS.index(fold) + 2]
            part = gram[np.ix_(rows, range(splines), rows, range(splines))]
            size = len(rows) * splines
            return LinearModel(part.reshape(size, size), linear[rows].ravel(), model.energy, model.pixels)

        total = of_fold(0)
        starts = [self.start(total, basis, waves, noise) for waves in (3, 5, 8, 12) for noise in (0.1, 0.001)]
        best: tuple[float, int, Hyperparameters] | None = None
        for fold in (0, *FOLDS):
            own, layout = of_fold(fold), Layout.whole(basis.knots_nm, 3 if fold else 1)
            for start in starts:
                found = fit(own, layout, start)
                if best is None or found.evidence > best[0]:
                    best = found.evidence, fold, start
        assert best is not None
        return best[1], best[2]

    def start(self, model: LinearModel, basis: PolarBasis, waves: float, noise: float) -> Hyperparameters:
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
        return Hyperparameters(
            replace(prior, log_scale=log_scale), math.log(noise * model.energy / model.pixels + 1e-300)
        )

    def choose_nuisance(self, basis: PolarBasis, every: Sums, start: Hyperparameters) -> tuple[str, Hyperparameters]:
        """Choose what else the image shows."""
        layout = Layout.whole(basis.knots_nm, len(basis.functions))
        best: tuple[float, str, Hyperparameters] | None = None
        for name, some in self.instrument.sets.items():
            noise = start.noise
            for _ in range(2):
                model, occam = every.without(some, self.instrument.variance, noise)
                found = maximise(model, layout, start, steps=4, free=("log_scale", "log_noise"))
                noise = found.hyperparameters.noise
            if best is None or found.evidence + occam > best[0]:
                best = found.evidence + occam, name, found.hyperparameters
        assert best is not None
        return best[1], best[2]

    def separable(
        self,
        basis: PolarBasis,
        nuisance: Nuisance,
        fold: int,
        start: Hyperparameters,
        prepared: tuple[LinearModel, float] | None = None,
        *,
        dtype: type[np.floating] = np.float32,
    ) -> _Candidate:
        """Fit a separable kernel, or one of total symmetry."""
        if prepared is None:
            every = self.sums(basis, nuisance, dtype=dtype)
            prepared = every.without(np.arange(len(nuisance.variance)), nuisance.variance, start.noise)
        model, occam = prepared
        layout = Layout.whole(basis.knots_nm, len(basis.functions))
        first = fit(model, layout, start).posterior.mean.reshape(-1, basis.splines)
        found: Separable = separable(model, basis.knots_nm, start, first)
        return _Candidate(
            basis=basis,
            fold=fold,
            kind="separable" if fold else "total",
            hyperparameters=found.fit.hyperparameters,
            coefficient=found.coefficient,
            root=found.root(),
            evidence=found.evidence + occam,
        )

    def harmonics(self, best: _Candidate, nuisance: Nuisance) -> _Candidate:
        """Add harmonics of the fold as long as the evidence grows."""
        fold = best.fold
        if not fold:
            return best
        axis = self.axis(best)
        spacing = max(self.pitch, self.reach / (2 * SPLINES))
        finest = FINEST * math.pi / self.pitch
        first: _Candidate | None = None
        for mirrored in (True, False):
            basis = replace(
                PolarBasis.reaching(self.reach, spacing, tuple(range(0, 4 * fold + 1, fold))),
                axis=axis,
                mirrored=mirrored,
                finest=finest,
            )
            tried = self.fitted(basis, nuisance, fold, best.hyperparameters, steps=0)
            if first is None or tried.evidence > first.evidence:
                first = tried
        assert first is not None
        if first.evidence <= best.evidence:
            return best
        best = self.fitted(first.basis, nuisance, fold, first.hyperparameters, steps=20)
        while True:
            most = best.basis.orders[-1]
            wider = replace(best.basis, orders=tuple(range(0, 2 * most + 1, fold)))
            while sum(map(len, wider.layout.splines)) > MOST_COLUMNS and wider.orders[-1] > most:
                wider = replace(wider, orders=wider.orders[:-1])
            if wider.orders[-1] <= most:
                return best
            tried = self.fitted(wider, nuisance, fold, best.hyperparameters, steps=3)
            if tried.evidence <= best.evidence:
                return best
            best = tried

    def axis(self, best: _Candidate) -> float:
        """A mirror line of a separable kernel: there its angular pattern has an extremum."""
        kernel = best.basis.kernel(best.coefficient)
        cosine, sine = kernel.coefficient[1], kernel.coefficient[2]
        weight = int(np.argmax(np.hypot(cosine, sine)))
        return math.atan2(sine[weight], cosine[weight]) / best.fold

    def fitted(
        self, basis: PolarBasis, nuisance: Nuisance, fold: int, start: Hyperparameters, *, steps: int
    ) -> _Candidate:
        """Fit a kernel of several harmonics."""
        every = self.sums(basis, nuisance)
        model, occam = every.without(np.arange(len(nuisance.variance)), nuisance.variance, start.noise)
        free = ("log_scale", "log_background", "log_noise") if steps < 10 else None
        found: Fit
        if steps == 0:
            found = fit(model, basis.layout, start)
        elif free is None:
            found = maximise(model, basis.layout, start, steps=steps)
        else:
            found = maximise(model, basis.layout, start, steps=steps, free=free)
        return _Candidate(
            basis=basis,
            fold=fold,
            kind="harmonics",
            hyperparameters=found.hyperparameters,
            coefficient=found.posterior.mean,
            root=found.posterior.root,
            evidence=found.evidence + occam,
        )

    def open_edge(self, best: _Candidate, nuisance: Nuisance) -> _Candidate:
        return best
