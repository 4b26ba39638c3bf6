"""Fixtures of the training tests: a toy entry, and requests to train it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qpibench.specs import load_spec
from qpibench.training import TrainingRun


@pytest.fixture
def toy(tmp_path) -> Path:
    """The file of an entry that is trained in no time, without torch."""
    path = tmp_path / "models" / "toy.py"
    path.parent.mkdir()
    shutil.copyfile(Path(__file__).parent / "toy.py", path)
    return path


@pytest.fixture
def request_run(toy, tmp_path) -> Callable[..., TrainingRun]:
    """Make a request to train the toy on fresh images of `mini`, with these fields."""

    def make(**fields: Any) -> TrainingRun:
        given = {"entry": "toy", "entry_path": toy, "folder": tmp_path / "run", "spec": load_spec("mini"), **fields}
        return TrainingRun(**given)

    return make
