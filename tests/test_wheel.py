"""The wheel carries everything and works from any folder."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from benchmarks.pythons import copy_sources

ROOT = Path(__file__).resolve().parents[1]

PLACES = {"qpibench": "qpibench", "baselines": "qpibench/_baselines", "kernels_cuda": "qpibench/_kernels_cuda"}
"""Folders of the checkout, and where the wheel has them."""

CACHES = {".pyc", ".nbi", ".nbc"}

ADDED = (
    "qpibench/tasks/tracks/toy.toml",
    "qpibench/toys/__init__.py",
    "qpibench/toys/templates/toy.html.j2",
    "baselines/toys/__init__.py",
    "baselines/weights/toy/run.json",
    "kernels_cuda/families/toy.cuh",
)
"""Files in folders that no setting names."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    source = tmp_path_factory.mktemp("source")
    copy_sources(source)
    for name in ADDED:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).touch()
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


def test_every_file_is_inside_and_those_of_new_folders_too(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = [path for name in PLACES for path in (ROOT / name).rglob("*") if path.is_file()]
    wanted = [path.relative_to(ROOT).as_posix() for path in sources if path.suffix not in CACHES] + list(ADDED)
    assert len(wanted) > 150
    assert {PLACES[name.partition("/")[0]] + "/" + name.partition("/")[2] for name in wanted} <= names


@pytest.mark.slow
def test_the_installed_package_does_the_main_job_from_another_folder(installed, qpibench, tmp_path):
    where = json.loads(qpibench("doctor", "--json"))
    assert where["schema_version"] == 2
    generated = json.loads(qpibench("generate", "mini", "-o", "mini.h5", "--json"))
    verified = json.loads(qpibench("verify", "mini.h5", "--json"))
    assert generated["content_sha256"] == verified["content_sha256"]
    evaluate = (
        "evaluate",
        "tikhonov",
        "--release",
        "mini.h5",
        "--map",
        "exact",
        "--limit",
        "3",
        "-o",
        "results/t.json",
    )
    (tmp_path / "results").mkdir()
    qpibench(*evaluate, "--report", "report.html")
    qpibench("leaderboard", "build", "results", "-o", "site")
    assert "tikhonov" in (tmp_path / "site" / "index.html").read_text()
    assert "data:image/" in (tmp_path / "report.html").read_text()


@pytest.mark.slow
def test_the_installed_package_extracts_a_kernel_from_an_array(installed, tmp_path):
    code = """
import numpy as np, qpibench
from qpibench.extraction import extract
image = np.random.default_rng(0).normal(size=(9, 9))
print(qpibench.__file__, extract(image, [[0, 0]], 5.0, "tikhonov").kernel.shape)
"""
    environment = os.environ | {"PYTHONPATH": str(installed)}
    command = [sys.executable, "-c", code]
    child = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert child.stdout == f"{installed / 'qpibench' / '__init__.py'} (9, 9)\n", child.stderr
