"""Checks the attributes and the dimensions of a release file against those that the writer gives to its format.

The content hash does not cover them, but other programs read them, and with a wrong unit they get wrong numbers. Two
things are not checked, because HDF5 stores them in heaps without checksums and may read a damaged heap without end: the
elements of ``DIMENSION_LIST`` (the dimensions' ``REFERENCE_LIST`` has the same content and is checked), and the arrays
of observations in a virtual release.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any

import h5py

from qpibench.errors import InvalidDataError
from qpibench.parsing import shown
from qpibench.release import datasets, layout
from qpibench.release.hdf5 import structure
from qpibench.release.layout import Array

if TYPE_CHECKING:
    from qpibench.release.reader import Release


def check_attributes(release: Release, array_digests: Mapping[str, str]) -> None:
    """Check attributes, units and dimensions of an open release.

    Parameters
    ----------
    release
        The release.
    array_digests
        Digests of its arrays by name, as recomputed.

    Raises
    ------
    InvalidDataError
        If one is missing or differs from the writer's.
    """
    with structure(release.path) as file:
        problem = next(_problems(file, release, array_digests), None)
    if problem is not None:
        raise InvalidDataError(
            f"'{release.path}' is not as qpibench writes it: {problem}; make or copy the file again."
        )


def check_layout(file: h5py.File, attributes: Mapping[str, str | int], arrays: Mapping[str, Array]) -> None:
    """Check an open file that lacks digests: the attributes of its root group, its units and its dimensions.

    Raises
    ------
    ValueError
        If one is missing or differs from what is expected.
    """
    found = chain(_of_root(file, attributes), _of_arrays(file, arrays.values()), _of_dimensions(file, arrays))
    if (problem := next(found, None)) is not None:
        raise ValueError(problem)


def _problems(file: h5py.File, release: Release, array_digests: Mapping[str, str]) -> Iterator[str]:
    expected = layout.release_attributes(release.spec)
    if release.format_version != expected["format_version"]:
        yield (
            f"its format_version is {release.format_version}, and a release of its spec is of format"
            f" {expected['format_version']}"
        )
    yield from _of_root(file, expected)
    yield from _of_units(release)
    looked_at = [array for array in release.arrays.values() if not (release.shards and array.group == "observations")]
    yield from _of_arrays(file, looked_at)
    for array in looked_at:
        yield from _of_text(file[array.name], array.name, "sha256", array_digests[array.name])
    yield from _of_dimensions(file, release.arrays)


def _of_root(file: h5py.File, expected: Mapping[str, str | int]) -> Iterator[str]:
    for name in ("name", "spec"):
        yield from _of_text(file, "the file", name, str(expected[name]))
    # The text of `columns` is not compared, as another version of the package may describe a column in other words.
    found = datasets.attributes(file)
    for name, value in expected.items():
        if not isinstance(found.get(name), type(value)):
            yield f"{name} of the file is missing"
        elif isinstance(value, int) and found[name] != value:
            yield f"{name} of the file is {found[name]}, {value} is expected"


def _of_arrays(file: h5py.File, arrays: Iterable[Array]) -> Iterator[str]:
    for array in arrays:
        dataset = file[array.name]
        for name, text in (("units", array.units), ("long_name", array.long_name)):
            yield from _of_text(dataset, array.name, name, text)
        if not array.is_coordinate and not h5py.h5a.exists(dataset.id, b"DIMENSION_LIST"):
            yield f"{array.name} has no dimensions"


def _of_units(release: Release) -> Iterator[str]:
    """Compare the units declared in a file of the newest format with those of its spec."""
    wanted = layout.arrays(release.spec, dict.fromkeys(("y", "x", "kernel", "observation", "scatterer"), 0), {})
    for name, array in release.arrays.items():
        if name in wanted and array.units != wanted[name].units:
            yield f"units of {name} are declared as {shown(array.units)}, '{wanted[name].units}' is expected"


def _of_text(item: h5py.File | h5py.Dataset, where: str, name: str, expected: str) -> Iterator[str]:
    if not h5py.h5a.exists(item.id, name.encode()):
        yield f"{name} of {where} is missing, {shown(expected)} is expected"
        return
    string = h5py.check_string_dtype(h5py.h5a.open(item.id, name.encode()).dtype)
    value: Any = item.attrs[name] if string is not None and string.length is not None else None
    if not isinstance(value, bytes) or value != expected.encode("ascii", "replace"):
        found = shown(value.decode("ascii", "replace")) if isinstance(value, bytes) else "no text of fixed length"
        yield f"{name} of {where} is {found}, {shown(expected)} is expected"


def _of_dimensions(file: h5py.File, arrays: Mapping[str, Array]) -> Iterator[str]:
    scales: dict[str, set[tuple[str, int]]] = {name: set() for name, array in arrays.items() if array.is_coordinate}
    lengths = {name: arrays[name].shape[0] for name in scales}
    for array in arrays.values():
        if array.is_coordinate:
            continue
        for axis, (dim, length) in enumerate(zip(array.dims, array.shape, strict=True)):
            scales.setdefault(dim, set()).add((array.name, axis))
            lengths[dim] = length
    for dim, attached in scales.items():
        scale = file.get(dim)
        if not isinstance(scale, h5py.Dataset) or scale.shape != (lengths[dim],) or not h5py.h5ds.is_scale(scale.id):
            yield f"the dimension {dim} of length {lengths[dim]} is missing"
            continue
        named = arrays[dim].field if dim in arrays else datasets.dimension_name(lengths[dim])
        yield from _of_text(scale, f"the dimension {dim}", "NAME", named)
        found = {(name, int(axis)) for name, axis in _attached(file, scale)}
        if found != attached:
            name, axis = min(found ^ attached)
            yield f"axis {axis} of {name} " + ("lacks" if (name, axis) in attached else "has") + f" the dimension {dim}"


def _attached(file: h5py.File, scale: h5py.Dataset) -> Iterator[tuple[str, int]]:
    """Return the axes that use a dimension, as names of arrays and numbers of axes."""
    for reference, axis in scale.attrs.get("REFERENCE_LIST", ()):
        name = h5py.h5r.get_name(reference, file.id)
        yield (name.decode("utf-8", "replace").lstrip("/") if name else "an array that is not there"), axis
