"""Measure an extraction entry on fresh draws: ``python -m benchmarks.extraction MODEL``.

It prints a row for every cell of :data:`benchmarks.fresh_draws.CELLS`: errors with 95 % intervals over kernels, the
Cramer-Rao bound of noisy images, the coverage of the stated standard deviations, and the time of an image on one
thread.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from benchmarks.fresh_draws import CELLS, SEED, Cell, Draws, draw
from benchmarks.machine import machine, sentence
from benchmarks.table import number
from qpibench.errors import QpibenchError, UnavailableError, UsageError
from qpibench.evaluation.entries import find_entry
from qpibench.evaluation.entry_code import code_sha256
from qpibench.evaluation.isolation.declaration import Declaration
from qpibench.evaluation.isolation.failure import ModelFailure
from qpibench.evaluation.isolation.isolated import IsolatedModel, Limits
from qpibench.evaluation.metrics import Case, find_metrics
from qpibench.evaluation.metrics.uncertainty import LEVELS, covered, energy_pixels
from qpibench.evaluation.statistics import Statistic, bootstrap_intervals, statistic_of
from qpibench.files import check_file, write_whole
from qpibench.tasks import allows

IMAGES = 200

METRICS = find_metrics(["mae", "mae_published", "rel_l2_capped"])

LIMITS = Limits(batch_s=300)  # of an image, as the machine may be busy

Values = NDArray[np.float64]
Figures = dict[str, Any]
"""Figures of a cell by name. An estimate has its value and the ends of its interval, low and high."""


def measure(model: str, cell: Cell, images: int) -> tuple[Declaration, Figures]:
    """Measure an entry on a cell, in a worker process with one thread, one image at a time.

    Returns
    -------
    Declaration
        The entry's declarations.
    dict
        Its figures; ``not_measured`` alone, a sentence, if the cell shows less than it needs or it failed.

    Raises
    ------
    QpibenchError
        If the entry cannot be loaded, or is one that learns from a release before it predicts.
    """
    try:
        with IsolatedModel(find_entry(model), limits=LIMITS) as isolated:
            declared = isolated.declaration
            if declared.has_fit:
                raise UsageError(
                    f"Entry '{model}' learns from a release, and these draws belong to none; use evaluate."
                )
            if declared.needs is not None and not allows(cell.view, declared.needs):
                return declared, {"not_measured": f"It needs the view '{declared.needs}'."}
            draws = draw(cell, images)
            try:
                return declared, _figures(isolated, draws)
            except ModelFailure as failure:
                return declared, {"not_measured": f"It failed: {failure.message}."}
    except ModelFailure as failure:
        kind = UnavailableError if failure.kind == "missing package" else QpibenchError
        raise kind(f"Model '{model}' cannot be used: {failure.message}.") from None


def _figures(model: IsolatedModel, draws: Draws) -> Figures:
    clock = cpu_clock(_worker().pid)
    model.predict(draws.batch(0))  # the first call compiles and fills caches
    kernel = np.empty(draws.truth.shape)
    std: Values | None = None
    seconds = np.empty((2, len(draws)))
    for image in range(len(draws)):
        batch = draws.batch(image)
        started = time.perf_counter(), clock()
        predicted = model.predict(batch)
        seconds[:, image] = time.perf_counter() - started[0], clock() - started[1]
        kernel[image] = predicted["kernel"][0]
        if "std" in predicted:
            std = np.full(draws.truth.shape, np.nan) if std is None else std
            std[image] = predicted["std"][0]
    figures = errors(kernel, draws)
    if std is not None:
        figures["coverage"] = stated_coverage(kernel, std, draws)
    for name, values in zip(("wall_ms", "cpu_ms"), 1e3 * seconds, strict=True):
        figures[name] = {"median": float(np.median(values)), "mean": float(values.mean())}
    return figures


def errors(kernel: Values, draws: Draws) -> Figures:
    """Errors of predicted kernels (image, y, x) with intervals over kernels, and their ratio to the bound, if any.

    A prediction that is not finite counts as failed, with the worse of two errors: that of zeros, and the entry's
    largest one.
    """
    failed = np.asarray(~np.isfinite(kernel).all(axis=(1, 2)))
    case = Case(grid=draws.grid, prediction=np.where(failed[:, None, None], 0, kernel), truth=draws.truth)
    columns = {column.name: column.measure(case) for metric in METRICS for column in metric.columns}
    for values in columns.values():
        values[failed] = np.maximum(values[failed], values[~failed].max(initial=0))
    statistics = {metric.name: statistic_of(metric, columns) for metric in METRICS}
    if draws.bound is not None:
        statistics |= {"bound": Statistic(draws.bound), "over_bound": Statistic(columns["mae"], over=draws.bound)}
    return {"images": len(draws), "failed": int(failed.sum())} | _estimates(statistics, len(draws))


def stated_coverage(kernel: Values, std: Values, draws: Draws) -> Figures:
    """Coverage of the stated standard deviations by level in %, the mean over images with an interval over kernels."""
    truth = np.asarray(draws.truth, dtype=np.float64)
    counted = energy_pixels(truth, draws.grid)
    shares = {}
    for level in LEVELS:
        within = counted & covered(kernel - truth, std, level)
        shares[f"{100 * level:g}"] = Statistic(100 * within.sum(axis=(1, 2)) / counted.sum(axis=(1, 2)))
    return _estimates(shares, len(draws))


def _estimates(statistics: dict[str, Statistic], images: int) -> Figures:
    intervals = bootstrap_intervals(statistics, np.arange(images))
    return {name: interval.model_dump() for name, interval in intervals.items()}


def _worker() -> psutil.Process:
    """Return the process of the isolated model."""
    children = psutil.Process().children()
    return next(child for child in children if any("isolation.worker" in word for word in child.cmdline()))


def cpu_clock(pid: int) -> Callable[[], float]:
    """Return a clock of the processor seconds that a process has used on all its threads."""
    if sys.platform == "linux":
        number = ~pid << 3 | 2  # clock_getcpuclockid(3); psutil counts in steps of 10 ms
        return lambda: time.clock_gettime(number)
    return lambda: sum(psutil.Process(pid).cpu_times()[:2])


HEADS = (
    "cell",
    "images",
    "MAE",
    "bound",
    "MAE / bound",
    "MAE, published",
    "relative L2",
    *(f"{100 * level:g} % covers" for level in LEVELS),
    "CPU ms, median (mean)",
    "wall ms, median (mean)",
)


def head() -> str:
    """Head of the table."""
    return f"| {' | '.join(HEADS)} |\n|{'---|' * len(HEADS)}"


def row(cell: Cell, figures: Figures) -> str:
    """Row of a cell in the table; the numbers in brackets are the ends of 95 % intervals."""
    if "not_measured" in figures:
        return f"| {cell.what} | not measured: {figures['not_measured']} |{' |' * (len(HEADS) - 2)}"
    failed = f" ({figures['failed']} failed)" if figures["failed"] else ""
    names = ("mae", "bound", "over_bound", "mae_published", "rel_l2_capped")
    covers = figures.get("coverage", {})
    cells = [
        cell.what,
        f"{figures['images']}{failed}",
        *(_estimate(figures.get(name)) for name in names),
        *(_estimate(covers.get(f"{100 * level:g}")) for level in LEVELS),
        *(f"{number(figures[name]['median'])} ({number(figures[name]['mean'])})" for name in ("cpu_ms", "wall_ms")),
    ]
    return f"| {' | '.join(cells)} |"


def _estimate(value: dict[str, float] | None) -> str:
    return "" if value is None else f"{number(value['value'])} ({number(value['low'])} to {number(value['high'])})"


def run(model: str, cells: Sequence[str], images: int, output: Path | None) -> Iterator[str]:
    """Measure cells one after the other; yield the lines of the table, and keep the figures in a file after each."""
    if output is not None:
        check_file(output)
    measured: dict[str, Figures] = {}
    entry = find_entry(model)
    yield head()
    for name in cells:
        declared, measured[name] = measure(model, CELLS[name], images)
        if output is not None:
            content = {
                "model": entry.name,
                "code_sha256": code_sha256(entry.path),
                "weights": declared.weights,
                "needs": declared.needs,
                "knows": declared.knows,
                "trained_on": declared.trained_on,
                "seed": SEED,
                "images": images,
                "machine": machine().model_dump(),
                "cells": measured,
            }
            write_whole(output, (json.dumps(content, indent=1) + "\n").encode(), what="Figures")
        yield row(CELLS[name], measured[name])
    chosen = "" if list(cells) == list(CELLS) else f" --cells {' '.join(cells)}"
    yield f"\n`python -m benchmarks.extraction {model}{chosen} --images {images}`, one thread. {sentence(machine())}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the entry that the command line names and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.extraction", description=__doc__.partition("\n")[0])
    parser.add_argument("model", metavar="MODEL", help="an entry, a run folder, FILE.py or FILE.py:NAME")
    names = "; ".join(f"{name}: {cell.what}" for name, cell in CELLS.items())
    parser.add_argument(
        "--cells", nargs="+", choices=CELLS, default=list(CELLS), metavar="CELL", help=names.replace("%", "%%")
    )
    parser.add_argument("--images", type=int, default=IMAGES, metavar="N", help=f"of every cell ({IMAGES})")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to keep the figures; written after every cell")
    chosen = parser.parse_args(arguments)
    if not 2 <= chosen.images <= 10_000:
        parser.error(f"--images must be from 2 to 10000, found {chosen.images}; intervals need two kernels")
    try:
        for line in run(chosen.model, list(dict.fromkeys(chosen.cells)), chosen.images, chosen.json):
            print(line, flush=True)
    except QpibenchError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("Interrupted; the rows above are complete.", file=sys.stderr)
        return 128 + signal.SIGINT
    return 0


if __name__ == "__main__":
    sys.exit(main())
