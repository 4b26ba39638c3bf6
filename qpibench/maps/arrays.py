"""Arrays of a file that does not tell everything about its maps, and the user's word on the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from qpibench.counting import counted
from qpibench.errors import InvalidDataError, UsageError
from qpibench.grid import Grid
from qpibench.maps.measurement import Axis, Channel, Direction, Maps, Source

FirstRow = Literal["bottom", "top"]

SMALLEST_NM, LARGEST_NM = 1e-3, 1e6
"""Smallest and largest width and height of a field."""

SMALLEST_PIXELS, LARGEST_PIXELS = 2, 4096


@dataclass(frozen=True, kw_only=True)
class Told:
    """What the user tells about a file whose format cannot.

    Attributes
    ----------
    size_nm
        Distance from the first to the last pixel in nm: one number for the longer side (the pixels are square), or
        width and height.
    energy_mev
        Energies of the layers of a stack in meV, relative to the Fermi level: all of them, or the first and the last of
        evenly spaced ones.
    channels
        Names of the arrays to read; None for all.
    channel
        Name of one that must be read: where not all fit together, it and those that fit it.
    first_row
        Whether the first row of the arrays is the bottom or the top of the field.
    """

    size_nm: float | tuple[float, float] | None = None
    energy_mev: Sequence[float] | None = None
    channels: Sequence[str] | None = None
    channel: str | None = None
    first_row: FirstRow | None = None

    @property
    def facts(self) -> dict[str, str]:
        """What was told about sizes, energies and rows, for the metadata of maps."""
        told: dict[str, object] = {"first row": self.first_row}
        if self.size_nm is not None:
            told["size in nm"] = np.asarray(self.size_nm, np.float64).tolist()
        if self.energy_mev is not None:
            told["energies in meV"] = np.asarray(self.energy_mev, np.float64).tolist()
        return {f"told {name}": str(value) for name, value in told.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class Array:
    """One array of a file.

    Attributes
    ----------
    name, unit, direction
        As those of :class:`Channel`.
    values
        Numbers (row, x) or (layer, row, x).
    size_nm
        Width and height of the field in nm, from the first pixel to the last; None if the file does not tell it.
    axis
        What is swept from layer to layer; None if the file does not tell it or there are no layers.
    first_row
        Whether the first row is the bottom or the top of the field; None if the file does not tell it.
    centre_nm
        Centre of the field in nm, x and y upwards.
    """

    name: str
    values: NDArray[np.number]
    unit: str = ""
    direction: Direction | None = None
    size_nm: tuple[float, float] | None = None
    axis: Axis | None = None
    first_row: FirstRow | None = None
    centre_nm: tuple[float, float] = (0.0, 0.0)

    @property
    def label(self) -> str:
        """Name and direction."""
        return self.name if self.direction is None else f"{self.name} ({self.direction})"

    @property
    def described(self) -> str:
        """Label and shape for a message, such as ``'dIdV' (40 x 128 x 128)``."""
        return f"'{self.label}' ({' x '.join(map(str, self.values.shape))})"


@dataclass(frozen=True, kw_only=True)
class Arrays:
    """The arrays of a file.

    Attributes
    ----------
    arrays
        All that can be maps: two or three dimensions of real numbers.
    source
        The file.
    metadata, warnings
        As those of :class:`Maps`.
    """

    arrays: tuple[Array, ...]
    source: Source
    metadata: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def maps(self, told: Told) -> Maps:
        """Make maps of the arrays.

        Raises
        ------
        UsageError
            If the arrays do not fit together and the user does not choose, or what the user tells is missing, is
            impossible, or contradicts the file.
        InvalidDataError
            If the file has no arrays, arrays without values, or an impossible size.
        """
        name = self.source.file
        if not self.arrays:
            raise InvalidDataError(
                f"'{name}' has no map: no array of two or three dimensions with at least {SMALLEST_PIXELS} pixels"
                " along each side and real numbers."
            )
        asked = _asked_for(name, self.arrays, told.channels)
        fitting = _fitting(name, asked, told.channel)
        chosen = _told_of(name, fitting, told)
        first = max(chosen, key=lambda array: array.values.ndim)
        ny, nx = first.values.shape[-2:]
        grid = _grid(name, ny, nx, first.size_nm, of_user=told.size_nm is not None)
        warnings = list(self.warnings)
        if left := [array for array in asked if not any(array is each for each in fitting)]:
            warnings.append(f"Channels of other pixels, sizes or layers are left out: {_described(left)}.")
        if any(array.first_row is None for array in chosen):
            warnings.append("The file does not tell which row is lowest; the first row is taken as the lowest.")
        axis = first.axis
        if first.values.ndim == 3 and axis is None:
            layers = len(first.values)
            axis = Axis(name="Layer", unit="", values=np.arange(layers, dtype=np.float64))
            warnings.append("The file does not tell the energies of its layers, which are numbered from 0.")
        values = [_upright(array) for array in chosen]
        empty = [array.label for array, each in zip(chosen, values, strict=True) if not np.isfinite(each).any()]
        if len(empty) == len(chosen):
            raise InvalidDataError(f"'{name}' has no finite value in {_listed(empty)}: there is nothing to read.")
        warnings += [f"The channel '{each}' has no finite value." for each in empty]
        channels = tuple(
            Channel(name=array.name, unit=array.unit, values=each, direction=array.direction)
            for array, each in zip(_with_distinct_labels(chosen), values, strict=True)
        )
        return Maps(
            grid=grid,
            channels=channels,
            source=self.source,
            axis=axis,
            centre_nm=first.centre_nm,
            metadata=self.metadata | told.facts,
            warnings=tuple(warnings),
        )


def is_map(values: NDArray[np.generic], *, smallest: int = SMALLEST_PIXELS) -> bool:
    """Whether an array has real numbers in two dimensions of at least `smallest` pixels, or a stack of these."""
    return (
        values.dtype.kind in "fiu" and values.ndim in (2, 3) and values.size > 0 and min(values.shape[-2:]) >= smallest
    )


def bias_axis(energy_mev: NDArray[np.float64]) -> Axis:
    """The axis of a stack whose energies are known in meV."""
    return Axis(name="Bias", unit="V", values=np.asarray(energy_mev, np.float64) / 1e3)


def told_axis(name: str, axis: Axis | None, layers: int, energy_mev: Sequence[float]) -> Axis:
    """The axis of a stack whose energies the user tells, in meV: all of them, or the first and the last.

    Raises
    ------
    UsageError
        If the file tells them itself, or they are no numbers or of another number than the layers.
    """
    if axis is not None and not axis.may_be_energies:
        what = "its energies" if axis.is_bias else f"the axis '{axis.name}' in {axis.unit}"
        raise UsageError(f"'{name}' tells {what} itself; leave out the energies.")
    try:
        energies = np.asarray(energy_mev, np.float64)
    except (TypeError, ValueError):
        raise UsageError(f"The energies in meV must be numbers, found {energy_mev!r}.") from None
    if energies.shape not in ((2,) if layers > 1 else (1,), (layers,)) or not np.isfinite(energies).all():
        raise UsageError(
            f"'{name}' has {counted(layers, 'layer')}; give as many finite energies, or the first and the last, found"
            f" {energies.size}."
        )
    if layers > 1 and energies[0] == energies[-1]:
        raise UsageError(f"The first and the last energy are both {energies[0]:g} meV; give two that differ.")
    return bias_axis(energies if energies.size == layers else np.linspace(energies[0], energies[1], layers))


def size_of(coordinates: NDArray[np.float64]) -> float | None:
    """Distance from the first to the last coordinate, negative if they descend; None if they are not equidistant."""
    steps = np.diff(np.asarray(coordinates, np.float64))
    if not len(steps) or not np.isfinite(steps).all() or not steps.any():
        return None
    mean = steps.mean()
    return float(steps.sum()) if np.abs(steps - mean).max() <= 1e-3 * abs(mean) else None


def _asked_for(name: str, arrays: Sequence[Array], asked: Sequence[str] | None) -> list[Array]:
    """The arrays that were asked for, or all."""
    chosen = list(arrays)
    if asked is not None:
        wanted = [each.strip().lower() for each in asked]
        chosen = [array for array in arrays if _names(array) & set(wanted)]
        found = {name for array in chosen for name in _names(array)}
        if missing := [each for each, key in zip(asked, wanted, strict=True) if key not in found]:
            raise UsageError(f"'{name}' has no channel '{missing[0]}'; its channels are {_described(arrays)}.")
        if not chosen:
            raise UsageError(f"No channel of '{name}' was asked for; its channels are {_described(arrays)}.")
    return chosen


def _fitting(name: str, arrays: Sequence[Array], channel: str | None) -> list[Array]:
    """All arrays if they have one grid and one axis, or else the channel and those that have its grid and axis."""
    chosen = list(arrays)
    if len(set(map(_frame, chosen))) == 1 and len(set(filter(None, map(_layers, chosen)))) <= 1:
        return chosen
    key = "" if channel is None else channel.strip().lower()
    for one in chosen:
        if key in _names(one):
            return [each for each in chosen if _frame(each) == _frame(one) and _layers(each) in ((), _layers(one))]
    raise UsageError(
        f"The channels of '{name}' have different pixels, sizes or layers; choose one of them, or some that have the"
        f" same (channels; --channel): {_described(chosen)}."
    )


def _names(array: Array) -> set[str]:
    """Small letters of its name, of its label, and of its name without the structs around it."""
    return {array.name.lower(), array.label.lower(), array.name.lower().rpartition(".")[2]}


def _frame(array: Array) -> tuple[object, ...]:
    size = None if array.size_nm is None else tuple(float(f"{each:.6g}") for each in array.size_nm)
    return (*array.values.shape[-2:], size, tuple(float(f"{each:.6g}") for each in array.centre_nm))


def _layers(array: Array) -> tuple[object, ...]:
    if array.values.ndim == 2:
        return ()
    return len(array.values), None if array.axis is None else (array.axis.name, array.axis.values.tobytes())


def _told_of(name: str, arrays: Sequence[Array], told: Told) -> list[Array]:
    """The arrays with what the user tells about them."""
    found = list(arrays)
    if told.size_nm is not None:
        if any(array.size_nm is not None for array in found):
            raise UsageError(f"'{name}' tells its size itself; leave out the size.")
        ny, nx = found[0].values.shape[-2:]
        found = [replace(array, size_nm=_told_size(told.size_nm, ny, nx)) for array in found]
    elif any(array.size_nm is None for array in found):
        raise UsageError(
            f"'{name}' does not tell how large its field is; give the size in nm, from the first pixel to the last"
            " (size_nm; --size)."
        )
    if told.energy_mev is not None:
        stacks = [array for array in found if array.values.ndim == 3]
        if not stacks:
            raise UsageError(f"'{name}' has no stack of layers; leave out the energies.")
        axis = told_axis(name, stacks[0].axis, len(stacks[0].values), told.energy_mev)
        found = [replace(array, axis=axis) if array.values.ndim == 3 else array for array in found]
    if told.first_row is not None:
        if told.first_row not in ("bottom", "top"):
            raise UsageError(f"The first row must be at the 'bottom' or the 'top', found '{told.first_row}'.")
        if any(array.first_row is not None for array in found):
            raise UsageError(f"'{name}' tells itself which row is lowest; leave out the place of the first row.")
        found = [replace(array, first_row=told.first_row) for array in found]
    return found


def _told_size(size: float | tuple[float, float], ny: int, nx: int) -> tuple[float, float]:
    try:
        told = np.asarray(size, dtype=np.float64)
    except (TypeError, ValueError):
        told = np.empty(0)
    if told.shape not in ((), (2,)):
        raise UsageError(f"The size in nm must be one number, or width and height; found {size!r}.")
    if told.ndim:
        width, height = told.tolist()
        return width, height
    pitch = float(told) / (max(ny, nx) - 1)
    return pitch * (nx - 1), pitch * (ny - 1)


def _grid(name: str, ny: int, nx: int, size_nm: tuple[float, float] | None, *, of_user: bool) -> Grid:
    assert size_nm is not None
    for pixels in (ny, nx):
        if not SMALLEST_PIXELS <= pixels <= LARGEST_PIXELS:
            raise InvalidDataError(
                f"'{name}' has maps of {nx} x {ny} pixels; {SMALLEST_PIXELS} to {LARGEST_PIXELS} along a side are"
                " expected."
            )
    for size in size_nm:
        if not SMALLEST_NM <= size <= LARGEST_NM:  # also false for NaN
            kind = UsageError if of_user else InvalidDataError
            hint = "it looks like metres" if 0 < size < SMALLEST_NM else "look at its unit"
            raise kind(
                f"The field of '{name}' would be {size:g} nm large, {SMALLEST_NM:g} to {LARGEST_NM:g} nm are expected;"
                f" {hint}."
            )
    return Grid(ny=ny, nx=nx, size_y_nm=size_nm[1], size_x_nm=size_nm[0])


def _upright(array: Array) -> NDArray[np.floating]:
    """A copy of the values with y pointing up, in float32 or float64 of this machine."""
    values = array.values[..., ::-1, :] if array.first_row == "top" else array.values
    exact = (values.dtype.kind == "f" and values.dtype.itemsize <= 4) or values.dtype.itemsize <= 2
    return np.array(values, np.float32 if exact else np.float64, order="C")


def _with_distinct_labels(arrays: Sequence[Array]) -> list[Array]:
    """The arrays, where the second of two equal labels gets a number."""
    found: list[Array] = []
    for array in arrays:
        count, named = 1, array
        while any(named.label == other.label for other in found):
            count += 1
            named = replace(array, name=f"{array.name} {count}")
        found.append(named)
    return found


def _described(arrays: Sequence[Array]) -> str:
    return ", ".join(array.described for array in arrays)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
