"""`make test` keeps what Numba compiled until a source behind it changes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # benchmarks/ is no part of the package

from benchmarks.numba_cache import compiled_sources, refresh  # noqa: E402

FILES = {
    "qpibench/__init__.py": "from qpibench import pages\n",
    "qpibench/compiled.py": "from numba import njit\nfrom qpibench.grid import SIZE\n",
    "qpibench/grid.py": "from qpibench import units\nSIZE = 3\n",
    "qpibench/units/__init__.py": "",
    "qpibench/pages.py": "def draw():\n    import numba\n",
    "tests/test_compiled.py": "import numba\nfrom reference import SCALE\n",
    "tests/reference.py": "SCALE = 1\n",
}
CACHES = ("qpibench/__pycache__/compiled.f.nbi", "tests/__pycache__/test_compiled.f.1.nbc")


@pytest.fixture
def checkout(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    compile_all(tmp_path)
    refresh(tmp_path)
    compile_all(tmp_path)
    return tmp_path


def compile_all(checkout):
    for name in CACHES:
        (checkout / name).parent.mkdir(exist_ok=True)
        (checkout / name).touch()


def kept(checkout):
    return [name for name in CACHES if (checkout / name).exists()]


def test_a_cache_of_unknown_sources_is_deleted(checkout):
    (checkout / ".numba_sources").unlink()
    assert refresh(checkout) == len(CACHES)
    assert kept(checkout) == []


@pytest.mark.parametrize("name", FILES)
def test_an_edit_deletes_the_cache_where_compiled_functions_may_use_the_file(checkout, name):
    with (checkout / name).open("a") as file:
        file.write("# edited\n")
    unused = ("qpibench/__init__.py", "qpibench/pages.py")
    refresh(checkout)
    assert kept(checkout) == (list(CACHES) if name in unused else [])
    compile_all(checkout)
    refresh(checkout)
    assert kept(checkout) == list(CACHES)


def test_an_edit_that_was_undone_deletes_the_cache(checkout):
    grid = checkout / "qpibench/grid.py"
    changed = grid.stat().st_mtime_ns + 1
    os.utime(grid, ns=(changed, changed))
    refresh(checkout)
    assert kept(checkout) == []


@pytest.mark.slow
def test_the_files_behind_compiled_functions_of_this_checkout_are_some_of_all():
    found = {path.relative_to(ROOT).as_posix() for path in compiled_sources(ROOT)}
    assert {"qpibench/arithmetic/elementary.py", "qpibench/grid.py"} <= found
    assert not any(name.startswith(("qpibench/cli/", "qpibench/pages/")) for name in found), sorted(found)
