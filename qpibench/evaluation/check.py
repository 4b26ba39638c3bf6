"""The model contract, tested in seconds on a small set of images that needs no release."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qpibench.errors import QpibenchError
from qpibench.evaluation.entries import find_entry
from qpibench.evaluation.isolation.failure import ModelFailure
from qpibench.evaluation.isolation.isolated import IsolatedModel, Limits, TrainingRows
from qpibench.families import get_family
from qpibench.families.eq7 import FOLDS
from qpibench.grid import Grid
from qpibench.physics.superposition import kernel_image, superpose
from qpibench.synthesis.contract import Observations
from qpibench.tasks import Batch, view_batch

TOLERANCE = 1e-4
"""How far two answers to the same image may be apart, relative to the largest value of the first.

A convolution in float32 adds its terms in another order for another number of images. Through all layers of the learned
entries that makes up to 2e-5 of the largest value, measured on a CPU with 1, 3, 8 and 25 images, and somewhat more in
deeper networks and on GPUs. The limit is below the three digits that a score shows, so nothing is gained below it,
while a model that looks at its batch mates differs by far more.
"""

_GRID = Grid(ny=64, nx=64, size_y_nm=10.0, size_x_nm=10.0)
_IMAGES_PER_KERNEL = 4


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One demand of the contract.

    Attributes
    ----------
    demand
        What is demanded.
    problem
        One sentence, or None if the demand is met.
    traceback
        The model's traceback, if it raised an error.
    """

    demand: str
    problem: str | None = None
    traceback: str = ""


def check(model: str, *, time_limit_s: float = 60, memory_limit_gib: float = 4) -> list[Finding]:
    """Test whether a model keeps its contract.

    Parameters
    ----------
    model
        A file, ``FILE.py:NAME``, the name of an entry, or a run folder.
    time_limit_s
        Wall-clock limit in s of fit and of every batch.
    memory_limit_gib
        Limit in GiB of the model's memory above what it had after import.

    Returns
    -------
    list of Finding
        In the order of the tests. Those that cannot be made after a failure are left out.

    Raises
    ------
    UsageError
        If there is no such model.
    """
    entry = find_entry(model)
    limits = Limits(batch_s=time_limit_s, fit_s=time_limit_s, memory_gib=memory_limit_gib)
    findings: list[Finding] = []
    isolated = IsolatedModel(entry, limits=limits)
    loads = "can be imported, has a predict, and declares what it needs"
    try:
        with isolated:
            findings.append(Finding(demand=loads))
            findings.extend(_findings(isolated))
    except (ModelFailure, QpibenchError) as error:  # only loading lets an error through
        findings.append(Finding(demand=loads, problem=f"{error}", traceback=getattr(error, "traceback", "")))
    return findings


def _findings(model: IsolatedModel) -> Iterable[Finding]:
    images = _SyntheticImages(view=model.declaration.needs or "positions")
    demands: list[tuple[str, Callable[[IsolatedModel, _SyntheticImages], str | None]]] = [
        ("answers one image and three with floating-point kernels of the right shape", _answers),
        ("answers with finite numbers", _finite),
        ("answers an image with a single scatterer", _single_scatterer),
        ("does not change its inputs", _inputs_unchanged),
        ("answers the same image the same way twice", _deterministic),
        ("answers an image the same way whatever else is in the batch", _independent),
    ]
    if model.declaration.has_fit:
        demands.insert(0, ("learns from the training role", _learns))
    for demand, test in demands:
        try:
            yield Finding(demand=demand, problem=test(model, images))
        except ModelFailure as failure:
            yield Finding(demand=demand, problem=failure.message, traceback=failure.traceback)
            # The demands that follow are about answers, and there are none.
            return


class _SyntheticImages:
    """Superpositions of a few kernels of eq. 7; image 0 has a single scatterer."""

    def __init__(self, *, view: str) -> None:
        rng = np.random.default_rng(20260101)
        count = len(FOLDS) * _IMAGES_PER_KERNEL
        self.kernel_index = np.repeat(np.arange(len(FOLDS), dtype=np.int32), _IMAGES_PER_KERNEL)
        family = get_family("eq7")
        parameters = [_parameters(fold, rng) for fold in FOLDS]
        self.kernels = np.stack([kernel_image(_GRID, family, **given) for given in parameters]).astype(np.float32)
        n_scatterers = rng.integers(1, 11, count)
        n_scatterers[0] = 1
        position_nm = rng.uniform(-5, 5, (count, 10, 2))
        position_nm[np.arange(10) >= n_scatterers[:, None]] = np.nan
        image = [
            superpose(_GRID, family, positions, **parameters[kernel])
            for positions, kernel in zip(position_nm, self.kernel_index, strict=True)
        ]
        self._view = view
        self._observations = Observations(
            image=np.stack(image).astype(np.float32),
            kernel=self.kernel_index,
            n_scatterers=n_scatterers.astype(np.int32),
            position_nm=position_nm,
        )

    def batch(self, rows: NDArray[np.integer] | list[int]) -> Batch:
        chosen = np.asarray(rows)
        all_of = self._observations
        part = Observations(
            image=all_of.image[chosen],
            kernel=all_of.kernel[chosen],
            n_scatterers=all_of.n_scatterers[chosen],
            position_nm=all_of.position_nm[chosen],
        )
        return view_batch(part, _GRID, view=self._view, map_mode=None if self._view == "image" else "paper")


def _parameters(fold: int, rng: np.random.Generator) -> dict[str, Any]:
    phi1 = rng.uniform(0, np.pi) if fold else np.pi / 2
    wavelength_nm, decay_nm = rng.uniform(0.6, 3), rng.uniform(1, 5)
    return {"fold": fold, "phi1": phi1, "B": np.pi / wavelength_nm, "phi2": rng.uniform(0, np.pi), "C": decay_nm**-2}


def _learns(model: IsolatedModel, images: _SyntheticImages) -> None:
    rows = TrainingRows(
        kernels=images.kernels,
        kernel_index=images.kernel_index,
        grid=_GRID,
        kernel_grid=_GRID,
        batch=images.batch,
    )
    model.fit(rows)


def _answers(model: IsolatedModel, images: _SyntheticImages) -> None:
    for rows in ([1], [1, 5, 9]):
        model.predict(images.batch(rows))


def _finite(model: IsolatedModel, images: _SyntheticImages) -> str | None:
    for name, array in model.predict(images.batch([1, 5, 9])).items():
        wrong = array.size - int(np.isfinite(array).sum())
        if wrong:
            return f"{wrong} of {array.size} values of the {name} are NaN or infinite"
    return None


def _single_scatterer(model: IsolatedModel, images: _SyntheticImages) -> str | None:
    kernel = model.predict(images.batch([0]))["kernel"]
    return None if np.isfinite(kernel).all() else "the kernel has NaN or infinite values"


def _inputs_unchanged(model: IsolatedModel, images: _SyntheticImages) -> str | None:
    _, changed = model.predict_and_compare(images.batch([1, 5, 9]))
    return f"predict changed batch.{' and batch.'.join(changed)}; copy before changing" if changed else None


def _deterministic(model: IsolatedModel, images: _SyntheticImages) -> str | None:
    first, second = (model.predict(images.batch([1, 5, 9])) for _ in range(2))
    return difference(first, second, "the second time")


def _independent(model: IsolatedModel, images: _SyntheticImages) -> str | None:
    together = model.predict(images.batch([1, 5, 9]))
    for rows, how in (([9, 1, 5], "in another order"), ([1, 3, 17, 12], "among others"), ([1], "alone")):
        here = [rows.index(row) for row in (1, 5, 9) if row in rows]
        there = [(1, 5, 9).index(row) for row in (1, 5, 9) if row in rows]
        answer = model.predict(images.batch(rows))
        problem = difference(
            {name: array[there] for name, array in together.items()},
            {name: array[here] for name, array in answer.items()},
            how,
        )
        if problem:
            return problem
    return None


def difference(first: dict[str, NDArray[Any]], second: dict[str, NDArray[Any]], how: str) -> str | None:
    """How two answers to the same images differ by more than :data:`TOLERANCE`: a clause, or None."""
    if first.keys() != second.keys():
        return f"the answer has {', '.join(first)} once and {', '.join(second)} {how}"
    for name, array in first.items():
        apart = np.max(np.abs(second[name].astype(np.float64) - array.astype(np.float64)))
        scale = np.max(np.abs(array))
        if not apart <= TOLERANCE * scale:
            return f"the {name} differs by {apart:.3g} {how}, where its largest value is {scale:.3g}"
    return None
