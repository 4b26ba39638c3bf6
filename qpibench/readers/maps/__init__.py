"""Readers of a microscope's maps: one module for each format, found by the suffix of the file's name.

A module defines the members of :class:`MapsReader`, such as :mod:`qpibench.readers.maps.nanonis_scan`. Optional
packages are imported when a file is read.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Protocol, cast

from qpibench import registry
from qpibench.errors import UsageError
from qpibench.files import unreadable
from qpibench.maps import Maps, Source


class MapsReader(Protocol):
    """Interface of a module that reads one file format.

    Attributes
    ----------
    FORMAT
        Name of the format for the user, such as ``Nanonis scan``.
    SUFFIXES
        Suffixes of its files in small letters, such as ``.sxm``; no other module has them.
    """

    FORMAT: str
    SUFFIXES: tuple[str, ...]

    def read(self, path: Path, source: Source) -> Maps:
        """Read a file that exists.

        Raises
        ------
        InvalidDataError
            If the file does not have the format, or is truncated; the message names the file.
        UnavailableError
            If an optional package is missing.
        OSError
            If the file cannot be read.
        """


def read_maps(path: str | Path) -> Maps:
    """Read the maps of a microscope's file, in the format that its suffix names.

    Raises
    ------
    UsageError
        If there is no such file, or no reader of files with this suffix.
    InvalidDataError
        If the file does not have the format, or is truncated; the message names the file.
    UnavailableError
        If an optional package is missing.
    QpibenchError
        If the file cannot be read.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    known = {each: reader for reader in _readers() for each in reader.SUFFIXES}
    if suffix not in known:
        raise UsageError(f"'{path.name}' has no suffix of a microscope's file; known are {', '.join(sorted(known))}.")
    if path.exists() and not path.is_file():
        raise UsageError(f"'{path}' is no file; name a microscope's file.")
    try:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return known[suffix].read(path, Source(file=path.name, format=known[suffix].FORMAT, sha256=digest))
    except OSError as error:
        raise unreadable(path, error) from error


def _readers() -> tuple[MapsReader, ...]:
    package = sys.modules[__name__]
    return tuple(cast(MapsReader, registry.load(package, name, "reader")) for name in registry.names(package))
