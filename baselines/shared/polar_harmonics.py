"""Kernels of several harmonics: what the residual of a separable kernel asks for, and what the evidence supports."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from shared.evidence import Factors, posterior_of_amplitudes
from shared.hyperparameters import Fit, Hyperparameters, expected_noise, fit, maximise
from shared.polar_basis import PolarBasis, orders_of
from shared.polar_found import Candidate
from shared.polar_sums import Sums
from shared.shown import Shown

Values = NDArray[np.float64]

FINEST = 0.7
"""Largest wavenumber of a kernel with many harmonics, over the Nyquist wavenumber of the pixels."""

SPLINES, SPLINES_A_PERIOD = 280, 6.0
"""Radial splines, and those in a period of the finest ripples, at least; fewer if neighbours would be closer than
pixels."""

FIRST, FIRST_STEPS = 2, 15
"""Multiples of the fold for which the length scales are found, and steps of the hyper-parameters."""

SYMMETRY_PIXELS = 4096
"""Pixels of which length scales and mirror line follow; more are thinned out."""

LEAST_SEEN = 0.2
"""Variance of a function of the prior, over that with which the image determines it, below which it is left out."""

LEAST_SHOWN = 1e-3
"""Square of a column, over the largest, which columns have at least in this comparison: distances that the image does
not show keep their functions, for what they say of the standard deviation."""

NOISE_STEPS, NOISE_SETTLED = 4, 0.02
"""Largest number of steps of the noise, and relative change at which it has settled."""

NUISANCE_ODDS = 5.0
"""Logarithm of the prior odds against an instrument's columns: the mean of an image can be that of waves that reach
far, and the evidence can be the same for both."""

PRECISE = 1e-3
"""Variance of the noise, over that of the image, below which sums have double precision."""

MOST_COLUMNS = 1500
"""Columns of the linear model, at most."""

HIGHEST, TRACE_SPLINES = 24, 64
"""Largest order of the harmonics of which traces are searched in a residual, and number of their splines."""

GROUPS = (2, 3, 4, 6)
"""Folds of lattices, which are tried where a separable kernel has total symmetry or none."""

SHARE_STD, LEAST_EXCESS = 0.22, 4.0
"""Standard deviation of a harmonic's share of a white residual, and the mean excess in units of its own that asks."""


def harmonics(shown: Shown, separable: Candidate, nuisance: str, fold: int) -> tuple[Candidate, str]:
    """Add harmonics of a fold to a separable kernel as long as the evidence grows.

    Few harmonics are enough for the length scales of the radial functions, twice as many for the mirror line. What else
    the image shows is chosen again at the end, because missing harmonics look like it.

    Parameters
    ----------
    shown
        The image.
    separable, nuisance
        The separable kernel and what else the image shows; both are returned if they have the greatest evidence.
    fold
        Symmetry of the kernel.
    """
    reach_nm, pitch_nm = shown.reach_nm, shown.pitch_nm
    some = shown.thinned(SYMMETRY_PIXELS)
    spacing = shown.spacing_nm(reach_nm, SPLINES, SPLINES_A_PERIOD)
    basis = PolarBasis.reaching(reach_nm, spacing, orders_of(fold, FIRST * fold))
    basis = replace(basis, finest=FINEST * math.pi / pitch_nm)
    first = _fitted(some, basis, nuisance, separable.hyperparameters)
    scales = _fitted(some, _mirrored(first), nuisance, first.hyperparameters, steps=FIRST_STEPS).hyperparameters
    free = _fitted_where_seen(some, replace(basis, orders=orders_of(fold, 2 * FIRST * fold)), [nuisance], scales)[0]
    mirrored = _fitted_where_seen(some, _mirrored(free), [nuisance], scales)[0]
    like = mirrored if mirrored.evidence > free.evidence else free
    found = _fitted_where_seen(shown, like.basis, [nuisance], like.hyperparameters)[0]
    if found.evidence <= separable.evidence:
        return separable, nuisance
    grows = True
    while grows:
        basis = replace(found.basis, orders=orders_of(fold, 2 * found.basis.orders[-1]))
        wider = _fitted_where_seen(shown, basis, [nuisance], found.hyperparameters)[0]
        if wider.evidence <= found.evidence:
            break
        grows, found = wider.basis.orders[-1] > found.basis.orders[-1], wider
    again = _fitted_where_seen(shown, found.basis, list(shown.nuisance), found.hyperparameters)
    by_name = dict(zip(shown.nuisance, again, strict=True))
    choice = likeliest({name: one.evidence for name, one in by_name.items()})
    return by_name[choice], choice


def likeliest(evidence: Mapping[str, float]) -> str:
    """The set of nuisance of greatest evidence; the first one, which is the least, unless another is much likelier."""
    first, best = next(iter(evidence)), max(evidence, key=lambda name: evidence[name])
    return best if evidence[best] > evidence[first] + NUISANCE_ODDS else first


def asked_fold(shown: Shown, fold: int) -> int:
    """The fold of whose harmonics a residual shows more than of others and of white noise; 0 if there is none.

    The power of a harmonic is the sum over radial splines of the squared product of residual and column, over the
    variance of the residual and the square of the column: near 1 for each spline in white noise.

    Parameters
    ----------
    shown
        What a separable kernel leaves of an image.
    fold
        Symmetry of the separable kernel, 0 for total.
    """
    side_nm, pitch_nm = shown.side_nm, shown.pitch_nm
    separable = (fold,) if fold else ()
    orders = tuple(m for m in orders_of(fold or 1, HIGHEST) if m not in separable)
    basis = PolarBasis.reaching(side_nm / 2, max(pitch_nm, side_nm / (2 * TRACE_SPLINES)), orders)
    some = shown.thinned()
    left = some.image - shown.image.mean()
    size = len(basis.functions) * basis.splines
    product, norms = np.zeros(size), np.zeros(size)
    for rows, columns in some.columns(basis):
        product += left[rows].astype(np.float32) @ columns
        norms += np.einsum("pc,pc->c", columns, columns)
    seen = norms > 1e-3 * norms.max()
    power = np.where(seen, product**2 / np.where(seen, norms, 1), 0).reshape(-1, basis.splines) / left.var()
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


def _fitted(shown: Shown, basis: PolarBasis, nuisance: str, start: Hyperparameters, *, steps: int = 0) -> Candidate:
    """Fit a kernel of several harmonics; without steps only the noise is estimated again."""
    every = _sums(shown, basis, start)
    model, occam = every.without(shown.nuisance[nuisance].size, start.noise)
    if steps:
        found = maximise(model, basis.layout, start, steps=steps)
    else:
        noise = expected_noise(model, fit(model, basis.layout, start).posterior, start.noise)
        found = fit(model, basis.layout, replace(start, log_noise=math.log(noise)))
    return Candidate.of_harmonics(basis, found, occam)


def _fitted_where_seen(shown: Shown, basis: PolarBasis, sets: Sequence[str], start: Hyperparameters) -> list[Candidate]:
    """As :func:`_fitted` without steps, for several sets of nuisance, in functions of which the image says something.

    The highest harmonics are left out if these functions are too many, or none of them is theirs. If the image says
    nothing of any, splines are fitted.
    """
    prior = _seen_functions(shown, basis, start)
    sizes = [block.shape[1] for block in prior.blocks]
    allowed = np.cumsum(sizes) <= MOST_COLUMNS
    highest = max((m for m, size, may in zip(basis.functions, sizes, allowed, strict=True) if size and may), default=0)
    if not highest:
        few = replace(basis, orders=basis.orders[:2])
        return [_fitted(shown, few, name, start) for name in sets]
    basis = replace(basis, orders=tuple(m for m in basis.orders if m <= highest))
    prior = Factors(prior.blocks[: len(basis.functions)])
    every = _sums(shown, basis, start, prior)
    return [_with_noise(every, shown.nuisance[name].size, basis, prior, start) for name in sets]


def _with_noise(every: Sums, nuisance: int, basis: PolarBasis, prior: Factors, at: Hyperparameters) -> Candidate:
    """The kernel with the noise that it leaves, after a number of nuisance columns."""
    noise = at.noise
    for _ in range(NOISE_STEPS):
        model, occam = every.without(nuisance, noise)
        found = posterior_of_amplitudes(model, prior, noise)
        last, noise = noise, expected_noise(model, found, noise)
        if abs(noise / last - 1) < NOISE_SETTLED:
            break
    return Candidate.of_harmonics(basis, Fit(replace(at, log_noise=math.log(last)), found), occam)


def _sums(shown: Shown, basis: PolarBasis, at: Hyperparameters, prior: Factors | None = None) -> Sums:
    """The sums of splines, or of functions of the prior, with all columns of nuisance."""
    widest = list(shown.nuisance)[-1]
    functions = None if prior is None else prior.blocks
    dtype = np.float64 if at.noise < PRECISE else np.float32
    return shown.sums(basis, widest, functions=functions, dtype=dtype)


def _seen_functions(shown: Shown, basis: PolarBasis, at: Hyperparameters) -> Factors:
    """The prior of a basis without the functions of which the image says nothing."""
    some = shown.thinned()
    norms = np.sum([np.einsum("pc,pc->c", part, part) for _, part in some.columns(basis)], axis=0)
    norms = np.maximum(norms, LEAST_SHOWN * norms.max()) * (len(shown.image) / len(some.image))
    layout = basis.layout
    return layout.factors(at.prior.at(layout.separations).covariance).seen(norms / at.noise, least=LEAST_SEEN)


def _mirrored(found: Candidate) -> PolarBasis:
    """The basis without sines about a mirror line: along it the radial functions of harmonics have one phase each."""
    kernel, fold = found.kernel, found.basis.orders[1]
    weight = kernel.coefficient[1::2] + 1j * kernel.coefficient[2::2]
    turns = np.arange(180) * np.pi / (180 * fold)
    orders = np.array(found.basis.orders[1:])
    odd = [((weight * np.exp(-1j * orders * turn)[:, None]).imag ** 2).sum() for turn in turns]
    return replace(found.basis, axis=float(turns[int(np.argmin(odd))]), mirrored=True)
