"""The layers of a stack, each extracted by itself, and the files in which finished ones are kept."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import re
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from qpibench import __version__
from qpibench.errors import InvalidDataError, UsageError
from qpibench.evaluation.entries import find_entry
from qpibench.evaluation.entry_code import code_sha256
from qpibench.extraction.explained import explained
from qpibench.extraction.extract import extract, weights_of
from qpibench.extraction.measured import usable_image
from qpibench.files import make_folder, write_whole
from qpibench.grid import Grid

Values = NDArray[np.float64]

_LAYER_FILE = re.compile(r"layer_\d{5,}\.npz")


class Layer(NamedTuple):
    """The kernel of one image; a layer whose kernel could not be extracted has NaN and a sentence that says why.

    The kernel and its standard deviation are on the grid of the kernels, the fit is on that of the images.
    """

    kernel: Values
    std: Values | None
    fit: Values
    diagnostics: Mapping[str, Any]
    failure: str = ""


@dataclass(frozen=True, kw_only=True)
class Request:
    """How every layer is extracted.

    Attributes
    ----------
    position_nm
        (scatterer, 2): x and y from the centre of the field.
    grid, kernel_grid
        Grids of the images and of the kernels.
    kernel_shape, method, beyond_edge, options
        As for :func:`qpibench.extraction.extract`.
    """

    position_nm: Values
    grid: Grid
    kernel_grid: Grid
    kernel_shape: int | Sequence[int] | None
    method: str
    beyond_edge: bool
    options: Mapping[str, Any]

    def layer(self, image: Values) -> Layer:
        """Extract the kernel of one image."""
        nothing = np.full(self.kernel_grid.shape, np.nan)
        if reason := unusable(image):
            return Layer(nothing, None, np.full(self.grid.shape, np.nan), {}, reason)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # what is doubtful is said once, for the whole stack
                found = extract(
                    image,
                    self.position_nm,
                    (self.grid.size_y_nm, self.grid.size_x_nm),
                    self.method,
                    kernel_shape=self.kernel_shape,
                    beyond_edge=self.beyond_edge,
                    **self.options,
                )
        except InvalidDataError as error:
            return Layer(nothing, None, np.full(self.grid.shape, np.nan), {}, str(error))
        fit = explained(found, image, self.grid, self.kernel_grid, self.position_nm)
        return Layer(found.kernel, found.std, fit, _plain(found.diagnostics))

    def key(self, image: Values) -> str:
        """A text that changes with whatever changes the kernel of an image."""
        return hashlib.sha256(self._facts + image.tobytes()).hexdigest()

    @cached_property
    def _facts(self) -> bytes:
        """What all layers have in common: package, entry with its modules and weights, grids, positions and options."""
        entry = find_entry(self.method)
        weights = json.dumps(weights_of(entry, self.options))
        grids = [self.grid.model_dump_json(), self.kernel_grid.model_dump_json()]
        texts = [__version__, entry.name, code_sha256(entry.path), weights, *grids, str(self.beyond_edge)]
        try:
            options = pickle.dumps(dict(self.options), protocol=5)  # repr would leave out most of a long array
        except Exception as error:
            raise UsageError(f"Layers with these options cannot be kept: {error}; leave out parts.") from error
        return "\n".join(texts).encode() + self.position_nm.tobytes() + options


class KeptLayers:
    """The finished layers of a run, one file each; none if there is no folder."""

    def __init__(self, folder: Path | None, request: Request) -> None:
        self._folder, self._request = folder, request

    def read(self, place: int, image: Values) -> Layer | None:
        """A layer of the same request; None if it is not there."""
        if self._folder is None:
            return None
        try:
            with np.load(self._file(place), allow_pickle=False) as file:
                if str(file["key"]) != self._request.key(image):
                    return None
                std = file.get("std")
                facts = json.loads(str(file["facts"]))
                return Layer(file["kernel"], std, file["fit"], facts["diagnostics"], facts["failure"])
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):
            return None

    def write(self, place: int, image: Values, layer: Layer) -> None:
        """Keep a layer."""
        if self._folder is None:
            return
        arrays: dict[str, Any] = {"kernel": layer.kernel, "fit": layer.fit, "key": self._request.key(image)}
        arrays["facts"] = json.dumps({"diagnostics": layer.diagnostics, "failure": layer.failure})
        if layer.std is not None:
            arrays["std"] = layer.std
        make_folder(self._folder)
        content = io.BytesIO()
        np.savez(content, **arrays)
        write_whole(self._file(place), content.getvalue(), what="Layer")

    @staticmethod
    def discard(folder: Path | None) -> None:
        """Remove the layers that are kept in a folder, and the folder unless it has other files."""
        if folder is None:
            return
        with suppress(OSError):  # of a folder that is not there, or that must stay
            for path in folder.iterdir():
                if _LAYER_FILE.fullmatch(path.name):
                    path.unlink()
            folder.rmdir()

    def _file(self, place: int) -> Path:
        assert self._folder is not None
        return self._folder / f"layer_{place:05}.npz"


def shows_something(image: Values) -> bool:
    """Whether an image has two different values."""
    seen = image[np.isfinite(image)]
    return bool(len(seen) and seen.min() < seen.max())


def unusable(image: Values) -> str:
    """Why an image has no kernel, whatever the method: a sentence, or an empty text."""
    if not shows_something(image):
        return "Its pixels are all the same or NaN."
    try:
        usable_image(image)
    except UsageError as error:
        return str(error)
    return ""


def _plain(value: object) -> Any:
    """What JSON can hold: lists for arrays, None for numbers that are not finite."""
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
