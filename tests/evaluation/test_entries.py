"""The text that the user gave leads to a model's file, and no code of the model runs."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint

import pytest

from qpibench.errors import InvalidDataError, UsageError
from qpibench.evaluation import entries
from qpibench.evaluation.entries import find_entry, shipped_entries


def test_a_file_is_an_entry_by_its_path(write_model):
    model = write_model("raise AssertionError('imported')")
    entry = find_entry(model)
    assert (entry.name, str(entry.path), entry.target) == ("my_model", model, None)


def test_a_colon_names_a_function_or_class(write_model):
    model = write_model("")
    entry = find_entry(f"{model}:Net")
    assert (entry.name, str(entry.path), entry.target) == ("my_model:Net", model, "Net")


def test_a_relative_path_is_made_absolute(write_model, monkeypatch, tmp_path):
    model = write_model("")
    monkeypatch.chdir(tmp_path)
    assert str(find_entry("models/my_model.py").path) == model


def test_every_shipped_entry_is_found_by_its_name():
    assert {"zeros", "median_kernel", "tikhonov"} <= shipped_entries().keys()
    for name, path in shipped_entries().items():
        assert find_entry(name).path == path


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("zeroes", "There is no entry and no file 'zeroes'. Did you mean 'zeros'?"),
        ("tikonov.py", "There is no model file 'tikonov.py'. Did you mean 'tikhonov'?"),
        ("some/where/x.py", "There is no model file 'some/where/x.py'. Shipped entries: "),
        ("x.py:Model", "There is no model file 'x.py'."),
        ("", "No model is named"),
        (".", "'.' is a folder; give the model's Python file inside it, or a run folder"),
    ],
)
def test_what_is_not_there_is_a_wrong_request_with_a_suggestion(text, sentence):
    with pytest.raises(UsageError) as error:
        find_entry(text)
    assert sentence in str(error.value)


def test_a_misspelt_file_is_told_its_neighbour(write_model):
    model = write_model("")
    with pytest.raises(UsageError, match=r"Did you mean '.*my_model.py'\?"):
        find_entry(model.replace("my_model", "my_modle"))


def test_the_closest_of_files_and_entries_is_suggested(monkeypatch, tmp_path):
    (tmp_path / "net.py").touch()
    monkeypatch.chdir(tmp_path)
    for text in ("onestep", "one_steps"):
        with pytest.raises(UsageError, match=r"Did you mean 'one_step'\?"):
            find_entry(text)


def test_a_name_behind_the_colon_must_be_one(write_model):
    with pytest.raises(UsageError, match=r"names no function or class: write FILE.py:NAME"):
        find_entry(write_model("") + ":a b")


@pytest.fixture
def register(monkeypatch, tmp_path):
    """Register an entry of a package whose every file must not be imported."""
    package = tmp_path / "third_party" / "models"
    package.mkdir(parents=True)
    for file in (package.parent / "__init__.py", package / "__init__.py", package / "wavelet.py"):
        file.write_text("raise AssertionError('imported')")
    monkeypatch.syspath_prepend(tmp_path)

    def register(value):
        point = EntryPoint(name="wavelet", value=value, group=entries.GROUP)
        monkeypatch.setattr(entries, "entry_points", lambda group: [point] if group == entries.GROUP else [])
        return package / "wavelet.py"

    return register


@pytest.mark.parametrize(("attribute", "target"), [("", None), (":Polar", "Polar")])
def test_a_registered_entry_is_found_without_importing_its_package(register, attribute, target):
    path = register(f"third_party.models.wavelet{attribute}")
    entry = find_entry("wavelet")
    assert (entry.name, entry.path, entry.target) == ("wavelet", path, target)
    assert "third_party" not in sys.modules


@pytest.mark.parametrize("module", ["third_party.models.missing", "absent_package.wavelet"])
def test_a_registered_entry_without_a_file_is_told_apart(register, module):
    register(module)
    with pytest.raises(InvalidDataError, match="registered entry 'wavelet' points at"):
        find_entry("wavelet")
