"""A first separable kernel of an image: its fold and length scales, from coarse splines and some of the pixels."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from shared.evidence import Layout, LinearModel, evidence_of_amplitudes
from shared.hyperparameters import Hyperparameters, fit
from shared.polar_basis import PolarBasis, orders_of
from shared.polar_found import Candidate
from shared.polar_sums import Sums
from shared.radial_prior import RadialPrior
from shared.ripples import Ripples
from shared.separable import separable
from shared.shown import Shown

Values = NDArray[np.float64]

FOLDS = (0, 1, 2, 3, 4, 5, 6, 8)
"""Symmetries that are tried; 0 is the total one."""

SPLINES, SPLINES_A_PERIOD = 64, 4.0
"""Radial splines, and those in a period of the finest ripples, at least; fewer if neighbours would be closer than
pixels."""

WAVES, NOISES = (3, 5, 8, 12), (0.3, 0.03, 0.001)
"""Waves in the field, and variances of the noise over that of the image."""

COVERED = 15.0
"""Waves up to which those of WAVES are near enough; for an image with finer ripples, their strongest is tried, too."""

PRIOR_SHARE = 1e-4
"""Variance of a function, over the largest, below which it is left out."""

STEPS, STEPS_AGAIN = 25, 10
"""Steps of the hyper-parameters, from the first ones and from those of a similar kernel."""

INSTRUMENT = "offset and tilt"
"""What else the image may show."""


def screen(shown: Shown) -> Candidate:
    """Choose the fold, and fit a first separable kernel, to some of the pixels of an image."""
    some, side = shown.thinned(), shown.side_nm
    spacing = some.spacing_nm(some.reach_nm, SPLINES, SPLINES_A_PERIOD)
    basis = PolarBasis.reaching(some.reach_nm, spacing, (0,))
    nuisance = some.nuisance[INSTRUMENT].size
    every: list[Sums] = []
    models: list[LinearModel] = []
    functions: list[tuple[Hyperparameters, Values]] = []
    best: tuple[float, int, Hyperparameters] | None = None
    for fold in FOLDS:
        of_fold = some.sums(replace(basis, orders=orders_of(fold, fold)), INSTRUMENT)
        model, _ = of_fold.without(nuisance, NOISES[0])
        if not models:  # the harmonic 1, of which the size of the prior follows
            functions = [_start(model, basis, side, waves) for waves in _waves(some.ripples)]
        every.append(of_fold)
        models.append(model)
        for start, independent in functions:
            reduced = _reduced(model, independent)
            for share in NOISES:
                noise = share * model.energy / model.pixels
                evidence = evidence_of_amplitudes(reduced, noise)
                if best is None or evidence > best[0]:
                    best = evidence, fold, replace(start, log_noise=math.log(noise))
    assert best is not None
    _, fold, start = best
    model, coarse = models[FOLDS.index(fold)], replace(basis, orders=orders_of(fold, fold))
    first = fit(model, Layout.whole(basis.knots_nm, len(coarse.functions)), start).posterior.mean
    found = separable(model, basis.knots_nm, start, first.reshape(-1, basis.splines), steps=STEPS)
    model, occam = every[FOLDS.index(fold)].without(nuisance, found.fit.hyperparameters.noise)
    return Candidate.of_separable(found.again(model, basis.knots_nm), coarse, occam)


def fitted_again(shown: Shown, last: Candidate) -> Candidate:
    """The kernel of :func:`screen` after some more steps, for an image of which something else is known to be shown."""
    some, basis = shown.thinned(), last.basis
    sums, nuisance = some.sums(basis, INSTRUMENT), some.nuisance[INSTRUMENT].size
    model, _ = sums.without(nuisance, last.hyperparameters.noise)
    start = last.coefficient.reshape(-1, basis.splines)
    found = separable(model, basis.knots_nm, last.hyperparameters, start, steps=STEPS_AGAIN)
    model, occam = sums.without(nuisance, found.fit.hyperparameters.noise)
    return Candidate.of_separable(found.again(model, basis.knots_nm), basis, occam)


def _waves(ripples: Ripples) -> list[int]:
    """Numbers of waves to start from."""
    return [*WAVES, ripples.strongest(COVERED)] if ripples.finest > COVERED else list(WAVES)


def _reduced(model: LinearModel, functions: Values) -> LinearModel:
    """The linear model of the amplitudes of functions (spline, function), which all harmonics have."""
    splines, size = functions.shape
    harmonics = len(model.linear) // splines
    half = (model.gram.reshape(-1, splines) @ functions).reshape(harmonics, splines, -1)
    gram = (functions.T @ half).reshape(harmonics * size, harmonics * size)
    linear = model.linear.reshape(harmonics, splines) @ functions
    return replace(model, gram=gram, linear=linear.ravel())


def _start(model: LinearModel, basis: PolarBasis, side_nm: float, waves: float) -> tuple[Hyperparameters, Values]:
    """Hyper-parameters of a kernel with a number of waves in the field, as bright as the image.

    With them come the prior's independent functions (spline, function), of unit variance each.
    """
    prior = RadialPrior(
        log_scale=0.0,
        log_decay=math.log(side_nm / 2),
        power=1.5,
        log_core=math.log(side_nm / 20),
        core_power=0.3,
        log_wavenumber=math.log(2 * math.pi * waves / side_nm),
        log_coherence=math.log(side_nm / 6),
        log_background=math.log(0.3),
        log_roughness=math.log(2 * basis.spacing_nm),
    )
    covariance = prior.covariance(basis.knots_nm)
    bright = float((model.gram * covariance).sum())
    log_scale = 0.5 * math.log(max(model.energy, 1e-300) / max(bright, 1e-300))
    values, vectors = np.linalg.eigh(math.exp(2 * log_scale) * covariance)
    kept = values > PRIOR_SHARE * values[-1]
    return Hyperparameters(replace(prior, log_scale=log_scale), 0.0), vectors[:, kept] * np.sqrt(values[kept])
