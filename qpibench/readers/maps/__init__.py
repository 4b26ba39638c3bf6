"""Readers of a microscope's maps: one module for each format, found by the suffix of the file's name.

A module defines the members of :class:`MapsReader`, such as :mod:`qpibench.readers.maps.nanonis_scan`. Optional
packages are imported when a file is read.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol, cast

import numpy as np

from qpibench import registry
from qpibench.counting import agreeing, counted
from qpibench.errors import UsageError
from qpibench.files import unreadable
from qpibench.maps import Maps, Source
from qpibench.maps.arrays import Arrays, FirstRow, Told, told_axis
from qpibench.maps.file import is_maps_file

OWN_SUFFIX = ".h5"
"""Suffix of the package's own files, whose reader is that of HDF5."""


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

    def read(self, path: Path, source: Source) -> Maps | Arrays:
        """Read a file that exists: its maps, or its arrays if the format may leave their size or energies untold.

        Raises
        ------
        InvalidDataError
            If the file does not have the format, or is truncated; the message names the file.
        UnavailableError
            If an optional package is missing.
        OSError
            If the file cannot be read.
        """


def read_maps(
    path: str | Path,
    *,
    size_nm: float | tuple[float, float] | None = None,
    energy_mev: Sequence[float] | None = None,
    channels: Sequence[str] | None = None,
    channel: str | None = None,
    first_row: FirstRow | None = None,
) -> Maps:
    """Read the maps of a microscope's file, in the format that its suffix names.

    Parameters
    ----------
    path
        The file.
    size_nm
        Distance from the first to the last pixel in nm, if the file does not tell it: one number for the longer side
        (the pixels are square), or width and height.
    energy_mev
        Energies of the layers of a stack in meV, if the file does not tell them: all of them, or the first and the last
        of evenly spaced ones.
    channels
        Names of the channels to read; all by default.
    channel
        Name of the one that is wanted: where a file has channels of different pixels, sizes or layers, it and those
        that fit it are read, and a warning tells the others.
    first_row
        Whether the first row of the file is at the ``bottom`` or the ``top``, if the file does not tell it; the bottom
        by default.

    Returns
    -------
    Maps
        The maps. Infinite values are NaN, and a warning counts them.

    Raises
    ------
    UsageError
        If there is no such file, no reader of files with this suffix, or no channel of a name; if the size is missing,
        or something is told that the file tells itself.
    InvalidDataError
        If the file does not have the format, or is truncated; the message names the file.
    UnavailableError
        If an optional package is missing.
    QpibenchError
        If the file cannot be read.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise UsageError(f"'{path}' is no file; name a microscope's file.")
    # The package's own files are known by their content, as a user may call them as they like.
    suffix = OWN_SUFFIX if is_maps_file(path) else path.suffix.lower()
    known = {each: reader for reader in _readers() for each in reader.SUFFIXES}
    if suffix not in known:
        raise UsageError(f"'{path.name}' has no suffix of a microscope's file; known are {', '.join(sorted(known))}.")
    try:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        found = known[suffix].read(path, Source(file=path.name, format=known[suffix].FORMAT, sha256=digest))
    except OSError as error:
        raise unreadable(path, error) from error
    told = Told(size_nm=size_nm, energy_mev=energy_mev, channels=channels, channel=channel, first_row=first_row)
    if isinstance(found, Arrays):
        found = found.maps(told)
    else:
        for value, what in ((size_nm, "size"), (first_row, "place of the first row")):
            if value is not None:
                raise UsageError(f"'{path.name}' tells the {what} itself; leave it out.")
        if energy_mev is not None:
            if found.axis is None:
                raise UsageError(f"'{path.name}' has no stack of layers; leave out the energies.")
            axis = told_axis(path.name, found.axis, len(found.axis.values), energy_mev)
            found = replace(found, axis=axis, metadata={**found.metadata, **told.facts})
        if channels is not None:
            chosen = {each.label: each for each in map(found.channel, channels)}
            found = replace(found, channels=tuple(chosen.values()))
    if channel is not None:
        found.channel(channel)  # refuses one that is not there
    return _without_odd_numbers(found)


def _without_odd_numbers(maps: Maps) -> Maps:
    """Maps whose infinite values are NaN, which a warning says, and in which every NaN is the ordinary one.

    A damaged file may have NaNs of other bits, of which some make NumPy warn when they are converted.
    """
    channels, warnings = [], list(maps.warnings)
    for channel in maps.channels:
        finite = np.isfinite(channel.values)
        count = int(np.isinf(channel.values).sum())
        if not finite.all():
            channel = replace(channel, values=np.where(finite, channel.values, channel.values.dtype.type(np.nan)))
        if count:
            warnings.append(
                f"{counted(count, 'infinite value')} of the channel '{channel.label}' {agreeing(count, 'is', 'are')}"
                " taken as not measured."
            )
        channels.append(channel)
    return replace(maps, channels=tuple(channels), warnings=tuple(warnings))


def _readers() -> tuple[MapsReader, ...]:
    package = sys.modules[__name__]
    return tuple(cast(MapsReader, registry.load(package, name, "reader")) for name in registry.names(package))
