"""Predictions files of other programs need only the required datasets."""

import subprocess
import sys

import h5py
import pytest


@pytest.fixture
def foreign(tmp_path, mini):
    with h5py.File(mini) as release, h5py.File(tmp_path / "foreign.h5", "w") as file:
        file.attrs["release_sha256"] = release.attrs["content_sha256"]
        index = release["splits/ood/test"][:]
        file["ood/index"] = index
        file["ood/kernel"] = release["observations/image"][:][index]
    return tmp_path / "foreign.h5"


def test_predictions_without_a_record_are_named_by_who_scores_them(qpibench, mini, foreign, tmp_path):
    score = ["score", foreign, "--release", mini, "-o", tmp_path / "result.json", "--json"]
    unnamed = qpibench(*score).json
    assert (unnamed["model"]["name"], unnamed["cells"]["ood"]["parts"][0]["view"]) == ("unnamed", "unknown")
    named = qpibench(*score, "--name", "copy", "--view", "image").json
    assert (named["model"]["name"], named["cells"]["ood"]["parts"][0]["view"]) == ("copy", "image")
    check = ["leaderboard", "check", tmp_path / "result.json", "--predictions", foreign, "--release", mini]
    assert qpibench(*check).exit_code == 0


def test_a_record_is_not_overruled(qpibench, mini, predictions, tmp_path):
    score = ["score", predictions, "--release", mini, "-o", tmp_path / "result.json", "--json"]
    result = qpibench(*score, "--name", "better", "--view", "image").json
    assert (result["model"]["name"], result["cells"]["id"]["parts"][0]["view"]) == ("zeros", "positions")


def test_scores_without_a_report_import_nothing_that_draws_and_no_statistics(mini, predictions, tmp_path):
    """Such packages take longer to import than the scores of a small release."""
    command = ["score", str(predictions), "--release", str(mini), "-o", str(tmp_path / "result.json")]
    source = (
        "import atexit, sys\nfrom qpibench.cli.main import cli\n"
        "slow = {'matplotlib', 'scipy.stats', 'torch'}\n"
        "atexit.register(lambda: print(sorted(slow & sys.modules.keys()), file=sys.stderr))\n"
        f"cli({command!r})"
    )
    ended = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert ended.stderr.splitlines()[-1] == "[]"
