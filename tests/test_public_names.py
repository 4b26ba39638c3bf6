"""What a notebook user finds in the package."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import qpibench

README = Path(__file__).parents[1] / "README.md"


def run(code: str) -> str:
    """Standard output of a fresh interpreter."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_dir_lists_the_public_names_and_each_can_be_used():
    pytest.importorskip("torch")
    pytest.importorskip("xarray")
    found = run("import qpibench; print(*(name for name in dir(qpibench) if getattr(qpibench, name)))").split()
    assert {"open_release", "ReleaseDataset", "to_xarray", "stream", "load_spec", "Batch", "Prediction"} <= set(found)
    assert sorted(found) == sorted(qpibench.__all__)


def test_listing_the_names_imports_nothing_large():
    run("import sys, qpibench; dir(qpibench); assert not {'torch', 'numba', 'numpy', 'xarray'} & set(sys.modules)")


@pytest.mark.slow
def test_a_star_import_brings_every_public_name():
    pytest.importorskip("torch")
    pytest.importorskip("xarray")
    run("from qpibench import *; import qpibench; assert set(qpibench.__all__) <= set(globals())")


@pytest.mark.parametrize(
    ("package", "names"),
    [("torch", {"ReleaseDataset", "stream"}), pytest.param("xarray", {"to_xarray"}, marks=pytest.mark.slow)],
)
def test_a_name_whose_package_is_missing_is_not_listed_and_says_what_to_install(tmp_path, package, names):
    # A folder that only has the other packages stands for an installation without this one.
    hide = (
        f"import importlib.util as u, sys; f = u.find_spec; u.find_spec = lambda n: None if n == {package!r} else f(n)"
    )
    code = f"{hide}; sys.modules[{package!r}] = None; import qpibench; from qpibench import *; print(*dir(qpibench))"
    assert not names & set(run(code).split())
    for name in names:
        said = run(
            f"import sys; sys.modules[{package!r}] = None; import qpibench\n"
            f"try: qpibench.{name}\nexcept qpibench.errors.UnavailableError as error: print(error)"
        )
        assert "pip install 'qpibench[" in said


def test_a_terminal_completes_the_public_names():
    pytest.importorskip("torch")
    code = (
        "import qpibench, rlcompleter; print(rlcompleter.Completer({'qpibench': qpibench}).complete('qpibench.op', 0))"
    )
    assert "qpibench.open_release" in run(code)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'opne_release'"):
        _ = qpibench.opne_release


def test_the_names_of_the_readme_are_public():
    named = set(re.findall(r"`qpibench\.([A-Za-z_]+)\b[^./]", README.read_text()))
    assert named - {"toml"} <= set(dir(qpibench))
    assert {"open_release", "ReleaseDataset", "to_xarray", "stream"} <= named
    assert "`from qpibench.extraction import extract`" in README.read_text()
