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


def held_values(dataset: h5py.Dataset) -> NDArray[Any]:
    """Return all values of a data set.

    Raises
    ------
    ValueError
        If the file holds no more than a small part of them.
    """
    held = dataset.id.get_storage_size()
    if dataset.nbytes > LARGEST_RATIO * held:
        raise ValueError(f"{dataset.name} has {dataset.nbytes:,} bytes by its shape, and {held:,} are stored")
    values: NDArray[Any] = dataset[()]
    return values
