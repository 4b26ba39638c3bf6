r"""Drift: maps are resampled such that the waves of the lattice are straight (Lawler-Fujita).

Drift and creep displace the map by a field $\mathbf u(\mathbf r)$ that varies slowly, so the lattice waves of the
reference channel are $\cos[\mathbf q_i (\mathbf r - \mathbf u(\mathbf r)) + \varphi_i]$. Their phases are measured by
Gaussian means over a length $\ell$, unwrapped, and freed from their mean. Two waves give the field, and three more
rounds the field of what is left:

$$\mathbf q_i \cdot \mathbf u(\mathbf r) = \varphi_i
- \arg \langle z(\mathbf r')\, e^{-i \mathbf q_i \mathbf r'} \rangle_\ell, \qquad
z(\mathbf r) \to z(\mathbf r + \mathbf u(\mathbf r')),$$

with $\mathbf r' = \mathbf r + \mathbf u(\mathbf r')$ by iteration. All channels and layers are resampled alike, by
cubic splines. Points that come from outside of the map become NaN.

With wavevectors that are found in the map the field has no uniform strain, which is part of them; the step ``shear``
removes it. With given wavevectors of the undistorted lattice the strain is removed as well. The step records the
wavevectors and the largest displacement.

Source: Lawler et al., Nature 466, 347 (2010), doi:10.1038/nature09169, supplementary information.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from qpibench.errors import InvalidDataError
from qpibench.grid import Grid
from qpibench.maps.bragg_peaks import lattice_vectors, lattice_wave, overlap, reference_channel
from qpibench.maps.measurement import Channel, Maps
from qpibench.maps.preparation import Found, StepSettings
from qpibench.maps.resampling import pixels, resampled

KIND = "lattice"
Vector = tuple[float, float]

_ROUNDS = 4  # means over a length flatten the field; the field of what is left is added


class Settings(StepSettings):
    """Settings of the correction of drift by a lattice."""

    reference: str | None = Field(
        default=None, description="channel that shows the lattice, averaged over its layers; the first by default"
    )
    q_rad_nm: tuple[Vector, Vector] | None = Field(
        default=None, description="qx and qy of two waves of the lattice; the two highest Bragg peaks by default"
    )
    length_nm: float | None = Field(
        default=None, gt=0, description="length l of the means; two periods of the longer wave by default"
    )


def prepare(settings: Settings, maps: Maps) -> tuple[Maps, Found]:
    """Resample all channels; see :class:`qpibench.maps.preparation.Preparation`."""
    reference = reference_channel(maps, settings.reference)
    q = lattice_vectors(reference, maps.grid, settings.q_rad_nm)
    length_nm = settings.length_nm or 4 * np.pi / float(np.linalg.norm(q, axis=1).min())
    field_nm = displacement(reference, maps.grid, q, length_nm)
    r = np.stack(np.meshgrid(maps.grid.x_nm, maps.grid.y_nm))
    place_nm = r + field_nm
    for _ in range(5):  # drift varies slowly, so each round is much closer than the one before
        place_nm = r + _at(field_nm, maps.grid, place_nm)
    found = {
        "reference": reference.label,
        "q_rad_nm": q.round(6).tolist(),
        "length_nm": float(length_nm),
        "largest_nm": float(np.linalg.norm(field_nm, axis=0).max()),
    }
    return resampled(maps, place_nm), found


def displacement(channel: Channel, grid: Grid, q: NDArray[np.float64], length_nm: float) -> NDArray[np.float64]:
    """Displacement (xy, y, x) in nm of the lattice of a channel; 0 in the mean over the measured points.

    Parameters
    ----------
    channel
        Channel that shows the lattice; its layers are averaged.
    grid
        Its grid.
    q
        (2, xy): wavevectors of two waves in rad/nm, in different directions.
    length_nm
        Standard deviation of the Gaussian means.

    Raises
    ------
    InvalidDataError
        If the channel has no measured point, or the pixels do not tell one of the waves from its negative.
    """
    from scipy.ndimage import distance_transform_edt
    from skimage.restoration import unwrap_phase

    if edge := [one for one in q if overlap(one, grid, 1 / length_nm) > 0.5]:
        raise InvalidDataError(
            f"The wave {edge[0].round(3).tolist()} rad/nm cannot be told from its negative, so its phase is unknown;"
            " give other q_rad_nm, or a longer length_nm."
        )
    layers = channel.values.reshape(-1, *grid.shape).astype(np.float64)
    count = np.isfinite(layers).sum(axis=0)
    measured = count > 0
    if not measured.any():
        raise InvalidDataError(f"'{channel.label}' has no measured point.")
    mean = np.where(measured, np.nansum(layers, axis=0) / np.maximum(count, 1), np.nan)
    mean -= np.nanmean(mean)
    field = np.zeros((2, *grid.shape))
    for _ in range(_ROUNDS):
        straight = np.exp(1j * np.einsum("ij,jyx->iyx", q, field))
        phases = []
        for one, back in zip(q, straight, strict=True):
            wrapped = np.angle(lattice_wave(mean * back, grid, one, length_nm))
            # A masked array has to have masked points here.
            given = wrapped if measured.all() else np.ma.masked_array(wrapped, mask=~measured)
            phase = np.ma.filled(unwrap_phase(given, rng=0), 0.0)  # type: ignore[no-untyped-call]
            phases.append(np.where(measured, phase - phase[measured].mean(), 0.0))
        field -= np.einsum("ij,jyx->iyx", np.linalg.inv(q), np.stack(phases))
    if not measured.all():
        row, column = distance_transform_edt(~measured, return_distances=False, return_indices=True)
        field = field[:, row, column]
    return field


def _at(field_nm: NDArray[np.float64], grid: Grid, place_nm: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.ndimage import map_coordinates

    places = pixels(grid, place_nm)
    return np.stack([map_coordinates(each, places, order=1, mode="nearest") for each in field_nm])
