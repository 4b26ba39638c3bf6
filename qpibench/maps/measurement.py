"""The maps of one measurement: :class:`Maps` with its :class:`Channel` s, where they come from and what was done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from qpibench.errors import InvalidDataError, UsageError
from qpibench.grid import Grid
from qpibench.maps.units import in_mev

Direction = Literal["forward", "backward"]


@dataclass(frozen=True, kw_only=True)
class Channel:
    """One measured quantity.

    Attributes
    ----------
    name
        Name in the file, such as ``Current`` or ``LI Demod 1 X``.
    unit
        Unit of the values, such as ``A``; empty if the file does not tell it.
    values
        (y, x), or (axis, y, x) where the measurement has an axis. Floating-point numbers in the machine's byte order
        and the file's precision, with y pointing up and x to the right whatever the scan direction. Points that were
        not measured are NaN.
    direction
        Whether the tip moved forward or backward along the scan lines or, where the measurement has an axis, whether
        the sweep ran forward or backward; None if the file does not tell it.
    """

    name: str
    unit: str
    values: NDArray[np.floating]
    direction: Direction | None = None

    @property
    def label(self) -> str:
        """Name and direction, which tell it from the other channels of a measurement."""
        return self.name if self.direction is None else f"{self.name} ({self.direction})"


@dataclass(frozen=True, kw_only=True)
class Axis:
    """What is swept at every point of a map.

    Attributes
    ----------
    name
        ``Bias``, or what else was swept.
    unit
        Unit of the values, ``V`` for a bias.
    values
        (axis,) float64, as measured; they may descend.
    """

    name: str
    unit: str
    values: NDArray[np.float64]

    @property
    def is_bias(self) -> bool:
        """Whether the values are the bias of the sample."""
        return self.unit == "V" and "bias" in self.name.lower()

    @property
    def may_be_energies(self) -> bool:
        """Whether the user may tell the energies: it is no bias by its name, and its unit is one of energy or none."""
        return not self.is_bias and (not self.unit or in_mev(self.unit) is not None)

    @property
    def energy_mev(self) -> NDArray[np.float64]:
        """Energies relative to the Fermi level in meV, for the bias of the sample.

        Raises
        ------
        InvalidDataError
            If the axis is no bias.
        """
        if not self.is_bias:
            told = "; if it stands for energies, tell them (energy_mev; --energies)" if self.may_be_energies else ""
            raise InvalidDataError(
                f"The axis of the maps is '{self.name}' in {self.unit or 'no unit'}, not a bias{told}."
            )
        return 1e3 * self.values


@dataclass(frozen=True, kw_only=True)
class Source:
    """The file that was read: name without folder, name of the format, and SHA-256 of its bytes, hexadecimal."""

    file: str
    format: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Step:
    """A processing step with its settings and what it found in the data, both of which JSON can hold."""

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    found: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Maps:
    """The maps of one measurement.

    Attributes
    ----------
    grid
        Grid of the points, with the centre of the frame at its origin.
    channels
        Measured quantities; no two have the same label.
    axis
        What is swept at every point; None if nothing is.
    centre_nm
        x and y of the centre of the frame in the scanner's coordinates.
    angle_deg
        Turn of the frame in the scanner's coordinates, as the file gives it.
    scan_direction
        Whether the first line is the lowest (``up``) or the highest (``down``); None if the file does not tell it.
    metadata
        What else the file says, by its own names.
    source
        The file.
    steps
        Processing steps, in the order in which they were made.
    warnings
        One sentence for each doubt about the data, such as that the scan is unfinished.
    """

    grid: Grid
    channels: tuple[Channel, ...]
    source: Source
    axis: Axis | None = None
    centre_nm: tuple[float, float] = (0.0, 0.0)
    angle_deg: float = 0.0
    scan_direction: Literal["up", "down"] | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    steps: tuple[Step, ...] = ()
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        labels = [channel.label for channel in self.channels]
        if twice := {label for label in labels if labels.count(label) > 1}:
            raise ValueError(f"two channels have the label '{min(twice)}'")
        layers = () if self.axis is None else (len(self.axis.values),)
        for channel in self.channels:
            if channel.values.shape not in (self.grid.shape, (*layers, *self.grid.shape)):
                raise ValueError(
                    f"channel '{channel.label}' has the shape {channel.values.shape}, the maps {self.grid.shape}"
                )

    @property
    def set_point_bias_v(self) -> float | None:
        """Bias of the sample at which the feedback held the current, in V; None if the file does not tell it."""
        number, _, unit = self.metadata.get("set-point bias", "").partition(" ")
        try:
            return float(number) if unit == "V" else None
        except ValueError:
            return None

    def channel(self, name: str, direction: Direction | None = None) -> Channel:
        """Return a channel by its name or label.

        Parameters
        ----------
        name
            Name or label; capitals do not matter.
        direction
            Which of two directions; forward, if both are there and none is asked for.

        Raises
        ------
        UsageError
            If there is no such channel; the message lists those that are there.
        """
        wanted = name.strip().lower()
        found = [
            one
            for one in self.channels
            if wanted in (one.name.lower(), one.label.lower()) and direction in (None, one.direction)
        ]
        if not found:
            there = ", ".join(f"'{one.label}'" for one in self.channels) or "none"
            asked = name if direction is None else f"{name} ({direction})"
            raise UsageError(f"{self.source.file} has no channel '{asked}'; its channels are {there}.")
        return min(found, key=lambda one: one.direction == "backward")
