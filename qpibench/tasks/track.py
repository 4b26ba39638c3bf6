"""Tracks: TOML files of named cells, on each of which entries are ranked.

Tracks that come with the package are in the folder ``tracks``; a user may write others.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from qpibench.errors import UsageError
from qpibench.paths import path_of_text, text_of_path
from qpibench.physics.activation import MapMode
from qpibench.records import Closed, Text
from qpibench.specs import ReleaseSpec, load_spec
from qpibench.specs.load import explain
from qpibench.specs.species import species_count
from qpibench.tasks import named
from qpibench.tasks.patch import kernel_grid
from qpibench.tasks.views import View

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class Cell(Closed):
    """A fixed protocol of an evaluation: the data, the view, and the metrics.

    Attributes
    ----------
    specs
        Specs of the releases whose images the entry gets, all with the same number of species. With several specs, the
        score of the cell is the mean over their families of kernels of the mean over the specs of each.
    task
        The split of the releases; the images are those of its test role.
    view
        The inputs of the entry, one of :data:`qpibench.tasks.VIEWS`.
    map
        How activation maps are rasterised. The view ``raster`` needs it; the view ``positions`` shows a map only if it
        is set.
    metrics
        Names of the metrics that are computed.
    primary
        The metric that determines the rank, one of ``metrics``.
    size
        Number of images of each release, chosen by :func:`qpibench.tasks.subset`; all of the test role if None.
    training
        Spec of the release whose training role an entry with ``fit`` gets; that of the cell's own release if None.
    told_species
        Whether the view ``positions`` shows the species of the scatterers; only releases with two species have them.
    kernel_px
        Side of the predicted kernels: the central ``kernel_px`` x ``kernel_px`` pixels of the grid, see
        :meth:`qpibench.grid.Grid.central`. All pixels if None.
    """

    specs: Annotated[tuple[ReleaseSpec, ...], Field(min_length=1)]
    task: Literal["id", "ood"]
    view: View
    map: MapMode | None = None
    metrics: Annotated[tuple[Text, ...], Field(min_length=1)]
    primary: Text
    size: Annotated[int, Field(ge=1)] | None = None
    training: ReleaseSpec | None = None
    told_species: bool = True
    kernel_px: Annotated[int, Field(ge=2)] | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.view == "raster" and self.map is None:
            raise ValueError("the view 'raster' shows an activation map: map = 'paper' or 'exact' is missing")
        if self.view == "image" and self.map is not None:
            raise ValueError("the view 'image' shows no activation map; leave out map")
        if self.primary not in self.metrics:
            raise ValueError(f"primary is '{self.primary}', which is not among the metrics")
        if len({spec.sha256 for spec in self.specs}) < len(self.specs):
            raise ValueError("a spec is named twice")
        names = [spec.name for spec in self.specs]
        if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
            raise ValueError(f"two specs have the name '{twice[0]}'; add name=... to the set of one of them")
        if len({species_count(spec) for spec in self.specs}) > 1:
            raise ValueError("some specs have one species of scatterers and some two; make two cells of them")
        if self.training is None and len({spec.splits.ood_kernels == 1 for spec in self.specs}) > 1:
            raise ValueError(
                "some specs have images for training and some keep all kernels for the OOD test; state training, or"
                " make two cells of them"
            )
        if not self.told_species:
            self._check_hidden_species()
        if self.training is not None:
            self._check_training(self.training)
        for spec in self.specs:
            try:
                kernel_grid(spec.grid, self.kernel_px)
            except UsageError as error:
                raise ValueError(f"spec '{spec.name}': {str(error).rstrip('.')}") from None
        return self

    def _check_hidden_species(self) -> None:
        if self.view != "positions":
            raise ValueError(f"the view '{self.view}' shows no species; leave out told_species")
        if one := [spec.name for spec in self.specs if species_count(spec) == 1]:
            raise ValueError(f"the spec '{one[0]}' has one species of scatterers; leave out told_species")

    def _check_training(self, training: ReleaseSpec) -> None:
        for spec in self.specs:
            if spec.grid.shape != training.grid.shape:
                ours, theirs = (" x ".join(map(str, each.grid.shape)) for each in (spec, training))
                raise ValueError(
                    f"the images of the training spec '{training.name}' have {theirs} pixels and those of '{spec.name}'"
                    f" {ours}; an entry learns for images of the size that it is shown"
                )
        if training.splits.ood_kernels == 1:
            raise ValueError(f"the training spec '{training.name}' keeps all kernels for the OOD test")

    @property
    def image_count(self) -> int | None:
        """Number of images, if the specs tell it; None for the whole test role of releases that are split."""
        if self.size is not None:
            return self.size * len(self.specs)
        whole = all(spec.splits.ood_kernels == 1 for spec in self.specs)
        return sum(spec.observation_count for spec in self.specs) if whole else None

    @property
    def all_specs(self) -> tuple[ReleaseSpec, ...]:
        """The specs of all releases that an evaluation of the cell reads: ``specs``, then ``training``."""
        return self.specs if self.training is None or self.training in self.specs else (*self.specs, self.training)


class Track(Closed):
    """Named cells, on each of which entries are ranked.

    Attributes
    ----------
    name
        Name of the track's file, without its suffix.
    summary
        One line that describes the track in lists.
    cells
        The cells by name, in the order of the file.
    """

    name: Name
    summary: Text
    cells: Annotated[dict[Name, Cell], Field(min_length=1)]

    @property
    def sha256(self) -> str:
        """SHA-256 of the canonical JSON of name and cells. Each spec is represented by its hash; null is left out.

        So is ``told_species`` where it is true.
        """
        cells = {
            name: cell.model_dump(mode="json", exclude={"specs", "training", "told_species"}, exclude_none=True)
            | {"specs": [spec.sha256 for spec in cell.specs]}
            | ({} if cell.training is None else {"training": cell.training.sha256})
            | ({} if cell.told_species else {"told_species": False})
            for name, cell in self.cells.items()
        }
        text = json.dumps({"name": self.name, "cells": cells}, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def cell(self, name: str) -> Cell:
        """Look up a cell by its name.

        Raises
        ------
        UsageError
            If the track has no such cell.
        """
        if name not in self.cells:
            raise UsageError(f"Track '{self.name}' has no cell '{name}'; {named.hint(name, tuple(self.cells))}")
        return self.cells[name]


class _File(Closed):
    """A track as written in its file, in which cells name their specs."""

    summary: Text
    every_cell: dict[str, Any] = Field(default_factory=dict)
    cells: dict[str, dict[str, Any]]

    def fields(self, cell: str) -> dict[str, Any]:
        """What a cell says, and what all cells share where it says nothing; the settings of both in ``set``."""
        own = self.cells[cell]
        overrides = [*self.every_cell.get("set", ()), *own.get("set", ())]
        return self.every_cell | own | ({"set": overrides} if overrides else {})


def track_names() -> tuple[str, ...]:
    """Names of the tracks that come with the package."""
    return named.names("track")


def load_track(source: str | Path) -> Track:
    """Load a track by name or from a TOML file.

    Parameters
    ----------
    source
        The name of a shipped track (see :func:`track_names`), or the path of a TOML file. Paths of specs in that file
        are relative to its folder.

    Raises
    ------
    UsageError
        If there is no such track, or it is not valid.
    InvalidDataError
        If the file is not TOML.
    """
    return _shipped(str(source)) if str(source) in track_names() else _load(str(source))


@cache
def _shipped(name: str) -> Track:
    # The track `robust` has 58 specs, and a board needs it for every cell of every result.
    return _load(name)


def _load(source: str) -> Track:
    name, folder, content = named.read("track", source)
    try:
        file = _File.model_validate(content)
        cells = {
            cell: _with_specs(file.fields(cell), folder, f"{name}-{cell}", f"Track '{source}', cell '{cell}'")
            for cell in file.cells
        }
        return Track.model_validate({"name": name, "summary": file.summary, "cells": cells})
    except ValidationError as error:
        model = Track if error.title == "Track" else _File
        raise UsageError(f"Track '{source}': {explain(error, model)}.") from None


def find_cells(text: str, *, load: Callable[[str], Track] = load_track) -> tuple[Track, tuple[str, ...]]:
    """Find the track and the cells of a text ``TRACK`` (all its cells) or ``TRACK/CELL``; ``load`` reads the track.

    Raises
    ------
    UsageError
        As :func:`load_track`; or if the track has no such cell.
    """
    track_text, ending, cell = text.partition(".toml/")
    if ending:
        track_text += ".toml"
    elif not text.endswith(".toml"):
        track_text, _, cell = text.partition("/")
    track = load(track_text)
    if not cell:
        return track, tuple(track.cells)
    track.cell(cell)
    return track, (cell,)


def _with_specs(fields: Mapping[str, Any], folder: Path, release: str, where: str) -> dict[str, Any]:
    """Replace the names of specs in the fields of a cell by the specs; ``release`` begins the names of its own ones."""
    fields = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
    overrides = fields.pop("set", ())
    try:
        _check_overrides(overrides)
        named = {"specs": tuple(_spec(each, folder, release, overrides) for each in fields.get("specs", ()))}
        training = {"training": _spec(fields["training"], folder, release)} if "training" in fields else {}
        return {**fields, **named, **training}
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None


def _check_overrides(overrides: Sequence[Any]) -> None:
    if not all(isinstance(override, str) for override in overrides):
        raise UsageError(f"set is a list of texts such as 'kernels.count=300', found {list(overrides)!r}.")


def _spec(named: Any, folder: Path, release: str, shared: Sequence[str] = ()) -> ReleaseSpec:
    """Load a spec with its overrides; with those that the cell's specs share, it is called TRACK-CELL-SPEC.

    SPEC is the name of the shipped spec or of the file, or the name that the overrides state.
    """
    match {"spec": named} if isinstance(named, str) else named:
        case {"spec": str(source), **others} if isinstance(overrides := others.pop("set", []), list) and not others:
            path = folder / path_of_text(source) if source.endswith(".toml") else Path(source)
            _check_overrides(overrides)
            if not shared:
                return load_spec(path, overrides=overrides)
            overrides = [*shared, *overrides]
            is_named = any(text.partition("=")[0].strip() == "name" for text in overrides)
            name = load_spec(path, overrides=overrides).name if is_named else text_of_path(path.name)
            return load_spec(path, overrides=[*overrides, f"name={release}-{name.removesuffix('.toml')}"])
        case _:
            raise UsageError(f"a spec is a name, a file or {{spec = ..., set = [...]}}, found {named!r}.")
