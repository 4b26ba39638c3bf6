"""Tests a model against the model contract in seconds, on a few generated images and without a release."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qpibench.errors import QpibenchError
from qpibench.evaluation.agreement import difference
from qpibench.evaluation.entries import find_entry
from qpibench.evaluation.isolation.declaration import Declaration
from qpibench.evaluation.isolation.failure import ModelFailure
from qpibench.evaluation.isolation.isolated import IsolatedModel, Limits, TrainingRows
from qpibench.evaluation.predictions import as_stored
from qpibench.grid import central_pixels
from qpibench.specs import load_spec
from qpibench.synthesis import get_backend
from qpibench.synthesis.contract import Observations
from qpibench.tasks import Batch, view_batch
from qpibench.tasks.patch import kernel_grid

_OVERRIDES = ("kernels.count=5", "observations_per_kernel=4", "scatterers.max=10")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Outcome for one rule of the contract.

    Attributes
    ----------
    demand
        The rule.
    problem
        How the model breaks the rule, in one sentence; None if it follows the rule.
    traceback
        The model's traceback, if it raised an error.
    exit_code
        That of a command which finds the problem.
    """

    demand: str
    problem: str | None = None
    traceback: str = ""
    exit_code: int = QpibenchError.exit_code


def check(
    model: str,
    *,
    time_limit_s: float = 60,
    memory_limit_gib: float = 4,
    threads: int = 1,
    kernel_px: int | None = None,
) -> list[Finding]:
    """Test whether a model follows the model contract.

    Parameters
    ----------
    model
        A file, ``FILE.py:NAME``, the name of an entry, or a run folder.
    time_limit_s
        Limit in s of fit and of every batch.
    memory_limit_gib
        Limit in GiB of the model's memory above what it had after import.
    threads
        Threads of the model's numerical libraries.
    kernel_px
        Side of the kernels that the model is asked for, the central pixels of images of 64 x 64; all pixels if None.

    Returns
    -------
    list of Finding
        One for each rule, in the order of the tests. Tests that an earlier failure makes impossible are left out.

    Raises
    ------
    UsageError
        If there is no such model, or no patch of ``kernel_px`` pixels.
    """
    entry = find_entry(model)
    kernel_grid(load_spec("mini").grid, kernel_px)  # before the model is started
    limits = Limits(batch_s=time_limit_s, fit_s=time_limit_s, memory_gib=memory_limit_gib)
    findings: list[Finding] = []
    isolated = IsolatedModel(entry, limits=limits, threads=threads)
    loads = "can be imported, has a predict, and declares what it needs"
    try:
        with isolated:
            findings.append(Finding(demand=loads))
            findings.extend(_findings(isolated, kernel_px))
    except ModelFailure as failure:  # only loading lets an error through
        code = failure.of_loading.exit_code
        findings.append(Finding(demand=loads, problem=failure.message, traceback=failure.traceback, exit_code=code))
    except QpibenchError as error:
        findings.append(Finding(demand=loads, problem=f"{error}", exit_code=error.exit_code))
    return findings


def _findings(model: IsolatedModel, kernel_px: int | None) -> Iterable[Finding]:
    images = _SmallSet("mini", kernel_px, model.declaration)
    demands: list[tuple[str, Callable[[IsolatedModel, _SmallSet], str | None]]] = [
        ("predicts floating-point kernels of the right shape for one image and for three", _shapes),
        ("predicts finite numbers", _finite),
        ("predicts the kernel of an image with a single scatterer", _single_scatterer),
        ("does not change its inputs", _inputs_unchanged),
        ("predicts the same kernel for the same image twice", _deterministic),
        ("predicts the same kernel for an image whatever else is in the batch", _independent),
    ]
    if model.declaration.takes_species:
        demands.append(("predicts the kernel of each of two species, told or hidden", _two_species))
    if model.declaration.has_autoencoder:  # the last, as it is given true kernels
        demands.append(("auto-encodes kernels to finite kernels of the same shape", _autoencodes))
    if model.declaration.has_fit:
        demands.insert(0, ("learns from the training role", _learns))
    for demand, test in demands:
        try:
            yield Finding(demand=demand, problem=test(model, images))
        except ModelFailure as failure:
            yield Finding(demand=demand, problem=_advised(failure), traceback=failure.traceback)
            # The remaining rules concern predictions, and there are none.
            return


def _advised(failure: ModelFailure) -> str:
    option = {"time limit": "--time-limit", "memory limit": "--memory-limit"}.get(failure.kind)
    return failure.message if option is None else f"{failure.message}; allow more with {option}"


class _SmallSet:
    """Twenty images of a few kernels, which are wanted on their central pixels; image 0 has a single scatterer."""

    def __init__(self, name: str, kernel_px: int | None, declaration: Declaration) -> None:
        spec = load_spec(name, overrides=(*_OVERRIDES, *_of_pixels(declaration.takes_pixels)))
        backend, _ = get_backend("cpu")
        kernels = backend.kernels(spec)
        drawn = backend.observations(spec, kernels, 0, spec.observation_count).columns()
        alone = int(np.argmin(drawn["n_scatterers"]))
        order = np.roll(np.arange(spec.observation_count), -alone)
        self._columns = {name: values[order] for name, values in drawn.items()}
        self._kernel_px, self._declaration, self._view = kernel_px, declaration, declaration.needs or "positions"
        self.grid, self.kernel_grid = spec.grid, kernel_grid(spec.grid, kernel_px)
        self.kernels = central_pixels(kernels.image, self.kernel_grid.shape)
        self.kernel_index = self._columns["kernel"]

    def batch(self, rows: NDArray[np.integer] | list[int], *, told_species: bool = True) -> Batch:
        chosen = Observations.of_columns({name: values[np.asarray(rows)] for name, values in self._columns.items()})
        mode = None if self._view == "image" else "paper"
        return view_batch(
            chosen, self.grid, self.kernel_grid, view=self._view, map_mode=mode, told_species=told_species
        )

    def with_two_species(self) -> _SmallSet:
        """As many images with two species of scatterers."""
        return _SmallSet("mini_species", self._kernel_px, self._declaration)


def _of_pixels(pixels: tuple[int, int] | None) -> tuple[str, ...]:
    """Overrides of a spec that change the pixels of its images, not their pitch."""
    if pixels is None:
        return ()
    pitch = load_spec("mini").grid.pitch_x_nm
    sides = ((axis, n, (n - 1) * pitch) for axis, n in zip("yx", pixels, strict=True))
    return tuple(text for axis, n, nm in sides for text in (f"grid.n{axis}={n}", f"grid.size_{axis}_nm={nm}"))


def _learns(model: IsolatedModel, images: _SmallSet) -> None:
    rows = TrainingRows(
        kernels=images.kernels,
        kernel_index=images.kernel_index,
        grid=images.grid,
        kernel_grid=images.kernel_grid,
        batch=images.batch,
    )
    model.fit(rows)


def _shapes(model: IsolatedModel, images: _SmallSet) -> None:
    for rows in ([1], [1, 5, 9]):
        model.predict(images.batch(rows))


def _finite(model: IsolatedModel, images: _SmallSet) -> str | None:
    return _not_finite(model.predict(images.batch([1, 5, 9])))


def _two_species(model: IsolatedModel, images: _SmallSet) -> str | None:
    pairs = images.with_two_species()
    problems = (_not_finite(model.predict(pairs.batch([1, 5, 9], told_species=told))) for told in (True, False))
    return next((problem for problem in problems if problem), None)


def _not_finite(prediction: Mapping[str, NDArray[Any]]) -> str | None:
    for name, array in prediction.items():
        wrong = array.size - int(np.isfinite(as_stored(array)).sum())
        if wrong:
            return f"{wrong} of {array.size} values of the {name} are NaN or infinite"
    return None


def _autoencodes(model: IsolatedModel, images: _SmallSet) -> str | None:
    decoded = model.autoencode(images.kernels)
    return None if np.isfinite(as_stored(decoded)).all() else "autoencode returned NaN or infinite values"


def _single_scatterer(model: IsolatedModel, images: _SmallSet) -> str | None:
    kernel = model.predict(images.batch([0]))["kernel"]
    return None if np.isfinite(as_stored(kernel)).all() else "the kernel has NaN or infinite values"


def _inputs_unchanged(model: IsolatedModel, images: _SmallSet) -> str | None:
    _, changed = model.predict_and_compare(images.batch([1, 5, 9]))
    return f"predict changed batch.{' and batch.'.join(changed)}; copy before changing" if changed else None


def _deterministic(model: IsolatedModel, images: _SmallSet) -> str | None:
    first, second = (model.predict(images.batch([1, 5, 9])) for _ in range(2))
    return difference(first, second, "the second time")


def _independent(model: IsolatedModel, images: _SmallSet) -> str | None:
    together = model.predict(images.batch([1, 5, 9]))
    for rows, how in (([9, 1, 5], "in another order"), ([1, 3, 17, 12], "among others"), ([1], "alone")):
        here = [rows.index(row) for row in (1, 5, 9) if row in rows]
        there = [(1, 5, 9).index(row) for row in (1, 5, 9) if row in rows]
        predicted = model.predict(images.batch(rows))
        problem = difference(
            {name: array[there] for name, array in together.items()},
            {name: array[here] for name, array in predicted.items()},
            how,
        )
        if problem:
            return problem
    return None
