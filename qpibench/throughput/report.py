"""Draws the history of the benchmarks as a static page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from markupsafe import Markup, escape

from qpibench.errors import UsageError
from qpibench.files import check_file, make_folder, write_whole
from qpibench.pages.environment import page_environment
from qpibench.throughput import drawing
from qpibench.throughput.drawing import Plot, change, plot
from qpibench.throughput.history import Figure, NotMeasured, Run, load_history
from qpibench.throughput.steps import Step, find_steps

_GENERATOR = '<meta name="generator" content="qpibench bench report">'
"""Line that identifies a page of this command; only such a page may be replaced."""


@dataclass(frozen=True, kw_only=True)
class Course:
    """One figure over the runs of a machine.

    Attributes
    ----------
    newest
        The figure in the newest run that measured it.
    benchmark
        The benchmark that measured it.
    steps
        Its steps, each with the first run after it.
    """

    newest: Figure
    benchmark: str
    plot: Plot
    steps: Sequence[tuple[Step, Run]]


@dataclass(frozen=True, kw_only=True)
class Section:
    """The section of one machine: its runs, its figures, and the figures that its newest run could not measure."""

    runs: Sequence[Run]
    courses: Sequence[Course]
    not_measured: Sequence[NotMeasured]

    @property
    def groups(self) -> list[tuple[str, list[Course]]]:
        """Figures grouped by the first part of their names."""
        return [(key, list(group)) for key, group in groupby(self.courses, key=_topic)]

    @property
    def steps(self) -> list[tuple[Course, Step, Run]]:
        """All steps, newest first."""
        steps = [(course, step, run) for course in self.courses for step, run in course.steps]
        return sorted(steps, key=lambda found: found[2].measured, reverse=True)


def build_report(history_dir: str | Path, site: str | Path) -> dict[str, Section]:
    """Draw every run of a folder, machine by machine, as ``index.html`` of another; the same runs give the same bytes.

    Parameters
    ----------
    history_dir
        Folder whose files ``*.json`` are all runs of the benchmarks.
    site
        Folder to write; created if missing.

    Returns
    -------
    dict
        The section of each machine, by its name.

    Raises
    ------
    UsageError
        If there is no run, the page cannot be written, or a file that this command did not make would be replaced.
    InvalidDataError
        If a file is no run of the benchmarks.
    UnavailableError
        If the package ruptures is missing.
    """
    sections = {name: _section(runs) for name, runs in load_history(history_dir).items()}
    page = Path(site) / "index.html"
    make_folder(page.parent)
    check_file(page)
    if page.exists() and _GENERATOR.encode() not in page.read_bytes():
        raise UsageError(f"'{page}' is not a page of 'qpibench bench report'; give another folder.")
    write_whole(page, _render(sections).encode(), what="Page")
    return sections


def _section(runs: Sequence[Run]) -> Section:
    names = list(dict.fromkeys(name for run in reversed(runs) for name in run.figures))
    courses = sorted((_course(runs, name) for name in names), key=lambda course: _first_use(names, course))
    return Section(runs=runs, courses=courses, not_measured=runs[-1].not_measured)


def _first_use(names: Sequence[str], course: Course) -> tuple[int, int]:
    """Return the figures grouped by topic, in the order of the newest run."""
    topics = list(dict.fromkeys(name.partition(".")[0] for name in names))
    return topics.index(_topic(course)), names.index(course.newest.name)


def _topic(course: Course) -> str:
    return course.newest.name.partition(".")[0]


def _course(runs: Sequence[Run], name: str) -> Course:
    figures = [run.figures.get(name) for run in runs]
    measured = [(run, figure) for run, figure in zip(runs, figures, strict=True) if figure is not None]
    steps = find_steps([f.value for _, f in measured], [f.high - f.low for _, f in measured])
    newest_run, newest = measured[-1]
    return Course(
        newest=newest,
        benchmark=newest_run.benchmark[name],
        plot=plot(figures, steps),
        steps=[(step, measured[step.place][0]) for step in steps],
    )


def _render(sections: Mapping[str, Section]) -> str:
    environment = page_environment("qpibench.throughput")
    environment.filters |= {"code": _code, "day": _day, "command": _command}
    return environment.get_template("throughput.html.j2").render(
        sections=sections, generator=Markup(_GENERATOR), drawing=drawing, change=change
    )


def _code(text: str) -> Markup:
    """Turn text between backticks into HTML code elements."""
    parts = [escape(part) for part in text.split("`")]
    return Markup("").join(Markup("<code>{}</code>").format(p) if k % 2 else p for k, p in enumerate(parts))


def _day(run: Run) -> str:
    return f"{run.measured:%Y-%m-%d}"


def _command(benchmark: str) -> str:
    return f"python -m benchmarks -k {benchmark.removeprefix('test_').partition('[')[0]}"
