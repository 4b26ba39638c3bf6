"""Principal radial functions of a family, from draws of its profiles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from shared.radial import RadialBasis, spline_count, spline_values

from learned.profile_source import ProfileDraws
from qpibench.errors import UsageError

DRAWS = 6000
"""Profiles from which the basis is made; steps are repeated by a release, whose kernels are fewer."""

KNOTS_PER_PERIOD = 12
"""Knots in the shortest period; the splines then follow a profile to 1e-4 of its peak."""

FIRST_SAMPLE = 1e-9
"""Distance of the first sample from the scatterer, over the reach; at the scatterer itself no angle exists."""

LEAST_SPREAD = 1e-6
"""Smallest spread of a kept function, over that of all together."""


@dataclass(frozen=True)
class ProfileBasis:
    """Radial functions of a family, and the way from a profile to its coefficients.

    Attributes
    ----------
    basis
        The mean profile and the principal directions. Integrals are over the plane, with r dr; the variances of all
        coefficients add up to 1.
    spread
        (function - 1,): standard deviations of the coefficients.
    r_nm
        (r,): distances at which profiles are sampled.
    offset, matrix
        See :class:`learned.profile_source.ProfileSource`.
    """

    basis: RadialBasis
    spread: NDArray[np.float64]
    r_nm: NDArray[np.float64]
    offset: NDArray[np.float64]
    matrix: NDArray[np.float64]


def make_basis(draws: ProfileDraws, *, functions: int) -> ProfileBasis:
    """Make the basis of at most ``functions`` directions.

    It reaches as far as two pixels of an image can be apart.

    Raises
    ------
    UsageError
        If the profiles do not differ.
    """
    grid = draws.source.grid
    reach_nm = float(np.hypot(grid.size_y_nm, grid.size_x_nm)) * (1 + 1e-9)
    parts = [draws.parameters(step) for step in range(-(-DRAWS // draws.source.batch_size))]
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    spacing = float(2 * np.pi / draws.family.wavevector(columns).max()) / KNOTS_PER_PERIOD
    count = spline_count(reach_nm, spacing)
    r_nm = np.linspace(0, reach_nm, 2 * count, endpoint=False) + reach_nm * FIRST_SAMPLE
    profile = draws.profiles(columns, r_nm).astype(np.float64)
    # Weighted by the area of a ring; at the centre a ring has the area of the knot interval's disc.
    weight = np.sqrt((r_nm + spacing / 4) / r_nm.sum())
    splines = spline_values(r_nm, spacing, count)
    to_splines = (np.linalg.pinv(weight[:, None] * splines, rcond=1e-10) * weight).T
    mean = profile.mean(axis=0)
    # The directions of the sampled, weighted profiles within the span of the splines.
    shown = (profile - mean) @ to_splines @ splines.T * weight
    _, singular, directions = np.linalg.svd(shown, full_matrices=False)
    total = float(np.sqrt((singular**2).sum()))
    kept = min(functions, int((singular > LEAST_SPREAD * total).sum()))
    if not kept:
        raise UsageError(
            f"The kernels of {draws.source.record.name} all have the same radial profile; polar_two_step learns how"
            " profiles differ, and needs training kernels of at least two radial parameters."
        )
    directions, spread = directions[:kept].T, singular[:kept] / total
    # A singular vector has no sign of its own; with one, a resumed run has the same basis whatever LAPACK returns.
    directions *= np.sign(directions[np.abs(directions).argmax(axis=0), np.arange(kept)])
    scale = total / np.sqrt(len(profile))
    matrix = to_splines @ splines.T * weight @ directions / scale
    functions_ = np.column_stack([mean, directions / weight[:, None] * scale])
    return ProfileBasis(
        basis=RadialBasis(spacing, (functions_.T @ to_splines).T),
        spread=spread,
        r_nm=r_nm,
        offset=mean @ matrix,
        matrix=matrix,
    )
