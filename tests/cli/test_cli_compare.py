"""``qpibench compare`` compares two methods image by image; ``qpibench oracle`` predicts from the true kernels."""

import json
import shutil

import h5py
import pytest

from qpibench.evaluation.paired import Comparison


@pytest.fixture(scope="module")
def oracle(tmp_path_factory, qpibench, mini):
    """Return the oracle's predictions for four images of each task of `mini`; tests must not change the file."""
    path = tmp_path_factory.mktemp("oracle") / "nearest.h5"
    outcome = qpibench("oracle", "nearest_kernel", "--release", mini, "--limit", 4, "-o", path, "--json")
    assert outcome.exit_code == 0, outcome.stderr
    assert outcome.json["model"]["knows"] == ["the true kernel (oracle)"]
    return path


@pytest.fixture(scope="module")
def median(tmp_path_factory, qpibench, mini):
    path = tmp_path_factory.mktemp("median") / "median.h5"
    outcome = qpibench("predict", "median_kernel", "--release", mini, "--limit", 4, "-o", path)
    assert outcome.exit_code == 0, outcome.stderr
    return path


def test_words_say_which_error_is_lower_and_when_nothing_is_known(qpibench, mini, predictions, oracle):
    outcome = qpibench("compare", oracle, "--against", predictions, "--release", mini, "--task", "id")
    assert "A: nearest_kernel, view oracle" in outcome.stdout
    assert "mini, id: 4 of 10 images" in outcome.stdout
    assert "A side with one file has one seed: the result holds for that trained model only." in outcome.stdout
    assert "rel_l2_capped: the error of A is lower; the interval of the difference excludes 0." in outcome.stdout
    same = qpibench("compare", oracle, "--against", oracle, "--release", mini)
    assert same.stdout.count("the interval of the difference holds 0; these images do not tell") == 6


def test_json_is_a_comparison_and_fits_its_schema(qpibench, mini, predictions, median):
    content = qpibench("compare", median, "--against", predictions, "--release", mini, "--json").json
    comparison = Comparison.model_validate_json(json.dumps(content))
    assert [file.name for file in (*comparison.a, *comparison.b)] == ["median_kernel", "zeros"]
    schema = json.loads(qpibench("schema", "comparison").stdout)
    assert set(content) == set(schema["properties"])
    assert schema["additionalProperties"] is False


def test_other_metrics_are_compared_by_their_names_and_their_directions(qpibench, mini, predictions, oracle):
    asked = ("compare", oracle, "--against", predictions, "--release", mini, "--task", "id")
    told = qpibench(*asked, "--metric", "psnr", "--metric", "rmse").stdout
    assert "psnr: A is higher, which is better; the interval of the difference excludes 0." in told
    assert "rmse: the error of A is lower" in told
    assert "mae" not in told
    qpibench(*asked, "--metric", "rel_l2_q90").fails(2, "'rel_l2_q90' is no mean over images")
    qpibench(*asked, "--metric", "odd").fails(2, "There is no metric 'odd'")


@pytest.mark.parametrize("order", ["A B B2 options", "A options B B2", "A B B2 repeated", "options between"])
def test_against_takes_all_files_up_to_the_next_option(qpibench, mini, predictions, oracle, median, order):
    release = ("--release", mini)
    arguments = {
        "A B B2 options": (oracle, "--against", predictions, median, *release),
        "A options B B2": (oracle, *release, "--against", predictions, median),
        "A B B2 repeated": (oracle, "--against", predictions, "--against", median, *release),
        "options between": ("--against", predictions, median, *release, oracle),
    }[order]
    outcome = qpibench("compare", *arguments, "--json")
    assert [file["name"] for file in outcome.json["a"]] == ["nearest_kernel"]
    assert [file["name"] for file in outcome.json["b"]] == ["zeros", "median_kernel"]
    assert outcome.json["warnings"] == [
        "Side B has files of 2 entries, taken for seeds of one method: zeros, median_kernel."
    ]


def test_runs_that_differ_by_their_seed_are_one_method(qpibench, mini, predictions, oracle, median, tmp_path):
    side = []
    for seed, source in enumerate((predictions, median)):
        side.append(shutil.copy(source, tmp_path / f"{seed}.h5"))
        with h5py.File(side[-1], "r+") as file:
            record = json.loads(file.attrs["record"])
            record["model"]["name"] = f"two_step (article, seed {seed})"
            file.attrs["record"] = json.dumps(record)
    several = qpibench("compare", *side, "--against", oracle, "--release", mini)
    assert several.stdout.startswith("A: two_step (article), view positions, 2 seeds\n")
    assert several.stderr == ""
    alone = qpibench("compare", side[1], "--against", oracle, "--release", mini)
    assert alone.stdout.startswith("A: two_step (article, seed 1), view positions\n")


def test_a_comparison_without_a_second_side_is_refused(qpibench, mini, predictions):
    qpibench("compare", predictions, "--release", mini).fails(2, "--against")
    qpibench("compare", predictions, "--release", mini, "--against").fails(2, "--against")
    qpibench("compare", "--against", predictions, "--release", mini).fails(2, "A.h5")


def test_predictions_of_another_release_are_refused(qpibench, mini, predictions, tmp_path):
    other = tmp_path / "other.h5"
    qpibench("generate", "mini", "--set", "seed=99", "-o", other)
    qpibench("compare", predictions, "--against", predictions, "--release", other).fails(3, "another release")


def test_an_oracle_is_scored_like_any_file_but_never_over_the_release(qpibench, mini, oracle, tmp_path, unchanged):
    scored = qpibench("score", oracle, "--release", mini, "-o", tmp_path / "oracle.json", "--json")
    assert scored.json["cells"]["id"]["metrics"]["mae"]["value"] == 0
    assert scored.json["cells"]["ood"]["metrics"]["mae"]["value"] > 0
    with unchanged():
        qpibench("oracle", "nearest_kernel", "--release", mini, "-o", mini).fails(2, "given twice")
        qpibench("oracle", "nearest", "--release", mini, "-o", tmp_path / "x.h5").fails(2, "nearest_kernel")
        qpibench("oracle", "nearest_kernel", "--release", mini, "--task", "odd", "-o", tmp_path / "x.h5").fails(
            2, "odd"
        )
        qpibench("oracle", "nearest_kernel", "--release", mini, "--limit", 0, "-o", tmp_path / "x.h5").fails(2, "limit")
