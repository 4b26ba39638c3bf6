"""Values of arrays in HDF5 files that may be damaged or foreign.

A few bytes of such a file can state a huge shape. HDF5 fills in what is not stored, with as much memory as the shape
asks for, so the shape is compared with what is stored first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import h5py
    from numpy.typing import NDArray

LARGEST_RATIO = 1032
"""Bytes that gzip can make of one byte."""


def held_bytes(dataset: h5py.Dataset) -> int:
    """Return the number of bytes that are stored of a data set, at most the size of its file."""
    return int(min(dataset.id.get_storage_size(), dataset.file.id.get_filesize()))


def is_held(dataset: h5py.Dataset) -> bool:
    """Whether a file holds more than a small part of a data set; it does not hold one that is virtual or external."""
    return bool(dataset.nbytes <= LARGEST_RATIO * held_bytes(dataset))


def held_values(dataset: h5py.Dataset) -> NDArray[Any]:
    """Return all values of a data set.

    Raises
    ------
    ValueError
        If the file holds no more than a small part of them.
    """
    if not is_held(dataset):
        if dataset.is_virtual:
            raise ValueError(f"{dataset.name} is virtual, and its values are in other files; copy them into this one")
        raise ValueError(
            f"{dataset.name} has {dataset.nbytes:,} bytes by its shape, and {held_bytes(dataset):,} are stored"
        )
    values: NDArray[Any] = dataset[()]
    return values
