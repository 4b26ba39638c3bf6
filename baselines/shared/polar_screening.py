"""A first separable kernel of an image: its fold and length scales, from coarse splines and some of the pixels."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from qpibench.grid import Grid
from shared.evidence import Hyperparameters, Layout, LinearModel, fit
from shared.nuisance import Nuisance
from shared.polar import Points
from shared.polar_basis import PolarBasis, sums
from shared.polar_found import Candidate
from shared.radial_prior import RadialPrior
from shared.separable import separable

Values = NDArray[np.float64]

FOLDS = (1, 2, 3, 4, 5, 6, 8)
"""Symmetries that are tried besides total symmetry."""

SPLINES = 64
"""Radial splines; fewer if neighbours would be closer than pixels."""

WAVES, NOISES = (3, 5, 8, 12), (0.3, 0.03, 0.001)
"""Waves in the field, and variances of the noise over that of the image."""

PRIOR_SHARE = 1e-4
"""Variance of a function, over the largest, below which it is left out."""

PIXELS = 2048
"""Number of pixels; more are thinned out."""

STEPS = 25
"""Steps of the hyper-parameters."""


def thinned(count: int) -> NDArray[np.intp]:
    """Numbers of some of the pixels, an odd number apart so that they are not all in the same columns."""
    return np.arange(0, count, max(1, round(count / PIXELS)) | 1)


def screen(image: Values, pixels: Points, scatterers: Points, nuisance: Nuisance, grid: Grid) -> Candidate:
    """Choose the fold, and fit a first separable kernel.

    Parameters
    ----------
    image, pixels, scatterers
        Values (pixel,) of an image of unit variance, and places.
    nuisance
        What else the image may show.
    grid
        Grid of the image.
    """
    reach, pitch = math.hypot(grid.size_x_nm, grid.size_y_nm), max(grid.pitch_x_nm, grid.pitch_y_nm)
    side = min(grid.size_x_nm, grid.size_y_nm)
    basis = PolarBasis.reaching(reach, max(pitch, reach / SPLINES), (0, *FOLDS))
    some = thinned(len(image))
    thin, nuisance = Points(*(part[some] for part in pixels)), nuisance.of_pixels(some)
    shown = sums(image[some], thin, scatterers, basis, nuisance)
    model, _ = shown.without(nuisance.size, NOISES[0])
    harmonics, splines = len(basis.functions), basis.splines
    best: tuple[float, int, Hyperparameters] | None = None
    for waves in WAVES:
        start = _start(replace(model, gram=model.gram[:splines, :splines]), basis, side, waves)
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
    found = separable(own, basis.knots_nm, start, first.reshape(-1, splines), steps=STEPS)
    return Candidate.of_separable(found, coarse)


def _start(model: LinearModel, basis: PolarBasis, side_nm: float, waves: float) -> Hyperparameters:
    """Hyper-parameters of a kernel with a number of waves in the field, as bright as the image."""
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
    bright = float((model.gram * prior.covariance(basis.knots_nm)).sum())
    log_scale = 0.5 * math.log(max(model.energy, 1e-300) / max(bright, 1e-300))
    return Hyperparameters(replace(prior, log_scale=log_scale), 0.0)


def _rows(fold: int) -> list[int]:
    """Numbers of the harmonics of a fold among 1, cos and sin of all folds."""
    return [0, 2 * FOLDS.index(fold) + 1, 2 * FOLDS.index(fold) + 2] if fold else [0]
