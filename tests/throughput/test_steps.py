"""Lasting changes of a figure are found, and others are ignored."""

import sys

import numpy as np
import pytest

from qpibench.errors import UnavailableError
from qpibench.throughput.steps import FEWEST, find_steps

pytest.importorskip("ruptures")


def noisy(levels, noise, seed=0):
    return np.array(levels) + noise * np.random.default_rng(seed).standard_normal(len(levels))


def places(values, spread=0.0):
    return [step.place for step in find_steps(values, np.full(len(values), spread))]


def test_a_change_for_good_is_found_at_its_run_with_both_levels():
    values = noisy([100.0] * 12 + [80.0] * 8, 1.0)
    (step,) = find_steps(values, np.ones(20))
    assert step.place == 12
    assert (step.before, step.after) == (np.median(values[:12]), np.median(values[12:]))


def test_several_changes_are_found_in_their_order():
    assert places(noisy([10.0] * 6 + [20.0] * 6 + [5.0] * 6, 0.2)) == [6, 12]


def test_a_change_without_any_noise_is_found():
    assert places([1.0] * 5 + [2.0] * 5) == [5]


@pytest.mark.parametrize("days", range(1, FEWEST))
@pytest.mark.parametrize("later", [0, 10])
def test_bad_days_are_no_change_for_good(days, later):
    levels = [100.0] * 10 + [50.0] * days + [100.0] * later
    found = [bool(places(noisy(levels, 1.0, seed))) for seed in range(100)]
    assert np.mean(found) < 0.05


def test_a_change_within_the_spread_of_the_runs_is_none():
    values = noisy([100.0] * 10 + [104.0] * 10, 0.1)
    assert places(values, spread=0.2) == [10]
    assert places(values, spread=20.0) == []


@pytest.mark.parametrize("count", [0, 1, 5, 6, 40])
def test_a_figure_that_never_changes_has_no_step(count):
    assert places(np.full(count, 3.5)) == []
    assert places(np.zeros(count)) == []


def test_noise_alone_seldom_makes_a_step():
    found = [bool(places(noisy([100.0] * 20, 1.0, seed))) for seed in range(200)]
    assert np.mean(found) < 0.05


def test_without_ruptures_the_extra_that_brings_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ruptures", None)
    with pytest.raises(UnavailableError, match=r"qpibench\[bench\]"):
        find_steps(np.arange(10.0), np.ones(10))
