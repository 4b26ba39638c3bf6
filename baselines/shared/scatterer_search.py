"""Scatterers that a view does not tell, told ones that are not there, and marks that stand for two."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.ndimage import maximum_filter

from qpibench.grid import Grid
from shared.descent import descend
from shared.joint_fit import JointFit, Priors
from shared.polar import Points

Values = NDArray[np.float64]

REMOVAL_GAIN = 6.0
"""Natural logarithm of the odds by which the image must be more likely without a scatterer that is told."""

PAIR_GAIN = 8.0
"""The same for a second scatterer at a mark whose place is known up to a cell."""

INSERTION_GAIN = 14.0
"""The same for a scatterer anywhere; an image of 64 x 64 pixels has exp(8) places."""

LEAST_STRENGTH = 0.4
"""Strength that the residual must give to a further scatterer, whose true strength is 1."""

STEPS = 10
TOLERANCE = 0.5
"""Of a descent on the way; see :func:`shared.descent.descend`."""


@dataclass(frozen=True)
class Field:
    """What the search needs to know of an observation.

    Attributes
    ----------
    grid
        Grid of the image.
    seen
        (y, x): pixels that can be used.
    sigma_nm
        Standard deviations of x and y of a scatterer that is found on the lattice of pixels.
    """

    grid: Grid
    seen: NDArray[np.bool_]
    sigma_nm: tuple[float, float]

    def image_of(self, values: Values) -> Values:
        """Values (pixel,) of the pixels seen as an image, 0 elsewhere."""
        image = np.zeros(self.grid.shape)
        image[self.seen] = values
        return image


@dataclass(frozen=True)
class Changes:
    """Changes of the scatterers: those that go, marks that get a second one, and new places; the likeliest first."""

    removed: NDArray[np.int64]
    doubled: NDArray[np.int64]
    inserted: Values
    explained: float = 0.0
    """Sum of squared residuals that they explain to first order."""

    @property
    def count(self) -> int:
        """Number of changes."""
        return len(self.removed) + len(self.doubled) + len(self.inserted)

    @property
    def penalty(self) -> float:
        """Improvement that is asked of them altogether."""
        return REMOVAL_GAIN * len(self.removed) + PAIR_GAIN * len(self.doubled) + INSERTION_GAIN * len(self.inserted)

    def first(self) -> Changes:
        """One of each kind, if there is one."""
        return Changes(self.removed[:1], self.doubled[:1], self.inserted[:1])


def with_changes(fit: JointFit, field: Field, changes: Changes) -> JointFit | None:
    """The fit after changes and a descent, or after the likeliest of them; None if the image is not likelier then."""
    for some in (changes, changes.first()) if changes.count > 1 else (changes,):
        tried = descend(changed(fit, field, some), steps=STEPS, tolerance=TOLERANCE)
        if fit.cost - tried.cost > some.penalty:
            return tried
    return None


def find_changes(fit: JointFit, field: Field) -> Changes:
    """Return the changes that the residual asks for, judged to first order."""
    count = fit.scatterers.size
    places = _candidates(fit, field)
    single = np.concatenate([fit.single, fit.single_at(places)])
    slope, curvature = fit.strengths(single)
    own = np.diagonal(curvature)
    present = np.concatenate([fit.scatterers.strength, np.zeros(len(places))])
    may_double = np.concatenate([fit.priors.sigma_nm.min(axis=1) > 0, np.zeros(len(places), bool)])
    asked = np.where(np.arange(len(own)) < count, PAIR_GAIN, INSERTION_GAIN)
    may_grow = may_double | (np.arange(len(own)) >= count)
    changed: list[int] = []
    grown: list[bool] = []
    explained = 0.0
    for _ in range(max(2, count // 3)):
        removal = -present * slope - 0.5 * present**2 * own - REMOVAL_GAIN
        growth = np.where(may_grow & (slope > LEAST_STRENGTH * own), slope - 0.5 * own - asked, -1.0)
        gain = np.maximum(removal, growth)
        gain[changed] = -1.0
        if len(grown) - sum(grown) == count - 1:  # the last scatterer stays
            gain = np.where(growth > 0, gain, -1.0)
        k = int(np.argmax(gain))
        if gain[k] <= 0:
            break
        changed.append(k)
        grown.append(bool(growth[k] > removal[k]))
        explained += 2 * fit.noise * float(gain[k])
        # The other strengths then have less, or more, to explain.
        slope = slope - curvature[k] * (1.0 if grown[-1] else -present[k])
    indices, is_grown = np.array(changed, np.int64), np.array(grown, bool)
    return Changes(
        removed=indices[~is_grown],
        doubled=indices[is_grown & (indices < count)],
        inserted=places[indices[is_grown & (indices >= count)] - count],
        explained=explained,
    )


def _candidates(fit: JointFit, field: Field) -> Values:
    """Places (place, xy) on the lattice of pixels where a matched filter answers most to the residual."""
    grid = field.grid
    ny, nx = grid.shape
    kernel = fit.kernel.image(grid.offsets)
    shape = [int(fft.next_fast_len(3 * n - 2, real=True)) for n in grid.shape]
    # Pixel p sees the kernel of a scatterer at q at the offset p - q, element p - q + n - 1 of the kernel's image.
    padded = np.zeros((2, *shape))
    padded[:, ny - 1 : 2 * ny - 1, nx - 1 : 2 * nx - 1] = field.image_of(fit.residual), field.seen
    filters = np.conj(fft.rfft2(np.stack([kernel, kernel**2]), shape))
    product, energy = fft.irfft2(fft.rfft2(padded) * filters, shape)[:, :ny, :nx]
    least = max(1e-6 * energy.max(), np.finfo(np.float32).tiny)
    answer = np.where(product > 0, product / np.sqrt(np.maximum(energy, least)), 0)
    peaks = (answer == maximum_filter(answer, 3)) & (answer**2 > 2 * LEAST_STRENGTH * fit.noise * INSERTION_GAIN)
    rows, columns = np.nonzero(peaks)
    best = np.argsort(-answer[peaks])[: max(16, fit.scatterers.size // 2)]
    places: Values = np.column_stack([grid.x_nm[columns[best]], grid.y_nm[rows[best]]])
    return places


def changed(fit: JointFit, field: Field, changes: Changes) -> JointFit:
    """The fit with changed scatterers."""
    scatterers, priors = fit.scatterers, fit.priors
    x, y = scatterers.x.copy(), scatterers.y.copy()
    second = []
    for k in changes.doubled:
        dx, dy = _half_distance(fit, int(k))
        second.append((x[k] - dx, y[k] - dy))
        x[k], y[k] = x[k] + dx, y[k] + dy
    scatterers = Points(x, y, scatterers.strength)
    kept = np.setdiff1d(np.arange(len(x)), changes.removed)
    twice = np.concatenate([kept, changes.doubled]).astype(np.int64)
    places = np.concatenate([np.column_stack([x, y])[kept], np.array(second).reshape(-1, 2), changes.inserted])
    ones = np.ones(len(changes.inserted))
    new = Points(changes.inserted[:, 0], changes.inserted[:, 1], ones)
    priors = priors.of(twice).joined(Priors.same(new, field.sigma_nm, told=False))
    strength = np.concatenate([scatterers.strength[twice], ones])
    return replace(fit, scatterers=Points(places[:, 0].copy(), places[:, 1].copy(), strength), priors=priors)


def _half_distance(fit: JointFit, k: int) -> Values:
    """Half the distance (2,) of the two scatterers that mark k stands for, from the residual to second order."""
    step = 0.5 * fit.priors.sigma_nm[k]
    shifts = np.array([(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)], dtype=np.float64)
    at = Points(
        fit.scatterers.x[k] + step[0] * shifts[:, 0], fit.scatterers.y[k] + step[1] * shifts[:, 1], np.ones(len(shifts))
    )
    around = np.empty((3, len(shifts), fit.pixels.size), np.float32)
    fit.kernel.fill_pairs(fit.pixels, at, float(step.min()), around[2], around[0], around[1])
    fit.background.remove(around[2])
    K = around[2].reshape(3, 3, -1).astype(np.float64)
    curvature = np.stack(
        [
            K[2, 1] - 2 * K[1, 1] + K[0, 1],
            0.5 * (K[2, 2] - K[2, 0] - K[0, 2] + K[0, 0]),
            K[1, 2] - 2 * K[1, 1] + K[1, 0],
        ],
        axis=1,
    )
    xx, xy, yy = np.linalg.lstsq(curvature, fit.residual - K[1, 1], rcond=None)[0]
    size, direction = np.linalg.eigh([[xx, xy], [xy, yy]])
    half: Values = step * np.clip(np.sqrt(max(size[1], 0)), 0.5, 3) * direction[:, 1]
    return half
