"""Reads MATLAB's files of every version since 4: any arrays of numbers, also in structs (:mod:`qpibench.maps.named`).

MATLAB's arrays are (row, column) or (row, column, layer). Those of MT-SBD-STM, known by their vector ``energy_range``
beside ``data_original``, ``dIdV`` or ``Y``, are (x, y, layer) with y pointing up, because its reader of Nanonis grids
fills them point by point; if the header of the grid is there too, it tells the size of arrays that were not cropped.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from qpibench.errors import InvalidDataError, reason
from qpibench.hdf5_values import held_values, is_held
from qpibench.maps import Source
from qpibench.maps.arrays import Arrays
from qpibench.maps.named import arrays_of
from qpibench.readers import matlab_elements

FORMAT = "MATLAB"
SUFFIXES = (".mat",)

_MAX_DEPTH = 8
_HDF5 = b"MATLAB 7.3 MAT-file"
_CLASSES = (b"double", b"single", b"logical", *(f"{u}int{n}".encode() for u in ("", "u") for n in (8, 16, 32, 64)))
_MT_SBD = ("data_original", "didv", "lockindidv", "y")


def read(path: Path, source: Source) -> Arrays:
    """Read a file; see :class:`qpibench.readers.maps.MapsReader`."""
    with open(path, "rb") as file:
        start = file.read(len(_HDF5))
    try:
        named, unwritten = _of_hdf5(path) if start == _HDF5 else (dict(_of_older(path)), [])
    except Exception as error:  # SciPy raises errors of many kinds for damaged files
        raise InvalidDataError(f"'{path}' is no MATLAB file, truncated or damaged: {reason(error)}.") from None
    tails = {name.rpartition(".")[2].lower() for name in named}
    points = "energy_range" in tails and not tails.isdisjoint(_MT_SBD)
    ordered = {name: _rows_before_columns(values, points=points) for name, values in named.items()}
    arrays, warnings = arrays_of(
        source.file,
        ordered,
        first_row="bottom" if points else None,
        size_nm=_grid_size(named) if points else None,
    )
    left_out = (f"'{name}' has a size in the file and hardly a value; it is left out." for name in unwritten)
    return Arrays(arrays=arrays, source=source, warnings=(*warnings, *left_out))


def _of_older(path: Path) -> Iterator[tuple[str, NDArray[Any]]]:
    from scipy.io import loadmat

    content = path.read_bytes()
    if matlab_elements.is_version_5(content):
        matlab_elements.check(content)
    # SciPy's option for MATLAB's own types drops imaginary parts; without it whole numbers may come as integers.
    loaded = loadmat(io.BytesIO(content), appendmat=False)
    yield from _inside({name: value for name, value in loaded.items() if not name.startswith("__")})


def _inside(members: Mapping[str, Any], prefix: str = "", depth: int = 0) -> Iterator[tuple[str, NDArray[Any]]]:
    """The arrays of numbers in variables and in structs of one element."""
    for name, value in members.items():
        if not isinstance(value, np.ndarray):
            continue
        if value.dtype.names and value.size == 1 and depth < _MAX_DEPTH:
            struct = value.reshape(-1)[0]
            yield from _inside({each: struct[each] for each in value.dtype.names}, f"{prefix}{name}.", depth + 1)
        elif value.dtype.kind in "fiu":
            yield f"{prefix}{name}", value if value.dtype.kind == "f" else value.astype(np.float64)


def _of_hdf5(path: Path) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """The arrays of numbers by name, and the names of those that were allocated and not written."""
    found: dict[str, NDArray[Any]] = {}
    unwritten: list[str] = []

    def visit(name: str, item: Any) -> None:
        # Contents of cells are under '#refs#'; an empty array has its shape as numbers; texts are numbers too.
        if not isinstance(item, h5py.Dataset) or name.startswith("#") or "MATLAB_empty" in item.attrs:
            return
        if item.dtype.kind in "fiu" and item.attrs.get("MATLAB_class", b"double") in _CLASSES:
            label = name.replace("/", ".")
            if is_held(item):
                found[label] = held_values(item).T  # HDF5 has MATLAB's dimensions in reverse
            else:
                unwritten.append(label)

    with h5py.File(path, "r", locking=False) as file:
        file.visititems(visit)
    return found, unwritten


def _rows_before_columns(values: NDArray[Any], *, points: bool) -> NDArray[Any]:
    if points:
        return values.T
    return np.moveaxis(values, 2, 0) if values.ndim == 3 else values


def _grid_size(named: Mapping[str, NDArray[Any]]) -> dict[tuple[int, int], tuple[float, float]]:
    """Width and height in nm by rows and columns, from the settings of a Nanonis grid in metres."""
    tails = {name.lower(): values for name, values in named.items()}
    settings = next((each.ravel() for name, each in tails.items() if name.endswith("header.grid_settings")), None)
    dims = next((each.ravel() for name, each in tails.items() if name.endswith("header.grid_dim")), None)
    if settings is None or dims is None or settings.size < 4 or dims.size != 2 or dims.min() < 2:
        return {}
    nx, ny = (int(each) for each in dims)
    width, height = (float(each) * 1e9 for each in settings[2:4])
    return {(ny, nx): (width * (nx - 1) / nx, height * (ny - 1) / ny)}  # a grid's range covers all its pixels
