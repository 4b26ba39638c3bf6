"""The identity of an entry's code changes with every file of its own that it runs, and with no other."""

from __future__ import annotations

import pytest

from qpibench.evaluation.entries import file_sha256, find_code, shipped_entries
from qpibench.evaluation.entry_code import code_sha256, own_modules

FILES = {
    "model.py": "import numpy as np\nfrom net.layers import Layer\n\ndef predict(batch):\n    import late\n",
    "net/__init__.py": "",
    "net/layers.py": "from . import losses\nfrom .deep.block import Block\nimport net.optim as optim\n",
    "net/losses.py": "import model\n",
    "net/deep/block.py": "from ..scale import unit\n",
    "net/optim.py": "",
    "net/scale.py": "",
    "late.py": "",
    "net/unused.py": "",
    "other.py": "import net.unused\n",
}
OWN = ("late.py", "net/__init__.py", "net/deep/block.py", "net/layers.py", "net/losses.py", "net/optim.py")


@pytest.fixture
def folder(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def names(folder, entry="model.py"):
    return tuple(str(path.relative_to(folder)) for path in own_modules(folder / entry))


def test_modules_are_found_through_each_other_in_packages_and_functions(folder):
    assert names(folder) == (*OWN, "net/scale.py")


@pytest.mark.parametrize("name", FILES)
def test_the_identity_changes_with_the_files_that_run_and_with_no_other(folder, name):
    before = code_sha256(folder / "model.py")
    with (folder / name).open("a") as file:
        file.write("# edited\n")
    assert (code_sha256(folder / "model.py") == before) == (name in ("net/unused.py", "other.py"))


def test_the_identity_does_not_depend_on_where_the_folder_lies(folder, tmp_path_factory):
    moved = tmp_path_factory.mktemp("elsewhere") / "moved"
    before = code_sha256(folder / "model.py")
    folder.rename(moved)
    assert code_sha256(moved / "model.py") == before


SOURCES = {
    "libraries": "import numpy, qpibench.errors\n",
    "importlib": "from importlib import import_module\n",
    "syntax error": "def broken(:\n",
    "zero byte": "\0",
    "many terms": "x = " + "1+" * 100_000 + "1\n",
    "many signs": "x = " + "-" * 20_000 + "1\n",
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES.keys())
def test_an_entry_without_modules_of_its_own_has_the_hash_of_its_file(tmp_path, source):
    (tmp_path / "qpibench").mkdir()
    (tmp_path / "qpibench" / "errors.py").touch()
    (tmp_path / "model.py").write_text(source)
    assert code_sha256(tmp_path / "model.py") == file_sha256(tmp_path / "model.py")


def test_an_entry_in_a_package_has_the_modules_of_its_package(tmp_path):
    package = tmp_path / "lab"
    (package / "entries").mkdir(parents=True)
    for place in (package, package / "entries"):
        (place / "__init__.py").touch()
    (package / "net.py").touch()
    (package / "entries" / "mine.py").write_text("from lab import net\n")
    assert names(tmp_path, "lab/entries/mine.py") == ("lab/__init__.py", "lab/net.py")


def test_the_learned_entries_have_the_modules_that_they_share():
    shared = {name: {path.name for path in own_modules(path)} for name, path in shipped_entries().items()}
    assert shared["zeros"] == set()
    assert {"deconvolution.py", "noise.py", "scatterers.py", "splines.py"} <= shared["tikhonov"]
    assert {"loop.py", "extractor.py", "symmetry.py", "checkpoint.py"} <= shared["two_step"]
    assert "shift_net.py" in shared["shift_vae"] - shared["two_step"]
    assert code_sha256(find_code("two_step").path) != find_code("two_step").sha256
