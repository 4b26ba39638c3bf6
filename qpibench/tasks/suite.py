"""Suites: TOML files that list cells of tracks, so that one evaluation tells how an entry does on all of them.

Suites that come with the package are in the folder ``suites``; a user may write others.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import Field, ValidationError

from qpibench.errors import UsageError
from qpibench.records import Closed, Text
from qpibench.specs import ReleaseSpec
from qpibench.specs.load import explain
from qpibench.tasks import named
from qpibench.tasks.track import Cell, Name, Track, find_cells, load_track

CONTENT = "A suite has a summary, a list 'cells' of TRACK or TRACK/CELL, and maybe a limit of images per release."


class SuiteCell(NamedTuple):
    """A cell of a suite: the track, and the name of the cell in it."""

    track: Track
    name: str

    @property
    def label(self) -> str:
        """``track/cell``."""
        return f"{self.track.name}/{self.name}"

    @property
    def cell(self) -> Cell:
        """The protocol."""
        return self.track.cell(self.name)


class Suite(Closed):
    """A fixed list of cells.

    Attributes
    ----------
    name
        Name of the suite's file, without its suffix.
    summary
        One line that describes the suite in lists.
    cells
        The cells, in the order of the file.
    limit
        Largest number of images of each release, a nested subset of those of the cells; None for all.
    """

    name: Name
    summary: Text
    cells: Annotated[tuple[SuiteCell, ...], Field(min_length=1)]
    limit: Annotated[int, Field(ge=1)] | None = None

    @property
    def sha256(self) -> str:
        """SHA-256 of the canonical JSON of name, limit and cells; each cell is given by its label and its track's hash.

        A suite whose hash is published never changes: other cells are another suite.
        """
        cells = [[each.label, each.track.sha256] for each in self.cells]
        content = {"name": self.name, "cells": cells} | ({} if self.limit is None else {"limit": self.limit})
        return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def specs_of(cells: Iterable[SuiteCell]) -> dict[str, ReleaseSpec]:
    """Return the specs of all releases that an evaluation of cells reads, by their hash, in the order of the cells."""
    return {spec.sha256: spec for each in cells for spec in each.cell.all_specs}


class _File(Closed):
    summary: Text
    cells: Annotated[list[Text], Field(min_length=1)]
    limit: Annotated[int, Field(ge=1)] | None = None


def suite_names() -> tuple[str, ...]:
    """Names of the suites that come with the package."""
    return named.names("suite")


def load_suite(source: str | Path) -> Suite:
    """Load a suite by name or from a TOML file.

    Parameters
    ----------
    source
        The name of a shipped suite (see :func:`suite_names`), or the path of a TOML file. Tracks in that file are names
        of shipped tracks, or paths relative to its folder.

    Raises
    ------
    UsageError
        If there is no such suite, or it is not valid.
    InvalidDataError
        If the file is not TOML.
    """
    source = str(source)
    name, folder, content = named.read("suite", source)
    try:
        file = _File.model_validate(content)
    except ValidationError as error:
        raise UsageError(f"Suite '{source}': {explain(error, _File)}. {CONTENT}") from None
    cells: dict[str, SuiteCell] = {}
    load = functools.cache(load_track)
    for listed in file.cells:
        is_file = ".toml" in listed
        try:
            track, chosen = find_cells(str(folder / listed) if is_file else listed, load=load)
        except UsageError as error:
            raise UsageError(f"Suite '{source}': {error}") from None
        for cell in (SuiteCell(track, each) for each in chosen):
            if cells.setdefault(cell.label, cell) is not cell:
                raise UsageError(f"Suite '{source}' lists the cell '{cell.label}' twice.")
    return Suite(name=name, summary=file.summary, limit=file.limit, cells=tuple(cells.values()))
