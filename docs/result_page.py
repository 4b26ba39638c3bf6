"""Write docs/results.md, every entry on every cell of a suite, and README.md's table: ``python docs/result_page.py``.

The numbers are those of the results of the suite on the board, docs/board/results/.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from itertools import groupby
from pathlib import Path

import numpy as np

from qpibench.evaluation.joining import family_scores
from qpibench.evaluation.result import CellResult, Interval, Result
from qpibench.evaluation.result_file import load_result
from qpibench.leaderboard.literature import REPORTED, SOURCE, SOURCE_URL
from qpibench.pages.notation import interval, number
from qpibench.tasks.suite import Suite, SuiteCell, load_suite
from qpibench.tasks.track import Track

DOCS = Path(__file__).parent
RESULTS = DOCS / "board" / "results"
README = DOCS.parent / "README.md"
SUITE = "v1"

HEAD = """# Every entry on every cell

The entries that have been run on the suite `{suite}` ([its cells](tracks/README.md)), each with its primary score and
the 95 % interval; {metric}. Failed images count as 1. A number in bold is the least of its column. `zeros` and
`median_kernel` are trivial entries and show what a score is worth; an empty place is a cell that the entry cannot take,
for the reason that its result file states. Entries follow each other by their mean over the cells of a table, in
which an empty place counts as 1.

{marks}
"""

TIMES = """
## Times

Wall-clock ms for each image, loading included, in one thread: of `paper/ood-positions` (64 x 64 pixels), or of
`paper/ood` for entries that take the raster only, and of `materials/20dB` (128 x 128, the mean of its releases). The
last column has the hours of all images of the suite. `qpibench evaluate ENTRY --suite {suite}` stores them; entries
that take seconds for an image were given `--batch-size 8 --time-limit 900`. The machines had 2 cores and did other
work as well, so compare the times roughly. [classical.md](classical.md) has CPU times.

"""

LITERATURE = """
The article quotes, for its own images and in its own convention (kernels scaled to 0..1; ours are in [the board's
tables](board/index.html)), the MAE {quoted} ([{source}]({url})). These numbers are of other data.
"""

DENOISING = """
[Denoising before the extraction](denoising.md) compares entries on images of the cell `20dB` that were smoothed first.
"""

AIMS = """
## What the classical entries aimed at

The aims were set before the entries were written, for the upper end of the interval. Aims for MAE with wrong
scatterers, for the open edge, for standard deviations and for times are in [classical.md](classical.md#aims).

"""

COVERAGE = """
## Whether stated standard deviations are right

Shares in % of the pixels whose true value lies within the 68 and the 95 % interval that `{entry}` states, by family;
only pixels within the radius of 99 % of the kernel's energy count ([the metric](scores.md#metrics)). With white noise
and the right scatterers they are about right, for lattices a little too small. Without noise they are too small. They
do not know of wrong scatterers, a wrong gain, scatterers outside the field or multiple scattering, and little of
rounded positions: there they are much too small.

"""

FOOT = """
This page is made from [the results](board/results) by `python docs/result_page.py`. [The board](board/index.html) has
the other metrics, the severity curves and the cells of other suites; a result is derived again from its predictions by
`qpibench leaderboard check`.
"""

SHOWN = (
    "paper/id",
    "paper/ood",
    "exact/clean",
    "noise/10dB",
    "robust/position",
    "robust/missing-10",
    "robust/open-edge",
    "materials/20dB",
)
"""Cells of the table in README.md."""

AIMED = (
    ("exact/clean", "mae", "polar", 0.0004),
    ("noise/10dB", "mae", "polar", 0.0035),
    ("noise/0dB", "mae", "polar", 0.010),
    ("noise/10dB", "excess", "eq7_fit", 1.1),
    ("paper/ood", "mae", "refine", 0.002),
    ("paper/ood", "mae", "refine_eq7", 0.0006),
    ("materials/clean", "rel_l2_outside_capped", "polar", 0.05),
    ("materials/20dB", "rel_l2_outside_capped", "polar", 0.08),
)
"""Cells, metrics, entries and the largest value that was aimed at."""

DEFAULT = "polar"
"""The entry whose standard deviations are shown."""

FORMULA = "eq. 7"
"""What an entry declares to know that is built on the formula of most tracks."""

BEGIN, END = "<!-- scores: python docs/result_page.py -->\n", "<!-- end of scores -->\n"


def page() -> str:
    """The text of docs/results.md."""
    suite, results = load_suite(SUITE), _results()
    tables = "".join(
        f"\n## {track.name}\n\n{track.summary[:1].upper()}{track.summary[1:].rstrip('.?')}"
        f" ([the track](tracks/{track.name}.md)).\n\n{_table_of(cells, results)}{_families_of(cells, results)}"
        f"{ADDED[track.name]() if track.name in ADDED else ''}"
        for track, cells in _by_track(suite)
    )
    return (
        HEAD.format(suite=SUITE, metric=_metrics(suite), marks=_marks(results))
        + tables
        + AIMS
        + _aims(suite)
        + _coverage(suite)
        + TIMES.format(suite=SUITE)
        + _times(suite)
        + FOOT
    )


def readme(text: str) -> str:
    """README.md with the table made again."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    cells = [each for each in load_suite(SUITE).cells if each.label in SHOWN]
    head = ("entry", *(f"`{each.label}`" for each in cells))
    rows = _rows(cells, _results(), lambda cell: number(cell.metrics[cell.primary].value))
    marks = _marks(_results())
    return before + BEGIN + _table(head, rows) + (f"\n{marks}\n" if marks else "") + END + after


@cache
def _results() -> list[Result]:
    """The results of the suite as it is now, of all its images, sorted by the names of their files."""
    suite = load_suite(SUITE)
    found = [load_result(path) for path in sorted(RESULTS.glob("*.json"))]
    return [
        result
        for result in found
        if result.suite is not None and (result.suite.sha256, result.suite.limit) == (suite.sha256, None)
    ]


def _by_track(suite: Suite) -> Iterator[tuple[Track, list[SuiteCell]]]:
    for _, cells in groupby(suite.cells, key=lambda each: each.track.name):
        listed = list(cells)
        yield listed[0].track, listed


def _metrics(suite: Suite) -> str:
    names = dict.fromkeys(f"`{each.cell.primary}`" for each in suite.cells)
    return f"[less is better](scores.md#metrics): {', '.join(names)}"


def _marks(results: Iterable[Result]) -> str:
    """Sentences on the marks of names."""
    said = []
    if any(FORMULA in result.model.knows for result in results):
        said.append(
            "A double dagger marks entries that are built on eq. 7, the formula of the kernels in `paper`, `exact`,"
            "\n`noise`, `window20` and `scatterer64`, and of a third of the images in `robust`."
        )
    if any(_fraction(result) < 1 for result in results):
        said.append("An asterisk marks entries that were not trained to the end of their recipe.")
    if any(result.status == "unfinished" for result in results):
        said.append("A dagger marks entries that have not been run on all cells yet; these have empty places, too.")
    return "\n".join(said)


def _fraction(result: Result) -> float:
    training = result.model.training
    return 1.0 if training is None else training.fraction


def _name(result: Result) -> str:
    training = result.model.training
    recipe = f" ({training.recipe})" if training is not None and training.recipe else ""
    base = result.model.name.partition(" (")[0]
    marks = {"*": _fraction(result) < 1, "‡": FORMULA in result.model.knows, "†": result.status == "unfinished"}
    return f"`{base}`{recipe}{''.join(mark for mark, holds in marks.items() if holds)}"


def _table_of(cells: list[SuiteCell], results: list[Result]) -> str:
    rows = _rows(cells, results, lambda cell: " ".join(interval(cell.metrics[cell.primary])))
    if not rows:
        return f"No entry takes {', '.join(f'`{each.name}`' for each in cells)} yet.\n"
    return _table(("entry", *(f"`{each.name}`" for each in cells)), rows)


def _families_of(cells: list[SuiteCell], results: list[Result]) -> str:
    """A table of the scores of each family of kernels; empty if no cell has several."""
    found = [cell for result in results for each in cells if (cell := _cell(result.cells, each)) is not None]
    families = tuple(dict.fromkeys(family for cell in found for family in cell.families))
    if not any(len(cell.families) > 1 for cell in found):
        return ""

    def scores(cell: CellResult) -> str:
        of = family_scores(cell.parts)
        return " / ".join(number(of[name][cell.primary].value) if name in of else "–" for name in families)

    head = ("entry", *(f"`{each.name}`" for each in cells))
    names = " / ".join(f"`{family}`" for family in families)
    table = _table(head, _rows(cells, results, scores))
    return f"\nEach family of kernels apart, {names}; bold is the least mean:\n\n{table}"


def _rows(cells: list[SuiteCell], results: list[Result], text: Callable[[CellResult], str]) -> list[tuple[str, ...]]:
    """A row for each entry that has one of the cells, the least first."""
    taken = [(result, [_cell(result.cells, each) for each in cells]) for result in results]
    taken = [(result, found) for result, found in taken if any(one is not None for one in found)]
    value = np.array(
        [[np.inf if one is None else one.metrics[one.primary].value for one in found] for _, found in taken]
    )
    least = value.min(axis=0, initial=np.inf)
    mean = [np.mean(np.minimum(row, 1.0)) for row in value]
    return [
        (
            _name(taken[i][0]),
            *(
                "" if one is None else f"**{text(one)}**" if value[i, k] == least[k] else text(one)
                for k, one in enumerate(taken[i][1])
            ),
        )
        for i in np.argsort(mean, kind="stable")
    ]


def _aims(suite: Suite) -> str:
    cells = {each.label: each for each in suite.cells}
    rows = []
    for label, metric, entry, most in AIMED:
        cell = _cell(_result_of(entry).cells, cells[label])
        reached = None if cell is None else cell.metrics[metric]
        rows.append((f"`{label}`", f"`{metric}`", f"`{entry}`", f"{most:g}", *_verdict(reached, most)))
    return _table(("cell", "score", "entry", "aim", "reached", "met?"), rows)


def _verdict(reached: Interval | None, most: float) -> tuple[str, str]:
    if reached is None:
        return "", ""
    said = "yes" if reached.high <= most else "no, by the upper end" if reached.value <= most else "no"
    return " ".join(interval(reached)), said


def _coverage(suite: Suite) -> str:
    """A section with the coverage of the default entry, by cell and family."""
    result, rows = _result_of(DEFAULT), []
    families = tuple(dict.fromkeys(name for cell in result.cells.values() for name in cell.families))
    for each in suite.cells:
        cell = _cell(result.cells, each)
        if cell is not None and "coverage_68" in cell.metrics:
            of = family_scores(cell.parts)
            shares = (
                " / ".join(f"{100 * of[name][f'coverage_{level}'].value:.0f}" for level in (68, 95))
                if name in of
                else ""
                for name in families
            )
            rows.append((f"`{each.label}`", *shares))
    return COVERAGE.format(entry=DEFAULT) + _table(("cell", *(f"`{name}`" for name in families)), rows)


def _result_of(entry: str) -> Result:
    return next(result for result in _results() if result.model.name == entry)


def _cell(found: Mapping[str, CellResult], wanted: SuiteCell) -> CellResult | None:
    cell = found.get(wanted.label)
    current = cell is not None and cell.record is not None and cell.record.track_sha256 == wanted.track.sha256
    return cell if current else None


def _times(suite: Suite) -> str:
    cells = {each.label: each for each in suite.cells}
    rows = []
    for result in _results():
        small, large = (
            next((ms for label in labels if (ms := _milliseconds(_cell(result.cells, cells[label])))), None)
            for labels in (("paper/ood-positions", "paper/ood"), ("materials/20dB",))
        )
        if small is None:
            continue
        parts = [part for cell in result.cells.values() for part in cell.parts]
        hours = sum(part.predict_seconds or 0.0 for part in parts) / 3600
        cpu = next(part.prediction_run.environment["cpu"] for part in parts if part.prediction_run is not None)
        shown = "" if large is None else number(large)
        rows.append((small, (_name(result), cpu.removesuffix(" Processor"), number(small), shown, number(hours))))
    head = ("entry", "processor", "ms, 64 x 64", "ms, 128 x 128", "hours, suite")
    return _table(head, (row for _, row in sorted(rows)))


def _milliseconds(cell: CellResult | None) -> float | None:
    """Mean time of an image over the releases of a cell."""
    times = (
        [] if cell is None else [part.predict_seconds / part.n_images for part in cell.parts if part.predict_seconds]
    )
    return 1e3 * float(np.mean(times)) if times else None


def _literature() -> str:
    quoted = ", ".join(f"{row.mae} ({row.method}, {row.task.upper()})" for row in REPORTED)
    return LITERATURE.format(quoted=quoted, source=SOURCE, url=SOURCE_URL)


ADDED = {"paper": _literature, "window20": lambda: DENOISING}
"""What else is said of a track."""


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(line)} |" for line in (head, *rows)]
    return re.sub(r" +\|", " |", "\n".join([lines[0], f"|{'---|' * len(head)}", *lines[1:]]) + "\n")


if __name__ == "__main__":
    (DOCS / "results.md").write_text(page(), encoding="utf-8")
    README.write_text(readme(README.read_text(encoding="utf-8")), encoding="utf-8")
