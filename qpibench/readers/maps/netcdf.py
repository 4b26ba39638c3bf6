"""Reads HDF5 and NetCDF files: the package's own files of maps, and foreign ones through xarray.

In a foreign file the dimensions of a map are found by their names, such as ``x``, ``y`` and ``bias``, and their
coordinates must have units. Arrays of two or three dimensions without such names are (y, x) or (layer, y, x).
"""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qpibench.errors import InvalidDataError
from qpibench.extras import optional_module
from qpibench.maps import Axis, Maps, Source
from qpibench.maps.arrays import Array, Arrays, bias_axis, is_map, size_of
from qpibench.maps.file import OWN, is_maps_file
from qpibench.maps.file import read as read_own
from qpibench.maps.units import in_mev, in_nm

FORMAT = "HDF5 or NetCDF"
SUFFIXES = (".h5", ".hdf5", ".nc")

_X = ("x", "nx", "x_nm", "column", "columns", "width")
_Y = ("y", "ny", "y_nm", "row", "rows", "height")
_ENERGIES = ("bias", "energy", "energies", "energy_mev", "e", "v", "voltage", "bias_v", "sample bias")


def read(path: Path, source: Source) -> Maps | Arrays:
    """Read a file; see :class:`qpibench.readers.maps.MapsReader`."""
    with open(path, "rb") as file:  # an error of the file system is told apart from one of the format
        start = file.read(8)
    if not start.startswith((b"\x89HDF\r\n\x1a\n", b"CDF")):
        raise InvalidDataError(f"'{path}' is neither an HDF5 nor a NetCDF file, or its beginning is damaged.")
    if is_maps_file(path):
        return read_own(path)
    optional_module("netCDF4", f"Reading '{path.name}'")
    xarray = optional_module("xarray", f"Reading '{path.name}'")
    try:
        with xarray.open_dataset(path, engine="netcdf4", decode_times=False) as opened:
            if not OWN.isdisjoint(opened.attrs):
                raise ValueError("its attributes have changed since qpibench wrote them")
            arrays = [found for name, each in opened.data_vars.items() if (found := _array(path, name, each))]
            metadata = {str(name): str(value) for name, value in opened.attrs.items()}
    except InvalidDataError:
        raise
    except Exception as error:  # of netCDF4, HDF5 and xarray, whose kinds differ between versions
        raise InvalidDataError(f"'{path}' is truncated or damaged: {' '.join(str(error).split())}.") from None
    return Arrays(arrays=tuple(arrays), source=source, metadata=metadata)


def _array(path: Path, name: Hashable, variable: Any) -> Array | None:
    """An array with its values, size and axis; None if it is no map."""
    columns = [dim for dim in variable.dims if str(dim).lower() in _X]
    rows = [dim for dim in variable.dims if str(dim).lower() in _Y]
    if len(columns) == len(rows) == 1:
        layers = [dim for dim in variable.dims if dim not in (*columns, *rows)]
        variable = variable.transpose(*layers, *rows, *columns)
    if variable.ndim not in (2, 3) or variable.dtype.kind not in "fiu":
        return None
    values = np.asarray(variable.values)
    if not is_map(values):
        return None
    row, column = variable.dims[-2:]
    height, width = (_extent(path, variable, dim) for dim in (row, column))
    if width is not None and width < 0:
        values, width = values[..., ::-1], -width
    return Array(
        name=str(name),
        values=values,
        unit=str(variable.attrs.get("units", "")),
        size_nm=None if width is None or height is None else (width, abs(height)),
        axis=_axis(path, variable, variable.dims[0]) if values.ndim == 3 else None,
        first_row=None if height is None else ("top" if height < 0 else "bottom"),
    )


def _extent(path: Path, variable: Any, dim: Hashable) -> float | None:
    """Distance in nm from the first to the last pixel; None without coordinates of a known unit."""
    if dim not in variable.coords or variable.coords[dim].dtype.kind not in "fiu":
        return None
    coordinate = variable.coords[dim]
    scale = in_nm(str(coordinate.attrs.get("units", "nm" if str(dim).endswith("_nm") else "")))
    if scale is None:
        return None
    size = size_of(np.asarray(coordinate.values, np.float64))
    if size is None:
        raise InvalidDataError(
            f"'{path}': the coordinates {dim} are not equidistant; maps on other grids cannot be read."
        )
    return size * scale


def _axis(path: Path, variable: Any, dim: Hashable) -> Axis | None:
    if dim not in variable.coords or variable.coords[dim].dtype.kind not in "fiu":
        return None
    coordinate = variable.coords[dim]
    values: NDArray[np.float64] = np.asarray(coordinate.values, np.float64)
    unit = str(coordinate.attrs.get("units", "meV" if str(dim).lower().endswith("_mev") else ""))
    scale = in_mev(unit)
    if str(dim).lower() in _ENERGIES and scale is not None:
        return Axis(name="Bias", unit="V", values=values) if unit == "V" else bias_axis(values * scale)
    return Axis(name=str(dim), unit=unit, values=values)
