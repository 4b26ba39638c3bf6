"""Reads the import statements of a file; the worker process uses it, so it imports the standard library only."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path


def import_statements(path: Path) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield the import statements of a file, wherever they stand; none if the file cannot be parsed."""
    try:
        tree = ast.parse(path.read_bytes())
    # An expression of too many terms or brackets raises the last two. The worker reports the error.
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return
    yield from (node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom)))
