"""The wheel carries everything and works from any folder."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    # Built from a copy, because setuptools leaves its build folder beside the sources.
    source = tmp_path_factory.mktemp("source")
    for name in ("qpibench", "baselines", "kernels_cuda"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    target = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(target), str(source)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return next(target.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    site = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return site


@pytest.fixture
def qpibench(installed, tmp_path):
    def run(*arguments):
        environment = os.environ | {"PYTHONPATH": str(installed)}
        command = [sys.executable, "-m", "qpibench.cli.main", *map(str, arguments)]
        child = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert child.returncode == 0, child.stderr
        return child.stdout

    return run


def test_specs_entries_templates_and_cuda_sources_are_inside(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder, pattern, inside in [
        ("qpibench/specs", "*.toml", "qpibench/specs"),
        ("qpibench/evaluation/templates", "*", "qpibench/evaluation/templates"),
        ("qpibench/leaderboard/templates", "*", "qpibench/leaderboard/templates"),
        ("qpibench/throughput/templates", "*", "qpibench/throughput/templates"),
        ("baselines", "*.py", "qpibench/_baselines"),
        ("baselines/learned", "*.py", "qpibench/_baselines/learned"),
        ("kernels_cuda", "*.cu*", "qpibench/_kernels_cuda"),
    ]:
        wanted = {f"{inside}/{path.name}" for path in (ROOT / folder).glob(pattern)}
        assert wanted
        assert wanted <= names


def test_the_installed_package_does_the_main_job_from_another_folder(installed, qpibench, tmp_path):
    where = json.loads(qpibench("doctor", "--json"))
    assert where["schema_version"] == 1
    generated = json.loads(qpibench("generate", "mini", "-o", "mini.h5", "--json"))
    verified = json.loads(qpibench("verify", "mini.h5", "--json"))
    assert generated["content_sha256"] == verified["content_sha256"]
    evaluate = ("evaluate", "tikhonov", "--release", "mini.h5", "--limit", "3", "-o", "results/t.json")
    (tmp_path / "results").mkdir()
    qpibench(*evaluate, "--report", "report.html")
    qpibench("leaderboard", "build", "results", "-o", "site")
    assert "tikhonov" in (tmp_path / "site" / "index.html").read_text()
    assert "data:image/" in (tmp_path / "report.html").read_text()
