"""The main job through the command line, and what its commands say."""

from __future__ import annotations

import json
import shutil

import pytest

from qpibench.cli.main import SUMMARIES, cli
from qpibench.tasks.suite import load_suite, suite_names

EVERY_COMMAND = [
    *([name] for name in SUMMARIES if name != "leaderboard"),
    ["leaderboard"],
    ["leaderboard", "build"],
    ["leaderboard", "check"],
]


def test_from_a_spec_to_a_leaderboard(qpibench, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    generated = qpibench("generate", "mini", "-o", "mini.h5", "--json").json
    assert generated["observations"] == 100
    assert generated["backend"] == "cpu"
    assert generated["path"] == "mini.h5"
    assert generated["seconds"] > 0

    content = generated["content_sha256"]
    assert qpibench("verify", "mini.h5", "--regenerate", "--json").json["content_sha256"] == content
    assert qpibench("info", "mini.h5", "--json").json["content_sha256"] == content
    assert content in qpibench("info", "mini.h5").stdout

    (tmp_path / "results").mkdir()
    evaluated = qpibench(
        *(
            "evaluate",
            "tikhonov",
            "--release",
            "mini.h5",
            "--map",
            "exact",
            "--limit",
            2,
            "-o",
            "results/tikhonov.json",
        ),
        *("--report", "report.html", "--predictions", "predictions.h5"),
    )
    assert evaluated.exit_code == 0, evaluated.stderr
    assert "rel_l2_capped" in evaluated.stdout
    assert "id (2 of 10)" in evaluated.stdout
    assert (tmp_path / "report.html").read_text().startswith("<!")
    stored = json.loads((tmp_path / "results" / "tikhonov.json").read_text())
    assert stored["cells"]["ood"]["parts"][0]["release"]["content_sha256"] == content
    assert 0 < stored["cells"]["ood"]["metrics"]["rel_l2_capped"]["value"] < 1

    checked = qpibench(
        *("leaderboard", "check", "results/tikhonov.json", "--predictions", "predictions.h5", "--release", "mini.h5")
    )
    assert checked.exit_code == 0, checked.stderr
    built = qpibench("leaderboard", "build", "results", "-o", "site", "--json").json
    assert built["standings"] == 2
    assert "tikhonov" in (tmp_path / built["path"]).read_text()


def test_evaluate_is_predict_and_score(qpibench, mini, predictions, result, tmp_path):
    outcome = qpibench("evaluate", "zeros", "--release", mini, "--limit", 4, "-o", tmp_path / "r.json", "--json")
    # Two runs agree in everything but how long the model took.
    scores, again = (
        [(cell["metrics"], cell["parts"][0]["breakdowns"]) for cell in cells.values()]
        for cells in (outcome.json["cells"], json.loads(result.read_text())["cells"])
    )
    assert scores == again
    assert outcome.json["cells"] == json.loads((tmp_path / "r.json").read_text())["cells"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.json"]


def test_the_tracks_are_listed_with_what_their_cells_ask(qpibench, tmp_path):
    listed = {line.split()[0]: line.split()[1:] for line in qpibench("tracks").stdout.splitlines() if "/" in line}
    assert listed["paper/ood-positions"][0] == "paper"
    materials = ["ag111_128,", "cu111_128,", "square_128,", "hexagonal_128,", "nematic_128"]
    assert (listed["materials/20dB"][:5], listed["materials/20dB"][-1]) == (materials, "300")
    own = tmp_path / "own.toml"
    own.write_text(
        'summary = "one cell"\n[cells.all]\nspecs = ["mini"]\ntask = "id"\nview = "image"\n'
        'metrics = ["mae"]\nprimary = "mae"\n'
    )
    (track,) = qpibench("tracks", own, "--json").json["tracks"]
    cell = track["cells"]["all"]
    assert (track["name"], cell["task"], cell["view"], cell["map"], cell["size"]) == ("own", "id", "image", None, None)
    qpibench("tracks", "papre").fails(2, "did you mean 'paper'?")


def test_suites_are_listed_beside_the_tracks(qpibench):
    listed = qpibench("tracks", "--json").json["suites"]
    assert {suite["name"]: suite["sha256"] for suite in listed} == {
        name: load_suite(name).sha256 for name in suite_names()
    }
    (quick,) = (suite for suite in listed if suite["name"] == "quick")
    assert "paper/id" in quick["cells"]
    assert f"quick  {len(quick['cells']):<5}  at most {quick['limit']} of a release" in qpibench("tracks").stdout


def test_a_new_model_passes_check_and_can_be_evaluated(qpibench, mini, tmp_path):
    model = tmp_path / "my_model.py"
    assert qpibench("new", model).exit_code == 0
    checked = qpibench("check", model, "--json")
    assert checked.exit_code == 0, checked.stderr
    assert all(finding["problem"] is None for finding in checked.json["findings"])
    evaluated = qpibench(
        "evaluate", model, "--release", mini, "--map", "exact", "--limit", 2, "-o", tmp_path / "result.json"
    )
    assert evaluated.exit_code == 0, evaluated.stderr


def test_a_release_goes_to_csv_files_and_back(qpibench, mini, tmp_path):
    files = [tmp_path / f"kernel_{kernel}.csv" for kernel in (0, 5)]
    for kernel, file in zip((0, 5), files, strict=True):
        assert qpibench("export-csv", mini, "--kernel", kernel, "-o", file, "--json").json["observations"] == 10
    imported = qpibench("import", *files, "-o", tmp_path / "back.h5", "--name", "back", "--json").json
    assert (imported["kernels"], imported["observations"]) == (2, 20)
    info = qpibench("info", tmp_path / "back.h5", "--json").json
    assert info["content_sha256"] == imported["content_sha256"]
    assert info["kernels_by_stratum"] == {"unknown": 2}


def test_compression_keeps_the_hash(qpibench, mini, tmp_path):
    packed = tmp_path / "packed.h5"
    assert qpibench("generate", "mini", "-o", packed, "--compression", "gzip").exit_code == 0
    assert packed.stat().st_size < mini.stat().st_size
    contents = [qpibench("info", path, "--json").json["content_sha256"] for path in (packed, mini)]
    assert contents[0] == contents[1]


@pytest.mark.parametrize("flags", [["--resume"], ["--resume", "--overwrite"], ["--overwrite"]])
def test_a_finished_release_may_be_resumed_or_overwritten(qpibench, mini, tmp_path, flags):
    path = shutil.copy(mini, tmp_path)
    assert qpibench("generate", "mini", "-o", path, *flags).exit_code == 0
    assert [entry.name for entry in tmp_path.iterdir()] == ["mini.h5"]


def test_resume_starts_afresh_where_nothing_was_begun(qpibench, mini, tmp_path):
    resumed = qpibench("generate", "mini", "-o", tmp_path / "mini.h5", "--resume", "--json").json
    assert resumed["content_sha256"] == qpibench("info", mini, "--json").json["content_sha256"]


def test_the_schema_fits_the_result(qpibench, result):
    schema = qpibench("schema", "result").stdout
    assert qpibench("schema", "result", "--json").json == {"schema_version": 2, **json.loads(schema)}
    assert set(json.loads(result.read_text())) == set(json.loads(schema)["properties"])


def test_doctor_says_what_there_is_and_what_to_do(qpibench):
    outcome = qpibench("doctor", "--json")
    assert outcome.exit_code == 0, outcome.stderr
    findings = {finding["what"]: finding for finding in outcome.json["findings"]}
    for what in ("Python", "numba", "processor", "cores", "memory", "denormal numbers", "Numba cache", "torch", "GPU"):
        assert findings[what]["found"]
    assert not any(finding["required"] and finding["advice"] for finding in findings.values())


def test_the_choice_of_a_backend_is_said_unless_silence_is_asked_for(qpibench, tmp_path):
    said = qpibench("generate", "mini", "-o", tmp_path / "a.h5").stderr
    assert "backend, because" in said
    assert qpibench("generate", "mini", "-o", tmp_path / "b.h5", "--quiet").stderr == ""
    assert qpibench("generate", "mini", "-o", tmp_path / "c.h5", "--backend", "cpu").stderr == ""


def test_a_command_without_a_terminal_shows_no_progress(qpibench, mini):
    assert qpibench("verify", mini).stderr == ""


@pytest.mark.parametrize("arguments", EVERY_COMMAND, ids=" ".join)
def test_the_help_of_every_command_has_an_example(qpibench, arguments):
    outcome = qpibench(*arguments, "--help")
    assert outcome.exit_code == 0
    assert f"\n    qpibench {' '.join(arguments)}" in outcome.stdout
    for option in ("--json", "--quiet", "--traceback"):
        assert option in outcome.stdout


def test_the_list_of_commands_is_complete():
    assert cli.list_commands(None) == list(SUMMARIES)
    assert all(cli.get_command(None, name).name == name for name in SUMMARIES)
