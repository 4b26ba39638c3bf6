"""Creates the arrays and attributes of a release in an HDF5 file, and finds them in a file that exists.

:mod:`qpibench.release.layout` describes them; their values are written and read without HDF5 where possible.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import h5py
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from qpibench.errors import InvalidDataError
from qpibench.hdf5_values import LARGEST_RATIO, held_bytes, held_values
from qpibench.parsing import parse_json
from qpibench.release import layout
from qpibench.release.layout import Array
from qpibench.specs import ImportedSpec, ReleaseSpec

_ATTRIBUTES = (
    *("format_version", "name", "spec", "columns", "package_version", "content_sha256", "sha256"),
    *("shard_version", "shard", "shards", "shard_sha256"),
)

# Files have the format of HDF5 1.8, which all readers of the last fifteen years can read and whose metadata have
# checksums. Virtual arrays need the format of 1.10.
_LIBVER = ("v108", "v110")
_PAGE = 4096


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
    arrays: Mapping[str, Array],
    attributes: Mapping[str, str | int],
    *,
    dataset: Callable[[h5py.File, Array], h5py.Dataset] = contiguous,
) -> None:
    """Create a file with all its arrays; their values are written later.

    Parameters
    ----------
    path
        The file.
    arrays
        Its arrays by name.
    attributes
        Attributes of its root group.
    dataset
        Function that creates one array in the open file.
    """
    with _new_file(path) as file:
        _create_groups(file, arrays)
        file.attrs.update(
            {name: _text(value) if isinstance(value, str) else value for name, value in attributes.items()}
        )
        scales = {}
        for array in arrays.values():
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


def _new_file(path: Path) -> h5py.File:
    """Create a file without the time of its creation, which h5py 3.11 keeps in the root group unasked."""
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_fclose_degree(h5py.h5f.CLOSE_STRONG)
    access.set_libver_bounds(h5py.h5f.LIBVER_V18, h5py.h5f.LIBVER_V110)
    access.set_alignment(_PAGE, _PAGE)
    access.set_file_locking(False, True)
    creation = h5py.h5p.create(h5py.h5p.FILE_CREATE)
    creation.set_obj_track_times(False)
    return h5py.File(h5py.h5f.create(os.fsencode(path), h5py.h5f.ACC_TRUNC, fcpl=creation, fapl=access))


def _create_groups(file: h5py.File, names: Iterable[str]) -> None:
    """Create the groups of arrays without the times of their creation."""
    creation = h5py.h5p.create(h5py.h5p.GROUP_CREATE)
    creation.set_obj_track_times(False)
    groups = {str(parent) for name in names for parent in PurePosixPath(name).parents} - {"."}
    for group in sorted(groups):
        h5py.h5g.create(file.id, group.encode(), gcpl=creation)


def file_bytes(arrays: Mapping[str, Array], attributes: Mapping[str, str | int]) -> int:
    """Upper bound of the size of a file, compressed or not: the values, and an allowance for the metadata of HDF5."""
    values = sum(array.nbytes for array in arrays.values())
    chunks = sum(array.shape[0] for array in arrays.values() if len(array.shape) > 1)
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
    ValueError
        If an array is missing, or does not have the type and shape of the layout or of the file's list of columns.
        :func:`qpibench.release.hdf5.structure` names the file.
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
    return place(file, layout.arrays(spec, stored, splits))


def _as_declared(file: h5py.File, declared: str, splits: Mapping[str, int]) -> dict[str, Array]:
    """The arrays that a file declares; the first array that has a dimension determines its length."""
    try:
        table = [_Declared.model_validate(fields) for fields in parse_json(declared, "it")]
    except (InvalidDataError, ValueError, TypeError) as error:
        raise ValueError(f"its list of columns cannot be read ({str(error).rstrip('.')})") from None
    lengths: dict[str, int] = {}
    found = {}
    for entry in table:
        stored = _stored_shape(file, entry.name, len(entry.dims))
        for dim, length in zip(entry.dims, stored, strict=True):
            lengths.setdefault(dim, length)
        shape = tuple(lengths[dim] for dim in entry.dims)
        found[entry.name] = Array(shape=shape, **entry.model_dump())
    missing = [name for name in layout.REQUIRED if name not in found]
    if missing:
        raise ValueError(f"it declares no {missing[0]}")
    return found | {f"splits/{split}": layout.split_array(split, length) for split, length in splits.items()}


class _Declared(BaseModel):
    """Description of one array in the attribute `columns` of a release of format 3."""

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
            raise ValueError(
                f"{name} is {dataset.dtype.str} of shape {shape}; {array.dtype} of shape {array.shape} is expected"
            )
        if dataset.is_virtual:
            raise ValueError(f"{name} is virtual, and the list of its shards is missing")
        _check_stored(file, dataset, array)
        digest = attributes(dataset).get("sha256")
        found[name] = replace(array, offset=dataset.id.get_offset(), sha256=None if digest is None else str(digest))
    return found


def _check_stored(file: h5py.File, dataset: h5py.Dataset, array: Array) -> None:
    """Refuse an array that HDF5 would fill in, so that a small file cannot demand any amount of memory.

    Columns of images and positions, which are read by rows, are compared with the size of the file, because HDF5 looks
    at every chunk to tell the size of a compressed array.
    """
    if dataset.id.get_offset() is not None:
        return  # its end is compared with the size of the file
    by_rows = array.group == "observations" and len(array.shape) > 1
    held = file.id.get_filesize() if by_rows else held_bytes(dataset)
    if array.nbytes > LARGEST_RATIO * held:
        raise ValueError(
            f"{array.name} has {array.nbytes:,} bytes by its shape, and the file holds no more than a small part of"
            " them"
        )


def whole_list(file: h5py.File, name: str, kind: str) -> list[Any]:
    """Read a list of an open file, of texts (kind ``S``) or whole numbers (``i``).

    Raises
    ------
    ValueError
        If it is missing or of another kind, or the file does not hold all of it.
    """
    _stored_shape(file, name, 1)
    dataset = file[name]
    if dataset.dtype.kind != kind:
        raise ValueError(f"{name} is {dataset.dtype.str}")
    values: list[Any] = held_values(dataset).tolist()
    return values


def _stored_shape(file: h5py.File, name: str, ndim: int) -> tuple[int, ...]:
    dataset = file.get(name)
    if not isinstance(dataset, h5py.Dataset) or len(dataset.shape or ()) != ndim:
        raise ValueError(f"{name} is missing or has another number of axes")
    return tuple(dataset.shape)
