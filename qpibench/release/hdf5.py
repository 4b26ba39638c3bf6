"""Opens HDF5 files for reading: releases and shards, also those at URLs, and predictions.

A file is opened without a lock, so other programs may read it meanwhile, and the file system need not have locks.
A file that another program has open for writing is refused, because its contents may be half written.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

from qpibench.errors import InvalidDataError, QpibenchError, UsageError, reason
from qpibench.files import unreadable
from qpibench.release.lock import locked_by_another
from qpibench.release.positional import BINARY, LocalFile
from qpibench.release.remote import Place, RemoteFile, Url

_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def open_hdf5(path: Place, *, own: bool = False) -> h5py.File:
    """Open a file for reading.

    Parameters
    ----------
    path
        The file, or its URL.
    own
        Whether this process is writing the file itself; else a file that is open for writing is refused.

    Raises
    ------
    UsageError
        If there is no such file.
    InvalidDataError
        If it is not an HDF5 file, truncated or damaged.
    QpibenchError
        If this user may not read it, another program has it open for writing, or the network fails.
    """
    if isinstance(path, Url):
        return _remote(path)
    if _is_locked(path) and not own:
        raise _open_for_writing(path)
    try:
        # h5py.is_hdf5() also reports False for files that HDF5 cannot lock, so the signature is read too.
        if not h5py.is_hdf5(path) and not _has_signature(path):
            raise InvalidDataError(f"'{path}' is not an HDF5 file or is damaged.")
        file = _opened(path)
    except (OSError, RuntimeError) as error:
        raise _explained(path, error) from None
    if file.id.get_intent() != h5py.h5f.ACC_RDONLY and not own:  # it is open in this process already
        file.close()
        raise _open_for_writing(path)
    return file


@contextmanager
def structure(path: Place, *, own: bool = False) -> Iterator[h5py.File]:
    """Open a file to read its structure; raises as :func:`open_hdf5`, also for damage found in the structure."""
    with open_hdf5(path, own=own) as file:
        try:
            yield file
        except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
            raise InvalidDataError(f"'{path}' is damaged: {reason(error)}.") from None


def _opened(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r", locking=False)
    except OSError as error:
        if "lock" not in str(error):
            raise
    # HDF5 insists on a lock: HDF5_USE_FILE_LOCKING asks for it, or this process has the file open with the opposite
    # setting. A file that Python reads for HDF5 is never locked.
    return h5py.File(LocalFile(path), "r")


def _remote(url: Url) -> h5py.File:
    file = RemoteFile(url)
    try:
        return h5py.File(file, "r")
    except OSError as error:
        if file.seek(0) or file.read(len(_SIGNATURE)) != _SIGNATURE:
            raise InvalidDataError(f"'{url}' is not an HDF5 file or is damaged.") from None
        raise _explained(url, error) from None


def _is_locked(path: Path) -> bool:
    """Check that a file can be read, and return whether a program holds it locked for writing."""
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise UsageError(f"'{path}' is a folder; name a file.")
        if not stat.S_ISREG(mode):  # opening a pipe may wait for ever, and opening a device may change it
            raise UsageError(f"'{path}' is a pipe, a socket or a device; name a regular file.")
        fd = os.open(path, os.O_RDONLY | BINARY)
    except OSError as error:
        raise unreadable(path, error) from None
    try:
        return locked_by_another(fd)
    finally:
        os.close(fd)


def _has_signature(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(len(_SIGNATURE)) == _SIGNATURE


def _open_for_writing(path: Path) -> QpibenchError:
    return QpibenchError(
        f"'{path}' is open for writing in another program or elsewhere in this one; close it there and try again."
    )


def _explained(path: Place, error: Any) -> QpibenchError:
    if "already open for write" in str(error):  # a mark in the file that its writer removes when it closes the file
        return QpibenchError(
            f"'{path}' is marked as open for writing; close it in the program that writes it or, if that program ended"
            f" without closing it, remove the mark: h5clear -s '{path}'."
        )
    problem = "truncated" if "truncated" in str(error) else "damaged"
    return InvalidDataError(f"'{path}' is {problem}: HDF5 cannot open it.")
