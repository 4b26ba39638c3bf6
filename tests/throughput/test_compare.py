"""Only comparable figures are compared, and a figure fell only if its spread does not explain the change."""

import pytest

from qpibench.errors import RegressionError, UsageError
from qpibench.throughput.compare import compare
from qpibench.throughput.history import load_run


@pytest.fixture
def compared(write_run):
    def run(first, second, **of_second):
        paths = write_run(*first, name="a.json"), write_run(*second, name="b.json", **of_second)
        return compare(*map(load_run, paths))

    return run


def only_verdict(comparison):
    (pair,) = comparison.pairs
    return pair.verdict


@pytest.mark.parametrize(
    ("value", "fields", "verdict"),
    [
        (90.0, {}, "fell"),
        (110.0, {}, "rose"),
        (98.5, {}, "same"),
        (96.0, {}, "same"),  # twice the quartile range of 2
        (95.9, {}, "fell"),
        (104.1, {}, "rose"),
        (110.0, {"at_most": 200.0}, "fell"),
        (90.0, {"better": "lower"}, "rose"),
        (90.0, {"rounds": 4}, "not judged"),
        (90.0, {"spread": 30.0}, "same"),
    ],
)
def test_a_fall_is_a_change_for_the_worse_beyond_the_spread_of_both_runs(compared, figure, value, fields, verdict):
    comparison = compared([figure()], [figure(value=value, **fields)])
    assert only_verdict(comparison) == verdict
    if verdict == "fell":
        with pytest.raises(RegressionError, match=r"speed\.ratio from 100 to"):
            comparison.require_no_fall()
    else:
        comparison.require_no_fall()


def test_rates_are_compared_on_one_machine_alone_and_times_never(compared, figure, machine):
    def figures(factor):
        units = {"speed.ratio": "x", "speed.share": "", "speed.rate": "images/s", "speed.time": "s", "memory": "MB"}
        return [figure(name, 100 * factor, unit=unit) for name, unit in units.items()]

    here = compared(figures(1), figures(2))
    assert [pair.second.name for pair in here.pairs] == ["speed.ratio", "speed.share", "speed.rate"]
    elsewhere = compared(figures(1), figures(2), machine=machine | {"cores": 64})
    assert [pair.second.name for pair in elsewhere.pairs] == ["speed.ratio", "speed.share"]
    assert (here.same_machine, elsewhere.same_machine) == (True, False)


def test_figures_of_one_run_alone_are_named(compared, figure):
    comparison = compared([figure(), figure("old")], [figure(), figure("new")])
    assert (comparison.only_first, comparison.only_second) == (["old"], ["new"])


def test_many_falls_are_counted(compared, figure):
    names = [f"speed.{n}" for n in range(5)]
    comparison = compared([figure(name) for name in names], [figure(name, 50.0) for name in names])
    with pytest.raises(RegressionError, match="and 2 more"):
        comparison.require_no_fall()


def test_a_ratio_that_was_zero_has_no_relative_change(compared, figure):
    (pair,) = compared([figure(value=0.0, spread=0.0)], [figure(value=1.0, spread=0.0)]).pairs
    assert (pair.change, pair.verdict) == (None, "rose")


def test_runs_without_a_common_ratio_are_refused(compared, figure):
    with pytest.raises(UsageError, match="no ratio in common"):
        compared([figure("old")], [figure("new")])
