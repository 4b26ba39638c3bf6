"""``qpibench compare``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

import click

from qpibench.cli.options import FILE, release_option, subcommand, tasks_option
from qpibench.cli.progress import progress
from qpibench.cli.response import Response
from qpibench.cli.table import aligned
from qpibench.cli.terminal import NAME_WIDTH, shortened

if TYPE_CHECKING:
    from qpibench.evaluation.metrics import Metric
    from qpibench.evaluation.paired import ComparedFile, Comparison, PairedMetric, PairedTask


class _Against(click.Command):
    """A command whose option ``--against`` takes all files up to the next option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, list(_one_by_one(args)))


def _one_by_one(arguments: Sequence[str]) -> Iterator[str]:
    """Rewrite ``--against B1 B2`` as ``--against B1 --against B2``, which click understands."""
    within = False
    for argument, following in zip_longest(arguments, arguments[1:], fillvalue="-"):
        if within and not argument.startswith("-"):
            yield from ("--against", argument)
            continue
        within = argument == "--against" and not following.startswith("-")
        if not within:
            yield argument


@subcommand("compare", cls=_Against)
@click.argument("a", type=FILE, nargs=-1, required=True, metavar="A.h5 [A2.h5 ...]")
@click.option(
    "--against", "b", type=FILE, multiple=True, required=True, metavar="B.h5 [B2.h5 ...]", help="The other method."
)
@release_option
@tasks_option
@click.option("--metric", "metrics", multiple=True, metavar="NAME", help="What to compare; may be given several times.")
def command(
    *,
    a: tuple[Path, ...],
    b: tuple[Path, ...],
    release_path: Path,
    tasks: tuple[str, ...],
    metrics: tuple[str, ...],
) -> Response:
    """Compare two methods image by image: A's error minus B's, with intervals.

    A negative difference means that A's value is lower. The table says which side is better.

    A and B are predictions files of the same images. Several files of one side are one method trained with several
    seeds: their errors are averaged, and the spread of the seeds widens the interval.

      qpibench compare two_step.h5 --against tikhonov.h5 --release paper.h5
      qpibench compare two_step-*.h5 --against one_step-*.h5 --release paper.h5 --task ood
    """
    from qpibench.evaluation.paired import compare
    from qpibench.release import open_release

    with open_release(release_path) as release, progress("Comparing") as report:
        comparison = compare(a, b, release, tasks=tasks, metrics=metrics, progress=report)
    return Response(
        text=_text(comparison),
        fields=comparison.model_dump(mode="json", exclude={"schema_version"}),
        warnings=list(_warnings(comparison, (*a, *b))),
    )


def _warnings(comparison: Comparison, paths: Sequence[Path]) -> Iterator[str]:
    from qpibench.evaluation.trained import method_name

    files = (*comparison.a, *comparison.b)
    for path, file in zip(paths, files, strict=True):
        if file.stopped:
            yield f"The entry of '{path}' stopped early; images without a prediction count as failed."
    for letter, side in (("A", comparison.a), ("B", comparison.b)):
        names = dict.fromkeys(method_name(file.name) for file in side)
        if len(names) > 1:
            yield f"Side {letter} has files of {len(names)} entries, taken for seeds of one method: {', '.join(names)}."
    views = sorted({file.view for file in files if file.view not in ("unknown", "oracle")})
    if len(views) > 1:
        yield f"The files were made with different views: {', '.join(views)}."
    cells = sorted({file.cell for file in files if file.cell is not None})
    if len(cells) > 1:
        yield f"The files are of different cells: {', '.join(cells)}."


def _text(comparison: Comparison) -> str:
    tasks = [_task_text(comparison, name, task) for name, task in comparison.tasks.items()]
    level = f"{100 * comparison.intervals.level:g} %"
    cells = {file.cell for file in (*comparison.a, *comparison.b)}
    sides = [f"{letter}: {_side(side)}" for letter, side in (("A", comparison.a), ("B", comparison.b))]
    note = f"In brackets {level} intervals, the spread of seeds included."
    if len(comparison.a) == 1 or len(comparison.b) == 1:
        note += " A side with one file has one seed: the result holds for that trained model only."
    if len(cells) == 1 and (cell := cells.pop()) is not None:
        sides.insert(0, f"Track {shortened(cell)}")
    return "\n\n".join(["\n".join(sides), *tasks, note])


def _task_text(comparison: Comparison, name: str, task: PairedTask) -> str:
    from qpibench.evaluation.metrics import find_metrics
    from qpibench.pages.notation import interval, number

    images = f"{task.n_images:,} of {task.n_available:,} images, {task.n_kernels} kernels"
    head = f"{shortened(comparison.release.name, 2 * NAME_WIDTH)}, {name}: {images}"
    rows = [["", "A", "B", "A - B", "A / B"]]
    for metric, compared in task.metrics.items():
        rows.append(
            [
                metric,
                number(sum(compared.a) / len(compared.a)),
                number(sum(compared.b) / len(compared.b)),
                " ".join(interval(compared.difference)),
                "-" if compared.ratio is None else " ".join(interval(compared.ratio)),
            ]
        )
    verdicts = [f"{each.name}: {_verdict(task.metrics[each.name], each)}" for each in find_metrics(task.metrics)]
    return "\n".join([head, aligned(rows), *verdicts])


def _verdict(compared: PairedMetric, metric: Metric) -> str:
    error = metric.better == "lower"
    if compared.lower is None:
        which = "which error is lower" if error else "which is higher"
        return f"the interval of the difference holds 0; these images do not tell {which}."
    side = compared.lower if error else {"A": "B", "B": "A"}[compared.lower]
    said = f"the error of {side} is lower" if error else f"{side} is higher, which is better"
    return f"{said}; the interval of the difference excludes 0."


def _side(files: Sequence[ComparedFile]) -> str:
    from qpibench.evaluation.trained import method_name

    views = ", ".join(dict.fromkeys(file.view for file in files))
    if len(files) == 1:
        return f"{shortened(files[0].name)}, view {views}"
    names = ", ".join(dict.fromkeys(shortened(method_name(file.name)) for file in files))
    return f"{names}, view {views}, {len(files)} seeds"
