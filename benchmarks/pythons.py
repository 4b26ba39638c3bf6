"""Install the wheel on several Pythons, with old and new packages, and test it there: ``make test-pythons``.

The script imports the standard library only and needs no ``.venv``. Each environment lies in ``.pythons/``. It is made
again when the constraints or the packages that qpibench asks for have changed; otherwise only qpibench is installed
again.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / ".pythons"

PLACES = ("qpibench", "baselines", "kernels_cuda")
BESIDE = ("setup.py", "pyproject.toml", "README.md", "LICENSE")
"""Folders and files of the checkout from which the wheel is built."""

EXTRAS = ("dask", "remote", "bench")
WITH_TORCH = ("training",)
TOOLS = ("pytest", "pytest-benchmark", "hypothesis", "mpmath", "gwyfile", "nanonispy2", "ipykernel")
TORCH = "torch==2.13.0"

CORE = (
    "tests/synthesis/test_bits.py",
    "tests/cli/test_cli_main_job.py",
    "tests/cli/test_cli_dask.py",
    "tests/specs/test_specs.py",
    "tests/release/test_remote.py",
    "tests/release/test_torch_view.py",
    "tests/maps/test_map_formats.py",
    "tests/extraction/test_extract.py",
    "tests/test_public_names.py",
)
"""The tests that run on every Python: the hashes of releases, the main job, and one for each group of packages."""


def main() -> int:
    """Test each Python with each set of packages.

    The exit code is 1 if a test failed or there is no wheel, else 4 if a Python is missing or lacks packages.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pythons", nargs="+", default=["3.11", "3.12", "3.13"], metavar="VERSION")
    parser.add_argument("--packages", nargs="+", default=["oldest", "newest"], choices=["oldest", "newest"])
    parser.add_argument("--torch", nargs="*", default=["3.11"], metavar="VERSION", help="Pythons that get PyTorch")
    asked = parser.parse_args()
    try:
        wheel = build(HOME / "wheel")
    except subprocess.CalledProcessError as error:
        print(f"The wheel cannot be built ({_reason(error)}).", file=sys.stderr)
        return 1
    lines, codes = [], set()
    for version in asked.pythons:
        python = find(version)
        if python is None:
            lines.append(f"Python {version}: not installed")
            codes.add(4)
            continue
        for packages in asked.packages:
            name = f"Python {version}, {packages} packages"
            try:
                place = environment(python, version, packages, wheel, with_torch=version in asked.torch)
            except subprocess.CalledProcessError as error:
                print(f"{name}: they cannot be installed ({_reason(error)}).", file=sys.stderr)
                codes.add(4)
                continue
            before = _processor_seconds()
            failed = bool(test(place))
            seconds = _processor_seconds() - before
            outcome = "failed" if failed else "passed"
            lines.append(f"{name}: {outcome}, {seconds:.0f} s of one processor")
            codes.add(int(failed))
    print(*lines, sep="\n")
    return 1 if 1 in codes else max(codes)


def _processor_seconds() -> float:
    """Time in s for which processes that have ended kept a processor busy."""
    times = os.times()
    return times.children_user + times.children_system


def copy_sources(folder: Path) -> None:
    """Copy what the wheel is built from, because setuptools leaves its build folder beside the sources."""
    for name in PLACES:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in BESIDE:
        shutil.copy(ROOT / name, folder)


def build(folder: Path) -> Path:
    """Build the wheel anew."""
    shutil.rmtree(folder, ignore_errors=True)
    copy_sources(folder / "source")
    _pip(sys.executable, "wheel", "--no-deps", "--wheel-dir", folder, folder / "source")
    return next(folder.glob("*.whl"))


def find(version: str) -> str | None:
    """Return the program of a Python: the one on the path, or the newest that pyenv has."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    installed = sorted(pyenv.glob(f"{version}.*/bin/python"), key=lambda path: int(path.parts[-3].split(".")[2]))
    for program in (f"python{version}", *map(str, reversed(installed))):
        with_venv = [program, "-c", "import ensurepip, venv"]
        if shutil.which(program) and not subprocess.run(with_venv, capture_output=True, check=False).returncode:
            return program
    return None


def environment(python: str, version: str, packages: str, wheel: Path, *, with_torch: bool) -> Path:
    """Return the Python of an environment that has the wheel, and the packages that a constraints file allows."""
    place, constraints = HOME / f"{version}-{packages}", ROOT / "constraints" / f"{packages}.txt"
    program = place / "bin" / "python"
    made_from = hashlib.sha256(constraints.read_bytes() + (ROOT / "pyproject.toml").read_bytes()).hexdigest()
    stamp = place / f"made-from-{with_torch}"
    if not stamp.is_file() or stamp.read_text(encoding="ascii") != made_from:
        shutil.rmtree(place, ignore_errors=True)
        subprocess.run(
            [python, "-m", "venv", place], check=True, capture_output=True, encoding="utf-8", errors="replace"
        )
        if with_torch:
            _pip(program, "install", TORCH)
        extras = ",".join((*EXTRAS, *WITH_TORCH) if with_torch else EXTRAS)
        _pip(program, "install", "--constraint", constraints, f"{wheel}[{extras}]", *TOOLS)
        stamp.write_text(made_from, encoding="ascii")
    _pip(program, "uninstall", "--yes", "qpibench")
    for left in place.glob("lib/*/site-packages/qpibench"):
        shutil.rmtree(left)  # what Numba compiled for the former wheel
    _pip(program, "install", "--no-deps", wheel)
    return program


def test(program: Path) -> int:
    """Run the tests from a folder that has no sources of the package beside them; return the exit code of pytest."""
    beside = HOME / "beside"
    shutil.rmtree(beside, ignore_errors=True)
    for name in ("tests", "benchmarks", "docs"):
        shutil.copytree(ROOT / name, beside / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, beside)
    command = [program, "-m", "pytest", "-q", "--benchmark-disable", "-m", "not slow and not gpu", *CORE]
    surroundings = {name: text for name, text in os.environ.items() if not name.startswith(("PYTHON", "NUMBA_"))}
    return subprocess.run(command, cwd=beside, env=surroundings, check=False).returncode


def _pip(program: str | Path, *arguments: str | Path) -> None:
    command = [program, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    subprocess.run(command, check=True, capture_output=True, encoding="utf-8", errors="replace")


def _reason(error: subprocess.CalledProcessError) -> str:
    """The last error that a program printed before it failed, else its last line."""
    lines = [line.strip() for line in (error.stdout + error.stderr).splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return (errors or lines or [f"exit code {error.returncode}"])[-1].removesuffix(".")


if __name__ == "__main__":
    sys.exit(main())
