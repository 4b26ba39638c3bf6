"""Intervals cover as documented, and depend on nothing but the scores."""

import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks.coverage import LAWS
from benchmarks.coverage import coverage as coverage_of_means
from qpibench.evaluation.statistics import DEFAULT_SETTINGS, Statistic, bootstrap_intervals


def settings(**changes):
    return DEFAULT_SETTINGS.model_copy(update=changes)


def normal(between, within):
    return lambda kernel, image: between * kernel + within * image


def lognormal(between, within):
    return lambda kernel, image: np.exp(between * kernel + within * image)


def capped(between, within):
    return lambda kernel, image: np.minimum(np.exp(between * kernel + within * image - 1), 1)


def scores(law, rng, kernels, images):
    """Scores that differ between kernels and between the images of a kernel, (kernel * image,)."""
    return law(rng.standard_normal((kernels, 1)), rng.standard_normal((kernels, images))).ravel()


def coverage(law, *, kernels, images, trials, replicates):
    """Share of trials in which the 95 % intervals of the mean and of the median hold the population's value."""
    rng = np.random.default_rng(20)
    population = law(rng.standard_normal(2_000_000), rng.standard_normal(2_000_000))
    truth = {"mean": population.mean(), "median": np.median(population)}
    kernel = np.repeat(np.arange(kernels), images)
    covered = dict.fromkeys(truth, 0)
    for trial in range(trials):
        values = scores(law, rng, kernels, images)
        intervals = bootstrap_intervals(
            {"mean": Statistic(values), "median": Statistic(values, 0.5)},
            kernel,
            settings=settings(replicates=replicates, seed=trial),
        )
        for name, interval in intervals.items():
            covered[name] += interval.low <= truth[name] <= interval.high
    return {name: count / trials for name, count in covered.items()}


@pytest.mark.parametrize(
    "law",
    [
        pytest.param(normal(1, 0.2), id="normal, kernels differ", marks=pytest.mark.slow),
        pytest.param(normal(0.2, 1), id="normal, images differ", marks=pytest.mark.slow),
        pytest.param(lognormal(0.4, 0.1), id="skewed, kernels differ", marks=pytest.mark.slow),
        pytest.param(lognormal(0.1, 0.4), id="skewed, images differ"),
    ],
)
def test_95_percent_intervals_cover_with_20_kernels(law):
    for name, share in coverage(law, kernels=20, images=6, trials=400, replicates=800).items():
        assert 0.92 <= share <= 0.98, name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("law", "kernels", "images", "least"),
    [
        pytest.param(normal(1, 0.2), 20, 10, 0.93, id="normal, kernels differ"),
        pytest.param(normal(1, 1), 20, 10, 0.93, id="normal, both differ"),
        pytest.param(normal(0.2, 1), 20, 10, 0.93, id="normal, images differ"),
        pytest.param(normal(0, 1), 20, 10, 0.93, id="normal, kernels alike"),
        pytest.param(normal(1, 1), 20, 1, 0.93, id="one image a kernel"),
        pytest.param(normal(1, 1), 5, 10, 0.92, id="five kernels"),
        pytest.param(normal(1, 1), 80, 10, 0.93, id="eighty kernels"),
        pytest.param(lognormal(0.5, 0.2), 20, 10, 0.92, id="skewed, kernels differ"),
        pytest.param(lognormal(0.2, 0.5), 20, 10, 0.93, id="skewed, images differ"),
        pytest.param(capped(1, 0.5), 20, 10, 0.93, id="capped at 1"),
    ],
)
def test_95_percent_intervals_cover_in_the_larger_study(law, kernels, images, least):
    for name, share in coverage(law, kernels=kernels, images=images, trials=2000, replicates=1000).items():
        assert least <= share <= 0.98, name


def documented_coverage():
    """Rows of the table of docs/scores.md: scores, kernels, coverage."""
    page = (Path(__file__).parents[2] / "docs" / "scores.md").read_text()
    return re.findall(r"^\| ([^|]+) \| (\d+) \| (0\.\d+) \| 0\.\d+ \| [\d.]+ \|$", page, re.MULTILINE)


def test_the_documented_coverage_is_of_all_synthetic_scores():
    assert {name for name, _, _ in documented_coverage()} == set(LAWS)


@pytest.mark.slow
@pytest.mark.parametrize("law", LAWS)
def test_with_20_kernels_means_are_covered_as_documented(law):
    (stated,) = (float(share) for name, kernels, share in documented_coverage() if (name, kernels) == (law, "20"))
    assert coverage_of_means(LAWS[law], 20, trials=1000)[0] == pytest.approx(stated, abs=0.02)


@pytest.fixture
def uneven():
    """Skewed scores of eight kernels with 1 to 15 images each, in mixed order: (values, kernel)."""
    rng = np.random.default_rng(1)
    kernel = rng.permutation(np.repeat(np.arange(8) * 7, np.arange(1, 16, 2)))
    return np.exp(rng.standard_normal(len(kernel)) + 0.1 * kernel), kernel


def test_estimates_are_the_mean_and_numpys_quantiles(uneven):
    values, kernel = uneven
    statistics = {"mean": Statistic(values)} | {f"q{q}": Statistic(values, q) for q in (0.0, 0.25, 0.5, 0.9, 1.0)}
    intervals = bootstrap_intervals(statistics, kernel)
    assert intervals["mean"].value == pytest.approx(values.mean(), rel=1e-14)
    for q in (0.0, 0.25, 0.5, 0.9, 1.0):
        assert intervals[f"q{q}"].value == pytest.approx(np.quantile(values, q), rel=1e-14)


@pytest.mark.parametrize("quantile", [None, 0.1, 0.5, 0.9])
def test_replicates_are_means_and_quantiles_of_the_drawn_images(uneven, quantile):
    """With one image a kernel and an odd level, an end is a replicate, and a replicate is a resample's statistic."""
    values, _ = uneven
    values = values[:3]
    possible = {
        values[[i, j, k]].mean() if quantile is None else np.quantile(values[[i, j, k]], quantile)
        for i in range(3)
        for j in range(3)
        for k in range(3)
    }
    interval = bootstrap_intervals(
        {"s": Statistic(values, quantile)}, np.arange(3), settings=settings(level=0.3, replicates=501)
    )["s"]
    for end in (interval.low, interval.high):
        assert min(abs(end - p) for p in possible) < 1e-3 * np.ptp(values)


def test_the_same_scores_give_the_same_interval(uneven):
    values, kernel = uneven
    first, second = (bootstrap_intervals({"mean": Statistic(values)}, kernel)["mean"] for _ in range(2))
    assert first == second
    other = bootstrap_intervals({"mean": Statistic(values)}, kernel, settings=settings(seed=1))["mean"]
    assert other.low != first.low
    assert other.value == first.value


def test_the_draws_are_fixed_for_good():
    """What published intervals rest on: these ends may not change with NumPy's version or a machine."""
    interval = bootstrap_intervals({"mean": Statistic(np.arange(20) ** 2.0)}, np.arange(20) // 2)["mean"]
    assert (interval.low, interval.high) == pytest.approx((53.79523816087192, 218.0946396025667), rel=1e-12)


def test_other_statistics_do_not_change_an_interval(uneven):
    values, kernel = uneven
    alone = bootstrap_intervals({"mean": Statistic(values)}, kernel)["mean"]
    together = bootstrap_intervals(
        {"median": Statistic(values, 0.5), "mean": Statistic(values), "square": Statistic(values**2)}, kernel
    )["mean"]
    assert (together.low, together.value, together.high) == pytest.approx((alone.low, alone.value, alone.high), 1e-12)


def test_the_block_size_does_not_change_an_interval(uneven, monkeypatch):
    values, kernel = uneven
    statistics = {"mean": Statistic(values), "median": Statistic(values, 0.5)}
    whole = bootstrap_intervals(statistics, kernel)
    monkeypatch.setattr("qpibench.evaluation.statistics._BLOCK", 7 * len(values))
    blocks = bootstrap_intervals(statistics, kernel)
    for name, interval in whole.items():
        assert blocks[name].model_dump() == pytest.approx(interval.model_dump(), rel=1e-12)


@pytest.mark.parametrize("value", [0.1, 1.0, 0.0, 1e-300, 12345.678])
@pytest.mark.parametrize("kernels", [1, 2, 20])
def test_equal_scores_give_an_interval_without_width(value, kernels):
    values = np.full(60, value)
    statistics = {"mean": Statistic(values), "median": Statistic(values, 0.5), "q90": Statistic(values, 0.9)}
    for interval in bootstrap_intervals(statistics, np.arange(60) % kernels).values():
        assert interval.low == interval.value == interval.high == value


@pytest.mark.parametrize("kernels", [1, 2, 3, 20])
@pytest.mark.parametrize("images", [1, 2, 9])
def test_the_interval_holds_its_estimate_however_few_the_images(kernels, images):
    rng = np.random.default_rng(3)
    kernel = np.repeat(np.arange(kernels), images)
    values = (rng.random(len(kernel)) < 0.2).astype(np.float64) + 1e-3 * rng.random(len(kernel))
    statistics = {"mean": Statistic(values)} | {f"q{q}": Statistic(values, q) for q in (0.05, 0.5, 0.9)}
    for interval in bootstrap_intervals(statistics, kernel).values():
        assert values.min() <= interval.low <= interval.value <= interval.high <= values.max() * (1 + 1e-15)


def test_kernels_that_differ_widen_the_interval():
    rng = np.random.default_rng(4)
    values = np.repeat(rng.standard_normal(10), 30) + 0.1 * rng.standard_normal(300)
    by_kernel = bootstrap_intervals({"mean": Statistic(values)}, np.repeat(np.arange(10), 30))["mean"]
    as_if_apart = bootstrap_intervals({"mean": Statistic(values)}, np.arange(300))["mean"]
    assert by_kernel.high - by_kernel.low > 3 * (as_if_apart.high - as_if_apart.low)


def test_images_of_a_single_kernel_are_taken_as_independent():
    values = np.random.default_rng(5).standard_normal(40)
    single, apart = (
        bootstrap_intervals({"mean": Statistic(values)}, k)["mean"] for k in (np.zeros(40, int), np.arange(40))
    )
    assert single == apart
    assert single.low < single.value < single.high


def test_a_single_image_has_an_interval_without_width():
    interval = bootstrap_intervals({"mean": Statistic(np.array([0.7]))}, np.array([3]))["mean"]
    assert (interval.low, interval.value, interval.high) == (0.7, 0.7, 0.7)


@pytest.mark.parametrize(("value", "low", "high"), [(0.0, 0.0, 0.16843), (1.0, 0.83157, 1.0)])
def test_a_share_of_none_or_all_images_is_as_uncertain_as_its_kernels_are_few(value, low, high):
    values, kernel = np.full(200, value), np.arange(200) % 20
    statistics = {"share": Statistic(values, share=True), "mean": Statistic(values)}
    intervals = bootstrap_intervals(statistics, kernel)
    share = intervals["share"]
    # scipy.stats.binomtest(0, 20).proportion_ci(method="exact")
    assert (share.low, share.value, share.high) == pytest.approx((low, value, high), abs=1e-5)
    assert intervals["mean"].low == intervals["mean"].high == value


def test_any_other_share_has_the_interval_of_a_mean():
    values, kernel = (np.arange(200) % 7 == 0).astype(float), np.arange(200) % 20
    intervals = bootstrap_intervals({"share": Statistic(values, share=True), "mean": Statistic(values)}, kernel)
    assert intervals["share"] == intervals["mean"]


def test_a_share_of_images_of_one_kernel_counts_the_images():
    share = bootstrap_intervals({"s": Statistic(np.zeros(20), share=True)}, np.zeros(20, int))["s"]
    assert share.high == pytest.approx(0.16843, abs=1e-5)


@pytest.mark.parametrize("counted", [1, 2, 5])
@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize("replicates", [3, 500])
def test_a_ratio_over_few_images_has_an_interval_whichever_replicates_draw_none_of_them(counted, share, replicates):
    over = np.zeros(60)
    over[:counted] = 1
    values = over * (np.arange(60) % 2)
    interval = bootstrap_intervals(
        {"r": Statistic(values, share=share, over=over)}, np.arange(60), settings=settings(replicates=replicates)
    )["r"]
    assert interval.value == values.sum() / counted
    assert 0 <= interval.low <= interval.value <= interval.high <= 1


def test_a_ratio_over_the_images_of_ten_kernels_is_as_uncertain_as_their_mean():
    values = np.random.default_rng(6).standard_normal(40)
    of_ten = bootstrap_intervals({"mean": Statistic(values)}, np.arange(40) // 4)["mean"]
    more, over, kernel = np.append(values, np.zeros(120)), np.arange(160) < 40, np.arange(160) // 4
    ratio = bootstrap_intervals({"r": Statistic(more, over=over.astype(float))}, kernel)["r"]
    assert ratio.value == pytest.approx(of_ten.value)
    assert ratio.high - ratio.low == pytest.approx(of_ten.high - of_ten.low, rel=0.15)
    none = bootstrap_intervals({"r": Statistic(0 * more, share=True, over=over.astype(float))}, kernel)["r"]
    assert none.high == pytest.approx(
        bootstrap_intervals({"s": Statistic(np.zeros(10), share=True)}, np.arange(10))["s"].high
    )
