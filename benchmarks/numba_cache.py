"""Delete Numba's caches in this checkout if a source behind them has changed: ``python benchmarks/numba_cache.py``.

Numba notices an edit of the file that holds a compiled function, but not of the modules whose functions and constants
went into it. Needs nothing but Python, so that it can run before anything is installed.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from pathlib import Path

FOLDERS = ("qpibench", "baselines", "tests", "benchmarks")
STAMP = ".numba_sources"


def refresh(root: Path) -> int:
    """Delete the caches below a checkout unless its sources are those of the last call; how many files went."""
    stamp, now = root / STAMP, digest(root)
    if stamp.is_file() and stamp.read_text() == now:
        return 0
    caches = [path for folder in FOLDERS for path in (root / folder).rglob("*.nb[ic]")]
    for path in caches:
        path.unlink(missing_ok=True)
    stamp.write_text(now)
    return len(caches)


def digest(root: Path) -> str:
    """One hash of the sources behind compiled functions: of their paths, contents and times of change.

    The time matters where an edit is undone: what was compiled in between has it, and its own file did not change.
    """
    lines = (
        f"{path.relative_to(root).as_posix()} {path.stat().st_mtime_ns} {hashlib.sha256(path.read_bytes()).hexdigest()}"
        for path in compiled_sources(root)
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def compiled_sources(root: Path) -> list[Path]:
    """The files that import Numba, and what they import of the checkout, directly or through each other.

    Only imports at the head of a file count: a compiled function uses the names of its module.
    """
    sources = (path for folder in FOLDERS for path in (root / folder).rglob("*.py"))
    waiting = [path for path in sources if any(name.split(".")[0] == "numba" for name, _ in _imports(path, root))]
    seen = set(waiting)
    while waiting:
        found = {file for _, file in _imports(waiting.pop(), root) if file is not None}
        waiting.extend(found - seen)
        seen |= found
    return sorted(seen)


def _imports(path: Path, root: Path) -> Iterator[tuple[str, Path | None]]:
    """Names of the modules that a file imports, each with its file if that is in the checkout."""
    for node in ast.parse(path.read_bytes()).body:
        if isinstance(node, ast.Import):
            yield from ((alias.name, _file(alias.name, path, root)) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                file = _file(whole, path, root)
                yield (whole, file) if file else (node.module, _file(node.module, path, root))


def _file(name: str, importer: Path, root: Path) -> Path | None:
    """The file of a module: of the checkout, or beside the one that imports it."""
    for folder in (root, importer.parent):
        place = folder.joinpath(*name.split("."))
        for file in (place.with_suffix(".py"), place / "__init__.py"):
            if file.is_file():
                return file
    return None


if __name__ == "__main__":
    refresh(Path(__file__).resolve().parents[1])
