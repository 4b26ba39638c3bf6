"""A noisy release from the command line: made, verified, in shards, described and scored."""

from __future__ import annotations

import pytest

SET = ["--set", "corruptions.white_noise.snr_db=[10.0,10.0]"]


@pytest.fixture(scope="module")
def noisy(tmp_path_factory, qpibench):
    """The release `mini` with noise at 10 dB, not to be changed."""
    path = tmp_path_factory.mktemp("noisy") / "noisy.h5"
    outcome = qpibench("generate", "mini", *SET, "-o", path)
    assert outcome.exit_code == 0, outcome.stderr
    return path


def test_a_noisy_release_is_what_its_spec_gives(qpibench, noisy):
    outcome = qpibench("verify", noisy, "--regenerate", "--backend", "cpu", "--json")
    assert outcome.exit_code == 0, outcome.stderr
    assert outcome.json["content_sha256"] == qpibench("info", noisy, "--json").json["content_sha256"]


def test_info_tells_the_family_and_how_scatterers_lie(qpibench, tmp_path):
    few = ["--set", "kernels.count=2", "--set", "observations_per_kernel=1", "--set", "scatterers.margin_nm=3"]
    qpibench("generate", "ag111_64_multiple", *few, "-o", tmp_path / "ag.h5")
    told = qpibench("info", tmp_path / "ag.h5").stdout
    assert "kernels         2 of the family surface_state: 2 total" in told
    assert "multiple scattering, at least 1 nm apart, up to 3 nm outside the field" in told


def test_info_tells_the_noise(qpibench, noisy, mini):
    assert "white noise     snr_db 10" in qpibench("info", noisy).stdout
    fields = qpibench("info", noisy, "--json").json
    assert fields["name"] == "mini+corruptions.white_noise.snr_db=[10.0,10.0]"
    assert fields["format_version"] == 2
    assert fields["spec"]["corruptions"] == {"white_noise": {"snr_db": [10.0, 10.0]}}
    assert "white noise" not in qpibench("info", mini).stdout


def test_noise_is_set_on_paper_and_its_shards_are_merged(qpibench, tmp_path):
    few = ["--set", "observations_per_kernel=3", "--set", "corruptions.white_noise.snr_db=[5, 15]"]
    for shard in ("2/2", "1/2"):
        outcome = qpibench("generate", "paper", *few, "--shard", shard, "-o", tmp_path / "shards")
        assert outcome.exit_code == 0, outcome.stderr
    merged = qpibench("merge", tmp_path / "shards", "-o", tmp_path / "merged.h5", "--json")
    whole = qpibench("generate", "paper", *few, "-o", tmp_path / "whole.h5", "--json")
    assert merged.json["content_sha256"] == whole.json["content_sha256"]
    assert "snr_db 5 to 15" in qpibench("info", tmp_path / "merged.h5").stdout


def test_a_model_is_evaluated_on_noisy_images(qpibench, noisy, tmp_path):
    outcome = qpibench(
        "evaluate", "tikhonov", "--release", noisy, "--map", "exact", "--limit", 3, "-o", tmp_path / "result.json"
    )
    assert outcome.exit_code == 0, outcome.stderr


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("[10, 5]", ["snr_db", "10 is larger than 5"]),
        ("1000", ["corruptions.white_noise.snr_db", "less than or equal to 100"]),
        ("loud", ["corruptions.white_noise.snr_db", "a ratio in dB or a range [low, high]", "'loud'"]),
    ],
)
def test_noise_that_cannot_be_is_refused(qpibench, tmp_path, value, words):
    outcome = qpibench("generate", "mini", "--set", f"corruptions.white_noise.snr_db={value}", "-o", tmp_path / "a.h5")
    outcome.fails(2, *words)
