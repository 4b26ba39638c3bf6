"""Texts have a stated encoding: no call leaves it to the locale. Ruff's rule sees only paths whose type it infers."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = [path for folder in ("qpibench", "baselines", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))]
BINARY = ("os.", "tarfile.", "h5py.", "Image.")
"""Modules whose functions `open` know no texts."""


def calls_of_the_locale(tree: ast.AST) -> Iterator[int]:
    """Lines of calls that read or write a text without an encoding."""
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and not {"encoding", None} & {keyword.arg for keyword in call.keywords}:
            function = ast.unparse(call.func)
            given = [ast.unparse(each) for each in (*call.args, *(keyword.value for keyword in call.keywords))]
            is_text = function.endswith((".read_text", ".write_text")) or (
                (function == "open" or (function.endswith(".open") and not function.startswith(BINARY)))
                and not any("b" in each for each in given if each.startswith("'") and len(each) < 6)
            )
            if is_text or any(
                each.arg in ("text", "universal_newlines") for each in call.keywords if "run" in function
            ):
                yield call.lineno


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(ROOT)) for path in FILES])
def test_every_text_has_a_stated_encoding(path):
    assert not list(calls_of_the_locale(ast.parse(path.read_bytes())))


@pytest.mark.parametrize("line", ["open(p)", "p.open('w')", "p.read_text()", "run(c, text=True)"])
def test_a_call_of_the_locale_is_seen(line):
    assert list(calls_of_the_locale(ast.parse(line))) == [1]
