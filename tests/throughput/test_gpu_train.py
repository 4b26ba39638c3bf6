"""`make gpu-train` rehearsed on the CPU: the files of a queue, and the arms that it does not begin."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # benchmarks/ is no part of the package

from benchmarks.arms import QUEUE, chosen  # noqa: E402
from benchmarks.gpu_output import EVALUATION_S, LARGEST_FILE  # noqa: E402
from benchmarks.pace import Pace  # noqa: E402
from qpibench.training.request import parse_options  # noqa: E402

TRACK = str(ROOT / "tests" / "training" / "mini.toml")
REHEARSAL = (
    "--preset",
    "tiny",
    "--spec",
    "mini",
    "--track",
    TRACK,
    "--steps",
    "4",
    "--limit",
    "2",
    "--seeds",
    "0",
    "1",
)
ARM, OTHER = "two_step-code", "one_step-article"


def queue(folder, *arguments, budget=300.0):
    command = [sys.executable, "-m", "benchmarks.gpu_train", *arguments, "--budget", str(budget)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"OUT": str(folder / "out"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "--work", str(folder / "work")],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    summary = folder / "out" / "summary.json"
    return done, json.loads(summary.read_text()) if summary.exists() else None


def members(path):
    with tarfile.open(path) as archive:
        return set(archive.getnames())


@pytest.mark.slow
def test_a_queue_leaves_a_summary_results_of_all_seeds_and_weights_of_the_first_and_goes_on(tmp_path):
    done, summary = queue(tmp_path, "--cpu", *REHEARSAL, "--arms", ARM)
    assert done.returncode == 0, done.stderr
    assert list(summary["arms"]) == [ARM]
    assert {run["steps_done"] for run in summary["runs"].values()} == {4}
    assert summary["arms"][ARM]["status"].startswith("partial ")  # of the steps that its recipe states
    assert set(summary["scores"]) == {f"{ARM}-{seed}" for seed in (0, 1)}
    assert {"id", "ood"} == set(summary["scores"][f"{ARM}-1"])
    assert summary["notes"] == []
    out = tmp_path / "out"
    assert {f"results/{ARM}-{seed}.json" for seed in (0, 1)} < members(out / "results.tar.gz")
    weights = set.union(*(members(path) for path in out.glob("weights-*.tar")))
    assert weights == {f"runs/{ARM}-0/{name}" for name in ("run.json", "weights.safetensors")}
    files = list(out.iterdir())
    assert len(files) <= 8
    assert max(path.stat().st_size for path in files) <= LARGEST_FILE
    assert f"{ARM}-0: id MAE" in done.stdout

    # The same again trains nothing anew, evaluates what is lost, and begins nothing when the time is over.
    (tmp_path / "work" / "results" / f"{ARM}-1.json").write_text("{")
    done, again = queue(tmp_path, "--cpu", *REHEARSAL, "--arms", ARM, OTHER, budget=EVALUATION_S)
    assert done.returncode == 0
    assert "begins, " not in done.stdout
    assert again["runs"] == summary["runs"]
    assert again["scores"] == summary["scores"]
    assert again["arms"][OTHER] == {"status": "not begun"}
    assert f"{OTHER} is not begun: the time is over" in done.stdout


@pytest.mark.slow
def test_without_a_gpu_the_queue_says_so(tmp_path):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    done, _ = queue(tmp_path, *REHEARSAL)
    assert done.returncode == 4
    assert "finds no CUDA device; --cpu rehearses without" in done.stderr


def test_a_missing_package_is_said_in_a_sentence():
    source = "import sys; sys.modules['pydantic'] = None; from benchmarks import gpu_train; sys.exit(gpu_train.main())"
    done = subprocess.run([sys.executable, "-c", source], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert done.stderr.endswith("lacks pydantic; install what is missing.\n")


def test_an_arm_fits_by_the_slowest_pace_that_is_known():
    two_step, one_step = chosen(["two_step-code", "one_step-code"])
    pace = Pace()
    assert pace.seconds(two_step, 1000) == 0
    pace.learn(two_step, 10.0, 1000)
    assert pace.seconds(two_step, 2000) == pytest.approx(20)
    assert pace.seconds(one_step, 1000) > pace.seconds(two_step, 1000)
    pace.learn(two_step, 5.0, 1000)
    assert pace.seconds(two_step, 2000) == pytest.approx(20)


def test_every_arm_of_the_queue_has_a_recipe_that_takes_its_settings(monkeypatch):
    from qpibench.locator import locate

    monkeypatch.syspath_prepend(str(locate("baselines")))
    recipes = pytest.importorskip("learned.recipes")
    for arm in QUEUE:
        known = {"two_step": recipes.TWO_STEP, "one_step": recipes.ONE_STEP}[arm.entry]
        recipe = known[arm.recipe]
        type(recipe).model_validate(recipe.model_dump() | parse_options(arm.settings))
    assert len({arm.name for arm in QUEUE}) == len(QUEUE)


@pytest.mark.slow
def test_the_whole_queue_is_rehearsed_and_an_arm_that_cannot_be_continued_does_not_end_it(tmp_path):
    broken = tmp_path / "work" / "runs" / "one_step-article-0"
    broken.mkdir(parents=True)
    (broken / "run.json").write_text('{"entry": ')
    done, summary = queue(tmp_path, "--cpu", *REHEARSAL[:-1], budget=3000.0)
    assert done.returncode == 1
    statuses = {name: arm["status"] for name, arm in summary["arms"].items()}
    assert list(statuses) == [arm.name for arm in QUEUE]
    assert statuses.pop("one_step-article") == "failed"
    assert "run.json" in summary["notes"][0]
    assert all(status.startswith("partial ") for status in statuses.values())
    assert set(summary["scores"]) == {f"{name}-0" for name in statuses}
    weights = set.union(*(members(path) for path in (tmp_path / "out").glob("weights-*.tar")))
    assert {f"runs/{name}-0/weights.safetensors" for name in statuses} < weights
