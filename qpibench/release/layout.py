"""The layout of a release file: names, types, dimensions and attributes of every array. Only this module defines it.

A release is one HDF5 file that follows the netCDF-4 model::

    /x (x), /y (y)                                        float64, nm
    /kernels/image (kernel, y, x)                         float32
    /kernels/family (kernel), and the columns that the family declares (kernel)
    /observations/image (observation, y, x)               float32, contiguous unless compressed
    /observations/kernel, n_scatterers (observation)      int32
    /observations/position_nm (observation, scatterer, xy) float64, padded with NaN
    /observations/told_position_nm (observation, scatterer, xy)  where a corruption changes what a model is told
    /observations/..., the columns that the corruptions declare (observation) or (observation, scatterer)
    /kernels/species, contrast, rotation (kernel)         with two species
    /observations/species, told_species (observation, scatterer)  with two species: int32, padded with -1
    /splits/<task>/<role>                                 int32, indices of observations

Format 1 is for eq. 7 without corruptions, and format 2 adds white noise; the arrays of both follow from the spec. From
format 3 on, the attribute `columns` of the root group lists the arrays (JSON: name, dtype, dims, units, long_name), so
that a file describes itself. Readers accept further dimensions from that list: images may be (observation, energy, y,
x) with /energy in meV, and kernels (kernel, energy, y, x). Format 4 is for two species of scatterers, where
/observations/kernel is (observation, species).

The root group has the attributes `format_version`, `name`, `spec` (JSON), `package_version` and `content_sha256`. The
last is written when everything else is complete, so a file without it was interrupted. Every array has the attributes
`units`, `long_name` and `sha256` (see :mod:`qpibench.release.identity`).

A shard of a release (:mod:`qpibench.release.shards`) has the same kind of layout with other arrays and attributes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qpibench import __version__
from qpibench.columns import Column
from qpibench.errors import InvalidDataError
from qpibench.release.positional import read_at
from qpibench.specs import ImportedSpec, ReleaseSpec
from qpibench.specs.columns import (
    applied_corruptions,
    family_name,
    kernel_columns,
    observation_columns,
    scatterer_capacity,
    tells_other_positions,
)
from qpibench.specs.species import SPECIES, pair_columns, species_count

FORMAT_VERSION = 4
"""The newest version that can be read and written. A release is written in the oldest version that can represent it:
format 2 is written only for noisy releases, so that older versions of the package can still read clean ones."""

_COORDINATES = (
    ("x", "<f8", ("x",), "nm", "x coordinate of the pixel columns"),
    ("y", "<f8", ("y",), "nm", "y coordinate of the pixel rows, upwards"),
)
_KERNELS = (
    ("kernels/image", "<f4", ("kernel", "y", "x"), "1", "scattering kernel: image of a single scatterer at the origin"),
    ("kernels/family", "|S16", ("kernel",), "1", "formula of the kernel"),
)
_PAIRS = ("observations/kernel", "<i4", ("observation", "species"), "1", "rows of the kernels of both species")
_PLACES = ("observation", "scatterer", "xy")
_OBSERVATIONS = (
    ("observations/image", "<f4", ("observation", "y", "x"), "1", "observation: superposition of shifted kernels"),
    ("observations/kernel", "<i4", ("observation",), "1", "row of the kernel that the observation shows"),
    ("observations/n_scatterers", "<i4", ("observation",), "1", "number of scatterers"),
    ("observations/position_nm", "<f8", _PLACES, "nm", "x and y of every scatterer, then NaN"),
)
_TOLD = ("observations/told_position_nm", "<f8", _PLACES, "nm", "x and y of scatterers as a model is told, then NaN")

REQUIRED = tuple(name for name, *_ in (*_COORDINATES, *_KERNELS, *_OBSERVATIONS))
"""Names of the arrays that every release has."""

_DIMS = {"kernel": ("kernel",), "observation": ("observation",), "scatterer": ("observation", "scatterer")}


@dataclass(frozen=True, kw_only=True)
class Array:
    """Description of one array of a release.

    Attributes
    ----------
    name
        Path of the dataset in the file, without the leading slash.
    dtype
        NumPy's type string with byte order, such as ``"<f4"``.
    dims, shape
        Names and lengths of the dimensions.
    units, long_name
        Units and meaning of the values.
    offset
        Byte of the file at which the values begin, in C order without gaps; None if the array is compressed, virtual or
        empty.
    sha256
        Digest of the array, as stored in the file.
    """

    name: str
    dtype: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    units: str
    long_name: str
    offset: int | None = None
    sha256: str | None = None

    @property
    def group(self) -> str:
        """The group that holds the array, empty for the root."""
        return self.name.rpartition("/")[0]

    @property
    def field(self) -> str:
        """Last part of the name, which is the column of `Kernels` or `Observations`."""
        return self.name.rpartition("/")[2]

    @property
    def is_coordinate(self) -> bool:
        """Whether the array has the name of its dimension, as x, y and the index lists of splits have."""
        return self.dims == (self.field,)

    @property
    def row_bytes(self) -> int:
        """Number of bytes of one row along the first axis."""
        return math.prod(self.shape[1:]) * np.dtype(self.dtype).itemsize

    @property
    def nbytes(self) -> int:
        """Number of bytes of the whole array."""
        return self.shape[0] * self.row_bytes

    def position(self, row: int) -> int:
        """Byte of the file at which a row begins."""
        return (self.offset or 0) + row * self.row_bytes

    def rows(self, values: NDArray[Any]) -> NDArray[Any]:
        """Convert rows to the stored dtype and C order; they are copied only if they differ."""
        if values.shape[1:] != self.shape[1:]:
            raise InvalidDataError(f"{self.name}: rows must have shape {self.shape[1:]}, not {values.shape[1:]}.")
        return np.ascontiguousarray(values, dtype=self.dtype)


def arrays(spec: ReleaseSpec | ImportedSpec, sizes: Mapping[str, int], splits: Mapping[str, int]) -> dict[str, Array]:
    """Describe all arrays of a release, by name.

    Parameters
    ----------
    spec
        Spec of the release; it determines which arrays exist.
    sizes
        Lengths of the dimensions y, x, kernel, observation and scatterer.
    splits
        Lengths of the index lists, by ``"task/role"``.
    """
    lengths = {**sizes, "xy": 2, "species": SPECIES}
    has_pairs = species_count(spec) > 1
    table = [
        Array(
            name=name, dtype=dtype, dims=dims, shape=tuple(lengths[d] for d in dims), units=units, long_name=long_name
        )
        for name, dtype, dims, units, long_name in (
            *_COORDINATES,
            *_KERNELS,
            *(_declared("kernels", column) for column in (*kernel_columns(spec), *pair_columns(spec))),
            *(_PAIRS if has_pairs and each[0] == _PAIRS[0] else each for each in _OBSERVATIONS),
            *((_TOLD,) if tells_other_positions(spec) else ()),
            *(_declared("observations", column) for column in observation_columns(spec)),
        )
    ]
    table += [split_array(split, length) for split, length in splits.items()]
    return {array.name: array for array in table}


def _declared(group: str, column: Column) -> tuple[str, str, tuple[str, ...], str, str]:
    return f"{group}/{column.name}", column.dtype, _DIMS[column.per], column.units, column.long_name


def split_array(split: str, length: int) -> Array:
    """Describe the index list of a split, ``"task/role"``."""
    return Array(
        name=f"splits/{split}",
        dtype="<i4",
        dims=(split.rpartition("/")[2],),
        shape=(length,),
        units="1",
        long_name="indices of observations",
    )


def observation_arrays(spec: ReleaseSpec) -> dict[str, Array]:
    """Describe the arrays of the observations of a generated release, by name."""
    table = arrays(spec, sizes(spec), {})
    return {name: array for name, array in table.items() if array.group == "observations"}


def sizes(spec: ReleaseSpec) -> dict[str, int]:
    """Lengths of the dimensions of a generated release."""
    return {
        "y": spec.grid.ny,
        "x": spec.grid.nx,
        "kernel": species_count(spec) * spec.kernels.count,
        "observation": spec.observation_count,
        "scatterer": scatterer_capacity(spec),
    }


_FORMAT_2 = {"white_noise": ["snr_db"]}


def format_version(spec: ReleaseSpec | ImportedSpec) -> int:
    """Version of the file format in which a release of this spec, or a shard of it, is written."""
    corruptions = {each.name: each.settings.model_dump(exclude_none=True) for each in applied_corruptions(spec)}
    if species_count(spec) > 1:
        return FORMAT_VERSION
    if family_name(spec) == "eq7" and not corruptions:
        return 1
    # Readers of format 2 know this setting of white noise only.
    if family_name(spec) == "eq7" and {name: list(given) for name, given in corruptions.items()} == _FORMAT_2:
        return 2
    return 3


def release_attributes(spec: ReleaseSpec | ImportedSpec) -> dict[str, str | int]:
    """Attributes of the root group of a release, except for those that :func:`sign` writes."""
    version = format_version(spec)
    declared: dict[str, str | int] = {"columns": _declaration(spec)} if version > 2 else {}
    return {"format_version": version, **origin(spec), **declared}


def _declaration(spec: ReleaseSpec | ImportedSpec) -> str:
    """JSON list of all arrays except the splits."""
    table = arrays(spec, dict.fromkeys(("y", "x", "kernel", "observation", "scatterer"), 0), {})
    keys = ("name", "dtype", "dims", "units", "long_name")
    return json.dumps([{key: getattr(array, key) for key in keys} for array in table.values()])


def origin(spec: ReleaseSpec | ImportedSpec) -> dict[str, str | int]:
    """Attributes that name the release, its spec and the version of the package."""
    return {"name": spec.name, "spec": spec.canonical_json(), "package_version": __version__}


def read_rows(fd: int, array: Array, start: int, stop: int, *, subject: str = "The file") -> NDArray[Any]:
    """Read rows of a contiguous array from the file, without HDF5.

    Parameters
    ----------
    fd
        Descriptor of the file.
    array
        The array, with its offset.
    start, stop
        First row, and the row after the last.
    subject
        Subject of the sentence ``"... ends within (array), row (number)"``, such as ``"'a.h5'"``.

    Raises
    ------
    InvalidDataError
        If the file ends before.
    """
    rows = np.empty((stop - start, *array.shape[1:]), array.dtype)
    view = raw(rows)
    position = array.position(start)
    done = 0
    while done < len(view):
        count = read_at(fd, view[done:], position + done)
        if not count:
            raise InvalidDataError(f"{subject} ends within {array.name}, row {start + done // array.row_bytes}.")
        done += count
    return rows


def raw(rows: NDArray[Any]) -> memoryview:
    """View of the bytes of a C-contiguous array."""
    return rows.reshape(-1).view(np.uint8).data
