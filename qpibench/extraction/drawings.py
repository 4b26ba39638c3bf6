"""Drawings of a report of kernels: which figures show a layer and the band, with their scales and units."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qpibench.extraction.figures import Drawing, band_plot, image_panel, profile_plot, transform_panel
from qpibench.extraction.findings import Findings, LayerFindings
from qpibench.extraction.kernel_file import KernelFile
from qpibench.extraction.transforms import scatterer_centred, transform
from qpibench.grid import Grid
from qpibench.pages.fourier import spectrum, spectrum_limits
from qpibench.pages.scales import Limits
from qpibench.pages.svg import DIVERGING, SPREAD
from qpibench.pages.units import with_prefix

Values = NDArray[np.float64]

_WITHIN = 0.995  # share of the values within the ends of a scale: single spikes do not stretch it
_RINGS = 2.5  # wavevectors that are drawn, over that of the standing waves
_SQUARE = "\N{SUPERSCRIPT TWO}"


@dataclass(frozen=True, kw_only=True)
class LayerDrawings:
    """The drawings of one layer.

    Attributes
    ----------
    maps
        Map, fit, residual, kernel and its standard deviation.
    transforms
        log |FFT| of kernel and map, and the real parts of the scatterer-centred and of the kernel's transform.
    profiles
        The kernel along radius and angle.
    most_q
        Wavevector in rad/nm up to which transforms are drawn.
    """

    maps: tuple[Drawing, ...]
    transforms: tuple[Drawing, ...]
    profiles: tuple[Drawing, ...]
    most_q: float

    @property
    def all(self) -> tuple[Drawing, ...]:
        """Every drawing."""
        return (*self.maps, *self.transforms, *self.profiles)


def layer_drawings(content: KernelFile, layer: LayerFindings) -> LayerDrawings:
    """Return the drawings of a layer with a kernel."""
    most_q = _most_q(content, layer)
    return LayerDrawings(
        maps=_maps(content, layer),
        transforms=_transforms(content, layer, most_q),
        profiles=_profiles(content, layer),
        most_q=most_q,
    )


def band_drawing(findings: Findings) -> Drawing:
    """Return the plot of q against energy."""
    layers = findings.layers
    energy = np.array([layer.value for layer in layers])
    waves = [(np.nan, np.nan) if layer.waves is None else (layer.waves.q, layer.waves.q_std) for layer in layers]
    q, q_std = np.array(waves).T
    band, curve, used = findings.band, None, np.zeros(len(layers), dtype=np.bool_)
    if band is not None:
        used = band.used
        low, high = min(float(energy.min()), band.e0_mev), float(energy.max())
        at = np.linspace(low, high, 200)
        curve = (at, np.nan_to_num(band.wavevector(at)), *band.wavevector_interval(at))
    return Drawing(name="band", title="q against energy", make=band_plot(energy, q, q_std, used, curve=curve))


def _maps(content: KernelFile, layer: LayerFindings) -> tuple[Drawing, ...]:
    kernels, number = content.kernels, layer.number
    image = kernels.image[number]
    factor, unit = with_prefix(_reach(image), content.unit)
    limits = _symmetric(factor * image)

    def of_map(name: str, title: str, values: Values, position_nm: Values | None = None) -> Drawing:
        shown = np.where(np.isfinite(image), factor * values, np.nan)
        panel = image_panel(shown, kernels.grid, colours=DIVERGING, limits=limits, unit=unit, position_nm=position_nm)
        return Drawing(name=_name(number, name), title=title, make=panel)

    kernel, std = kernels.kernel[number], kernels.std[number]
    of_kernel, kernel_unit = with_prefix(_reach(kernel), content.unit)
    drawings = [
        of_map("map", "Map with scatterers", image, kernels.position_nm),
        of_map("fit", "Forward fit", kernels.fit[number], kernels.scatterers(number)[0]),
        of_map("residual", "Residual", content.residual[number]),
        Drawing(
            name=_name(number, "kernel"),
            title="Kernel",
            make=image_panel(
                of_kernel * kernel,
                kernels.kernel_grid,
                colours=DIVERGING,
                limits=_symmetric(of_kernel * kernel),
                unit=kernel_unit,
            ),
        ),
    ]
    if np.isfinite(std).all():
        of_std, std_unit = with_prefix(_reach(std), content.unit)
        panel = image_panel(
            of_std * std, kernels.kernel_grid, colours=SPREAD, limits=(0.0, _reach(of_std * std)), unit=std_unit
        )
        drawings.append(Drawing(name=_name(number, "kernel_std"), title="Std of the kernel", make=panel))
    return tuple(drawings)


def _transforms(content: KernelFile, layer: LayerFindings, most_q: float) -> tuple[Drawing, ...]:
    kernels, number = content.kernels, layer.number
    grid, kernel_grid, image, kernel = kernels.grid, kernels.kernel_grid, kernels.image[number], kernels.kernel[number]
    ring_q = None if layer.waves is None else layer.waves.q

    def of_modulus(name: str, title: str, values: Values, on: Grid) -> Drawing:
        factor, unit = with_prefix(_reach(values), content.unit)
        known = factor * np.where(np.isfinite(values), values, np.nanmean(values))
        panel = transform_panel(
            spectrum(known, on, hann=True),
            on,
            most_q=most_q,
            limits=spectrum_limits(known, on, hann=True),
            unit=f"log₁₀ (|FFT| / ({unit or '1'} nm{_SQUARE}))",
            is_signed=False,
            ring_q=ring_q,
        )
        return Drawing(name=_name(number, name), title=title, make=panel)

    centred = scatterer_centred(image, grid, kernels.scatterers(number)[0]).real
    own = transform(kernel, kernel_grid).real
    largest = max(_reach(centred), _reach(own))
    factor, unit = with_prefix(largest, content.unit)

    def of_real_part(name: str, title: str, values: Values, on: Grid) -> Drawing:
        panel = transform_panel(
            factor * values,
            on,
            most_q=most_q,
            limits=(-factor * largest, factor * largest),
            unit=f"{unit or '1'} nm{_SQUARE}",
            is_signed=True,
            ring_q=None,
        )
        return Drawing(name=_name(number, name), title=title, make=panel)

    return (
        of_modulus("kernel_fft", "log |FFT| of the kernel", kernel, kernel_grid),
        of_modulus("map_fft", "log |FFT| of the map", image, grid),
        of_real_part("scatterer_centred_ft", "Scatterer-centred FT of the map", centred, grid),
        of_real_part("kernel_ft", "FT of the kernel", own, kernel_grid),
    )


def _profiles(content: KernelFile, layer: LayerFindings) -> tuple[Drawing, ...]:
    profiles, waves = layer.profiles, layer.waves
    assert profiles is not None
    outside = profiles.r_nm >= (profiles.r_nm[1] if waves is None else waves.r_nm[0])
    spread = np.nan_to_num(profiles.mean_std)
    largest = float((np.abs(profiles.mean) + spread)[outside].max()) or 1.0
    factor, unit = with_prefix(largest, content.unit)
    label = f"kernel ({unit})" if unit else "kernel"
    radial = profile_plot(
        profiles.r_nm,
        factor * profiles.mean,
        factor * profiles.mean_std,
        x_label="distance from the scatterer (nm)",
        y_label=label,
        fit=None if waves is None else (waves.r_nm, factor * waves.fit),
        y_limits=(-1.1 * factor * largest, 1.1 * factor * largest),
    )
    of_angle, unit = with_prefix(float(np.abs(profiles.around).max()), content.unit)
    angular = profile_plot(
        np.append(profiles.angle_deg, 360.0),
        of_angle * np.append(profiles.around, profiles.around[0]),
        of_angle * np.append(profiles.around_std, profiles.around_std[0]),
        x_label="angle from the x axis (degrees)",
        y_label=f"kernel ({unit})" if unit else "kernel",
        x_ticks=list(range(0, 361, 60)),
    )
    return (
        Drawing(name=_name(layer.number, "radial"), title="Mean over directions", make=radial),
        Drawing(
            name=_name(layer.number, "angular"), title=f"Around a circle of {profiles.radius_nm:.3g} nm", make=angular
        ),
    )


def _most_q(content: KernelFile, layer: LayerFindings) -> float:
    grid = content.kernels.grid
    resolved = np.pi / min(grid.pitch_x_nm, grid.pitch_y_nm)
    return float(resolved if layer.waves is None else min(resolved, _RINGS * layer.waves.q))


def _reach(values: Values) -> float:
    """Absolute value below which nearly all are; 1 if all are zero."""
    known = np.abs(values[np.isfinite(values)])
    return (float(np.quantile(known, _WITHIN)) or float(known.max()) or 1.0) if known.size else 1.0


def _symmetric(values: Values) -> Limits:
    return -_reach(values), _reach(values)


def _name(number: int, what: str) -> str:
    return f"layer_{number:03}_{what}"
