"""Findings as texts: values with their intervals and standard deviations, and the band."""

from __future__ import annotations

import numpy as np

from qpibench.counting import counted
from qpibench.extraction.findings import Findings

MOST_LEFT = 1 / 3
"""Rms of the residual beyond white noise over that of the map, above which there is a warning."""


MOST_CHI2 = 5.0
"""Chi squared over the degrees of freedom of a band, above which there is a warning."""


def band_text(findings: Findings) -> str:
    """The bottom of the band and its mass with their 95 % intervals as a sentence, or why there is no band."""
    band = findings.band
    if band is None:
        return f"No band: {findings.no_band}" if findings.no_band else ""
    e0 = with_interval(band.e0_mev, band.e0_interval, "meV")
    mass = with_interval(band.mass, band.mass_interval, "m_e")
    return f"E0 = {e0}; m* = {mass}; from q at {band.used.sum()} of {len(band.used)} energies"


def not_parabolic(findings: Findings) -> str:
    """A sentence on a band whose wavevectors lie far from the fitted parabola, or an empty text."""
    band = findings.band
    if band is None or band.chi2 <= MOST_CHI2:
        return ""
    return (
        f"The wavevectors do not follow a parabola within their errors (chi squared per degree of freedom is"
        f" {band.chi2:.3g}): E0 and m* are those of the nearest parabola; look at q against energy."
    )


def unexplained(findings: Findings) -> str:
    """A sentence on layers whose map the kernels hardly explain, or an empty text."""
    count = sum(layer.unexplained_share > MOST_LEFT for layer in findings.layers)
    if not count:
        return ""
    return (
        f"Beside noise, the kernels leave over a third of the map in {count} of"
        f" {counted(len(findings.layers), 'layer')}: compare the scatterers with the map (x and y swapped, y downwards,"
        " another scan), and level it if it has a background."
    )


def with_interval(value: float, ends: tuple[float, float], unit: str) -> str:
    """A value with its unit and 95 % interval, whose half width has two digits."""
    decimals = _decimals((ends[1] - ends[0]) / 2)
    middle, low, high = (f"{each:.{decimals}f}" for each in (value, *ends))
    return f"{middle} {unit} (95 % interval {low} to {high})"


def with_std(value: float, std: float) -> str:
    """A value with its standard deviation, which has two digits."""
    decimals = _decimals(std)
    return f"{value:.{decimals}f} ± {std:.{decimals}f}"


def _decimals(width: float) -> int:
    """Decimals with which a width has two digits."""
    return int(np.clip(1 - np.floor(np.log10(width)), 0, 9)) if width > 0 and np.isfinite(width) else 3
