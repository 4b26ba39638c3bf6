"""Files of a user's own kernels, known by the SHA-256 of their numbers."""

from __future__ import annotations

import functools
import hashlib
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qpibench.errors import InvalidDataError, UsageError
from qpibench.hdf5_values import held_values

VARIABLE = "QPIBENCH_KERNELS"
"""Environment variable with files of kernels or their folders."""

ARRAY, ARCHIVE = b"\x93NUMPY", b"PK"
"""First bytes of NumPy's files."""

SUFFIXES = (".h5", ".hdf5", ".npy", ".npz")
SMALLEST, LARGEST = 8, 8192
"""Smallest and largest width of a window in pixels."""

WEAKEST, STRONGEST = 1e-12, 1e12
"""Smallest and largest size of a kernel's largest value: float32 holds images of 10,000 of them, and their noise."""

_known: dict[str, tuple[Path, str | None]] = {}
"""Files and datasets by the SHA-256 of their numbers."""


def remember(sha256: str, path: Path, dataset: str | None) -> None:
    """Remember where the numbers with a hash are, for :func:`kernels_of`."""
    _known[sha256] = path.absolute(), dataset


def remembered() -> dict[str, tuple[Path, str | None]]:
    """The files and datasets that this process knows, by the SHA-256 of their numbers."""
    return dict(_known)


@functools.lru_cache(maxsize=4)
def kernels_of(sha256: str) -> NDArray[np.float64]:
    """The kernels with a hash, from a remembered file or from those in the environment variable.

    Raises
    ------
    UsageError
        If none of the files has these numbers.
    """
    files = [_known[sha256]] if sha256 in _known else []
    for path, dataset in (*files, *((path, None) for path in _offered())):
        try:
            numbers, _ = read_kernels(path, dataset)
        except (UsageError, InvalidDataError):
            continue
        if numbers_sha256(numbers) == sha256:
            _known[sha256] = path, dataset
            numbers.flags.writeable = False
            return numbers
    named = os.environ.get(VARIABLE)
    found = f", now '{named}', which has no such file" if named else ""
    raise UsageError(
        f"The kernels come from a file that is not here, whose numbers have the SHA-256 {sha256}; name the file or its"
        f" folder in the environment variable {VARIABLE}{found}."
    )


def numbers_sha256(numbers: NDArray[np.float64]) -> str:
    """SHA-256 of kernels (kernel, y, x): of a line with their shape and their float64 in C order, little-endian.

    The line is ``qpibench kernels COUNT NY NX`` and a line feed. Negative zeros count as zeros. Kernels in float32
    have the hash of the same numbers in float64.
    """
    count, ny, nx = numbers.shape
    digest = hashlib.sha256(f"qpibench kernels {count} {ny} {nx}\n".encode())
    digest.update(np.ascontiguousarray(numbers + 0.0, "<f8").tobytes())
    return digest.hexdigest()


def read_kernels(path: Path, dataset: str | None = None) -> tuple[NDArray[np.float64], float | None]:
    """Read a file of kernels.

    Parameters
    ----------
    path
        The file.
    dataset
        Name of the array; None if it is the only one of three dimensions.

    Returns
    -------
    tuple
        The kernels (kernel, y, x), and the distance of their pixels in nm if the file states it: as the attribute
        ``pixel_nm`` of a data set of HDF5, or as an array of this name of NumPy's ``.npz``; one number either way.

    Raises
    ------
    UsageError
        If there is no such file or array.
    InvalidDataError
        If its content is not kernels.
    """
    if not path.is_file():
        raise UsageError(f"There is no file of kernels '{path}'.")
    if path.suffix not in SUFFIXES:
        raise UsageError(f"The file of kernels '{path}' must end in one of {', '.join(SUFFIXES)}.")
    try:
        values, pixel_nm = _hdf5(path, dataset) if path.suffix in (".h5", ".hdf5") else _numpy(path, dataset)
    except (OSError, ValueError, EOFError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise InvalidDataError(f"The file of kernels '{path}' cannot be read: {str(error).rstrip('.')}.") from None
    if values.ndim != 3 or values.dtype.kind != "f" or values.shape[1] != values.shape[2] or not len(values):
        raise InvalidDataError(
            f"The kernels in '{path}' must be floating-point numbers (kernel, y, x) with as many rows as columns, found"
            f" {values.dtype} {values.shape}."
        )
    if not SMALLEST <= values.shape[1] <= LARGEST:
        raise InvalidDataError(
            f"The kernels in '{path}' must have {SMALLEST} to {LARGEST} pixels along a side, found {values.shape[1]}."
        )
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        kernel, y, x = bad[0].tolist()
        raise InvalidDataError(
            f"The kernels in '{path}' must be finite, found {values[kernel, y, x]} in kernel {kernel}, row {y}, column"
            f" {x}."
        )
    size = np.abs(values).max(axis=(1, 2))
    wrong = np.flatnonzero((size < WEAKEST) | (size > STRONGEST))
    if len(wrong):
        raise InvalidDataError(
            f"The largest value of each kernel in '{path}' must have a size from {WEAKEST:g} to {STRONGEST:g}, found"
            f" {size[wrong[0]]:g} in kernel {wrong[0]}; leave out kernels of zeros, give the others in another unit."
        )
    flat = np.flatnonzero(np.ptp(values, axis=(1, 2)) == 0)
    if len(flat):
        raise InvalidDataError(
            f"The kernels in '{path}' must vary from pixel to pixel, found {values[flat[0], 0, 0]:g} in all pixels of"
            f" kernel {flat[0]}; leave out constant kernels."
        )
    return values.astype(np.float64) + 0.0, pixel_nm


def _hdf5(path: Path, dataset: str | None) -> tuple[NDArray[Any], float | None]:
    import h5py

    with h5py.File(path, "r") as file:
        arrays: dict[str, Any] = {}
        file.visititems(lambda name, item: arrays.update({name: item}) if isinstance(item, h5py.Dataset) else None)
        chosen = arrays[_choose(path, {name: array.ndim for name, array in arrays.items()}, dataset)]
        pixel_nm = chosen.attrs.get("pixel_nm")
        return np.asarray(held_values(chosen)), _number(pixel_nm)


def _numpy(path: Path, dataset: str | None) -> tuple[NDArray[Any], float | None]:
    with open(path, "rb") as file:
        if not file.read(len(ARRAY)).startswith((ARRAY, ARCHIVE)):
            raise ValueError("it has neither the format .npy nor .npz")
        file.seek(0)
        loaded = np.load(file, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded, None
        arrays = {name: loaded[name] for name in loaded.files}
    pixel_nm = arrays.pop("pixel_nm", None)
    chosen = arrays[_choose(path, {name: array.ndim for name, array in arrays.items()}, dataset)]
    return chosen, _number(pixel_nm)


def _number(pixel_nm: Any) -> float | None:
    """The one number of an attribute or array, which may have dimensions."""
    if pixel_nm is None:
        return None
    values = np.asarray(pixel_nm)
    if values.size != 1 or values.dtype.kind not in "fiu":
        raise ValueError(f"its pixel_nm must be one number, found {pixel_nm!r}")
    return float(values.reshape(-1)[0])


def _choose(path: Path, dimensions: Mapping[str, int], dataset: str | None) -> str:
    """Name of the array with the kernels, out of the numbers of dimensions by name."""
    if dataset is not None and dataset in dimensions:
        return dataset
    fitting = [name for name, count in dimensions.items() if count == 3]
    if dataset is None and len(fitting) == 1:
        return fitting[0]
    listed = ", ".join(fitting) or "none"
    missing = "" if dataset is None else f" '{dataset}'"
    raise UsageError(f"'{path}' has no single array of kernels{missing}; name one of its arrays as dataset: {listed}.")


def _offered() -> Iterator[Path]:
    for text in filter(None, os.environ.get(VARIABLE, "").split(os.pathsep)):
        path = Path(text)
        yield from sorted(each for each in path.iterdir() if each.suffix in SUFFIXES) if path.is_dir() else [path]
