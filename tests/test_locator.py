"""The folders beside the package are found in a checkout and in a wheel."""

from __future__ import annotations

import pytest

from qpibench import locator
from qpibench.errors import QpibenchError


@pytest.mark.parametrize("name", ["baselines", "kernels_cuda"])
def test_a_checkout_has_them_beside_the_package(monkeypatch, tmp_path, name):
    monkeypatch.setattr(locator, "PACKAGE", tmp_path / "qpibench")
    (tmp_path / name).mkdir()
    assert locator.locate(name) == tmp_path / name


@pytest.mark.parametrize("name", ["baselines", "kernels_cuda"])
def test_a_wheel_has_them_inside_whatever_lies_beside_it(monkeypatch, tmp_path, name):
    monkeypatch.setattr(locator, "PACKAGE", tmp_path / "qpibench")
    (tmp_path / "qpibench" / f"_{name}").mkdir(parents=True)
    (tmp_path / name).mkdir()
    assert locator.locate(name) == tmp_path / "qpibench" / f"_{name}"


def test_a_broken_installation_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(locator, "PACKAGE", tmp_path / "qpibench")
    with pytest.raises(QpibenchError, match="The folder 'baselines' of qpibench is missing"):
        locator.locate("baselines")


def test_the_installed_package_has_its_baselines():
    assert (locator.locate("baselines") / "zeros.py").is_file()
