"""Maps among the named arrays of a file of NumPy or MATLAB: which are maps, and which tell sizes and energies.

Names end in their unit: ``size_nm`` (one number, or width and height, from the first pixel to the last), ``pixel_nm``,
``x_nm`` and ``y_nm``; ``energy_mev`` and the like. Vectors called ``bias``, ``V``, ``midV`` or ``energy_range`` are in
volts, unless they exceed 10 V; above 2 V a warning says so. A name may have the structs around it before a dot.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qpibench.counting import agreeing, counted
from qpibench.errors import InvalidDataError
from qpibench.maps.arrays import Array, FirstRow, bias_axis, is_map, size_of
from qpibench.maps.measurement import Axis

SMALLEST = 4
"""Fewest pixels along a side of an array that counts as a map; lists of positions have fewer columns."""

LARGEST_BIAS_V = 10.0
USUAL_BIAS_V = 2.0
"""Largest bias in volts that needs no warning if nothing but the name of a vector tells its unit."""

_IN_MEV = {"_mev": 1.0, "_mv": 1.0, "_ev": 1e3, "_v": 1e3}
_QUANTITIES = ("energy", "energies", "bias", "voltage", "e", "v")
_VOLTS = ("bias", "v", "midv", "voltage", "energy_range")
_UNTOLD = ("e", "energy", "energies", "en", "omega")


def arrays_of(
    file: str,
    named: Mapping[str, NDArray[Any]],
    *,
    first_row: FirstRow | None = None,
    size_nm: Mapping[tuple[int, int], tuple[float, float]] | None = None,
) -> tuple[tuple[Array, ...], tuple[str, ...]]:
    """Find the maps among named arrays.

    Parameters
    ----------
    file
        Name of the file, for messages.
    named
        The arrays; maps are (row, x) or (layer, row, x).
    first_row
        Where the first row is, if the format tells it.
    size_nm
        Width and height of the fields by rows and columns, if the format tells them.

    Returns
    -------
    tuple
        The maps and warnings.

    Raises
    ------
    InvalidDataError
        If a size or coordinates are impossible.
    """
    vectors = {name: values.ravel() for name, values in named.items() if _is_vector(values)}
    found: list[Array] = []
    warnings: list[str] = []
    for name, values in named.items():
        if not is_map(values, smallest=SMALLEST):
            continue
        size = (size_nm or {}).get(values.shape[-2:]) or _size(file, vectors, *values.shape[-2:])
        row = first_row
        if size is not None:
            row = "top" if size[1] < 0 else ("bottom" if "y_nm" in _tails(vectors) else first_row)
            values = values[..., ::-1] if size[0] < 0 else values
            size = abs(size[0]), abs(size[1])
        axis, told = _axis(name, len(values), vectors) if values.ndim == 3 else (None, [])
        warnings.extend(warning for warning in told if warning not in warnings)
        found.append(Array(name=name, values=values, size_nm=size, axis=axis, first_row=row))
    return tuple(found), tuple(warnings)


def _is_vector(values: NDArray[Any]) -> bool:
    return values.dtype.kind in "fiu" and 0 < values.size == max(values.shape, default=1)


def _tail(name: str) -> str:
    return name.rpartition(".")[2].lower()


def _tails(vectors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {_tail(name): values for name, values in vectors.items()}


def _size(file: str, vectors: Mapping[str, NDArray[Any]], ny: int, nx: int) -> tuple[float, float] | None:
    """Width and height in nm, negative where coordinates descend; None if no array tells them."""
    by_tail = _tails(vectors)
    if "x_nm" in by_tail or "y_nm" in by_tail:
        sizes = []
        for name, pixels in (("x_nm", nx), ("y_nm", ny)):
            if name not in by_tail or len(by_tail[name]) != pixels:
                return None
            size = size_of(by_tail[name].astype(np.float64))
            if size is None:
                raise InvalidDataError(f"'{file}': {name} must be finite and equidistant.")
            sizes.append(size)
        return sizes[0], sizes[1]
    if "size_nm" in by_tail:
        told = by_tail["size_nm"].astype(np.float64)
        if not (told > 0).all():
            raise InvalidDataError(f"'{file}': size_nm must be positive, found {told.tolist()}.")
        if told.size == 2:
            return float(told[0]), float(told[1])
        if told.size == 1:
            return _square(float(told[0]) / (max(ny, nx) - 1), ny, nx)
        raise InvalidDataError(f"'{file}': size_nm must be one number, or width and height, found {told.size} numbers.")
    if "pixel_nm" in by_tail:
        if by_tail["pixel_nm"].size != 1:
            raise InvalidDataError(f"'{file}': pixel_nm must be one number, found {by_tail['pixel_nm'].size}.")
        return _square(float(by_tail["pixel_nm"][0]), ny, nx)
    return None


def _square(pitch_nm: float, ny: int, nx: int) -> tuple[float, float]:
    return pitch_nm * (nx - 1), pitch_nm * (ny - 1)


def _axis(name: str, layers: int, vectors: Mapping[str, NDArray[Any]]) -> tuple[Axis | None, list[str]]:
    """The energies of a stack of maps, if a vector tells them, and warnings."""
    offered = list(_offered(vectors))
    for one in offered:
        if len(one.values) == layers:
            return bias_axis(one.values * one.mev), [one.doubt] if one.doubt else []
    warnings = []
    if lengths := sorted({len(one.values) for one in offered}):
        warnings.append(
            f"The file tells {' or '.join(map(str, lengths))} {agreeing(max(lengths), 'energy', 'energies')},"
            f" but '{name}' has {counted(layers, 'layer')}."
        )
    for other, vector in vectors.items():
        if _tail(other) in _UNTOLD and len(vector) == layers:
            warnings.append(f"'{other}' may be the energies of '{name}', but nothing tells its unit.")
    return None, warnings


class _Energies(NamedTuple):
    """Energies in a unit of so many meV, and a sentence if the unit is doubtful."""

    values: NDArray[np.float64]
    mev: float
    doubt: str = ""


def _offered(vectors: Mapping[str, NDArray[Any]]) -> Iterator[_Energies]:
    """Vectors of energies, those whose name has the unit first."""
    numbers = {name: values.astype(np.float64) for name, values in vectors.items()}
    for name, values in numbers.items():
        quantity, _, unit = _tail(name).rpartition("_")
        if quantity in _QUANTITIES and f"_{unit}" in _IN_MEV and np.isfinite(values).all():
            yield _Energies(values, _IN_MEV[f"_{unit}"])
    for name, values in numbers.items():
        if _tail(name) not in _VOLTS or not np.isfinite(values).all():
            continue
        largest = np.abs(values).max()
        if largest <= LARGEST_BIAS_V:
            doubt = f"'{name}' goes up to {largest:g} and is taken as volts; if it is in mV, rename it 'bias_mV'."
            yield _Energies(values, 1e3, doubt if largest > USUAL_BIAS_V else "")
