"""Opening HDF5 files that come from users: whatever is wrong with one is an error of ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from qpibench.errors import InvalidDataError, QpibenchError, UsageError


def open_hdf5(path: Path) -> h5py.File:
    """Open a file for reading.

    Raises
    ------
    UsageError
        If there is no such file.
    InvalidDataError
        If it is not an HDF5 file, truncated or damaged.
    QpibenchError
        If it may not be read.
    """
    try:
        with open(path, "rb"):
            pass
    except FileNotFoundError:
        raise UsageError(f"There is no file '{path}'.") from None
    except IsADirectoryError:
        raise UsageError(f"'{path}' is a folder, not a release file.") from None
    except OSError as error:
        raise QpibenchError(f"'{path}' cannot be read: {error.strerror}.") from None
    if not h5py.is_hdf5(path):
        raise InvalidDataError(f"'{path}' is not an HDF5 file or is damaged.")
    try:
        return h5py.File(path, "r", locking=False)
    except (OSError, RuntimeError) as error:
        problem = "truncated" if "truncated" in str(error) else "damaged"
        raise InvalidDataError(f"'{path}' is {problem}: HDF5 cannot open it.") from None


@contextmanager
def structure(path: Path) -> Iterator[h5py.File]:
    """Open a file to look at its structure; raises as :func:`open_hdf5`, also for damage that shows while looking."""
    with open_hdf5(path) as file:
        try:
            yield file
        except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
            raise InvalidDataError(f"'{path}' is damaged: {error}.") from None
