"""Paired comparisons on the board: files of ``qpibench compare --json`` beside the results of a board."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from qpibench.errors import InvalidDataError
from qpibench.evaluation.metrics import all_metrics
from qpibench.evaluation.paired import ComparedFile, Comparison, PairedMetric
from qpibench.evaluation.result import Interval
from qpibench.evaluation.result_file import read_content
from qpibench.evaluation.trained import method_name
from qpibench.parsing import parse_json
from qpibench.paths import text_of_path
from qpibench.specs.load import explain

FOLDER = "comparisons"
"""Folder beside the result files that has the comparisons."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two entries on the same images, in the first metric of their comparison, which ranks.

    Attributes
    ----------
    file
        The file, relative to the folder of the results.
    place
        Track and cell, or release and task outside of tracks.
    metric
        Name of the metric.
    n_images, n_kernels
        Images that were compared, and the kernels that they show.
    a, b
        Names of both entries.
    mean_a, mean_b
        Their means over images.
    difference, ratio
        A's mean minus B's, and over it; None where there is no ratio.
    level
        Level of their intervals, such as 0.95.
    better
        The entry that the interval of the difference tells to be better; None if it holds 0.
    """

    file: str
    place: str
    metric: str
    n_images: int
    n_kernels: int
    a: str
    b: str
    mean_a: float
    mean_b: float
    difference: Interval
    ratio: Interval | None
    level: float
    better: str | None

    def for_programs(self) -> dict[str, Any]:
        """The members as JSON has them."""
        intervals = {"difference": self.difference, "ratio": self.ratio}
        dumped = {name: None if one is None else one.model_dump() for name, one in intervals.items()}
        return {**vars(self), "file": f"results/{self.file}", **dumped}


def read_comparisons(results_dir: Path) -> dict[str, bytes]:
    """Return the contents of the comparisons beside the results, by their path in that folder; empty without any."""
    paths = (path for path in sorted((results_dir / FOLDER).glob("*.json")) if not path.name.startswith("."))
    return {f"{FOLDER}/{text_of_path(path.name)}": read_content(path) for path in paths if path.is_file()}


def pairs_of(contents: Mapping[str, bytes], results_dir: Path) -> tuple[Pair, ...]:
    """Return the pairs of comparisons, sorted by place, by B and by the name of the file.

    Raises
    ------
    InvalidDataError
        If a file is no comparison, or its difference is not that of its means.
    """
    pairs = [pair for name, content in contents.items() for pair in _pairs(name, content, results_dir / name)]
    return tuple(sorted(pairs, key=lambda pair: (pair.place, pair.metric, pair.b, pair.file)))


def _pairs(name: str, content: bytes, path: Path) -> Iterator[Pair]:
    found = parse_json(content, f"'{path}' is not a comparison: it")
    if isinstance(found, dict):
        found.pop("warnings", None)  # of the command, such as that the views differ
    try:
        comparison = Comparison.model_validate_json(json.dumps(found))
    except ValidationError as error:
        raise InvalidDataError(
            f"'{path}' is not a comparison that 'qpibench compare --json' prints: {explain(error, Comparison)}."
        ) from None
    a, b = _name(comparison.a), _name(comparison.b)
    cells = {file.cell for file in (*comparison.a, *comparison.b)}
    cell = cells.pop() if len(cells) == 1 else None
    for task, compared in comparison.tasks.items():
        metric = next(iter(compared.metrics))
        found = compared.metrics[metric]
        _check(found, metric, path)
        yield Pair(
            file=name,
            place=cell or f"{comparison.release.name}, task {task}",
            metric=metric,
            n_images=compared.n_images,
            n_kernels=compared.n_kernels,
            a=a,
            b=b,
            mean_a=_mean(found.a),
            mean_b=_mean(found.b),
            difference=found.difference,
            ratio=found.ratio,
            level=comparison.intervals.level,
            better=_better(found, metric, a, b),
        )


def _check(found: PairedMetric, metric: str, path: Path) -> None:
    if metric not in all_metrics():
        raise InvalidDataError(f"'{path}' compares by '{metric}', which is no metric of this qpibench; compare again.")
    difference, mean = found.difference.value, _mean(found.a) - _mean(found.b)
    if not math.isclose(difference, mean, rel_tol=1e-6, abs_tol=1e-9):
        raise InvalidDataError(
            f"'{path}' contradicts itself: its means of {metric} differ by {mean:.6g}, its difference is"
            f" {difference:.6g}; compare again."
        )


def _better(found: PairedMetric, metric: str, a: str, b: str) -> str | None:
    if found.difference.low <= 0 <= found.difference.high:
        return None
    a_is_lower = found.difference.high < 0
    return a if a_is_lower == (all_metrics()[metric].better == "lower") else b


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _name(files: Iterable[ComparedFile]) -> str:
    """The name of one entry, or that of the methods of which the files are seeds."""
    names = [file.name for file in files]
    return names[0] if len(names) == 1 else ", ".join(dict.fromkeys(map(method_name, names)))
