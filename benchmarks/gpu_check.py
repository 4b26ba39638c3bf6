"""Run the tests and benchmarks that need a GPU and write one file of figures: ``make gpu-check``."""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parent.parent
TESTS = "tests/synthesis/test_cuda_gpu.py"

NEEDED = {
    "numpy": "numpy",
    "numba": "numba",
    "h5py": "h5py",
    "psutil": "psutil",
    "pydantic": "pydantic",
    "scipy": "scipy",
    "torch": "torch (with CUDA)",
    "pytest": "pytest",
    "pytest_benchmark": "pytest-benchmark",
    "hypothesis": "hypothesis",
}
"""Modules that must be installed. CuPy and NVRTC are not listed, as the backend reports on them itself."""

LOOK_S, TESTS_S, ALL_S, ENDING_S = 30, 90, 225, 15
"""Time limits in seconds: finding the GPU, the tests, everything, and writing the figures after that; four minutes in
all."""

_LOOK = """
import sys
from qpibench.errors import QpibenchError
from qpibench.synthesis.cuda import CudaBackend
try:
    device = CudaBackend().device
except QpibenchError as error:
    print(f"Error: {error}", file=sys.stderr)
    sys.exit(error.exit_code)
print(f"{device.name}, compute capability {device.capability / 10}", flush=True)
"""


def check(output: Path | None = None) -> int:
    """Run the tests, then the benchmarks even if a test failed; the file is written again after every benchmark.

    The default file is named after this machine and the time, in ``benchmarks/history/``. The exit code is 4 if a
    package or the GPU is missing, and 1 if anything failed.
    """
    missing = [package for module, package in NEEDED.items() if find_spec(module) is None]
    if missing:
        print(f"Error: {sys.executable} lacks {', '.join(missing)}; install what is missing.", file=sys.stderr)
        return 4
    started = time.monotonic()
    # Each part runs in its own process: it starts with an empty device, and a device that fails stops only that part.
    looked = _run("looking for the GPU", ["-c", _LOOK], LOOK_S)
    if looked:
        return looked
    from benchmarks.__main__ import new_file

    output = output or new_file()
    with tempfile.TemporaryDirectory() as folder:
        outcomes, beside = Path(folder) / "tests.xml", Path(folder) / "tests.json"
        tested = _run("tests", ["-m", "pytest", "-m", "gpu", "-v", f"--junit-xml={outcomes}", TESTS], TESTS_S)
        beside.write_text(json.dumps({"gpu_tests": {"exit_code": tested, **_outcomes(outcomes)}}), encoding="utf-8")
        benchmarks = ["-m", "benchmarks", "-m", "gpu", "-o", str(output), "--beside", str(beside)]
        measured = _run("benchmarks", benchmarks, ALL_S - (time.monotonic() - started))
    for what, code in (("tests", tested), ("benchmarks", measured)):
        print(f"GPU {what}: {'failed' if code else 'passed'}.")
    return int(bool(tested or measured))


def _run(what: str, program: Sequence[str], limit_s: float) -> int:
    """Run Python with these arguments within a time limit; return the exit code."""
    child = subprocess.Popen([sys.executable, *program], cwd=ROOT)
    try:
        return child.wait(limit_s)
    except subprocess.TimeoutExpired:
        print(f"GPU {what}: ended after {limit_s:.0f} s.", file=sys.stderr, flush=True)
    try:
        child.send_signal(signal.SIGINT)
        child.wait(ENDING_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    return 1


def _outcomes(report: Path) -> dict[str, object]:
    """Return the names of passed and failed tests, and the reasons of skipped ones."""
    cases = ElementTree.parse(report).findall(".//testcase[@name]") if report.exists() else []
    failed = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    skipped = {case: found.get("message") for case in cases if (found := case.find("skipped")) is not None}
    return {
        "passed": [case.get("name") for case in cases if case not in failed and case not in skipped],
        "failed": [case.get("name") for case in failed],
        "skipped": {case.get("name"): reason for case, reason in skipped.items()},
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_check", description=__doc__)
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="where to keep the figures")
    sys.exit(check(parser.parse_args().output))
