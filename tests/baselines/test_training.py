"""Every learned entry, trained for a few steps by the public command and evaluated from its run folder."""

import json

import pytest
from click.testing import CliRunner
from safetensors import safe_open

from qpibench.cli.main import cli
from qpibench.evaluation.result import Result
from qpibench.training import load_run

ENTRIES = [
    ("one_step", "article"),
    ("one_step", "code"),
    ("two_step", "article"),
    ("two_step", "code"),
    ("shift_vae", "published"),
    ("shift_vae", "smooth"),
]
"""Entries and their recipes."""

STAGES = {"one_step": ["kernels"], "two_step": ["kernels", "alignment"], "shift_vae": ["patches"]}


def qpibench(*arguments, exit_code=0):
    done = CliRunner().invoke(cli, ["--json", *(str(argument) for argument in arguments)], prog_name="qpibench")
    assert done.exit_code == exit_code, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    path = tmp_path_factory.mktemp("release") / "mini.h5"
    qpibench("generate", "mini", "-o", path)
    return path


def train(entry, recipe, release, folder, *more, exit_code=0):
    source = ("--release", release, "--recipe", recipe, "--preset", "tiny")
    return qpibench("train", entry, *source, "--precision", "no", "-o", folder, *more, exit_code=exit_code)


@pytest.mark.parametrize(("entry", "recipe"), ENTRIES)
def test_an_entry_learns_and_is_evaluated_from_its_run_folder(entry, recipe, release, tmp_path):
    run_dir, result_path = tmp_path / "run", tmp_path / "result.json"
    answer = train(entry, recipe, release, run_dir, "--steps", 6)
    assert (answer["status"], answer["steps_done"]) == ("complete", 6)
    assert answer["steps_stated"] > 6

    config = load_run(run_dir).config
    assert (config["recipe"]["name"], config["preset"]) == (recipe, "tiny")
    log = [json.loads(line) for line in (run_dir / "log.jsonl").read_text().splitlines()]
    assert list(dict.fromkeys(line["stage"] for line in log)) == STAGES[entry]
    with safe_open(run_dir / "weights.safetensors", "np") as weights:
        assert {weights.get_slice(name).get_dtype() for name in weights.offset_keys()} == {"F16"}

    qpibench("evaluate", run_dir, "--release", release, "--view", "raster", "--limit", 3, "-o", result_path)
    result = Result.model_validate_json(result_path.read_text())
    assert result.model.training.recipe == recipe
    assert result.model.training.fraction < 1
    assert result.model.name.startswith(entry)


def test_an_option_that_an_entry_does_not_have_is_a_usage_error(release, tmp_path):
    answer = train("two_step", "code", release, tmp_path / "run", "--set", "alpha=0.5", exit_code=2)
    assert "two_step has no option 'alpha'" in answer["error"]["message"]
    assert not (tmp_path / "run").exists()
