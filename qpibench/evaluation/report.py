"""The report: what a result says and what the predictions look like, as one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from qpibench.errors import UsageError
from qpibench.evaluation import metrics
from qpibench.evaluation import report_figures as figures
from qpibench.evaluation.latents import (
    MAX_IMAGES,
    MIN_NEIGHBOURS,
    neighbour_embedding,
    principal_components,
    read_latents,
)
from qpibench.evaluation.result import PRIMARY_METRIC, Metrics, Result, TrainingRecord
from qpibench.grid import Grid
from qpibench.pages.environment import page_environment
from qpibench.pages.notation import interval, number, whole
from qpibench.pages.whole_file import write_whole
from qpibench.physics.activation import activation_map

if TYPE_CHECKING:
    from qpibench.evaluation.predictions import Predictions
    from qpibench.release import Release

METRIC_LABELS = {
    "rel_l2_capped": "relative L2, capped",
    "rel_l2_mean": "relative L2, mean",
    "rel_l2_median": "relative L2, median",
    "rel_l2_q90": "relative L2, 90 % quantile",
    "failure_rate": "failure rate",
    "mae": "MAE",
    "mse": "MSE",
    "rmse": "RMSE",
    "mae_published": "MAE, published convention",
    "mse_published": "MSE, published convention",
    "rmse_published": "RMSE, published convention",
    "ssim": "SSIM",
    "psnr": "PSNR (dB)",
}
"""Names of the metrics on the pages, in the order in which they are shown."""

_VIEWS = {
    "image": "the observation alone",
    "raster": "the observation and its activation map",
    "positions": "the observation, its activation map and the scatterers' coordinates",
    "oracle": "the true kernel",
}
_CHUNK = 1024
_FOLDS = {-1: "unknown", 0: "total"}


@dataclass(frozen=True)
class Pick:
    """An image chosen by its rank: what to call it, and its row among the scored images."""

    label: str
    row: int


def pick_by_rank(errors: NDArray[np.float64], *, worst: int = 2, best: int = 1) -> list[Pick]:
    """Choose the worst, the median and the best images.

    Parameters
    ----------
    errors
        (n,) error of every image; those that are not finite were not answered and are not chosen.
    worst, best
        How many of each.

    Returns
    -------
    list of Pick
        From the worst to the best, none twice. Of equal errors the earlier row is the better one; of an even number of
        images the median is the better of the middle two.
    """
    answered = np.flatnonzero(np.isfinite(errors))
    ranked = answered[np.argsort(errors[answered], kind="stable")]
    n = len(ranked)
    labels = {n - 1 - place: _ordinal(place, "worst") for place in reversed(range(min(worst, n)))}
    labels |= {place: _ordinal(place, "best") for place in reversed(range(min(best, n)))}
    if n:
        labels[(n - 1) // 2] = "Median"
    return [Pick(labels[rank], int(ranked[rank])) for rank in sorted(labels, reverse=True)]


def report(result: Result, predictions: Predictions, release: Release, path: str | Path) -> None:
    """Write the report of a result as one HTML file that loads nothing else.

    The same result, predictions and release give the same bytes.

    Parameters
    ----------
    result
        What :func:`qpibench.evaluation.score.score` made of the predictions.
    predictions
        The opened predictions file.
    release
        The release that was predicted.
    path
        The HTML file to write; an existing one is replaced.

    Raises
    ------
    UsageError
        If the folder is missing or cannot be written to.
    QpibenchError
        If writing fails, as on a full disk.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise UsageError(f"Report '{path}' cannot be written: there is no folder '{path.parent}'.")
    write_whole(path, _render(result, predictions, release).encode(), what="Report")


def _render(result: Result, predictions: Predictions, release: Release) -> str:
    environment = page_environment("qpibench.evaluation")
    errors = {task: _relative_errors(predictions, release, task) for task in result.tasks}
    tasks = [_task(result, predictions, release, name, errors[name]) for name in sorted(result.tasks)]
    grid = release.grid
    level = f"{100 * result.intervals.level:g} %"
    training = result.model.training
    return environment.get_template("report.html.j2").render(
        result=result,
        pixels=f"{grid.nx} by {grid.ny} pixels",
        field=f"{grid.size_x_nm:g} by {grid.size_y_nm:g} nm",
        view_text=_VIEWS.get(result.view, result.view),
        tasks=tasks,
        trained=_trained_steps(training) if training is not None and training.fraction < 1 else "",
        subsets=[f"{task['subset']} images of task {task['name']}" for task in tasks if task["subset"]],
        any_failed=any(task.n_failed for task in result.tasks.values()),
        metrics=_metric_rows(result),
        level=level,
        interval_text=f"In brackets the {level} interval: {result.intervals.method}.",
        plots=_plots(result, errors),
        latents=_latents(predictions, release),
        rings=bool(np.isfinite(release.family.wavevector(release.kernels.parameters)).any()),
        provenance=_provenance(result),
    )


def _relative_errors(predictions: Predictions, release: Release, task: str) -> NDArray[np.float64]:
    """Relative L2 error of every scored image, (n,); not finite where there was no answer."""
    kernels = release.observation_kernel[predictions.index(task)]
    errors = np.empty(len(kernels))
    for start in range(0, len(kernels), _CHUNK):
        rows = slice(start, start + _CHUNK)
        with np.errstate(invalid="ignore", over="ignore"):
            errors[rows] = metrics.relative_l2(release.kernels.image[kernels[rows]], predictions.kernel(task, rows))
    return errors


def _task(
    result: Result, predictions: Predictions, release: Release, name: str, errors: NDArray[np.float64]
) -> dict[str, Any]:
    scores = result.tasks[name]
    answered = int(np.isfinite(errors).sum())
    index = predictions.index(name)
    return {
        "name": name,
        "scored": f"{whole(scores.n_images)} of {whole(scores.n_available)} images",
        "subset": f"{whole(scores.n_images)} of {whole(scores.n_available)}" if scores.subset else "",
        "failed": f"{whole(scores.n_failed)} of {whole(scores.n_images)}",
        "answered": whole(answered),
        "cases": [
            _case(result, release, pick, int(index[pick.row]), predictions.kernel(name, slice(pick.row, pick.row + 1)))
            for pick in pick_by_rank(errors)
        ],
    }


def _case(
    result: Result, release: Release, pick: Pick, observation: int, prediction: NDArray[np.float32]
) -> dict[str, Any]:
    """One image of the gallery: its heading and its panels. ``prediction`` is (1, y, x)."""
    shown = release.observations([observation])
    kernel, scatterers = int(shown.kernel[0]), int(shown.n_scatterers[0])
    kernels = release.kernels
    truth = kernels.image[kernel : kernel + 1]
    facts = [
        f"image {observation}",
        f"kernel {kernel}",
        f"{scatterers} scatterer" + "s" * (scatterers != 1),
        *release.family.describe({name: values[kernel] for name, values in kernels.parameters.items()}),
        f"relative L2 {number(metrics.relative_l2(truth, prediction)[0])}",
        f"MAE {number(metrics.absolute_error(truth, prediction)[0])}",
        f"RMSE {number(metrics.root_mean_square_error(truth, prediction)[0])}",
    ]
    q = float(release.family.wavevector(kernels.parameters)[kernel])
    panels = _panels(
        release.grid,
        observation=shown.image[0],
        activation=activation_map(release.grid, shown.told, mode=result.map_mode or "exact")[0],
        truth=truth[0],
        prediction=prediction[0],
        ring_q=q if np.isfinite(q) else None,
    )
    return {
        "label": pick.label,
        "facts": facts,
        "panels": [(panel.title, Markup(figures.draw_panel(panel, release.grid))) for panel in panels],
    }


def _panels(
    grid: Grid,
    *,
    observation: NDArray[np.float32],
    activation: NDArray[np.float32],
    truth: NDArray[np.float32],
    prediction: NDArray[np.float32],
    ring_q: float | None,
) -> list[figures.Panel]:
    difference = prediction.astype(np.float64) - truth
    own, of_marks, of_truth = (figures.spectrum_limits(image, grid) for image in (observation, activation, truth))
    sequential, native, values = figures.SEQUENTIAL, "native units", figures.value_limits(truth)
    spread = figures.symmetric_limits(difference)
    Panel = figures.Panel
    return [
        Panel("Observation", observation, sequential, figures.value_limits(observation), native, own, ring_q),
        Panel("Activation map", activation, figures.MARKS, (0.0, float(activation.max()) or 1.0), "marks", of_marks),
        Panel("True kernel", truth, sequential, values, native, of_truth, ring_q),
        Panel("Prediction", prediction, sequential, values, native, of_truth, ring_q),
        Panel("Difference", difference, figures.DIVERGING, spread, native, of_truth, ring_q),
    ]


def _plots(result: Result, errors: Mapping[str, NDArray[np.float64]]) -> list[tuple[str, Markup]]:
    answered = {task: values[np.isfinite(values)] for task, values in errors.items()}
    tasks = result.tasks
    bins = sorted(
        {(group.min_scatterers, group.max_scatterers) for task in tasks.values() for group in task.by_scatterers}
    )
    folds = sorted({group.fold for task in tasks.values() for group in task.by_fold})
    by_scatterers = {
        name: {_range(group.min_scatterers, group.max_scatterers): group.rel_l2_capped for group in task.by_scatterers}
        for name, task in tasks.items()
    }
    by_fold = {
        name: {_symmetry(group.fold): group.rel_l2_capped for group in task.by_fold} for name, task in tasks.items()
    }
    return [
        ("Distribution over images", Markup(figures.draw_distributions(answered))),
        (
            "By number of scatterers",
            Markup(
                figures.draw_breakdown(
                    by_scatterers, groups=[_range(*bin) for bin in bins], label="number of scatterers"
                )
            ),
        ),
        (
            "By symmetry",
            Markup(
                figures.draw_breakdown(
                    by_fold, groups=[_symmetry(fold) for fold in folds], label="symmetry of the kernel"
                )
            ),
        ),
    ]


def _latents(predictions: Predictions, release: Release) -> dict[str, Any] | None:
    """Figures of the latent space, and what they show; None if the predictions have no latents."""
    latents = read_latents(predictions, release)
    if latents is None:
        return None
    fold = release.stratum[latents.kernel]
    q = release.family.wavevector(release.kernels.parameters)[latents.kernel]
    coordinates, shares = principal_components(latents.points)
    first, second = (
        f"component {place + 1}, {100 * share:.0f} % of the variance" for place, share in enumerate(shares)
    )
    views = [("Principal components", coordinates, (first, second))]
    neighbours = neighbour_embedding(latents.points)
    if neighbours is not None:
        views.append(("t-SNE", neighbours, ("", "")))
    colourings: dict[str, dict[str, NDArray[Any]]] = {"symmetry": {"folds": fold}}
    if np.isfinite(q).all():
        colourings["wavelength"] = {"wavelengths_nm": 2 * np.pi / q}
    plots = []
    for name, places, labels in views:
        for by, colours in colourings.items():
            svg = figures.draw_latents(
                places, latents.is_kernel, label=f"{name} of the latent space, by {by}", axis_labels=labels, **colours
            )
            plots.append((f"{name}, by {by}", Markup(svg)))
    return {
        "plots": plots,
        "folds": [(_symmetry(each), figures.FOLD_COLOURS[each]) for each in sorted(set(fold.tolist()))],
        "size": latents.points.shape[1],
        "images": whole(int((~latents.is_kernel).sum())),
        "kernels": whole(int(latents.is_kernel.sum())),
        "most": MAX_IMAGES,
        "tsne": neighbours is not None,
        "few": len(latents.points) < MIN_NEIGHBOURS,
    }


def _metric_rows(result: Result) -> list[dict[str, Any]]:
    return [
        {
            "label": label,
            "description": Metrics.model_fields[name].description,
            "primary": name == PRIMARY_METRIC,
            "cells": [interval(getattr(task.metrics, name)) for _, task in sorted(result.tasks.items())],
        }
        for name, label in METRIC_LABELS.items()
    ]


def _trained_steps(training: TrainingRecord) -> str:
    return f"{whole(training.steps_done)} of {whole(training.steps_stated)} steps"


def _provenance(result: Result) -> list[tuple[str, str]]:
    run = result.prediction_run
    images = sum(task.n_images for task in result.tasks.values())
    rows = [
        ("Release, content hash", result.release.content_sha256),
        ("Release, spec hash", result.release.spec_sha256),
        ("Predictions file, SHA-256", result.predictions_sha256),
        ("Model file, SHA-256", result.model.file_sha256 or "not recorded"),
        *((f"Weights {name}, SHA-256", digest) for name, digest in sorted(result.model.weights.items())),
    ]
    training = result.model.training
    if training is not None:
        rows.append(("Training", f"{_trained_steps(training)}, {training.hours:.3g} h on {training.hardware}"))
    if run.seconds is not None:
        rows.append(("Time to predict", f"{run.seconds:.3g} s, {1e3 * run.seconds / images:.3g} ms an image"))
    if run.peak_memory_bytes is not None:
        rows.append(("Peak memory of the model", f"{run.peak_memory_bytes / 2**20:,.0f} MiB"))
    return [*rows, *sorted(run.environment.items())]


def _range(least: int, most: int) -> str:
    return str(most) if least == most else f"{least}\N{EN DASH}{most}"


def _symmetry(fold: int) -> str:
    return _FOLDS.get(fold, f"{fold}-fold")


def _ordinal(place: int, kind: str) -> str:
    return kind.capitalize() if place == 0 else f"{place + 1}{ {1: 'nd', 2: 'rd'}.get(place, 'th') } {kind}"
