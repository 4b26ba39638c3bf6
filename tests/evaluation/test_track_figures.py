"""Figures of the cells of tracks."""

from __future__ import annotations

import html
import re

import pytest

from qpibench.evaluation.result import Interval
from qpibench.evaluation.track_figures import MOST_ENTRIES, CellScores, draw_track_figures, entry_style


def cell(**scores):
    intervals = {name: Interval(value=value, low=0.9 * value, high=1.1 * value) for name, value in scores.items()}
    return CellScores(primary="rel_l2_capped", scores=intervals)


def test_no_two_entries_of_a_figure_look_alike():
    assert len({entry_style(row) for row in range(MOST_ENTRIES)}) == MOST_ENTRIES


def test_a_curve_and_a_gap_are_drawn_for_a_page_with_the_names_of_entries_as_they_are():
    name = "a <b> $x_"
    levels = {"20dB": cell(**{name: 0.1}), "5dB": cell(**{name: 0.0}), "clean": cell(other=0.2)}
    drawn = draw_track_figures({"noise": levels, "task": {"id": cell(one=0.1), "ood": cell(one=0.2)}}, kind="svg")
    assert [figure.name for figure in drawn] == ["severity-noise", "gap-task-id"]
    curve, gap = (html.unescape(re.sub("<[^>]*>", "", figure.content.decode())) for figure in drawn)
    assert name in curve
    assert "ood: kernels unseen" in gap


@pytest.mark.parametrize("cells", [{}, {"20dB": cell(one=0.1)}, {"20dB": cell(one=0.1), "5dB": cell(other=0.1)}])
def test_without_two_cells_of_an_entry_there_is_no_figure(cells):
    assert draw_track_figures({"noise": cells}) == ()
