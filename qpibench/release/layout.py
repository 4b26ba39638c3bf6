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
    /splits/<task>/<role>                                 int32, indices of observations

Format 1 is for eq. 7 without corruptions, and format 2 adds white noise; the arrays of both follow from the spec. From
format 3 on, the attribute `columns` of the root group lists the arrays (JSON: name, dtype, dims, units, long_name), so
that a file describes itself. Readers accept further dimensions from that list: images may be (observation, energy, y,
x) with /energy in meV, kernels (kernel, energy, y, x), and /observations/kernel may be (observation, species) where
several species of scatterers share an image.

The root group has the attributes `format_version`, `name`, `spec` (JSON), `package_version` and `content_sha256`. The
last is written when everything else is complete, so a file without it was interrupted. Every array has the attributes
`units`, `long_name` and `sha256` (see :mod:`qpibench.release.identity`).

A shard of a release (:mod:`qpibench.release.shards`) has the same kind of layout with other arrays and attributes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import h5py
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from qpibench import __version__
from qpibench.columns import Column
from qpibench.errors import InvalidDataError
from qpibench.parsing import parse_json
from qpibench.release.positional import read_at
from qpibench.specs import ImportedSpec, ReleaseSpec
from qpibench.specs.columns import (
    applied_corruptions,
    family_name,
    kernel_columns,
    observation_columns,
    scatterer_room,
    tells_other_positions,
)

FORMAT_VERSION = 3
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
_PLACES = ("observation", "scatterer", "xy")
_OBSERVATIONS = (
    ("observations/image", "<f4", ("observation", "y", "x"), "1", "observation: superposition of shifted kernels"),
    ("observations/kernel", "<i4", ("observation",), "1", "row of the kernel that the observation shows"),
    ("observations/n_scatterers", "<i4", ("observation",), "1", "number of scatterers"),
    ("observations/position_nm", "<f8", _PLACES, "nm", "x and y of every scatterer, then NaN"),
)
_TOLD = ("observations/told_position_nm", "<f8", _PLACES, "nm", "x and y of scatterers as a model is told, then NaN")

_DIMS = {"kernel": ("kernel",), "observation": ("observation",), "scatterer": ("observation", "scatterer")}

_ATTRIBUTES = (
    *("format_version", "name", "spec", "columns", "package_version", "content_sha256", "sha256"),
    *("shard_version", "shard", "shards", "shard_sha256"),
)

# Files have the format of HDF5 1.8, which all readers of the last fifteen years can read and whose metadata have
# checksums. Virtual arrays need the format of 1.10.
_LIBVER = ("v108", "v110")
_PAGE = 4096


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
    lengths = {**sizes, "xy": 2}
    table = [
        Array(
            name=name, dtype=dtype, dims=dims, shape=tuple(lengths[d] for d in dims), units=units, long_name=long_name
        )
        for name, dtype, dims, units, long_name in (
            *_COORDINATES,
            *_KERNELS,
            *(_declared("kernels", column) for column in kernel_columns(spec)),
            *_OBSERVATIONS,
            *((_TOLD,) if tells_other_positions(spec) else ()),
            *(_declared("observations", column) for column in observation_columns(spec)),
        )
    ]
    table += [_split_array(split, length) for split, length in splits.items()]
    return {array.name: array for array in table}


def _declared(group: str, column: Column) -> tuple[str, str, tuple[str, ...], str, str]:
    return f"{group}/{column.name}", column.dtype, _DIMS[column.per], column.units, column.long_name


def _split_array(split: str, length: int) -> Array:
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
        "kernel": spec.kernels.count,
        "observation": spec.observation_count,
        "scatterer": scatterer_room(spec),
    }


def format_version(spec: ReleaseSpec | ImportedSpec) -> int:
    """Version of the file format in which a release of this spec, or a shard of it, is written."""
    corruptions = [applied.name for applied in applied_corruptions(spec)]
    if family_name(spec) == "eq7" and corruptions in ([], ["white_noise"]):
        return 1 + len(corruptions)
    return FORMAT_VERSION


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


def contiguous(file: h5py.File, array: Array) -> h5py.Dataset:
    """Create an array whose space in the file is allocated at once and not filled."""
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_layout(h5py.h5d.CONTIGUOUS)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    return file.create_dataset(array.name, array.shape, array.dtype, dcpl=properties)


def compressed(file: h5py.File, array: Array) -> h5py.Dataset:
    """Create an array: images and positions compressed by gzip in chunks of one row, others contiguous."""
    if len(array.shape) == 1 or not array.nbytes:
        return contiguous(file, array)
    options = {"chunks": (1, *array.shape[1:]), "compression": "gzip", "compression_opts": 4, "shuffle": True}
    return file.create_dataset(array.name, array.shape, array.dtype, **options)


def create(
    path: Path,
    layout: Mapping[str, Array],
    attributes: Mapping[str, str | int],
    *,
    dataset: Callable[[h5py.File, Array], h5py.Dataset] = contiguous,
) -> None:
    """Create a file with all its arrays; their values are written later.

    Parameters
    ----------
    path
        The file.
    layout
        Its arrays by name.
    attributes
        Attributes of its root group.
    dataset
        Function that creates one array in the open file.
    """
    with h5py.File(
        path, "w", libver=_LIBVER, locking=False, alignment_threshold=_PAGE, alignment_interval=_PAGE
    ) as file:
        file.attrs.update(
            {name: _text(value) if isinstance(value, str) else value for name, value in attributes.items()}
        )
        scales = {}
        for array in layout.values():
            created = dataset(file, array)
            created.attrs["units"] = _text(array.units)
            created.attrs["long_name"] = _text(array.long_name)
            if array.is_coordinate:
                created.make_scale(array.field)
                scales[array.name] = created
                continue
            for axis, (dim, length) in enumerate(zip(array.dims, array.shape, strict=True)):
                if dim not in scales:
                    scales[dim] = _dimension(file, dim, length)
                created.dims[axis].attach_scale(scales[dim])


def file_bytes(layout: Mapping[str, Array], attributes: Mapping[str, str | int]) -> int:
    """Upper bound of the size of a file, compressed or not: the values, and an allowance for the metadata of HDF5."""
    values = sum(array.nbytes for array in layout.values())
    chunks = sum(array.shape[0] for array in layout.values() if len(array.shape) > 1)
    return values + 128 * chunks + sum(len(str(value)) for value in attributes.values()) + (1 << 20)


def sign(path: Path, array_digests: Mapping[str, str], **digest: str) -> None:
    """Write the digests of arrays, by name, and the digest of the whole file, which marks the file as complete."""
    with h5py.File(path, "r+", libver=_LIBVER, locking=False) as file:
        for name, array_digest in array_digests.items():
            file[name].attrs["sha256"] = _text(array_digest)
        file.attrs.update({name: _text(value) for name, value in digest.items()})


def attributes(item: h5py.Group | h5py.Dataset) -> dict[str, str | int]:
    """Read the attributes of a file or a dataset that belong to the layout; missing ones are left out."""
    found = {name: item.attrs[name] for name in _ATTRIBUTES if name in item.attrs}
    return {
        name: value.decode("ascii", "replace") if isinstance(value, bytes) else int(value)
        for name, value in found.items()
        if isinstance(value, (bytes, int, np.integer))
    }


def _text(value: str) -> np.bytes_:
    # Texts of fixed length are in the object header, which has a checksum. Texts of variable length are in a heap
    # without a checksum, and HDF5 may loop for ever while it reads a damaged heap.
    return np.bytes_(value.encode("ascii"))


def _dimension(file: h5py.File, name: str, length: int) -> h5py.Dataset:
    # netCDF-4 marks a dimension without coordinates by exactly this text. The dataset takes no space.
    dataset = file.create_dataset(name, (length,), ">f4")
    dataset.make_scale(dimension_name(length))
    return dataset


def dimension_name(length: int) -> str:
    """NAME of a dimension without coordinates."""
    return f"This is a netCDF dimension but not a netCDF variable. {length:10d}"


def locate(file: h5py.File, spec: ReleaseSpec | ImportedSpec) -> dict[str, Array]:
    """Find the arrays of an open release and their offsets in the file.

    Returns
    -------
    dict
        The arrays by name, with offsets and stored digests.

    Raises
    ------
    InvalidDataError
        If an array is missing, or does not have the type and shape of the layout or of the file's list of columns.
    """
    splits = split_lengths(file)
    if (declared := attributes(file).get("columns")) is not None:
        return place(file, _as_declared(file, str(declared), splits))
    stored = {
        "y": spec.grid.ny,
        "x": spec.grid.nx,
        "kernel": _stored_shape(file, "kernels/family", 1)[0],
        "observation": _stored_shape(file, "observations/kernel", 1)[0],
        "scatterer": _stored_shape(file, "observations/position_nm", 3)[1],
    }
    return place(file, arrays(spec, stored, splits))


def _as_declared(file: h5py.File, declared: str, splits: Mapping[str, int]) -> dict[str, Array]:
    """The arrays that a file declares; the first array that has a dimension determines its length."""
    listed = parse_json(declared, f"'{file.filename}' is damaged: its list of columns cannot be read: it")
    try:
        table = [_Declared.model_validate(fields) for fields in listed]
    except (ValueError, TypeError) as error:
        raise InvalidDataError(f"'{file.filename}' is damaged: its list of columns cannot be read ({error}).") from None
    lengths: dict[str, int] = {}
    found = {}
    for entry in table:
        stored = _stored_shape(file, entry.name, len(entry.dims))
        for dim, length in zip(entry.dims, stored, strict=True):
            lengths.setdefault(dim, length)
        shape = tuple(lengths[dim] for dim in entry.dims)
        found[entry.name] = Array(shape=shape, **entry.model_dump())
    required = [name for name, *_ in (*_COORDINATES, *_KERNELS, *_OBSERVATIONS)]
    missing = [name for name in required if name not in found]
    if missing:
        raise InvalidDataError(f"'{file.filename}' is not complete: it declares no {missing[0]}.")
    return found | {f"splits/{split}": _split_array(split, length) for split, length in splits.items()}


class _Declared(BaseModel):
    """Entry of an array in the list of columns of a file of format 3."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: Annotated[str, Field(pattern=r"^([a-z]+/)?[A-Za-z][A-Za-z0-9_]*$")]
    dtype: Annotated[str, Field(pattern=r"^(<[fi][248]|\|[iu]1|\|S[0-9]{1,3})$")]
    dims: Annotated[tuple[str, ...], Field(min_length=1, max_length=5)]
    units: str
    long_name: str


def split_lengths(file: h5py.File) -> dict[str, int]:
    """Lengths of the index lists of the splits in an open release, by ``"task/role"``."""
    lengths = {}
    if isinstance(file.get("splits"), h5py.Group):
        for task, roles in file["splits"].items():
            for role in roles if isinstance(roles, h5py.Group) else ():
                lengths[f"{task}/{role}"] = _stored_shape(file, f"splits/{task}/{role}", 1)[0]
    return lengths


def place(file: h5py.File, expected: Mapping[str, Array]) -> dict[str, Array]:
    """Find expected arrays in an open file, and add their offsets and stored digests; raises as :func:`locate`."""
    found = {}
    for name, array in expected.items():
        shape = _stored_shape(file, name, len(array.shape))
        dataset = file[name]
        if shape != array.shape or dataset.dtype.str != array.dtype:
            raise InvalidDataError(
                f"'{file.filename}': {name} is {dataset.dtype.str} of shape {shape};"
                f" {array.dtype} of shape {array.shape} is expected."
            )
        if dataset.is_virtual:
            raise InvalidDataError(f"'{file.filename}': {name} is virtual, and the list of its shards is missing.")
        digest = attributes(dataset).get("sha256")
        found[name] = replace(array, offset=dataset.id.get_offset(), sha256=None if digest is None else str(digest))
    return found


def _stored_shape(file: h5py.File, name: str, ndim: int) -> tuple[int, ...]:
    dataset = file.get(name)
    if not isinstance(dataset, h5py.Dataset) or len(dataset.shape or ()) != ndim:
        raise InvalidDataError(f"'{file.filename}' is not complete: {name} is missing or damaged.")
    return tuple(dataset.shape)


def read_rows(fd: int, array: Array, start: int, stop: int) -> NDArray[Any]:
    """Read rows of a contiguous array from the file, without HDF5."""
    rows = np.empty((stop - start, *array.shape[1:]), array.dtype)
    view = raw(rows)
    position = array.position(start)
    done = 0
    while done < len(view):
        count = read_at(fd, view[done:], position + done)
        if not count:
            raise InvalidDataError(f"The file ends within {array.name}, row {start + done // array.row_bytes}.")
        done += count
    return rows


def raw(rows: NDArray[Any]) -> memoryview:
    """View of the bytes of a C-contiguous array."""
    return rows.reshape(-1).view(np.uint8).data
