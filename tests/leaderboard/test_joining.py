"""Several results of an entry become one: cells side by side, releases of a cell under their mean."""

import math

import pytest

from qpibench.errors import InvalidDataError
from qpibench.evaluation.joining import join, macro_average
from qpibench.evaluation.result import CellRecord, Floor, Interval
from qpibench.leaderboard.standings import standings


def on_cell(result, name="hard", **changes):
    """The result's only task as a cell of a track."""
    ((_, cell),) = result.cells.items()
    fields = {"track": "own", "track_sha256": "0" * 64, "primary": "rel_l2_capped", "size": None, **changes}
    record = CellRecord(cell=name, **fields)
    return result.model_copy(update={"cells": {name: cell.model_copy(update={"record": record})}})


def test_a_cell_of_two_releases_has_the_mean_of_both_whatever_their_sizes(make_result):
    first = on_cell(make_result(capped=(0.2, 0.17, 0.24), release="a", content_sha256="a" * 64, n_images=100))
    second = on_cell(make_result(capped=(0.6, 0.56, 0.63), release="b", content_sha256="b" * 64, n_images=900))
    joined = join([first, second])
    (cell,) = joined.cells.values()
    capped = cell.metrics["rel_l2_capped"]
    assert capped.value == pytest.approx(0.4)
    assert capped.low == pytest.approx(0.4 - math.hypot(0.03, 0.04) / 2)
    assert capped.high == pytest.approx(0.4 + math.hypot(0.04, 0.03) / 2)
    assert [part.release.name for part in cell.parts] == ["a", "b"]
    assert (cell.n_images, cell.n_kernels) == (1000, 40)
    assert joined.scoring_run.seconds == 3.0
    ((table, members),) = standings({"x.json": joined}).items()
    assert (table.release_names, members[0].primary) == ("a, b", capped)


def test_a_score_that_one_release_does_not_have_is_none_of_the_cell(make_result):
    parts = [make_result().cells["ood"].parts[0] for _ in range(2)]
    fewer = {name: score for name, score in parts[0].metrics.items() if name != "ssim"}
    assert macro_average([parts[1], parts[0].model_copy(update={"metrics": fewer})]).keys() == fewer.keys()


def with_floor(result, value):
    """The result with a floor of one metric on its only release."""
    ((name, cell),) = result.cells.items()
    scores = {"mae": Interval(value=value, low=value - 0.03, high=value + 0.03)}
    floor = Floor(metrics=scores, added=scores)
    part = cell.parts[0].model_copy(update={"floor": floor})
    return result.model_copy(update={"cells": {name: cell.model_copy(update={"floor": floor, "parts": (part,)})}})


def test_the_floor_of_two_releases_is_their_mean_if_both_have_one(make_result):
    first, second = (on_cell(make_result(content_sha256=letter * 64)) for letter in "ab")
    floor = join([with_floor(first, 0.2), with_floor(second, 0.4)]).cells["hard"].floor
    for score in (floor.metrics["mae"], floor.added["mae"]):
        assert score.value == pytest.approx(0.3)
        assert score.high == pytest.approx(0.3 + math.hypot(0.03, 0.03) / 2)
    assert join([with_floor(first, 0.2), second]).cells["hard"].floor is None


def test_an_entry_that_stopped_on_one_release_failed(make_result):
    joined = join([on_cell(make_result()), on_cell(make_result(stopped=True, content_sha256="b" * 64))])
    assert joined.status == "failed"
    (standing,) = next(iter(standings({"x.json": joined}).values()))
    assert "failed" in standing.marks
    assert standing.seconds_per_image is None


def test_results_of_different_entries_or_of_different_tracks_are_not_joined(make_result):
    with pytest.raises(InvalidDataError, match="their model is not the same"):
        join([on_cell(make_result(name="a")), on_cell(make_result(name="b"))])
    with pytest.raises(InvalidDataError, match="their tracks define the cell 'hard' differently"):
        join([on_cell(make_result()), on_cell(make_result(), track="other")])


def test_a_release_is_answered_once_and_outside_of_tracks_so_is_a_task(make_result):
    for twice in ([on_cell(make_result())] * 2, [make_result(), make_result(content_sha256="b" * 64)]):
        with pytest.raises(InvalidDataError, match="occurs twice"):
            join(twice)
    both = join([make_result(tasks=("id",)), make_result(tasks=("ood",))])
    assert list(both.cells) == ["id", "ood"]
