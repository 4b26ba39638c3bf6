"""Measures predictions image by image: the columns of the metrics for every image of a task."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qpibench.errors import InvalidDataError
from qpibench.evaluation.facts import Facts, bound_of, facts_of, has_bound
from qpibench.evaluation.matching import best_order, in_order, renamed
from qpibench.evaluation.metrics import Case, Metric, PerImage
from qpibench.evaluation.predictions import Predictions
from qpibench.grid import Grid, central_pixels
from qpibench.tasks.species import first_kernel, told_species_fields

if TYPE_CHECKING:
    from qpibench.release import Release

Progress = Callable[[int, int], None]
"""Called with the number of images measured and their total."""

_BLOCK = 64  # images at once: in float64 they fit into the processor's cache


@dataclass(frozen=True, kw_only=True)
class ImageScores:
    """Measured values of every scored image of a task, in the order of the predictions file.

    Attributes
    ----------
    index
        (n,) int32: row of the release.
    kernel
        (n,) int32: its kernel, with two species the first of its pair.
    stratum
        (n,) int32: that of the kernel.
    stratum_labels
        Strata in words.
    n_scatterers
        (n,) int32.
    failed
        (n,) bool: whether the prediction is not finite.
    of_kernels
        (n, species) float64 under the name of each column: the values of the kernels of each image. A failed image has
        the worse of the value of predicting zeros and that of the entry's worst image of the task, species by species
        (that of zeros if all failed). In the first column of a ratio it has 0 where the second one is 0.
    """

    index: NDArray[np.int32]
    kernel: NDArray[np.int32]
    stratum: NDArray[np.int32]
    stratum_labels: Mapping[int, str]
    n_scatterers: NDArray[np.int32]
    failed: NDArray[np.bool_]
    of_kernels: Mapping[str, NDArray[np.float64]]

    def __len__(self) -> int:
        return len(self.index)

    @property
    def columns(self) -> dict[str, NDArray[np.float64]]:
        """The mean over the kernels of each image, (n,), under the name of each column."""
        return {name: values.mean(axis=1) for name, values in self.of_kernels.items()}


def score_images(
    predictions: Predictions,
    release: Release,
    task: str,
    *,
    metrics: Sequence[Metric],
    progress: Progress | None = None,
) -> ImageScores:
    """Measure every image of a task in a predictions file.

    Parameters
    ----------
    predictions
        An open predictions file of the release.
    release
        The release.
    task
        One of the file's tasks.
    metrics
        Metrics whose columns are measured.
    progress
        Called with the number of images measured and their total.

    Raises
    ------
    InvalidDataError
        If one of the true kernels is zero everywhere or not finite, the predicted pixels lie inside the core of the
        kernels, or the release is damaged; see :meth:`~qpibench.release.Release.check`.
    """
    index = predictions.index(task)
    kernel = first_kernel(release)[index]
    measures = {column.name: column for metric in metrics for column in metric.columns}
    uses = {name for column in measures.values() for name in column.uses}
    fields: dict[str, tuple[str, ...]] = {"observation": ("image",), "position_nm": (release.told_field,)}
    fields["told_species"] = told_species_fields(release)
    if has_bound(release):
        fields["bound"] = (release.told_field, "noise_sigma")
    release.check(*(field for used in fields if used in uses for field in fields[used]))
    facts = facts_of(release)
    if "truth" in uses or predictions.n_species > 1:
        shown = np.unique(release.observation_kernel[index])
        _check_truth(central_pixels(release.kernels.image, predictions.kernel_grid.shape), shown, release)
        _check_core(predictions.kernel_grid, facts.core_nm, release)
    failed = np.zeros(len(index), dtype=np.bool_)
    columns = {name: np.empty((len(index), predictions.n_species)) for name in measures}
    for start in range(0, len(index), _BLOCK):
        rows = slice(start, start + _BLOCK)
        cases, failed[rows] = read_cases(predictions, release, task, rows, uses=uses, facts=facts)
        # Case by case, because columns of a metric share what they compute of the latest one.
        measured = [{name: column.measure(case) for name, column in measures.items()} for case in cases]
        for name in measures:
            columns[name][rows] = np.stack([each[name] for each in measured], axis=1)
        if progress is not None:
            progress(min(start + _BLOCK, len(index)), len(index))
    if failed.any() and not failed.all():
        for name, column in measures.items():
            if column.worse is None:
                continue
            columns[name][failed] = _worse(column, columns[name][failed], columns[name][~failed])
        _leave_out(metrics, columns, failed)
    stratum = release.stratum[kernel]
    return ImageScores(
        index=index,
        kernel=kernel,
        stratum=stratum,
        stratum_labels={int(each): release.family.stratum_label(int(each)) for each in np.unique(stratum)},
        n_scatterers=release.read("observations/n_scatterers")[index],
        failed=failed,
        of_kernels=columns,
    )


def read_cases(
    predictions: Predictions, release: Release, task: str, rows: slice, *, uses: Collection[str], facts: Facts
) -> tuple[tuple[Case, ...], NDArray[np.bool_]]:
    """Return some images of a task as a case for each species, and which of them have no finite prediction.

    Parameters
    ----------
    predictions, release, task
        As in :func:`score_images`.
    rows
        Rows of the images within the task.
    uses
        Arrays to read besides the predicted kernels, see :class:`~qpibench.evaluation.metrics.PerImage`.
    facts
        Those of the release, see :func:`~qpibench.evaluation.facts.facts_of`.

    Returns
    -------
    tuple of Case
        The images, with the kernels of one species each; predictions that are missing or not finite are replaced by
        zeros. With two species, the predicted kernels are in the order of :mod:`qpibench.evaluation.matching`.
    (n,) bool
        Whether the prediction is missing or not finite.
    """
    index = predictions.index(task)[rows]
    kernels = release.observation_kernel[index].reshape(len(index), -1)
    predicted = _of_species(predictions.kernel(task, rows), kernels)
    failed = np.asarray(~np.isfinite(predicted).all(axis=(1, 2, 3)))
    predicted[failed] = 0
    grid, pixels = predictions.kernel_grid, release.grid.offsets.shape
    truth, order = None, np.broadcast_to(np.arange(kernels.shape[1]), kernels.shape)
    if "truth" in uses or predictions.order_is_free:
        truth = central_pixels(release.kernels.image[kernels], grid.shape)
    if truth is not None and predictions.order_is_free:
        order = best_order(predicted, truth)

    def stated(values: NDArray[np.float32] | None, shape: tuple[int, int]) -> NDArray[np.float64]:
        if values is None:
            return np.zeros((*kernels.shape, *shape))
        kept = _of_species(values, kernels)
        kept[failed | ~np.isfinite(kept).all(axis=(1, 2, 3))] = 0
        return in_order(kept, order)

    predicted = in_order(predicted, order)
    std = stated(predictions.std(task, rows), grid.shape) if "std" in uses else None
    full = stated(predictions.kernel_full(task, rows), pixels) if "kernel_full" in uses else None
    shared = {
        "image_grid": release.grid,
        "observation": release.image(index) if "observation" in uses else None,
        "position_nm": release.told_position_nm(index) if "position_nm" in uses else None,
        "bound": bound_of(release, index, grid) if "bound" in uses else None,
        **_species(predictions, release, task, rows, order=order, failed=failed, uses=uses),
    }
    cases = tuple(
        Case(
            grid=grid,
            prediction=predicted[:, species],
            truth=None if truth is None else truth[:, species],
            std=None if std is None else std[:, species],
            kernel_full=None if full is None else full[:, species],
            **shared,
            **facts.of(kernels[:, species], uses),
        )
        for species in range(kernels.shape[1])
    )
    return cases, failed


def _of_species(values: NDArray[np.float32], kernels: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return values of kernels as (n, species, y, x) float64, also where there is one species."""
    return values.reshape(*kernels.shape, *values.shape[-2:]).astype(np.float64)


def _species(
    predictions: Predictions,
    release: Release,
    task: str,
    rows: slice,
    *,
    order: NDArray[np.intp],
    failed: NDArray[np.bool_],
    uses: Collection[str],
) -> dict[str, Any]:
    """Return the fields of a case with the species of scatterers, predicted (by the number of the true) and true."""
    if "species" not in uses:
        return {}
    told = np.empty((len(order), 0), np.int32)  # with one species there is nothing to tell
    for field in told_species_fields(release):
        told = release.take(field, predictions.index(task)[rows])
    predicted = predictions.species(task, rows)
    named = np.full(told.shape, -1) if predicted is None else renamed(predicted, order)
    return {"species": np.where(failed[:, None], -1, named), "told_species": told}


def _worse(column: PerImage, of_zeros: NDArray[np.float64], finite: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the values of failed images, from the values of zeros and those of the images with a prediction."""
    worse, worst = (np.minimum, finite.min(axis=0)) if column.worse == "lower" else (np.maximum, finite.max(axis=0))
    values: NDArray[np.float64] = worse(of_zeros, worst)
    return values


def _leave_out(
    metrics: Sequence[Metric], columns: Mapping[str, NDArray[np.float64]], failed: NDArray[np.bool_]
) -> None:
    """Keep failed images out of ratios over other images: where the second column is 0, the first one is 0 as well."""
    for metric in metrics:
        if len(metric.columns) == 2:
            value, over = (columns[column.name] for column in metric.columns)
            value[failed[:, None] & (over == 0)] = 0


def _check_core(grid: Grid, core_nm: float, release: Release) -> None:
    if (grid.x_nm**2 + grid.y_nm[:, None] ** 2 < core_nm**2).all():
        raise InvalidDataError(
            f"The {grid.ny} x {grid.nx} pixels that are predicted lie inside the core of the kernels of release"
            f" '{release.name}' ({core_nm:g} nm around the scatterer), whose errors do not count; predict more pixels."
        )


def _check_truth(truth: NDArray[np.float32], kernels: NDArray[np.int32], release: Release) -> None:
    for kernel in kernels:
        if not np.isfinite(truth[kernel]).all() or not truth[kernel].any():
            raise InvalidDataError(
                f"Kernel {kernel} of release '{release.name}' is zero everywhere or not finite: an error relative to it"
                " has no meaning; make the release without it."
            )
