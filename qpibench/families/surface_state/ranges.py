"""Ranges of the parameters of surface states, and the bands and periods that follow from them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from qpibench.families import KernelSpec
from qpibench.ranges import RISING, require_within

PI = math.pi

HBAR2_OVER_2M = 38.09982  # hbar^2/(2 m_e) in meV nm^2 (CODATA)

LEAST_ENERGY_MEV = 1.0  # above the band bottom

WIDEST_TIP, NARROWEST_TIP = 1 / 2, 1 / 20
"""Limits of the tip's full width in shortest periods; a wider tip would not see the ripples."""

Energy = Annotated[float, Field(ge=-1e4, le=1e4, allow_inf_nan=False)]
Mass = Annotated[float, Field(ge=0.01, le=10, allow_inf_nan=False)]
Angle = Annotated[float, Field(ge=-PI, le=PI, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Linewidth = Annotated[float, Field(ge=0, le=1e4, allow_inf_nan=False)]
Ratio = Annotated[float, Field(ge=1, le=4, allow_inf_nan=False)]


class Ranges(KernelSpec):
    """Ranges of the parameters of surface states; every one is drawn uniformly.

    Energies are relative to the Fermi level. ``second_e0_mev`` and ``second_mass`` add a second band, which has the
    same linewidth and mass ratio, and a phase shift drawn on its own.
    """

    family: Literal["surface_state"] = Field(default="surface_state", description="name of the formula")
    energy_mev: Annotated[tuple[Energy, Energy], RISING] = Field(
        description="range of the energy of the electrons relative to the Fermi level, the sample bias in mV"
    )
    e0_mev: Energy = Field(description="energy of the band bottom relative to the Fermi level")
    mass: Mass = Field(description="effective mass in electron masses; the geometric mean of an elliptic one")
    delta_rad: Annotated[tuple[Angle, Angle], RISING] = Field(
        description="range of the real part of the scatterer's phase shift"
    )
    alpha: Annotated[tuple[Share, Share], RISING] = Field(
        default=(1.0, 1.0),
        description="range of the amplitude of the scattered s wave: 1 elastic, 0 black dot that absorbs all",
    )
    linewidth_mev: Annotated[tuple[Linewidth, Linewidth], RISING] = Field(
        description="range of the full linewidth 2 Im E; ripples decay within hbar v over the linewidth"
    )
    tip_fwhm_nm: Annotated[float, Field(gt=0, le=1e3, allow_inf_nan=False)] = Field(
        description="full width at half maximum of the Gaussian tip over which the density of states is averaged"
    )
    second_e0_mev: Energy | None = Field(default=None, description="band bottom of a second band")
    second_mass: Mass | None = Field(default=None, description="effective mass of a second band in electron masses")
    mass_ratio: Annotated[tuple[Ratio, Ratio], RISING] = Field(
        default=(1.0, 1.0), description="range of heavy mass over light mass of an elliptic band"
    )
    axis_rad: Annotated[tuple[Angle, Angle], RISING] = Field(
        default=(0.0, PI), description="range of the direction of the light mass from x, for an elliptic band"
    )
    unit: Annotated[float, Field(ge=1e-6, le=1e6, allow_inf_nan=False)] = Field(
        default=1.0, description="change of the density of states, in parts of the undisturbed one, stored as 1"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.second_e0_mev is None) != (self.second_mass is None):
            raise ValueError("a second band needs both second_e0_mev and second_mass, and only one of them is given")
        for name, (bottom, _) in zip(("e0_mev", "second_e0_mev"), self.bands(), strict=False):
            above = f"{LEAST_ENERGY_MEV:g} meV above {name}"
            require_within("energy_mev", self.energy_mev, bottom + LEAST_ENERGY_MEV, math.inf, reason=above)
            if self.linewidth_mev[1] >= self.energy_mev[0] - bottom:
                raise ValueError(
                    f"linewidth_mev reaches {self.linewidth_mev[1]:g}, but must be below"
                    f" {self.energy_mev[0] - bottom:g}, the lowest energy above {name}"
                )
        low, high = self.delta_rad
        if self.alpha[1] == 1 and math.floor(high / PI) * PI >= low:
            raise ValueError(
                f"delta_rad from {low:g} to {high:g} contains a multiple of pi, where a scatterer with alpha = 1 does"
                " not scatter; leave it out, or let alpha end below 1"
            )
        shortest = self.shortest_period_nm()
        parts = f"{NARROWEST_TIP:g} to {WIDEST_TIP:g} of the shortest period, {shortest:.3g} nm"
        require_within("tip_fwhm_nm", self.tip_fwhm_nm, NARROWEST_TIP * shortest, WIDEST_TIP * shortest, reason=parts)
        return self

    def bands(self) -> Iterator[tuple[float, float]]:
        """Bottom in meV and mass in electron masses of every band."""
        yield self.e0_mev, self.mass
        if self.second_e0_mev is not None and self.second_mass is not None:
            yield self.second_e0_mev, self.second_mass

    def shortest_period_nm(self) -> float:
        """The shortest pi/k: at the highest energy, along the heavy axis."""
        return min(self._periods_nm(self.energy_mev[1], self._stretch()))

    def longest_period_nm(self) -> float:
        """The longest pi/k: at the lowest energy, along the light axis."""
        return max(self._periods_nm(self.energy_mev[0], 1 / self._stretch()))

    def _stretch(self) -> float:
        """Wavevector along the heavy axis over that of the round band, for the largest mass ratio."""
        return math.sqrt(math.sqrt(self.mass_ratio[1]))

    def _periods_nm(self, energy: float, stretch: float) -> list[float]:
        """pi/k of every band along an axis on which k is that of the round band times ``stretch``."""
        return [PI / (float(electron_wavevector(mass, energy - bottom)) * stretch) for bottom, mass in self.bands()]


def electron_wavevector(mass: float, energy: Any) -> Any:
    """The wavevector in rad/nm of an effective mass in electron masses, at energies in meV above the band bottom."""
    return np.sqrt(mass * energy / HBAR2_OVER_2M)
