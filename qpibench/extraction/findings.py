"""What the kernels of a measurement tell: standing waves, band, profiles, symmetry, and what their fit leaves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qpibench.counting import counted
from qpibench.errors import InvalidDataError
from qpibench.extraction.kernel_file import KernelFile
from qpibench.grid import Grid
from qpibench.physics.dispersion import Band, fit_band
from qpibench.physics.noise import noise_plateau
from qpibench.physics.polar import inscribed_radii, on_rays, pixels_on_rays
from qpibench.physics.standing_waves import StandingWaves, standing_waves

Values = NDArray[np.float64]

DIRECTIONS = 72
"""Directions of the profiles, 5 degrees apart."""


@dataclass(frozen=True, kw_only=True)
class Profiles:
    """A kernel along radius and angle, in its own unit.

    Attributes
    ----------
    r_nm, mean, mean_std
        (r,) each: distances from the scatterer, the mean over all directions, and its standard deviation. Pixels at one
        distance are taken to err together. NaN if the kernel has no standard deviation.
    radius_nm
        Distance, outside the core, at which the kernel's rms over all directions is greatest.
    angle_deg, around, around_std
        (direction,) each: angles from the x axis, anticlockwise, the kernel at that distance, and its standard
        deviation.
    harmonic, harmonic_share
        The strongest cos(m angle + phase) of the kernel at that distance, with m of 1 or more, and its rms over that of
        the kernel there.
    """

    r_nm: Values
    mean: Values
    mean_std: Values
    radius_nm: float
    angle_deg: Values
    around: Values
    around_std: Values
    harmonic: int
    harmonic_share: float


@dataclass(frozen=True, kw_only=True)
class LayerFindings:
    """What the kernel of one layer tells.

    Attributes
    ----------
    number
        Number of the layer, from 0.
    value
        Its value on the axis, in meV for a bias; NaN without an axis.
    failure
        Why it has no kernel, or an empty text; without a kernel the rest is None or NaN.
    waves
        Its standing waves; None if there are none.
    profiles
        The kernel along radius and angle.
    fold, symmetry
        Symmetry that the method found, 0 for a round kernel, None if it states none; and its evidence in words.
    noise
        Standard deviation of the noise as the method states it, in the unit of the image; NaN if it does not.
    nuisance
        What else the method found in the image, or an empty text.
    scatterers
        Places (scatterer, 2) in nm and strengths (scatterer,) of the scatterers that the method found; None if it takes
        the told ones.
    scatterers_text
        A sentence on them, or an empty text.
    residual_rms, residual_share
        Root mean square of the residual, and the same over that of the image.
    unexplained_share
        Root mean square of the residual beyond white noise, as :func:`noise_plateau` finds it, over that of the image.
    """

    number: int
    value: float
    failure: str
    waves: StandingWaves | None
    profiles: Profiles | None
    fold: int | None
    symmetry: str
    noise: float
    nuisance: str
    scatterers: tuple[Values, Values] | None
    scatterers_text: str
    residual_rms: float
    residual_share: float
    unexplained_share: float


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What the kernels of a measurement tell.

    Attributes
    ----------
    layers
        One for each layer.
    axis, axis_unit
        What tells the layers apart: ``energy`` in meV for a bias, otherwise the name and unit of the axis; empty for a
        single image.
    band
        The band of the standing waves; None if there is none.
    no_band
        A sentence that says why a stack along a bias has no band, or an empty text.
    """

    layers: tuple[LayerFindings, ...]
    axis: str
    axis_unit: str
    band: Band | None
    no_band: str

    @property
    def column(self) -> str:
        """Name of a column with the values of the layers, with its unit if it has one; empty for a single image."""
        return f"{self.axis} ({self.axis_unit})" if self.axis_unit else self.axis

    @property
    def has_dispersion(self) -> bool:
        """Whether the layers have different energies."""
        return self.axis == "energy" and len(self.layers) > 1

    @property
    def left_out(self) -> tuple[LayerFindings, ...]:
        """Layers that the band was not fitted to."""
        used = [False] * len(self.layers) if self.band is None else self.band.used
        return tuple(layer for layer, is_used in zip(self.layers, used, strict=True) if not is_used)

    def label(self, layer: LayerFindings) -> str:
        """The value of a layer on the axis with its unit; empty for a single image."""
        number = f"{layer.value:.4g}".replace("-", "\N{MINUS SIGN}")
        return f"{self.axis} {number} {self.axis_unit}".rstrip() if self.axis else ""


def find(content: KernelFile) -> Findings:
    """Find what kernels tell.

    Parameters
    ----------
    content
        The kernels, as :func:`~qpibench.extraction.kernel_file.read_kernel_file` returns them.
    """
    count = len(content.kernels.failures)
    values, axis, unit = np.full(count, np.nan), "", ""
    if content.axis is not None:
        try:
            values, axis, unit = content.axis.energy_mev, "energy", "meV"
        except InvalidDataError:
            values, axis, unit = content.axis.values, content.axis.name or "layer", content.axis.unit
    layers = tuple(_layer(content, number, float(values[number])) for number in range(count))
    band, no_band = None, ""
    if axis == "energy" and count > 1:
        q, q_std = np.array([_wavevector(layer) for layer in layers]).T
        try:
            band = fit_band(values, q, q_std)
        except InvalidDataError as error:
            no_band = str(error)
    return Findings(layers=layers, axis=axis, axis_unit=unit, band=band, no_band=no_band)


def _wavevector(layer: LayerFindings) -> tuple[float, float]:
    return (np.nan, np.nan) if layer.waves is None else (layer.waves.q, layer.waves.q_std)


def _layer(content: KernelFile, number: int, value: float) -> LayerFindings:
    kernels = content.kernels
    facts, failure = kernels.diagnostics[number], kernels.failures[number]
    waves, profiles = None, None
    if not failure:
        kernel, std = kernels.kernel[number], kernels.std[number]
        has_std = bool(np.isfinite(std).all())
        waves = standing_waves(kernels.kernel_grid, kernel, std if has_std else None)
        core_nm = waves.r_nm[0] if waves is not None else 0.0
        profiles = _profiles(kernels.kernel_grid, kernel, std if has_std else None, core_nm)
    image, residual = kernels.image[number], content.residual[number]
    seen = np.isfinite(image) & np.isfinite(residual)
    left, whole = (_rms(each[seen]) for each in (residual, image))
    found = kernels.scatterers(number)
    is_told = np.array_equal(found[0], kernels.position_nm) and bool((found[1] == 1).all())
    noise, fold, nuisance = facts.get("noise"), facts.get("fold"), facts.get("nuisance")
    return LayerFindings(
        number=number,
        value=value,
        failure=failure,
        waves=waves,
        profiles=profiles,
        fold=fold if isinstance(fold, int) else None,
        symmetry=_symmetry(facts),
        noise=float(noise) if isinstance(noise, (int, float)) else np.nan,
        nuisance=nuisance if isinstance(nuisance, str) else "",
        scatterers=None if is_told else found,
        scatterers_text="" if is_told else _changes(facts, len(found[0]), len(kernels.position_nm)),
        residual_rms=left,
        residual_share=left / whole if whole > 0 else np.nan,
        unexplained_share=np.sqrt(max(left**2 - _floor(image) ** 2, 0.0)) / whole if whole > 0 else np.nan,
    )


def _floor(image: Values) -> float:
    """Standard deviation of white noise, or 0 where the image is too small to tell it."""
    try:
        return noise_plateau(image)
    except InvalidDataError:
        return 0.0


def _rms(values: Values) -> float:
    return float(np.sqrt(np.mean(values**2))) if values.size else np.nan


def _profiles(grid: Grid, kernel: Values, std: Values | None, core_nm: float) -> Profiles:
    r_nm = inscribed_radii(grid)
    pixels = pixels_on_rays(grid, r_nm, DIRECTIONS)
    rays = on_rays(kernel, pixels)
    spread = np.full_like(rays, np.nan) if std is None else np.maximum(on_rays(std, pixels), 0.0)
    outside = r_nm >= max(core_nm, grid.pitch_x_nm, grid.pitch_y_nm)
    strength = np.where(outside, np.sqrt(np.mean(rays**2, axis=0)), -1.0)
    place = int(np.argmax(strength))
    around = rays[:, place]
    amplitude = np.abs(np.fft.rfft(around))[1:] / DIRECTIONS
    harmonic = int(np.argmax(amplitude)) + 1
    rms = _rms(around)
    return Profiles(
        r_nm=r_nm,
        mean=rays.mean(axis=0),
        mean_std=spread.mean(axis=0),
        radius_nm=float(r_nm[place]),
        angle_deg=360.0 * np.arange(DIRECTIONS) / DIRECTIONS,
        around=around,
        around_std=spread[:, place],
        harmonic=harmonic,
        harmonic_share=float(np.sqrt(2) * amplitude[harmonic - 1] / rms) if rms > 0 else 0.0,
    )


def _changes(facts: Mapping[str, Any], found: int, told: int) -> str:
    """What a method states about scatterers that it found, as a sentence."""
    inserted, error_nm, spread = (facts.get(name) for name in ("inserted", "position_error_nm", "strength_spread"))
    parts = [f"{counted(found, 'scatterer')} for {told} told"]
    if isinstance(inserted, int) and inserted:
        parts.append(f"{inserted} of them where none is told")
    if isinstance(error_nm, (int, float)) and error_nm > 0:
        parts.append(f"told places have an error of {error_nm:.2g} nm in x and y")
    if isinstance(spread, (int, float)) and spread > 0:
        parts.append(f"strengths have a spread of {spread:.2g}")
    return f"The method found {', '.join(parts)}."


def _symmetry(facts: Mapping[str, Any]) -> str:
    """What a method states about the symmetry, in words; empty if it states nothing."""
    fold, kind, orders, evidence = (facts.get(name) for name in ("fold", "kind", "orders", "evidence"))
    parts = []
    if isinstance(fold, int):
        parts.append(f"fold {fold}" if fold else "round (fold 0)")
    if isinstance(orders, list) and orders:
        parts.append(f"angular orders {', '.join(map(str, orders))}")
    if facts.get("mirrored") is True:
        parts.append("mirror symmetric")
    if isinstance(kind, str):
        parts.append(f"kind '{kind}'")
    if isinstance(evidence, (int, float)):
        parts.append(f"log evidence {evidence:.1f}")
    return ", ".join(parts)
