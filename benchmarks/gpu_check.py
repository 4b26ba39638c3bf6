"""The proof on a GPU, ``make gpu-check``: the tests that need one, then their benchmarks, kept as one file."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.__main__ import FOLDER, main, new_file
from qpibench.synthesis.device import NoGpuError, find_device


def check() -> int:
    """Run both, also the second if the first fails; the exit code is 4 without a GPU, and 1 if anything failed."""
    try:
        device = find_device()
    except NoGpuError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{device.name}, compute capability {device.capability / 10}\n", flush=True)
    # In a process of their own, so that the benchmarks begin on an empty device.
    tests = [sys.executable, "-m", "pytest", "-m", "gpu", "-v", "tests"]
    tested = subprocess.run(tests, cwd=FOLDER.parent, check=False).returncode
    print(flush=True)
    measured = main(["-m", "gpu", "-o", str(new_file())])
    for what, code in (("tests", tested), ("benchmarks", measured)):
        print(f"GPU {what}: {'failed' if code else 'passed'}.")
    return int(bool(tested or measured))


if __name__ == "__main__":
    sys.exit(check())
