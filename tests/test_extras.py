"""A missing optional package is one sentence with the command that installs it."""

import sys

import pytest

from qpibench.errors import UnavailableError
from qpibench.extras import optional_module


def test_a_missing_package_of_maps_is_named_with_the_extra_that_has_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "gwyfile", None)
    with pytest.raises(UnavailableError) as caught:
        optional_module("gwyfile", "Reading a Gwyddion file")
    assert str(caught.value) == (
        "Reading a Gwyddion file needs the package gwyfile, which is not installed; install it with:"
        ' pip install "qpibench[maps]".'
    )


def test_a_package_that_lacks_a_package_of_its_own_keeps_its_error(monkeypatch):
    """The command could not help: the package itself is there."""
    monkeypatch.delitem(sys.modules, "gwyfile", raising=False)
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(ModuleNotFoundError, match="numpy"):
        optional_module("gwyfile", "Reading a Gwyddion file")
