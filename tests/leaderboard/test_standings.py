"""Only comparable numbers meet, and a rank is shared with the best whose interval overlaps one's own."""

import itertools
import re

import pytest

from qpibench.errors import InvalidDataError
from qpibench.evaluation.result import TrainingRecord
from qpibench.leaderboard.standings import standings


def only_track(results):
    ((_, members),) = standings(results).items()
    return members


def places(members):
    return [(standing.rank, standing.tied, standing.result.model.name) for standing in members]


def test_entries_are_ranked_by_the_ranking_score(make_result):
    results = {
        "x.json": make_result(name="worst", capped=(0.9, 0.85, 0.95)),
        "y.json": make_result(name="best", capped=(0.1, 0.05, 0.15)),
        "z.json": make_result(name="middle", capped=(0.5, 0.45, 0.55)),
    }
    assert places(only_track(results)) == [(1, False, "best"), (2, False, "middle"), (3, False, "worst")]


def test_entries_whose_interval_overlaps_that_of_the_best_of_their_group_share_its_rank(make_result):
    results = {
        "a.json": make_result(name="a", capped=(0.10, 0.05, 0.15)),
        "b.json": make_result(name="b", capped=(0.16, 0.14, 0.20)),
        # Overlaps b, but not a, the best of the group: so it opens the next one.
        "c.json": make_result(name="c", capped=(0.18, 0.16, 0.30)),
        "d.json": make_result(name="d", capped=(0.30, 0.29, 0.31)),
        "e.json": make_result(name="e", capped=(0.50, 0.45, 0.55)),
    }
    assert places(only_track(results)) == [
        (1, True, "a"),
        (1, True, "b"),
        (3, True, "c"),
        (3, True, "d"),
        (5, False, "e"),
    ]


def test_the_intervals_of_entries_with_different_ranks_overlap_only_where_one_is_not_the_best_of_its_rank(make_result):
    results = {
        "a.json": make_result(name="a", capped=(0.10, 0.05, 0.15)),
        "b.json": make_result(name="b", capped=(0.16, 0.155, 0.20)),
        "c.json": make_result(name="c", capped=(0.17, 0.10, 0.30)),  # overlaps a too, but b is the best of its group
        "d.json": make_result(name="d", capped=(0.25, 0.21, 0.35)),
    }
    members = only_track(results)
    assert places(members) == [(1, False, "a"), (2, True, "b"), (2, True, "c"), (4, False, "d")]
    best = [next(each.primary for each in members if each.rank == rank) for rank in (1, 2, 4)]
    assert all(before.high < after.low for before, after in itertools.pairwise(best))


def test_results_of_another_release_task_view_or_subset_are_another_track(make_result):
    results = {
        "a.json": make_result(),
        "same.json": make_result(name="other"),
        "hash.json": make_result(content_sha256="b" * 64),
        "task.json": make_result(tasks=("id",)),
        "view.json": make_result(view="image"),
        "subset.json": make_result(n_images=100),
        "whole.json": make_result(n_images=10_000),
    }
    sizes = [len(members) for members in standings(results).values()]
    assert sorted(sizes) == [1, 1, 1, 1, 1, 2]


def test_a_result_of_two_tasks_stands_on_two_tracks(make_result):
    assert [track.task for track in standings({"a.json": make_result(tasks=("ood", "id"))})] == ["id", "ood"]


def test_the_order_of_the_results_has_no_influence(make_result):
    results = {f"{n}.json": make_result(name="same", capped=(0.2, 0.1, 0.3)) for n in range(4)}
    assert standings(results) == standings(dict(reversed(results.items())))


def test_marks_tell_subsets_missing_predictions_and_entries_that_stopped(make_result):
    results = {
        "1": make_result(capped=(0.1, 0.1, 0.1), n_images=10_000),
        "2": make_result(capped=(0.2, 0.2, 0.2), n_images=10_000, n_failed=3),
        "3": make_result(capped=(0.3, 0.3, 0.3), n_images=10_000, n_failed=3, stopped=True),
    }
    assert [standing.marks for standing in only_track(results)] == [(), ("missing",), ("failed",)]
    assert only_track({"4": make_result(n_images=200)})[0].marks == ("subset",)


def test_seconds_per_image_are_those_of_predicting_the_task(make_result):
    (standing, *_) = standings({"a.json": make_result(tasks=("id", "ood"), n_images=300)}).values()
    assert standing[0].seconds_per_image == 1.2 / 300


@pytest.mark.parametrize("view", ["positions", "image"])
def test_the_same_predictions_do_not_stand_twice_whatever_their_view(make_result, view):
    views = {"a.json": "positions", "b.json": view}
    twice = {name: make_result(name=name, predictions_sha256="d" * 64, view=views[name]) for name in views}
    with pytest.raises(InvalidDataError, match=re.escape("'a.json' and 'b.json' are of the same predictions")):
        standings(twice)
    tasks = {"a.json": "id", "b.json": "ood"}
    apart = {name: make_result(tasks=(task,), predictions_sha256="d" * 64) for name, task in tasks.items()}
    assert len(standings(apart)) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"release": "mini"}, "name of the release aaaaaaaaaaaa is 'paper' in the first and 'mini' in the second"),
        ({"n_available": 9_000}, "n_available of the release aaaaaaaaaaaa, task ood, is 10000 in the first and 9000"),
    ],
)
def test_results_that_disagree_about_their_release_are_not_ranked_apart(make_result, changes, message):
    with pytest.raises(InvalidDataError, match=f"'a.json' and 'b.json' contradict each other: {message}"):
        standings({"a.json": make_result(), "b.json": make_result(**changes)})


def test_intervals_of_different_levels_are_not_compared(make_result):
    narrow = make_result()
    narrow = narrow.model_copy(update={"intervals": narrow.intervals.model_copy(update={"level": 0.1})})
    with pytest.raises(InvalidDataError, match=r"the level of intervals is 0\.95 in the first and 0\.1 in the second"):
        standings({"a.json": make_result(), "b.json": narrow})


ORACLE_KNOWS = ("the true kernel (oracle)",)


def test_an_oracle_stands_by_its_score_on_every_track_of_its_images_and_takes_no_rank(make_result):
    results = {
        "a.json": make_result(name="a", capped=(0.1, 0.05, 0.15), tasks=("ood",)),
        "b.json": make_result(name="b", capped=(0.5, 0.45, 0.55), tasks=("ood",)),
        "image.json": make_result(name="image", capped=(0.2, 0.15, 0.25), tasks=("ood",), view="image"),
        "fewer.json": make_result(name="fewer", tasks=("ood",), n_images=100),
        "oracle.json": make_result(
            name="oracle", capped=(0.3, 0.05, 0.55), tasks=("ood",), view="oracle", knows=ORACLE_KNOWS
        ),
    }
    tracks = {(track.view, track.n_images): members for track, members in standings(results).items()}
    assert set(tracks) == {("positions", 200), ("positions", 100), ("image", 200)}
    assert places(tracks["positions", 200]) == [(1, False, "a"), (None, False, "oracle"), (2, False, "b")]
    assert places(tracks["image", 200]) == [(1, False, "image"), (None, False, "oracle")]
    assert places(tracks["positions", 100]) == [(1, False, "fewer")]
    assert tracks["image", 200][1].marks == ("oracle", "subset")


def test_an_oracle_alone_has_a_track_of_its_own(make_result):
    (standing,) = only_track({"o.json": make_result(view="oracle", knows=ORACLE_KNOWS)})
    assert standing.rank is None


def trained(result, *, done, stated=1000, fraction=None):
    training = {
        "recipe": "article",
        "preset": "compact",
        "options": {},
        "seed": 0,
        "source": {"kind": "release", "name": "paper", "spec_sha256": "d" * 64, "content_sha256": "e" * 64},
        "steps_done": done,
        "steps_stated": stated,
        "fraction": done / stated if fraction is None else fraction,
        "hours": 0.5,
        "hardware": "a processor",
        "git_commit": None,
    }
    model = result.model.model_copy(update={"training": TrainingRecord.model_validate(training)})
    return result.model_copy(update={"model": model})


@pytest.mark.parametrize(
    ("done", "fraction", "percent"),
    [(1, None, 1), (30, None, 3), (31, None, 4), (990, None, 99), (999, None, 99), (1000, None, 100), (400, 1.0, 100)],
)
def test_an_entry_that_was_not_trained_to_the_end_is_marked_with_the_share_that_was(
    make_result, done, fraction, percent
):
    (standing,) = only_track({"a.json": trained(make_result(), done=done, fraction=fraction)})
    assert standing.trained_percent == percent
    assert standing.marks == (("subset", "partial") if percent < 100 else ("subset",))


def test_an_entry_without_training_has_no_mark_of_it(make_result):
    (standing,) = only_track({"a.json": make_result()})
    assert standing.trained_percent is None
    assert "partial" not in standing.marks


def test_an_entry_that_was_not_trained_to_the_end_takes_no_rank(make_result):
    results = {
        "a.json": trained(make_result(name="a", capped=(0.1, 0.05, 0.15)), done=999),
        "b.json": make_result(name="b", capped=(0.12, 0.1, 0.14)),
        "c.json": trained(make_result(name="c", capped=(0.5, 0.45, 0.55)), done=1000),
    }
    (members,) = standings(results).values()
    assert places(members) == [(None, False, "a"), (1, False, "b"), (2, False, "c")]


def test_partly_trained_runs_give_way_to_a_run_of_their_method_trained_to_the_end(make_result):
    method, other = "two_step (code, seed {})", "two_step (code, samples=2, seed {})"
    results = {
        "a.json": trained(make_result(name=method.format(0)), done=1000),
        "b.json": trained(make_result(name=method.format(0)), done=10),
        "c.json": trained(make_result(name=method.format(1)), done=999),
        "d.json": trained(make_result(name=other.format(0)), done=10),
        "e.json": trained(make_result(name=method.format(2), tasks=("id",)), done=10),
    }
    found = [sorted(standing.file for standing in members) for members in standings(results).values()]
    assert sorted(found) == [["a.json", "d.json"], ["e.json"]]


def test_a_run_that_failed_to_predict_does_not_stand_for_its_method(make_result):
    results = {
        "a.json": trained(make_result(name="net (seed 0)", stopped=True, n_failed=3), done=1000),
        "b.json": trained(make_result(name="net (seed 1)"), done=10),
    }
    assert len(only_track(results)) == 2


def test_an_entry_that_stopped_takes_no_rank_and_does_not_move_the_others(make_result):
    results = {
        "a.json": make_result(name="a", capped=(0.1, 0.05, 0.15), n_failed=3, stopped=True),
        "b.json": make_result(name="b", capped=(0.12, 0.1, 0.14)),
        "c.json": make_result(name="c", capped=(0.5, 0.45, 0.55), n_failed=3),
    }
    (members,) = standings(results).values()
    assert places(members) == [(None, False, "a"), (1, False, "b"), (2, False, "c")]
    assert "failed" in members[0].marks
