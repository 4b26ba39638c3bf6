"""Paired comparison finds a difference exactly when the images or the seeds support it."""

import h5py
import numpy as np
import pytest

from qpibench.errors import InvalidDataError, UsageError
from qpibench.evaluation.paired import PAIRED_SETTINGS, compare, compare_errors
from qpibench.evaluation.predict import Request, predict
from qpibench.evaluation.score import score


@pytest.fixture(scope="module")
def release(mini_release):
    return mini_release


@pytest.fixture(scope="module")
def write(tmp_path_factory, release):
    """Write predictions: the true kernel times a factor plus an offset, and NaN for the last ``unanswered`` images."""
    folder = tmp_path_factory.mktemp("predictions")

    def write_file(name, *, factor=1.0, offset=0.0, unanswered=0, tasks=("id", "ood"), reverse=False, keep=None):
        path = folder / f"{name}.h5"
        with h5py.File(path, "w") as file:
            file.attrs["release_sha256"] = release.content_sha256
            for task in tasks:
                index = np.sort(release.split(task, "test"))[:keep]
                kernel = factor * release.kernels.image[release.observation_kernel[index]] + offset
                kernel[len(index) - unanswered :] = np.nan
                order = slice(None, None, -1) if reverse else slice(None)
                file[f"{task}/index"], file[f"{task}/kernel"] = index[order], kernel[order]
        return path

    return write_file


def test_a_file_against_itself_differs_by_nothing(write, release):
    path = write("near", factor=0.9)
    comparison = compare([path], [path], release)
    assert set(comparison.tasks) == {"id", "ood"}
    for task in comparison.tasks.values():
        for metric in task.metrics.values():
            assert metric.difference.low == metric.difference.value == metric.difference.high == 0
            assert metric.ratio.low == metric.ratio.value == metric.ratio.high == 1
            assert metric.lower is None


def test_a_copy_that_is_shifted_by_a_constant_differs_by_the_constant(write, release):
    exact, shifted = write("exact"), write("shifted", offset=0.02)
    mae = compare([shifted], [exact], release).tasks["ood"].metrics["mae"]
    assert (mae.difference.low, mae.difference.value, mae.difference.high) == pytest.approx((0.02,) * 3, abs=1e-7)
    assert mae.lower == "B"
    assert mae.ratio is None  # B's error is 0


def test_errors_in_a_fixed_proportion_have_a_ratio_without_width(write, release):
    half, whole = write("half", factor=0.5), write("zeros", factor=0.0)
    for task in compare([half], [whole], release).tasks.values():
        for metric in task.metrics.values():
            assert (metric.ratio.low, metric.ratio.value, metric.ratio.high) == pytest.approx((0.5,) * 3, rel=1e-6)
            assert metric.lower == "A"


@pytest.mark.parametrize("images", [4, 7, 64])
def test_a_side_without_error_has_a_ratio_of_0(images):
    settings = PAIRED_SETTINGS.model_copy(update={"replicates": 20})
    for seed in range(100):
        errors = np.random.default_rng(seed).uniform(0.3, 1, (1, images))
        compared = compare_errors({"e": 0 * errors}, {"e": errors}, np.arange(images) // 2, settings=settings)["e"]
        assert 0 <= compared.ratio.low <= compared.ratio.value <= compared.ratio.high < 1e-12


def test_means_are_those_of_the_scores_failures_included(write, release):
    first, second = write("failing", factor=0.7, unanswered=4), write("other", factor=0.6, offset=0.03)
    comparison = compare([first], [second], release)
    for path, side in ((first, "a"), (second, "b")):
        for name, scored in score(path, release).cells.items():
            assert list(comparison.tasks[name].metrics) == ["rel_l2_capped", "mae", "mae_published"]
            for metric, paired in comparison.tasks[name].metrics.items():
                assert getattr(paired, side) == pytest.approx((scored.metrics[metric].value,), rel=1e-12)
    assert comparison.tasks["ood"].n_failed_a == (4,)
    assert comparison.tasks["ood"].n_failed_b == (0,)


def test_any_mean_over_images_can_be_compared_and_a_quantile_cannot(write, release):
    near, far = write("nearer", factor=0.9), write("farther", factor=0.2)
    compared = compare([near], [far], release, tasks=["id"], metrics=["psnr", "failure_rate"]).tasks["id"].metrics
    assert compared["psnr"].lower == "B"
    assert compared["psnr"].ratio.low > 1
    assert compared["failure_rate"].difference.value == 0
    with pytest.raises(UsageError, match="'rel_l2_median' is no mean over images and cannot be paired; choose of"):
        compare([near], [far], release, metrics=["rel_l2_median"])


def test_images_are_paired_by_their_row_whatever_the_order_of_the_files(write, release):
    first, second = write("one", factor=0.8, offset=0.01), write("two", factor=0.7)
    backwards = write("backwards", factor=0.7, reverse=True)
    straight, mixed = (compare([first], [other], release).tasks for other in (second, backwards))
    assert mixed == straight


def test_swapping_the_sides_turns_the_sign(write, release):
    first, second = write("c", factor=0.8), write("d", factor=0.3, offset=0.02)
    forth, back = (
        compare([x], [y], release).tasks["ood"].metrics["mae"] for x, y in ((first, second), (second, first))
    )
    assert forth.difference.value == pytest.approx(-back.difference.value, rel=1e-12)
    assert (forth.lower, back.lower) == ("A", "B")


def test_seeds_are_averaged_and_listed(write, release):
    seeds = [write(f"seed-{factor}", factor=factor) for factor in (0.4, 0.5, 0.6)]
    comparison = compare(seeds, [write("zeros", factor=0.0)], release, tasks=["ood"])
    capped = comparison.tasks["ood"].metrics["rel_l2_capped"]
    assert capped.a == pytest.approx((0.6, 0.5, 0.4), abs=1e-6)
    assert capped.difference.value == pytest.approx(-0.5, abs=1e-6)
    # All images agree, so only the seeds are uncertain: t(2) = 4.303 times 0.1 / sqrt(3).
    assert capped.difference.high - capped.difference.value == pytest.approx(4.3027 * 0.1 / np.sqrt(3), rel=1e-4)
    assert len(comparison.a) == 3


@pytest.mark.parametrize(
    ("files", "tasks", "error", "sentence"),
    [
        (("near", "near"), None, UsageError, "of side A hold the same predictions; give every seed once"),
        (("only id",), ["ood"], UsageError, "'.*only id.h5' has no predictions for task 'ood'; it has id"),
        (("missing",), None, UsageError, "There is no predictions file"),
        ((), None, UsageError, "Side A has no predictions file"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(write, release, files, tasks, error, sentence):
    write("near", factor=0.9)
    only_id = write("only id", tasks=("id",))
    paths = [only_id.with_stem(name) for name in files]
    with pytest.raises(error, match=sentence):
        compare(paths, [write("other side")], release, tasks=tasks)


def test_files_without_a_common_task_are_refused(write, release):
    with pytest.raises(UsageError, match="There is no task that all files contain"):
        compare([write("i", tasks=("id",))], [write("o", tasks=("ood",))], release)


def test_files_of_different_images_are_refused(release, tmp_path):
    for limit in (10, 20):
        predict("zeros", release, tmp_path / f"{limit}.h5", Request(limit=limit, tasks=["ood"]))
    with pytest.raises(InvalidDataError, match="different images of task 'ood', 10 and 20 with 10 in common"):
        compare([tmp_path / "10.h5"], [tmp_path / "20.h5"], release)


KERNELS, IMAGES = 20, 6
KERNEL = np.repeat(np.arange(KERNELS), IMAGES)


def drawn_errors(rng, *, mean, seeds, shared, own, between_seeds):
    """Errors (seed, image) of a method: what all methods share, what it finds hard itself, and each seed's luck."""
    of_kernel = own * rng.standard_normal((seeds, KERNELS)) / 2 + own * rng.standard_normal(KERNELS)
    of_image = own * rng.standard_normal((seeds, len(KERNEL)))
    luck = between_seeds * rng.standard_normal((seeds, 1))
    return mean + shared + of_kernel[:, KERNEL] + of_image + luck


def coverage(*, seeds, between_seeds, own=0.1, trials=300, replicates=600):
    """Shares of trials whose interval of the difference, and of the ratio, hold the methods' own."""
    rng = np.random.default_rng(11)
    settings = PAIRED_SETTINGS.model_copy(update={"replicates": replicates})
    covered = np.zeros(2)
    for trial in range(trials):
        shared = 0.5 * rng.standard_normal(KERNELS)[KERNEL] + 0.2 * rng.standard_normal(len(KERNEL))
        a, b = (
            drawn_errors(rng, mean=mean, seeds=n, shared=shared, own=own, between_seeds=between_seeds)
            for mean, n in zip((9.8, 10.0), seeds, strict=True)
        )
        metric = compare_errors(
            {"error": a}, {"error": b}, KERNEL, settings=settings.model_copy(update={"seed": trial})
        )["error"]
        covered += [
            metric.difference.low <= -0.2 <= metric.difference.high,
            metric.ratio.low <= 0.98 <= metric.ratio.high,
        ]
    return covered / trials


@pytest.mark.parametrize(
    ("seeds", "between_seeds", "most"),
    [
        pytest.param((1, 1), 0, 0.98, id="one model a side"),
        pytest.param((3, 3), 0.1, 0.99, marks=pytest.mark.slow, id="three seeds that differ as kernels do"),
        pytest.param((3, 3), 0.5, 0.99, id="three seeds that differ more"),
        pytest.param((3, 1), 0, 1, marks=pytest.mark.slow, id="three seeds alike against one"),
    ],
)
def test_95_percent_intervals_cover_the_difference_of_the_methods(seeds, between_seeds, most):
    for share in coverage(seeds=seeds, between_seeds=between_seeds):
        assert 0.92 <= share <= most


def test_without_the_spread_of_seeds_the_interval_would_not_cover():
    """What the widening is for: three seeds that differ much, each taken for the method."""
    rng = np.random.default_rng(12)
    covered = 0
    for _ in range(100):
        a, b = (
            drawn_errors(rng, mean=10, seeds=3, shared=0, own=0.1, between_seeds=0.5).mean(axis=0, keepdims=True)
            for _ in range(2)
        )
        difference = compare_errors({"error": a}, {"error": b}, KERNEL)["error"].difference
        covered += difference.low <= 0 <= difference.high
    assert covered < 60


@pytest.mark.parametrize(("a", "b", "low", "high"), [(0, 0, -0.168, 0.168), (1, 0, 0.832, 1), (0, 1, -1, -0.832)])
def test_shares_that_differ_alike_on_all_kernels_are_not_known_exactly(a, b, low, high):
    side_a, side_b = ({"failures": np.full((1, len(KERNEL)), float(share))} for share in (a, b))
    difference = compare_errors(side_a, side_b, KERNEL, shares=["failures"])["failures"].difference
    assert (difference.value, difference.low, difference.high) == pytest.approx((a - b, low, high), abs=1e-3)


def test_values_of_both_signs_have_no_ratio():
    rng = np.random.default_rng(14)
    b = 0.2 + rng.standard_normal((1, len(KERNEL)))
    assert compare_errors({"nll": b + 0.01}, {"nll": b}, KERNEL)["nll"].ratio is None


def test_pairing_separates_what_the_intervals_of_the_means_do_not():
    rng = np.random.default_rng(13)
    hard = 4 + rng.standard_normal(KERNELS)[KERNEL]
    a, b = (shift + hard + 0.05 * rng.standard_normal(len(KERNEL)) for shift in (0, 0.1))
    metric = compare_errors({"error": a[None]}, {"error": b[None]}, KERNEL)["error"]
    assert metric.lower == "A"
    assert metric.difference.high < 0
    assert metric.ratio.high < 1
