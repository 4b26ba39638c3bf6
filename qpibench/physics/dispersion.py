r"""The band of standing waves: its bottom and mass from wavevectors at several energies.

A parabolic band of effective mass :math:`m^*` above :math:`E_0` has standing waves of the wavevector

.. math::

    q = 2 k, \qquad E = E_0 + \frac{\hbar^2 k^2}{2 m^*},

so q squared is a straight line in E. Energies far off it, such as those at which another ring was the strongest, are
left out:

1. Of the lines through two energies, the one is taken from which two thirds of all q have the smallest sum of absolute
   distances, in standard deviations. Wrong wavevectors, high or low, move it little.
2. An energy is left out if its q is more than :data:`FAR` standard deviations off the line. Where most distances are
   larger, their standard deviation, estimated from the median, counts instead.
3. The others are fitted by least squares. The standard deviations of q squared are those at the q of the line, because
   weights from measured q would favour those that are too small.

Steps 2 and 3 are repeated with the fitted line, so an energy may come back.

The standard deviations of :math:`E_0` and :math:`m^*` are those of the line, with two additions. They are larger by the
square root of chi squared over the degrees of freedom if this is above 1. And all wavevectors may be wrong by one
factor, which the distances from the line do not show: an extraction that smooths noise away favours longer waves at
every energy. Its size is :data:`COMMON` of the relative error of a single wavevector. It widens the interval of
:math:`m^*`, not that of :math:`E_0`. The intervals are Student's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qpibench.errors import InvalidDataError, UsageError
from qpibench.families.surface_state.ranges import HBAR2_OVER_2M, electron_wavevector

Values = NDArray[np.float64]

LEAST_ENERGIES = 4

FAR = 5.0

COMMON = 0.5
"""Relative error that all wavevectors of a stack share, over the root of the harmonic mean of their relative variances.
In 26 stacks like those of ``benchmarks/microscope.py``, of 10, 20 and 30 dB and with other seeds, ``polar`` had 0.3,
0.6 and 0.2."""

_ROUNDS = 5
"""Rounds in which energies are left out and the others fitted."""


@dataclass(frozen=True, kw_only=True)
class Band:
    """A parabolic band.

    Attributes
    ----------
    e0_mev, e0_std
        Bottom of the band in meV, on the scale of the given energies, and its standard deviation.
    mass, mass_std
        Effective mass in electron masses, and its standard deviation.
    e0_interval, mass_interval
        95 % intervals.
    used
        (energy,) bool: the energies that were fitted.
    chi2
        Chi squared over the degrees of freedom.
    line, line_covariance
        q squared at energy 0 and its slope in the energy, in (rad/nm)^2 and meV, and their covariance.
    """

    e0_mev: float
    e0_std: float
    mass: float
    mass_std: float
    e0_interval: tuple[float, float]
    mass_interval: tuple[float, float]
    used: NDArray[np.bool_]
    chi2: float
    line: Values
    line_covariance: Values

    def wavevector(self, energy_mev: ArrayLike) -> Values:
        """Wavevector q = 2 k in rad/nm at energies in meV; NaN below the bottom."""
        above = np.asarray(energy_mev, dtype=np.float64) - self.e0_mev
        return np.asarray(2 * electron_wavevector(self.mass, np.where(above >= 0, above, np.nan)), dtype=np.float64)

    def wavevector_interval(self, energy_mev: ArrayLike) -> tuple[Values, Values]:
        """95 % interval of the wavevector q = 2 k in rad/nm at energies in meV; 0 where q squared may be negative."""
        energy = np.asarray(energy_mev, dtype=np.float64)
        at = np.stack([np.ones_like(energy), energy], axis=-1)
        wide = _student(self.used) * np.sqrt(((at @ self.line_covariance) * at).sum(axis=-1))
        square = at @ self.line
        return np.sqrt(np.maximum(square - wide, 0.0)), np.sqrt(np.maximum(square + wide, 0.0))


def fit_band(energy_mev: ArrayLike, q: ArrayLike, q_std: ArrayLike) -> Band:
    """Fit a parabolic band.

    Parameters
    ----------
    energy_mev, q, q_std
        (energy,): energies in meV, wavevectors q = 2 k in rad/nm, and their standard deviations. Energies without a
        finite wavevector are left out.

    Raises
    ------
    UsageError
        If the arrays do not fit together.
    InvalidDataError
        If too few energies have a wavevector, or q squared does not grow with the energy.
    """
    energy, wave, spread = (np.asarray(values, dtype=np.float64) for values in (energy_mev, q, q_std))
    if not energy.shape == wave.shape == spread.shape or energy.ndim != 1:
        raise UsageError(
            "Energies, wavevectors and standard deviations must be lists of one length, found the shapes"
            f" {energy.shape}, {wave.shape} and {spread.shape}."
        )
    known = np.isfinite(energy) & np.isfinite(wave) & np.isfinite(spread) & (wave > 0) & (spread > 0)
    _check(energy[known])
    used, line = known.copy(), _robust_line(energy[known], wave[known], spread[known])
    for _ in range(_ROUNDS):
        distance = np.abs(_distances(line, energy[known], wave[known], spread[known]))
        typical = 1.4826 * float(np.median(np.sort(distance)[2:]))  # two energies may determine the line
        used[known] = distance <= FAR * max(typical, 1.0)
        _check(energy[used])
        expected = np.maximum(line[0] + line[1] * energy[used], 0.0)
        weight = 1 / np.sqrt(4 * expected * spread[used] ** 2 + 2 * spread[used] ** 4)
        line, covariance, left = _line(energy[used], wave[used] ** 2, weight)
    freedom = int(used.sum()) - 2
    chi2 = float(left @ left) / freedom
    factor = 2 * COMMON / float(np.sqrt(np.mean((wave[used] / spread[used]) ** 2)))  # of q squared
    covariance = covariance * max(chi2, 1.0) + factor**2 * np.outer(line, line)
    at_zero, slope = line
    if slope <= 0:
        raise InvalidDataError(
            "The wavevectors do not grow with the energy, so they are not those of a parabolic band of electrons."
        )
    e0, mass = -at_zero / slope, slope * HBAR2_OVER_2M / 4
    by_line = np.array([-1 / slope, at_zero / slope**2])
    e0_std, mass_std = float(np.sqrt(by_line @ covariance @ by_line)), float(np.sqrt(covariance[1, 1]) * mass / slope)
    wide = _student(used)
    return Band(
        e0_mev=float(e0),
        e0_std=e0_std,
        mass=float(mass),
        mass_std=mass_std,
        e0_interval=(float(e0 - wide * e0_std), float(e0 + wide * e0_std)),
        mass_interval=(float(mass - wide * mass_std), float(mass + wide * mass_std)),
        used=used,
        chi2=chi2,
        line=line,
        line_covariance=covariance,
    )


def _student(used: NDArray[np.bool_]) -> float:
    """Half the width of a 95 % interval, in standard deviations, for a line through these points."""
    from scipy.stats import t as student

    return float(student.ppf(0.975, int(used.sum()) - 2))


def _check(energy: Values) -> None:
    if len(np.unique(energy)) < LEAST_ENERGIES:
        raise InvalidDataError(
            f"A band needs standing waves at {LEAST_ENERGIES} or more energies, found {len(np.unique(energy))}."
        )


def _distances(line: Values, energy: Values, wave: Values, spread: Values) -> Values:
    """Distances of wavevectors (energy,) from lines of q squared (2, ...), in standard deviations: (..., energy)."""
    square = line[0][..., None] + line[1][..., None] * energy
    return np.asarray((wave - np.sqrt(np.maximum(square, 0.0))) / spread, dtype=np.float64)


def _robust_line(energy: Values, wave: Values, spread: Values) -> Values:
    """Of the lines of q squared through two energies, the one that two thirds of all q are closest to.

    Of many energies, the first of the two is not tried at each.
    """
    best, least = np.zeros(2), np.inf
    count = len(energy) - len(energy) // 3
    for one in range(0, len(energy), 1 + len(energy) // 64):
        other = np.flatnonzero(energy != energy[one])
        slope = (wave[other] ** 2 - wave[one] ** 2) / (energy[other] - energy[one])
        lines = np.stack([wave[one] ** 2 - slope * energy[one], slope])
        apart = np.abs(_distances(lines, energy, wave, spread))
        total = np.partition(apart, count - 1, axis=1)[:, :count].sum(axis=1)
        if total.min() < least:
            best, least = lines[:, np.argmin(total)], total.min()
    return best


def _line(x: Values, y: Values, weight: Values) -> tuple[Values, Values, Values]:
    """Coefficients of a line, their covariance, and the weighted distances of the points from it."""
    columns = np.column_stack([np.ones(len(x)), x]) * weight[:, None]
    gram = columns.T @ columns
    line = np.linalg.solve(gram, columns.T @ (weight * y)).astype(np.float64)
    return line, np.linalg.inv(gram).astype(np.float64), weight * y - columns @ line
