"""A missing optional package is one sentence with the command that installs it."""

import sys

import pytest

from qpibench import extras
from qpibench.errors import UnavailableError
from qpibench.extras import optional_module


def test_a_missing_package_is_named_with_the_extra_that_has_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UnavailableError) as caught:
        optional_module("distributed", "--dask")
    assert str(caught.value) == (
        '--dask needs the package distributed, which is not installed; install it with: pip install "qpibench[dask]".'
    )


def test_a_package_that_lacks_a_package_of_its_own_keeps_its_error(monkeypatch, tmp_path):
    """The command could not help: the package itself is there."""
    (tmp_path / "runs_tasks.py").write_text("import nowhere_to_be_found\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(extras.DASK, "runs_tasks", "runs-tasks")
    with pytest.raises(ModuleNotFoundError, match="nowhere_to_be_found"):
        optional_module("runs_tasks", "--dask")
