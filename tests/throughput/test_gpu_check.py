"""`make gpu-check` and the benchmarks of the GPU where what they need is missing: said in a sentence, never guessed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from qpibench.synthesis.device import NoGpuError, find_device
from qpibench.throughput.history import load_run

ROOT = Path(__file__).parents[2]
HISTORY = ROOT / "benchmarks" / "history"


@pytest.fixture
def why_no_gpu():
    try:
        find_device()
    except NoGpuError as error:
        return error
    pytest.skip("there is a GPU")


def _run(*arguments):
    # Beside other tests pytest-benchmark would refuse to measure, and here there is nothing to measure.
    alone = {name: value for name, value in os.environ.items() if name != "PYTEST_XDIST_WORKER"}
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, env=alone, capture_output=True, text=True)


def test_packages_that_are_missing_are_listed_in_one_sentence():
    code = (
        "import sys, benchmarks.gpu_check as check\n"
        "check.NEEDED |= {'no_such_module': 'no-such-package', 'nor_this': 'nor-this'}\n"
        "sys.exit(check.check())\n"
    )
    ended = _run("-c", code)
    assert ended.returncode == 4
    assert ended.stderr == f"Error: {sys.executable} lacks no-such-package, nor-this; install what is missing.\n"


def test_nothing_but_the_standard_library_is_imported_before_that():
    code = "import sys, benchmarks.gpu_check; assert not {'numpy', 'pytest', 'pydantic', 'qpibench'} & set(sys.modules)"
    assert _run("-c", code).returncode == 0


def test_without_a_gpu_the_check_ends_with_the_reason_and_no_file(why_no_gpu):
    before = sorted(HISTORY.iterdir())
    ended = _run("-m", "benchmarks.gpu_check")
    assert (ended.returncode, ended.stdout, ended.stderr) == (4, "", f"Error: {why_no_gpu}\n")
    assert sorted(HISTORY.iterdir()) == before


def test_what_no_gpu_has_measured_is_kept_as_not_measured_with_the_reason(why_no_gpu, tmp_path):
    pytest.importorskip("torch")
    output = tmp_path / "run.json"
    ended = _run("-m", "benchmarks", "-m", "gpu", "-o", str(output))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    run = load_run(output)
    assert not run.figures
    assert {wanted.reason for wanted in run.not_measured} == {why_no_gpu.reason}
    assert {"cuda.superposition", "cuda.generate.over_write", "cuda.first_call", "stream.gpu"} <= {
        wanted.name for wanted in run.not_measured
    }
