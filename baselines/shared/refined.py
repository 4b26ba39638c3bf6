"""Kernel and scatterers of an observation together, as far as the image shows that a view is wrong: :func:`refined`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared.background import Background
from shared.descent import descend
from shared.extractor import Observation
from shared.joint_fit import JointFit, KernelModel, Priors, chosen, settled
from shared.observed import scatterer_points
from shared.polar import Points
from shared.scatterer_search import STEPS, TOLERANCE, Changes, Field, find_changes, with_changes
from shared.scatterer_spread import with_spread

FIRST_SPREAD = 0.5
"""Error of told places from which the search for a spread starts, in pixels."""

SETTLED = 0.3
"""Relative change of a spread below which it is not improved any further."""

CHANGES_FIRST = 0.5
"""Share of what a spread explains from which on changes, which explain it by fewer numbers, are made first."""

MOST_ROUNDS = 8

MOST_PAIRS = 4_000_000
"""Pairs of a pixel and a scatterer that are held in memory; of larger images a random part of the pixels is used."""


def refined(
    image: NDArray[np.float64],
    pixels: Points,
    observation: Observation,
    kernel: KernelModel,
    *,
    nuisance: str = "none",
    whole: bool = True,
) -> JointFit:
    """Fit kernel and scatterers to an image.

    Places that are known up to a cell of a raster get its standard deviation. For exact ones the image decides whether
    there is a spread of places or strengths. Scatterers are inserted and removed where the image asks for it. Nothing
    is refined if places and strengths are more numbers than the pixels are.

    Parameters
    ----------
    image, pixels
        Values (pixel,) and places of the pixels seen.
    observation
        The observation.
    kernel
        First estimate of the kernel.
    nuisance
        What else the image shows; see :func:`shared.nuisance.of_instrument`.
    whole
        Whether the number of scatterers, and known places, may be wrong.
    """
    grid = observation.grid
    pitch = np.array([grid.pitch_x_nm, grid.pitch_y_nm])
    cell = np.array(observation.scatterers.cell[::-1])
    marks = scatterer_points(observation.scatterers, grid)
    used = _thinned(observation.seen, marks.size)
    kept = used[observation.seen]
    image, pixels = image[kept], chosen(pixels, kept)
    priors = Priors.same(marks, tuple(cell * pitch / np.sqrt(12)))
    fit = JointFit(image, pixels, kernel, marks, priors, Background.of(pixels, nuisance))
    if 3 * marks.size > len(image):
        return fit
    if not whole:
        return settled(fit)
    fit = descend(fit, steps=STEPS, tolerance=TOLERANCE)
    field = Field(grid, used, (float(pitch[0]), float(pitch[1])))
    may_spread = not cell.any()
    for _ in range(MOST_ROUNDS):
        changes = find_changes(fit, field)
        odds_of_changes = _odds(fit, changes)
        spread, odds = with_spread(fit, FIRST_SPREAD * float(pitch.min())) if may_spread else (fit, 0.0)
        if not _settled(fit.priors, spread.priors) and odds_of_changes < CHANGES_FIRST * odds:
            fit = descend(spread, steps=STEPS, tolerance=TOLERANCE)
            continue
        tried = with_changes(fit, field, changes) if changes.count else None
        if tried is None:
            if _settled(fit.priors, spread.priors):
                break
            tried = descend(spread, steps=STEPS, tolerance=TOLERANCE)
        fit = tried
    return settled(fit)


def _thinned(seen: NDArray[np.bool_], scatterers: int) -> NDArray[np.bool_]:
    """The pixels that are used: all, unless there are too many pairs with scatterers."""
    most = max(MOST_PAIRS // max(scatterers, 1), 4096)
    places = np.flatnonzero(seen)
    if len(places) <= most:
        return seen
    used = np.zeros(seen.size, bool)
    used[np.random.default_rng(0).permutation(places)[:most]] = True
    return used.reshape(seen.shape)


def _odds(fit: JointFit, changes: Changes) -> float:
    """Logarithm of the odds of changes against none, with the noise that they leave."""
    squares = float(fit.residual @ fit.residual)
    left = max(squares - changes.explained, fit.noise)
    return 0.5 * fit.shown * float(np.log(max(squares, left) / left))


def _settled(before: Priors, after: Priors) -> bool:
    pairs = ((before.sigma_nm, after.sigma_nm), (before.sigma_strength, after.sigma_strength))
    return all(np.allclose(one, other, rtol=SETTLED, atol=0) for one, other in pairs)


def scatterers_found(fit: JointFit) -> dict[str, object]:
    """Diagnostics of the scatterers of a fit.

    ``positions_nm`` (scatterer, xy) and ``strengths`` (scatterer,) are those found, ``inserted`` the number of those
    that the view does not tell, and ``position_error_nm`` and ``strength_spread`` the standard deviations of told
    places and strengths that the image asks for, or 0.
    """
    priors, at = fit.priors, fit.scatterers
    told = priors.told
    return {
        "positions_nm": np.column_stack([at.x, at.y]),
        "strengths": at.strength,
        "inserted": int((~told).sum()),
        "position_error_nm": float(priors.sigma_nm[told].max(initial=0)),
        "strength_spread": float(priors.sigma_strength[told].max(initial=0)),
    }
