"""Page of a run on several cells: the scores of all, the figures of their tracks, and links to the report of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from markupsafe import Markup

from qpibench.evaluation.joining import family_scores
from qpibench.evaluation.metrics import all_metrics
from qpibench.evaluation.result import CellResult, Result
from qpibench.evaluation.track_figures import CellScores, draw_track_figures
from qpibench.files import check_file, write_whole
from qpibench.pages.environment import page_environment
from qpibench.pages.notation import interval, number, whole


def run_report(result: Result, path: str | Path, *, reports: Mapping[str, Sequence[str]]) -> None:
    """Write the page of a result of several cells as one HTML file, which links to the reports of the cells.

    Parameters
    ----------
    result
        Result of the cells of a suite or a track.
    path
        The HTML file to write; an existing one is replaced.
    reports
        Names of the reports of each cell, by TRACK/CELL, in the folder of ``path``: one for each release.

    Raises
    ------
    UsageError
        If the folder is missing or cannot be written to.
    QpibenchError
        If writing fails, as on a full disk.
    """
    path = Path(path)
    check_file(path)
    write_whole(path, _render(result, reports).encode(), what="Report")


def figures_of(result: Result, *, outside: str = "") -> list[tuple[str, Markup]]:
    """Return the captions and the SVG text of the figures of a result's cells; see :mod:`.track_figures`.

    Cells outside of tracks are tasks, and count as cells of a track with the name ``outside``.
    """
    tracks: dict[str, dict[str, CellScores]] = {}
    for name, cell in result.cells.items():
        track, label = (outside, name) if cell.record is None else (cell.record.track, cell.record.cell)
        scores = CellScores(primary=cell.primary, scores={result.model.name: cell.metrics[cell.primary]})
        tracks.setdefault(track, {})[label] = scores
    drawn = draw_track_figures(tracks, kind="svg")
    # The text is made of a figure of Matplotlib, which escapes the names in it.
    return [(figure.caption, Markup(figure.content.decode())) for figure in drawn]


def _render(result: Result, reports: Mapping[str, Sequence[str]]) -> str:
    environment = page_environment("qpibench.evaluation")
    environment.filters |= {"number": number, "interval": interval, "whole": whole, "quote": quote}
    labels = {name: name if cell.record is None else cell.record.label for name, cell in result.cells.items()}
    tracks = dict.fromkeys(cell.record.track for cell in result.cells.values() if cell.record is not None)
    training = result.model.training
    return environment.get_template("run_report.html.j2").render(
        result=result,
        on=f"the suite {result.suite.name}" if result.suite is not None else ", ".join(tracks),
        limit=None if result.suite is None else result.suite.limit,
        rows=[
            (labels[name], cell, _families(cell), reports.get(labels[name], ())) for name, cell in result.cells.items()
        ],
        trained=None if training is None or training.fraction == 1 else training,
        figures=figures_of(result),
        metrics=all_metrics(),
        level=f"{100 * result.intervals.level:g} %",
    )


def _families(cell: CellResult) -> dict[str, float]:
    """Return the score of each family of kernels, if a cell has several."""
    if len(cell.families) < 2:
        return {}
    return {family: scores[cell.primary].value for family, scores in family_scores(cell.parts).items()}
