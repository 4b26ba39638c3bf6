"""Fixtures of the tests of the studies: a small release, and the folder of a toy's study."""

from __future__ import annotations

import io
import shutil
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from toy_study import TOY_STUDY

from benchmarks.studies import Settings, run


@pytest.fixture(scope="session")
def release(tmp_path_factory):
    """A release of ten kernels with ten images each."""
    from qpibench.release import write_release
    from qpibench.specs import load_spec
    from qpibench.synthesis import get_backend

    path = tmp_path_factory.mktemp("studies") / "mini.h5"
    write_release(load_spec("mini"), path, backend=get_backend("cpu")[0])
    return path


@pytest.fixture
def settings(release, tmp_path):
    return Settings(release=release, output=tmp_path / "studies", seeds=(0,), steps=3, limit=2)


@pytest.fixture(scope="session")
def once(release, tmp_path_factory):
    """The folder of the toy's study, made once and not to be changed, and what was printed."""
    folder, printed = tmp_path_factory.mktemp("once") / "studies", io.StringIO()
    with redirect_stdout(printed):
        run([TOY_STUDY], Settings(release=release, output=folder, seeds=(0,), steps=3, limit=2))
    return folder, printed.getvalue()


@pytest.fixture
def made(once, settings):
    """Settings of a copy of it."""
    shutil.copytree(once[0], settings.output)
    return settings
