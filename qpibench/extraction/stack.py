"""Extracts the kernels of several images that share their scatterers, such as a map at many energies."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from qpibench.errors import InvalidDataError, QpibenchError, UsageError
from qpibench.evaluation.entries import find_entry
from qpibench.extraction.explained import scatterers_of
from qpibench.extraction.layers import KeptLayers, Layer, Request, Values, unusable
from qpibench.extraction.measured import doubts, measured, real_numbers
from qpibench.grid import Grid
from qpibench.processors import processors, thread_variables

if TYPE_CHECKING:
    from qpibench.extraction.measured import Origin

Progress = Callable[[int, int], None]
"""Called with the number of layers that are extracted and the number of all layers."""


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
        (layer, y, x) on the grid of the images: what the entry explains of them, the kernels at all scatterers and the
        background of the instrument; see :func:`qpibench.extraction.explained.explained`.
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

    def scatterers(self, layer: int) -> tuple[Values, Values]:
        """Places (scatterer, 2) in nm and strengths (scatterer,) in a layer: as the entry found them, or as told."""
        return scatterers_of(self.diagnostics[layer], self.position_nm)

    @property
    def doubts(self) -> tuple[str, ...]:
        """Sentences on doubtful positions, and on images that were resampled for the entry."""
        resampled = dict.fromkeys(str(each["resampled"]) for each in self.diagnostics if "resampled" in each)
        return (*doubts(self.position_nm, self.grid), *resampled)


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
        If an argument cannot be used; with ``parts``, also if an option cannot be pickled.
    InvalidDataError
        If there is no scatterer or one lies outside the field, or no layer has a kernel; with ``parts``, also if a
        file of the entry's weights is missing or is not that of its run.
    QpibenchError
        If a part cannot be written, or a process was killed.
    """
    stack = _stack(images)
    if workers is not None and workers < 1:
        raise UsageError(f"workers must be 1 or more, found {workers}.")
    shown = next((image for image in stack if not unusable(image)), stack[0])
    given = measured(shown, positions_nm, size_nm, kernel_shape=kernel_shape, origin=origin, beyond_edge=beyond_edge)
    request = Request(
        position_nm=given.position_nm,
        grid=given.grid,
        kernel_grid=given.kernel_grid,
        kernel_shape=kernel_shape,
        method=os.fspath(method),
        beyond_edge=beyond_edge,
        options=options,
    )
    folder = None if parts is None else Path(parts)
    kept = KeptLayers(folder, request)
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
        kept.discard(folder)
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
    values = real_numbers("images", images)
    stack = values[None] if values.ndim == 2 else values
    if stack.ndim != 3 or not len(stack):
        raise UsageError(f"images must have the shape (layer, y, x), found {values.shape}.")
    return np.ascontiguousarray(stack)


def _extracted(request: Request, stack: Values, places: Sequence[int], workers: int) -> Iterator[tuple[int, Layer]]:
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
