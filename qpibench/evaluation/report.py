"""Report of a result: scores, plots and pictures of the predictions in one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from qpibench.evaluation import report_figures as figures
from qpibench.evaluation import report_plots as charts
from qpibench.evaluation.facts import facts_of
from qpibench.evaluation.image_scores import read_cases, score_images
from qpibench.evaluation.latents import (
    MAX_IMAGES,
    MIN_NEIGHBOURS,
    neighbour_embedding,
    principal_components,
    read_latents,
)
from qpibench.evaluation.matching import first_of
from qpibench.evaluation.metrics import Case, Metric, all_metrics, find_metrics, in_order, on_board
from qpibench.evaluation.picks import Pick, pick_by_rank
from qpibench.evaluation.result import CellResult, PartResult, Result, TrainingRecord
from qpibench.evaluation.run_report import figures_of
from qpibench.files import check_file, write_whole
from qpibench.grid import Grid, central_pixels
from qpibench.pages.environment import page_environment
from qpibench.pages.fourier import spectrum_limits
from qpibench.pages.notation import interval, number, whole
from qpibench.pages.scales import symmetric_limits, value_limits
from qpibench.pages.svg import DIVERGING, MARKS, SEQUENTIAL, SPREAD
from qpibench.physics.activation import activation_map

if TYPE_CHECKING:
    from qpibench.evaluation.predictions import Predictions
    from qpibench.release import Release

_VIEWS = {
    "image": "the observation alone",
    "raster": "the observation and its activation map",
    "positions": "the observation, its activation map and the scatterers' coordinates",
    "oracle": "the true kernel",
}
_CAPTIONED = 2  # metrics beside the one by which images are picked


def report(result: Result, predictions: Predictions, release: Release, path: str | Path) -> None:
    """Write the report of a result as one HTML file that loads no other file.

    The same result, predictions and release give the same bytes.

    Parameters
    ----------
    result
        Result that :func:`qpibench.evaluation.score.score` made from these predictions.
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
    InvalidDataError
        If the release is damaged; see :meth:`~qpibench.release.Release.check`.
    QpibenchError
        If writing fails, as on a full disk.
    """
    path = Path(path)
    check_file(path)
    write_whole(path, _render(result, predictions, release).encode(), what="Report")


def _render(result: Result, predictions: Predictions, release: Release) -> str:
    release.check("image", release.told_field)  # of a damaged image no picture is made
    environment = page_environment("qpibench.evaluation")
    cells = {name: (cell, cell.parts[0]) for name, cell in sorted(result.cells.items())}
    cell, part = next(iter(cells.values()))
    (primary,) = find_metrics([cell.primary])
    values = {name: _values(predictions, release, part.task, primary) for name, (_, part) in cells.items()}
    shown = [_cell(predictions, release, name, *cells[name], values[name]) for name in cells]
    grid = release.grid
    level = f"{100 * result.intervals.level:g} %"
    training = result.model.training
    return environment.get_template("report.html.j2").render(
        result=result,
        release=part.release,
        pixels=f"{grid.nx} by {grid.ny} pixels",
        field=f"{grid.size_x_nm:g} by {grid.size_y_nm:g} nm",
        kernel_px=None if predictions.record is None else predictions.record.kernel_px,
        view=cell.view,
        view_text=_view_text(cell),
        map_mode=cell.map_mode,
        track=None if cell.record is None else cell.record.label,
        primary=cell.primary,
        ranked_by=primary.columns[0].label or primary.label,
        failure=part.failure,
        cells=shown,
        trained=_trained_steps(training) if training is not None and training.fraction < 1 else "",
        subsets=[f"{each['subset']} images of task {each['task']}" for each in shown if each["subset"]],
        any_failed=any(part.n_failed for _, part in cells.values()),
        metrics=_metric_rows(result),
        floors=_floors(result),
        level=level,
        interval_text=f"In brackets the {level} interval: {result.intervals.method}.",
        plots=_plots(cells, values, f"{release.family.STRATUM} of the kernel"),
        gaps=figures_of(result, outside=release.name),
        latents=_latents(predictions, release),
        rings=bool(np.isfinite(release.family.wavevector(release.kernels.parameters)).any()),
        provenance=_provenance(result, part),
    )


def _view_text(cell: CellResult) -> str:
    if cell.view == "positions" and cell.map_mode is None:
        text = "the observation and the scatterers' coordinates"
    else:
        text = _VIEWS.get(cell.view, cell.view)
    return text + " and species" if cell.parts[0].told_species else text


def _values(predictions: Predictions, release: Release, task: str, primary: Metric) -> NDArray[np.float64]:
    """Return the first column of the ranking metric of every scored image, (n,); NaN for failed images."""
    images = score_images(predictions, release, task, metrics=[primary])
    return np.where(images.failed, np.nan, images.columns[primary.columns[0].name])


def _cell(
    predictions: Predictions,
    release: Release,
    name: str,
    cell: CellResult,
    part: PartResult,
    values: NDArray[np.float64],
) -> dict[str, Any]:
    finite = int(np.isfinite(values).sum())
    size = None if cell.record is None else cell.record.size
    asked = part.n_available if size is None else min(size, part.n_available)
    (primary,) = find_metrics([cell.primary])
    sign = -1 if primary.columns[0].worse == "lower" else 1
    index = predictions.index(part.task)
    return {
        "name": name,
        "task": part.task,
        "scored": f"{whole(part.n_images)} of {whole(part.n_available)} images",
        "subset": f"{whole(part.n_images)} of {whole(asked)}" if part.n_images < asked else "",
        "failed": f"{whole(part.n_failed)} of {whole(part.n_images)}",
        "predicted": whole(finite),
        "cases": [
            _case(cell, predictions, release, pick, int(index[pick.row])) for pick in pick_by_rank(sign * values)
        ],
    }


def _case(cell: CellResult, predictions: Predictions, release: Release, pick: Pick, observation: int) -> dict[str, Any]:
    """Return one image of the gallery: its heading and its panels."""
    row = slice(pick.row, pick.row + 1)
    place = (predictions, release, cell.task, pick.row)
    prediction = first_of(predictions.kernel(cell.task, row), *place)
    shown = release.observations([observation])
    kernel, scatterers = int(shown.kernel.flat[0]), int(shown.n_scatterers[0])
    kernels = release.kernels
    truth = central_pixels(kernels.image[kernel], predictions.kernel_grid.shape)
    measured = _captioned(cell)
    uses = {name for metric in measured for name in metric.columns[0].uses}
    cases, _ = read_cases(predictions, release, cell.task, row, uses=uses, facts=facts_of(release))
    told = int((~np.isnan(shown.told[0, :, 0])).sum())
    facts = [
        f"image {observation}",
        f"kernel {kernel}" if len(cases) == 1 else f"kernels {kernel}, which is shown, and {kernel + 1}",
        f"{scatterers} scatterer" + "s" * (scatterers != 1) + (f", {told} told" if told != scatterers else ""),
        *release.family.describe({name: values[kernel] for name, values in kernels.parameters.items()}),
        *(f"{m.columns[0].label or m.label} {number(_mean(m, cases))}" for m in measured),
    ]
    q = float(release.family.wavevector(kernels.parameters)[kernel])
    panels = _panels(
        (release.grid, predictions.kernel_grid),
        observation=shown.image[0],
        activation=activation_map(release.grid, shown.told, mode=cell.map_mode or "exact")[0],
        truth=truth,
        prediction=prediction,
        ring_q=q if np.isfinite(q) else None,
    )
    std = predictions.std(cell.task, row)
    of_std = [] if std is None else _std_panels(first_of(std, *place), np.subtract(prediction, truth, dtype=np.float64))
    return {
        "label": pick.label,
        "facts": facts,
        "panels": [*_drawn(panels[:2], release.grid), *_drawn(panels[2:], predictions.kernel_grid)],
        "std_panels": _drawn(of_std, predictions.kernel_grid),
    }


def _mean(metric: Metric, cases: Sequence[Case]) -> float:
    """Return the value of a metric's first column for the only image of a case, mean over the cases of its species."""
    return float(np.mean([metric.columns[0].measure(case)[0] for case in cases]))


def _captioned(cell: CellResult) -> tuple[Metric, ...]:
    """Return the ranking metric and further metrics with a value per image, no two of the same column.

    Metrics that may rank are shown, those first that are means of the values themselves, not of capped ones.
    """
    known = all_metrics()
    chosen = {known[cell.primary].columns[0].name: known[cell.primary]}
    means = (known[name] for name in on_board(cell.metrics) if known[name].is_mean and known[name].ranks)
    for metric in sorted(means, key=lambda metric: metric.of is not None):
        if len(chosen) <= _CAPTIONED:
            chosen.setdefault(metric.columns[0].name, metric)
    return tuple(chosen.values())


def _panels(
    grids: tuple[Grid, Grid],
    *,
    observation: NDArray[np.float32],
    activation: NDArray[np.float32],
    truth: NDArray[np.float32],
    prediction: NDArray[np.float32],
    ring_q: float | None,
) -> list[figures.Panel]:
    difference = prediction.astype(np.float64) - truth
    of_image, of_kernel = grids
    own, of_marks = (spectrum_limits(image, of_image) for image in (observation, activation))
    of_truth = spectrum_limits(truth, of_kernel)
    sequential, native, values = SEQUENTIAL, "native units", value_limits(truth)
    spread = symmetric_limits(difference)
    Panel = figures.Panel
    return [  # two of images, then those of kernels
        Panel("Observation", observation, sequential, value_limits(observation), native, own, ring_q),
        Panel("Activation map", activation, MARKS, (0.0, float(activation.max()) or 1.0), "marks", of_marks),
        Panel("True kernel", truth, sequential, values, native, of_truth, ring_q),
        Panel("Prediction", prediction, sequential, values, native, of_truth, ring_q),
        Panel("Difference", difference, DIVERGING, spread, native, of_truth, ring_q),
    ]


def _drawn(panels: Sequence[figures.Panel], grid: Grid) -> list[tuple[str, Markup]]:
    return [(panel.title, Markup(figures.draw_panel(panel, grid))) for panel in panels]


def _std_panels(std: NDArray[np.float32], difference: NDArray[np.float64]) -> list[figures.Panel]:
    """Return the standard deviations that an entry states, and the difference in units of them; none if not finite."""
    if not np.isfinite(std).all():
        return []
    with np.errstate(divide="ignore", invalid="ignore"):
        # A pixel without an error has none in units of a std of zero either; any other is beyond the limits.
        relative = np.nan_to_num(difference / std, nan=0.0, posinf=1e6, neginf=-1e6)
    limits = 0.0, float(std.max()) or 1.0
    return [
        figures.Panel("Stated std", std, SPREAD, limits, "native units", None),
        figures.Panel("Difference / std", relative, DIVERGING, (-3.0, 3.0), "stated std", None),
    ]


def _plots(
    cells: Mapping[str, tuple[CellResult, PartResult]], values: Mapping[str, NDArray[np.float64]], stratum: str
) -> list[tuple[str, Markup]]:
    finite = {name: of_images[np.isfinite(of_images)] for name, of_images in values.items()}
    primary = next(iter(cells.values()))[0].primary
    metric = all_metrics()[primary]
    distribution = charts.draw_distributions(finite, label=metric.columns[0].label or metric.head)
    plots = [("Distribution over images", Markup(distribution))]
    distinguished = {"scatterers": "number of scatterers", "stratum": stratum}
    for breakdown in dict.fromkeys(name for _, part in cells.values() for name in part.breakdowns):
        groups = {name: part.breakdowns.get(breakdown, ()) for name, (_, part) in cells.items()}
        labels = {group.order: group.label for members in groups.values() for group in members}
        scores = {
            name: {group.label: group.metrics[primary] for group in members if primary in group.metrics}
            for name, members in groups.items()
        }
        label = distinguished.get(breakdown, breakdown)
        svg = charts.draw_breakdown(
            scores,
            groups=[labels[order] for order in sorted(labels)],
            label=label,
            score=metric.head,
            at_0=metric.bounds[0] == 0,
        )
        plots.append((f"By {label}", Markup(svg)))
    return plots


def _latents(predictions: Predictions, release: Release) -> dict[str, Any] | None:
    """Return figures of the latent space with their captions; None if the predictions have no latents."""
    latents = read_latents(predictions, release)
    if latents is None:
        return None
    stratum = release.stratum[latents.kernel]
    q = release.family.wavevector(release.kernels.parameters)[latents.kernel]
    coordinates, shares = principal_components(latents.points)
    first, second = (
        f"component {place + 1}, {100 * share:.0f} % of the variance" for place, share in enumerate(shares)
    )
    views = [("Principal components", coordinates, (first, second))]
    neighbours = neighbour_embedding(latents.points)
    if neighbours is not None:
        views.append(("t-SNE", neighbours, ("", "")))
    colourings: dict[str, dict[str, NDArray[Any]]] = {release.family.STRATUM: {"folds": stratum}}
    if np.isfinite(q).all():
        colourings["wavelength"] = {"wavelengths_nm": 2 * np.pi / q}
    plots = []
    for name, places, labels in views:
        for by, colours in colourings.items():
            svg = charts.draw_latents(
                places, latents.is_kernel, label=f"{name} of the latent space, by {by}", axis_labels=labels, **colours
            )
            plots.append((f"{name}, by {by}", Markup(svg)))
    return {
        "plots": plots,
        "folds": [
            (release.family.stratum_label(each), charts.fold_colour(each)) for each in sorted(set(stratum.tolist()))
        ],
        "size": latents.points.shape[1],
        "images": whole(int((~latents.is_kernel).sum())),
        "kernels": whole(int(latents.is_kernel.sum())),
        "most": MAX_IMAGES,
        "tsne": neighbours is not None,
        "few": len(latents.points) < MIN_NEIGHBOURS,
    }


def _metric_rows(result: Result) -> list[dict[str, Any]]:
    cells = [cell for _, cell in sorted(result.cells.items())]
    known = all_metrics()
    ranking = dict.fromkeys(cell.primary for cell in cells)
    scored = in_order(name for cell in cells for name in cell.metrics)
    return [
        {
            "label": known[name].head if name in known else name,
            "description": known[name].sentence if name in known else "",
            "primary": name in ranking,
            "cells": [interval(cell.metrics[name]) if name in cell.metrics else ("–", "") for cell in cells],
        }
        for name in (*ranking, *(name for name in scored if name not in ranking))
    ]


def _floors(result: Result) -> list[dict[str, Any]]:
    """Return the cells that have a floor, with score, floor and what is added for each mean that tables show."""
    known = all_metrics()
    cells = []
    for place, (name, cell) in enumerate(sorted(result.cells.items())):
        if cell.floor is None:
            continue
        shown = [each for each in on_board(cell.floor.added) if not known[each].counts_failures]
        ranking = [cell.primary] if cell.primary in shown else []
        rows = []
        for metric in dict.fromkeys([*ranking, *shown]):
            score, floor = cell.metrics[metric], cell.floor.metrics[metric]
            is_error = known[metric].better == "lower" and known[metric].bounds[0] == 0 and score.value > 0
            is_part = is_error and floor.value <= score.value
            rows.append(
                {
                    "label": known[metric].head,
                    "numbers": [interval(each) for each in (score, floor, cell.floor.added[metric])],
                    "percent": round(100 * floor.value / score.value) if is_part else None,
                }
            )
        cells.append({"name": name, "series": place % 2 + 1, "rows": rows})
    return [cell for cell in cells if cell["rows"]]


def _trained_steps(training: TrainingRecord) -> str:
    return f"{whole(training.steps_done)} of {whole(training.steps_stated)} steps"


def _provenance(result: Result, part: PartResult) -> list[tuple[str, str]]:
    run = part.prediction_run
    images = sum(cell.n_images for cell in result.cells.values())
    rows = [
        ("Release, content hash", part.release.content_sha256),
        ("Release, spec hash", part.release.spec_sha256),
        ("Predictions, hash", part.predictions_sha256),
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
