r"""Shear: maps are resampled by the affine transformation that makes the lattice a square or hexagonal one.

Uniform drift and scanners that are calibrated differently along x and y strain and shear the lattice. Its two measured
wavevectors are the rows of $Q$, those of the true lattice the rows of $T$. Then

$$z(\mathbf r) \to z(M \mathbf r), \qquad M = Q^{-1} T,$$

about the centre of the frame. The true lattice is square, or hexagonal with an angle of 60 or 120 degrees between the
wavevectors, whichever is closer to the measured one. Its wavevectors have the same bisector as the measured ones. Their
length is that of the given lattice constant $a$, $2\pi / a$ or $4\pi / \sqrt 3 a$; without it, the area that they span
is kept. All channels and layers are resampled alike, by cubic splines. Points that come from outside of the map become
NaN.

The step records the measured wavevectors, $M$ and the lattice constant.

Source: the affine part of a drift correction; see Lawler et al., Nature 466, 347 (2010), doi:10.1038/nature09169, and
Yothers, Browder and Bumm, Rev. Sci. Instrum. 88, 013708 (2017), doi:10.1063/1.4974271.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from qpibench.errors import InvalidDataError
from qpibench.maps.bragg_peaks import lattice_vectors, reference_channel
from qpibench.maps.measurement import Maps
from qpibench.maps.preparation import Found, StepSettings
from qpibench.maps.resampling import resampled

KIND = "lattice"
Vector = tuple[float, float]


class Settings(StepSettings):
    """Settings of the correction of strain and shear by a known lattice."""

    lattice: Literal["square", "hexagonal"] = Field(description="lattice of the sample")
    lattice_constant_nm: float | None = Field(
        default=None, gt=0, description="lattice constant a; by default the area of the measured cell is kept"
    )
    reference: str | None = Field(
        default=None, description="channel that shows the lattice, averaged over its layers; the first by default"
    )
    q_rad_nm: tuple[Vector, Vector] | None = Field(
        default=None,
        description="qx and qy of two measured waves of the lattice's shortest; the two highest Bragg peaks by default",
    )


def prepare(settings: Settings, maps: Maps) -> tuple[Maps, Found]:
    """Resample all channels; see :class:`qpibench.maps.preparation.Preparation`."""
    reference = reference_channel(maps, settings.reference)
    measured = lattice_vectors(reference, maps.grid, settings.q_rad_nm)
    true = true_vectors(measured, settings.lattice, settings.lattice_constant_nm)
    matrix = np.linalg.solve(measured, true)
    place_nm = np.einsum("ij,jyx->iyx", matrix, np.stack(np.meshgrid(maps.grid.x_nm, maps.grid.y_nm)))
    shape_factor = 1.0 if settings.lattice == "square" else 2 / np.sqrt(3)
    found = {
        "reference": reference.label,
        "q_rad_nm": measured.round(6).tolist(),
        "matrix": matrix.round(9).tolist(),
        "lattice_constant_nm": float(2 * np.pi * shape_factor / np.linalg.norm(true[0])),
    }
    return resampled(maps, place_nm), found


def true_vectors(measured: NDArray[np.float64], lattice: str, constant_nm: float | None) -> NDArray[np.float64]:
    """The wavevectors (2, xy) in rad/nm of the square or hexagonal lattice that is closest to two measured ones.

    Raises
    ------
    InvalidDataError
        If the measured ones differ by more than a factor of 1.5 in length, or 25 degrees from the angle of the lattice.
    """
    lengths = np.linalg.norm(measured, axis=1)
    first, second = np.arctan2(measured[:, 1], measured[:, 0])
    turn = np.angle(np.exp(1j * (second - first)))
    angles = np.deg2rad([90.0] if lattice == "square" else [60.0, 120.0])
    angle = angles[np.argmin(np.abs(angles - abs(turn)))]
    if abs(angle - abs(turn)) > np.deg2rad(25) or lengths.max() > 1.5 * lengths.min():
        raise InvalidDataError(
            f"The waves {measured.round(3).tolist()} in rad/nm, {np.rad2deg(abs(turn)):.0f} degrees apart, are not"
            f" those of a strained {lattice} lattice; give q_rad_nm, or choose another lattice."
        )
    middle = first + turn / 2
    directions = middle + np.array([-0.5, 0.5]) * np.copysign(angle, turn)
    if constant_nm is None:
        length = np.sqrt(np.prod(lengths) * abs(np.sin(turn)) / np.sin(angle))
    else:
        length = 2 * np.pi / constant_nm * (1.0 if lattice == "square" else 2 / np.sqrt(3))
    return np.stack([length * np.cos(directions), length * np.sin(directions)], axis=1)
