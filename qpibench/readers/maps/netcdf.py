"""Reads HDF5 and NetCDF files: the package's own files of maps, and foreign ones.

In a foreign file the dimensions of a map are found by their names, such as ``x``, ``y`` and ``bias``, and their
coordinates must have units. Arrays of two or three dimensions without such names are (y, x) or (layer, y, x).

NetCDF-4 files are read as the HDF5 files that they are, because the netCDF library crashes on some HDF5 files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from qpibench.errors import InvalidDataError, reason
from qpibench.hdf5_values import held_values
from qpibench.maps import Axis, Maps, Source
from qpibench.maps.arrays import Array, Arrays, bias_axis, is_map, size_of
from qpibench.maps.file import OWN, is_maps_file
from qpibench.maps.file import read as read_own
from qpibench.maps.units import in_mev, in_nm

FORMAT = "HDF5 or NetCDF"
SUFFIXES = (".h5", ".hdf5", ".nc")

_X = ("x", "nx", "x_nm", "column", "columns", "width")
_Y = ("y", "ny", "y_nm", "row", "rows", "height")
_NUMBERED = ("row", "rows", "column", "columns")
"""Dimensions whose coordinates without a unit are numbers of rows or columns, which do not tell where up is."""
_ENERGIES = (
    *("bias", "energy", "energies", "energy_mev", "e", "v", "voltage"),
    *("bias_v", "bias_mv", "sample bias", "sample_bias", "bias_voltage"),
)

_ONLY_A_DIMENSION = "This is a netCDF dimension but not a netCDF variable"


@dataclass(frozen=True)
class _Variable:
    """Numbers with the names of their dimensions and their attributes."""

    dims: tuple[str, ...]
    values: NDArray[Any]
    attributes: Mapping[str, Any]

    def text(self, name: str, default: str = "") -> str:
        return str(self.attributes.get(name, default))

    def transpose(self, *dims: str) -> _Variable:
        return _Variable(dims, self.values.transpose([self.dims.index(dim) for dim in dims]), self.attributes)


def read(path: Path, source: Source) -> Maps | Arrays:
    """Read a file; see :class:`qpibench.readers.maps.MapsReader`."""
    with open(path, "rb") as file:  # an error of the file system is told apart from one of the format
        start = file.read(8)
    if not start.startswith((b"\x89HDF\r\n\x1a\n", b"CDF")):
        raise InvalidDataError(f"'{path}' is neither an HDF5 nor a NetCDF file, or its beginning is damaged.")
    if is_maps_file(path):
        return read_own(path)
    try:
        variables, attributes = (_of_netcdf_3 if start.startswith(b"CDF") else _of_hdf5)(path)
        if not OWN.isdisjoint(attributes):
            raise ValueError("its attributes have changed since qpibench wrote them")
        arrays = [found for name in variables if (found := _array(path, name, variables))]
    except InvalidDataError:
        raise
    except Exception as error:  # of HDF5 and SciPy, of any kind
        raise InvalidDataError(f"'{path}' is truncated or damaged: {reason(error)}.") from None
    metadata = {name: str(value) for name, value in attributes.items()}
    return Arrays(arrays=tuple(arrays), source=source, metadata=metadata)


def _of_hdf5(path: Path) -> tuple[dict[str, _Variable], dict[str, Any]]:
    """Return the variables, a map of several names by the first, and the attributes of the root group."""
    found: dict[str, _Variable] = {}
    places = set()  # of maps in the file: a small file may have one large map under many names
    with h5py.File(path, "r", locking=False) as file:
        for name in file:
            item = file.get(name)  # None for a link to nothing
            if not isinstance(item, h5py.Dataset) or item.dtype.kind not in "fiu" or not 1 <= item.ndim <= 3:
                continue
            attributes = _attributes(item)
            if str(attributes.get("NAME", "")).startswith(_ONLY_A_DIMENSION):
                continue
            dims = (name,) if item.ndim == 1 and item.is_scale else tuple(map(_name_of, item.dims, range(item.ndim)))
            place = h5py.h5o.get_info(item.id).addr
            if item.ndim > 1 and place in places:
                continue
            places.add(place)
            found[name] = _decoded(_Variable(dims, held_values(item), attributes))
        return found, _attributes(file)


def _name_of(dimension: Any, place: int) -> str:
    """The name of a dimension, or one by its place if the file has none."""
    return str(dimension[0].name).rpartition("/")[2] if len(dimension) else f"dimension {place}"


def _attributes(item: h5py.File | h5py.Dataset) -> dict[str, Any]:
    return {name: _value(item.attrs[name]) for name in item.attrs if name not in ("DIMENSION_LIST", "REFERENCE_LIST")}


def _of_netcdf_3(path: Path) -> tuple[dict[str, _Variable], dict[str, Any]]:
    from scipy.io import netcdf_file

    with netcdf_file(path, "r", mmap=False) as file:
        found = {
            name: _decoded(_Variable(each.dimensions, np.asarray(each.data), _values(each._attributes)))
            for name, each in file.variables.items()
            if each.data.dtype.kind in "fiu" and 1 <= each.data.ndim <= 3
        }
        return found, _values(file._attributes)


def _values(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _value(value) for name, value in attributes.items()}


def _value(value: Any) -> Any:
    """An attribute as a text, a number or an array."""
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.reshape(-1)[0]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _decoded(variable: _Variable) -> _Variable:
    """Apply the conventions of NetCDF: values that stand for none become NaN, and packed ones are scaled."""
    values, attributes = variable.values, variable.attributes
    missing = [attributes[name] for name in ("_FillValue", "missing_value") if name in attributes]
    scale, offset = (attributes.get(name, default) for name, default in (("scale_factor", 1.0), ("add_offset", 0.0)))
    packed = "scale_factor" in attributes or "add_offset" in attributes
    if not packed and not missing:
        return variable
    marks = np.asarray(missing)
    if values.dtype.kind == "f":
        with np.errstate(over="ignore"):
            marks = marks.astype(values.dtype)  # as they stand among the values
    unknown = np.isin(values, marks)
    if packed or values.dtype.kind != "f":
        values = values * np.float64(scale) + np.float64(offset)
    return _Variable(variable.dims, np.where(unknown, values.dtype.type(np.nan), values), attributes)


def _array(path: Path, name: str, variables: Mapping[str, _Variable]) -> Array | None:
    """An array with its values, size and axis; None if it is no map."""
    variable = variables[name]
    if variable.values.ndim not in (2, 3):
        return None
    columns = [dim for dim in variable.dims if dim.lower() in _X]
    rows = [dim for dim in variable.dims if dim.lower() in _Y]
    if len(columns) == len(rows) == 1:
        layers = [dim for dim in variable.dims if dim not in (*columns, *rows)]
        variable = variable.transpose(*layers, *rows, *columns)
    values = variable.values
    if not is_map(values):
        return None
    row, column = variable.dims[-2:]
    (height, y_nm), (width, x_nm) = (_extent(path, dim, variables) for dim in (row, column))
    rises_y, rises_x = (_rises(path, dim, variables) for dim in (row, column))
    if rises_x is False:
        values = values[..., ::-1]
    return Array(
        name=name,
        values=values,
        unit=variable.text("units"),
        size_nm=None if width is None or height is None else (width, height),
        axis=_axis(path, variable.dims[0], variables) if values.ndim == 3 else None,
        first_row=None if rises_y is None else "bottom" if rises_y else "top",
        centre_nm=(x_nm, y_nm),
    )


def _coordinate(path: Path, dim: str, variables: Mapping[str, _Variable]) -> _Variable | None:
    found = variables.get(dim)
    if found is None or found.dims != (dim,):
        return None
    if not np.isfinite(found.values).all():
        raise InvalidDataError(f"'{path}': the coordinates {dim} are not all finite; write the ones that are missing.")
    return found


def _rises(path: Path, dim: str, variables: Mapping[str, _Variable]) -> bool | None:
    """Whether coordinates ascend, also those without a unit; None if there are none or they only number the pixels."""
    coordinate = _coordinate(path, dim, variables)
    if coordinate is None or (dim.lower() in _NUMBERED and not coordinate.text("units")):
        return None
    return bool(coordinate.values[0] < coordinate.values[-1])


def _extent(path: Path, dim: str, variables: Mapping[str, _Variable]) -> tuple[float | None, float]:
    """Distance between the outer pixels and their middle in nm; None and 0 without coordinates of a known unit."""
    coordinate = _coordinate(path, dim, variables)
    if coordinate is None:
        return None, 0.0
    scale = in_nm(coordinate.text("units", "nm" if dim.endswith("_nm") else ""))
    if scale is None:
        return None, 0.0
    size = size_of(np.asarray(coordinate.values, np.float64))
    if size is None:
        raise InvalidDataError(
            f"'{path}': the coordinates {dim} are not equidistant; maps on other grids cannot be read."
        )
    return abs(size) * scale, float(coordinate.values[0] + coordinate.values[-1]) / 2 * scale


def _axis(path: Path, dim: str, variables: Mapping[str, _Variable]) -> Axis | None:
    coordinate = _coordinate(path, dim, variables)
    if coordinate is None:
        return None
    values: NDArray[np.float64] = np.asarray(coordinate.values, np.float64)
    unit = coordinate.text("units", "meV" if dim.lower().endswith("_mev") else "")
    scale = in_mev(unit)
    if dim.lower() in _ENERGIES and scale is not None:
        return Axis(name="Bias", unit="V", values=values) if unit == "V" else bias_axis(values * scale)
    return Axis(name=dim, unit=unit, values=values)
