"""Delete Numba's caches in this checkout if a source behind them has changed: ``python benchmarks/numba_cache.py``.

Numba notices an edit of the file that defines a compiled function, but no edit of the modules whose functions and
constants it compiled in. The script imports the standard library only, so it runs before anything is installed.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from pathlib import Path

FOLDERS = ("qpibench", "baselines", "tests", "benchmarks")
STAMP = ".numba_sources"


def refresh(root: Path) -> int:
    """Delete a checkout's caches if its sources changed since the last call; return the number of files deleted."""
    stamp, now = root / STAMP, digest(root)
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == now:
        return 0
    caches = [path for folder in FOLDERS for path in (root / folder).rglob("*.nb[ic]")]
    for path in caches:
        path.unlink(missing_ok=True)
    stamp.write_text(now, encoding="utf-8")
    return len(caches)


def digest(root: Path) -> str:
    """Return one hash of the sources behind compiled functions: of their paths, contents and times of change.

    The time matters after an edit is undone: a function compiled in between has the edit compiled in, while the file
    that defines it never changed.
    """
    lines = (
        f"{path.relative_to(root).as_posix()} {path.stat().st_mtime_ns} {hashlib.sha256(path.read_bytes()).hexdigest()}"
        for path in compiled_sources(root)
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def compiled_sources(root: Path) -> list[Path]:
    """Return the files that import Numba and the files of the checkout that they import, directly or indirectly.

    Only imports at module level count, as a compiled function uses the names of its module.
    """
    sources = (path for folder in FOLDERS for path in (root / folder).rglob("*.py"))
    waiting = [path for path in sources if any(map(_compiles, _imports(path, root)))]
    seen = set(waiting)
    while waiting:
        found = {file for _, file in _imports(waiting.pop(), root) if file is not None}
        waiting.extend(found - seen)
        seen |= found
    return sorted(seen)


def _compiles(imported: tuple[str, Path | None]) -> bool:
    name, _ = imported
    return name.split(".")[0] == "numba" or name == "qpibench.arithmetic.compiled"


def _imports(path: Path, root: Path) -> Iterator[tuple[str, Path | None]]:
    """Return the names of the modules that a file imports, each with its file if that is in the checkout."""
    for node in ast.parse(path.read_bytes()).body:
        if isinstance(node, ast.Import):
            yield from ((alias.name, _file(alias.name, path, root)) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                file = _file(whole, path, root)
                yield (whole, file) if file else (node.module, _file(node.module, path, root))


def _file(name: str, importer: Path, root: Path) -> Path | None:
    """Return the file of a module: in the checkout, or beside the importing file."""
    for folder in (root, importer.parent):
        place = folder.joinpath(*name.split("."))
        for file in (place.with_suffix(".py"), place / "__init__.py"):
            if file.is_file():
                return file
    return None


if __name__ == "__main__":
    refresh(Path(__file__).resolve().parents[1])
