"""`make gpu-check` and the GPU benchmarks report in one sentence what is missing."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.limit import time_limit
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


@pytest.mark.slow
def test_a_run_that_is_cut_keeps_what_came_before(why_no_gpu, tmp_path):
    pytest.importorskip("torch")
    # The process ends at its second benchmark, without a word, as where a machine is taken away.
    (tmp_path / "cut.py").write_text(
        "import os\n"
        "begun = []\n"
        "def pytest_runtest_logstart(nodeid, location):\n"
        "    begun.append(nodeid)\n"
        "    if len(begun) == 2:\n"
        "        os._exit(9)\n"
    )
    (tmp_path / "beside.json").write_text('{"gpu_tests": {"exit_code": 0}}')
    output = tmp_path / "new" / "run.json"
    code = f"import sys; sys.path.append({str(tmp_path)!r}); from benchmarks.__main__ import main; main(sys.argv[1:])"
    files = ["-o", str(output), "--beside", str(tmp_path / "beside.json")]
    ended = _run("-c", code, "-m", "gpu", "-p", "cut", *files)
    assert ended.returncode == 9, ended.stdout + ended.stderr
    reasons = {wanted.name: wanted.reason for wanted in load_run(output).not_measured}
    assert reasons["cuda.superposition"] == why_no_gpu.reason
    assert reasons["stream.gpu"] == "the run ended before it"
    assert json.loads(output.read_text())["gpu_tests"] == {"exit_code": 0}
    assert list(output.parent.iterdir()) == [output]


def test_a_block_that_takes_too_long_is_ended_and_another_is_not():
    def run_on():
        while True:
            pass

    with pytest.raises(TimeoutError, match=r"longer than 0.01 s"), time_limit(0.01):
        run_on()
    with time_limit(100), time_limit(None):
        pass
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


@pytest.mark.slow
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
