"""Extracts the kernels of several images that share their scatterers, such as a map at many energies."""

from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qpibench import __version__
from qpibench.errors import InvalidDataError, QpibenchError, UsageError
from qpibench.evaluation.entries import find_entry
from qpibench.evaluation.entry_code import code_sha256
from qpibench.extraction.extract import extract
from qpibench.extraction.measured import doubts, measured
from qpibench.files import make_folder, write_whole
from qpibench.grid import Grid
from qpibench.physics.residual import forward_images
from qpibench.processors import processors, thread_variables

if TYPE_CHECKING:
    from qpibench.extraction.measured import Origin

Values = NDArray[np.float64]

Progress = Callable[[int, int], None]
"""Called with the number of layers that are extracted and the number of all layers."""


class Layer(NamedTuple):
    """The kernel of one image; a layer whose kernel could not be extracted has NaN and a sentence that says why."""

    kernel: Values
    std: Values | None
    fit: Values
    diagnostics: Mapping[str, Any]
    failure: str = ""


@dataclass(frozen=True, kw_only=True)
class Kernels:
    """The kernels of several images.

    Attributes
    ----------
    grid, kernel_grid
        Grids of the images and of the kernels, of the same pitch.
    image
        (layer, y, x): the images; NaN where a pixel is not used.
    position_nm
        (scatterer, 2): x and y from the centre of the field.
    method
        Name of the entry.
    kernel, std
        (layer, y, x) in the unit of the images; NaN for a layer without a kernel. ``std`` has NaN for an entry that
        gives none.
    fit
        (layer, y, x) on the grid of the images: the kernels at all scatterers.
    diagnostics
        For each layer the other findings of the entry by name.
    failures
        For each layer a sentence that says why it has no kernel, or an empty text.
    """

    grid: Grid
    kernel_grid: Grid
    image: Values
    position_nm: Values
    method: str
    kernel: Values
    std: Values
    fit: Values
    diagnostics: tuple[Mapping[str, Any], ...]
    failures: tuple[str, ...]

    @property
    def doubts(self) -> tuple[str, ...]:
        """Sentences on doubtful positions, and on images that were resampled for the entry."""
        resampled = dict.fromkeys(str(each["resampled"]) for each in self.diagnostics if "resampled" in each)
        return (*doubts(self.position_nm, self.grid), *resampled)


@dataclass(frozen=True, kw_only=True)
class _Request:
    """How every layer is extracted."""

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
        if not shows_something(image):
            return Layer(nothing, None, np.full(self.grid.shape, np.nan), {}, "Its pixels are all the same or NaN.")
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
        whole, window = (
            (found.kernel, self.kernel_grid) if found.kernel_full is None else (found.kernel_full, self.grid.offsets)
        )
        fit = forward_images(self.grid, window, whole, self.position_nm[None])[0]
        return Layer(found.kernel, found.std, fit, _plain(found.diagnostics))

    def key(self, image: Values) -> str:
        """A text that changes with whatever changes the kernel of an image."""
        return hashlib.sha256(self._facts + image.tobytes()).hexdigest()

    @cached_property
    def _facts(self) -> bytes:
        """What all layers have in common: package, entry with its modules and weights, grids, positions and options."""
        entry = find_entry(self.method)
        weights = "" if entry.run is None else str(entry.run.weights_sha256)
        grids = [self.grid.model_dump_json(), self.kernel_grid.model_dump_json()]
        asked = [str(self.beyond_edge), repr(dict(self.options))]
        texts = [__version__, entry.name, code_sha256(entry.path), weights, *grids, *asked]
        return "\n".join(texts).encode() + self.position_nm.tobytes()


def extract_stack(
    images: ArrayLike,
    positions_nm: ArrayLike,
    size_nm: float | Sequence[float],
    method: str | os.PathLike[str] = "polar",
    *,
    kernel_shape: int | Sequence[int] | None = None,
    origin: Origin = "centre",
    beyond_edge: bool = False,
    workers: int | None = None,
    parts: str | Path | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Kernels:
    """Extract the kernel of every image of a stack, with the same scatterers.

    Parameters
    ----------
    images
        (layer, y, x), or (y, x) for one image; as for :func:`qpibench.extraction.extract`.
    positions_nm, size_nm, method, kernel_shape, origin, beyond_edge, **options
        As for :func:`qpibench.extraction.extract`.
    workers
        Number of processes; by default one for each processor, and not more than there are layers. With 1, this
        process does the work.
    parts
        Folder in which every finished layer is kept. A layer that is there from an interrupted run of the same request
        is taken from there. None: nothing is kept.
    progress
        Called after every layer.

    Raises
    ------
    UsageError
        If an argument cannot be used.
    InvalidDataError
        If there is no scatterer or one lies outside the field, or no layer has a kernel.
    QpibenchError
        If a part cannot be written, or a process was killed.
    """
    stack = _stack(images)
    if workers is not None and workers < 1:
        raise UsageError(f"workers must be 1 or more, found {workers}.")
    shown = next((image for image in stack if shows_something(image)), stack[0])
    given = measured(shown, positions_nm, size_nm, kernel_shape=kernel_shape, origin=origin, beyond_edge=beyond_edge)
    request = _Request(
        position_nm=given.position_nm,
        grid=given.grid,
        kernel_grid=given.kernel_grid,
        kernel_shape=kernel_shape,
        method=os.fspath(method),
        beyond_edge=beyond_edge,
        options=options,
    )
    kept = _Parts(None if parts is None else Path(parts), request)
    layers = {place: layer for place, image in enumerate(stack) if (layer := kept.read(place, image)) is not None}
    missing = [place for place in range(len(stack)) if place not in layers]
    count = max(1, min(processors() if workers is None else workers, len(missing)))
    for place, layer in _extracted(request, stack, missing, count):
        layers[place] = layer
        kept.write(place, stack[place], layer)
        if progress is not None:
            progress(len(layers), len(stack))
    found = [layers[place] for place in range(len(stack))]
    if all(layer.failure for layer in found):
        kept.discard()
        raise InvalidDataError(found[0].failure)
    unknown = np.full(given.kernel_grid.shape, np.nan)
    return Kernels(
        grid=given.grid,
        kernel_grid=given.kernel_grid,
        image=stack,
        position_nm=given.position_nm,
        method=find_entry(request.method).name,
        kernel=np.array([layer.kernel for layer in found]),
        std=np.array([unknown if layer.std is None else layer.std for layer in found]),
        fit=np.array([layer.fit for layer in found]),
        diagnostics=tuple(layer.diagnostics for layer in found),
        failures=tuple(layer.failure for layer in found),
    )


def _stack(images: ArrayLike) -> Values:
    values = np.ma.filled(np.ma.asarray(images).astype(np.float64), np.nan)
    stack = values[None] if values.ndim == 2 else values
    if stack.ndim != 3 or not len(stack):
        raise UsageError(f"images must have the shape (layer, y, x), found {values.shape}.")
    return np.ascontiguousarray(stack)


def shows_something(image: Values) -> bool:
    """Whether an image has two different values."""
    seen = image[np.isfinite(image)]
    return bool(len(seen) and seen.min() < seen.max())


def _extracted(request: _Request, stack: Values, places: Sequence[int], workers: int) -> Iterator[tuple[int, Layer]]:
    """Extract layers, in the order in which they are finished."""
    if workers == 1:
        for place in places:
            yield place, request.layer(stack[place])
        return
    # The children read the variables when they are started, which the pool does as layers are given to it.
    with (
        _environment(thread_variables(processes=workers)),
        ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool,
    ):
        with _without_script():
            waiting: dict[Future[Layer], int] = {pool.submit(request.layer, stack[place]): place for place in places}
        try:
            for done in as_completed(waiting):
                yield waiting[done], done.result()
        except BrokenProcessPool:
            raise QpibenchError(
                "A process that extracts kernels was killed, perhaps for want of memory; use fewer workers."
            ) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _without_script() -> Iterator[None]:
    """Start processes that do not import the script of this one: without a guard it would run in each of them."""
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


class _Parts:
    """The finished layers of a run, one file each; none if there is no folder."""

    def __init__(self, folder: Path | None, request: _Request) -> None:
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

    def discard(self) -> None:
        """Remove the folder with its layers, none of which has a kernel."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _file(self, place: int) -> Path:
        assert self._folder is not None
        return self._folder / f"layer_{place:05}.npz"


def _plain(value: object) -> Any:
    """What JSON can hold: lists for arrays, None for numbers that are not finite."""
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
