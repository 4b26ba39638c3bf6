"""Every learned entry, trained for a few steps by the public command and evaluated from its run folder."""

import json

import pytest
from click.testing import CliRunner
from safetensors import safe_open

from qpibench.cli.main import cli
from qpibench.evaluation.result import Result
from qpibench.training import load_run

ENTRIES = [
    pytest.param("one_step", "code", ["kernels"], "F16", id="one_step"),
    pytest.param("two_step", "article", ["kernels", "alignment"], "F16", id="two_step"),
    pytest.param("shift_vae", "published", ["patches"], "F16", id="shift_vae"),
    pytest.param("polar_two_step", "radial", ["profiles", "decoder"], "F32", id="polar_two_step"),
]
"""Entries, the recipe that is trained here, its stages, and the type of its weights; ``learned/test_recipes.py`` trains
the others, and the tests in ``learned`` train and ask all four in this process."""


def qpibench(*arguments):
    done = CliRunner().invoke(cli, ["--json", *(str(argument) for argument in arguments)], prog_name="qpibench")
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    path = tmp_path_factory.mktemp("release") / "mini.h5"
    qpibench("generate", "mini", "-o", path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize(("entry", "recipe", "stages", "weights_type"), ENTRIES)
def test_an_entry_learns_and_is_evaluated_from_its_run_folder(entry, recipe, stages, weights_type, release, tmp_path):
    run_dir, result_path = tmp_path / "run", tmp_path / "result.json"
    source = ("--release", release, "--recipe", recipe, "--preset", "tiny", "--precision", "no", "--steps", 6)
    answer = qpibench("train", entry, *source, "-o", run_dir)
    assert (answer["status"], answer["steps_done"]) == ("complete", 6)
    assert answer["steps_stated"] > 6

    config = load_run(run_dir).config
    assert (config["recipe"]["name"], config["preset"]) == (recipe, "tiny")
    log = [json.loads(line) for line in (run_dir / "log.jsonl").read_text().splitlines()]
    assert list(dict.fromkeys(line["stage"] for line in log)) == stages
    with safe_open(run_dir / "weights.safetensors", "np") as weights:
        assert {weights.get_slice(name).get_dtype() for name in weights.offset_keys()} == {weights_type}

    qpibench(
        "evaluate", run_dir, "--release", release, "--view", "raster", "--map", "paper", "--limit", 3, "-o", result_path
    )
    result = Result.model_validate_json(result_path.read_text())
    assert result.model.training.recipe == recipe
    assert result.model.training.fraction < 1
    assert result.model.name.startswith(entry)
