"""The identity of an entry's code: one hash of its file and of the modules of its own that it imports.

The imports are read from the source; nothing is run. An import by a computed name (``importlib.import_module``) is not
seen, and neither is a library that is installed: the environment that a result records says its version.
"""

from __future__ import annotations

import ast
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from qpibench.evaluation.entries import file_sha256


def code_sha256(path: Path) -> str:
    """SHA-256 of an entry's code, hexadecimal.

    It is that of the file if it imports nothing of its own. Otherwise it is the hash of one line
    ``PATH SHA256`` a file: the entry's, then those of :func:`own_modules`, with paths relative to the entry's folder.

    Raises
    ------
    InvalidDataError
        If a file cannot be read.
    """
    modules = own_modules(path)
    if not modules:
        return file_sha256(path)
    lines = (f"{_from_folder(file, path)} {file_sha256(file)}\n" for file in (path, *modules))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def own_modules(path: Path) -> tuple[Path, ...]:
    """Files that an entry imports, directly or through each other, from its folder or from the package it belongs to.

    They are sorted by their path relative to the entry's folder; the entry's own file is left out. A module of the same
    name elsewhere on Python's path does not matter: an entry runs with its folder first.
    """
    roots = _roots(path)
    seen = {path}
    waiting = [path]
    while waiting:
        importer = waiting.pop()
        for name in _imported_names(importer, roots):
            found = {file for root in roots for file in _files_of(name, root)}
            waiting.extend(found - seen)
            seen |= found
    return tuple(sorted(seen - {path}, key=lambda file: _from_folder(file, path)))


def _roots(path: Path) -> tuple[Path, ...]:
    """The folders where modules of one's own are looked for: that of the file, and that which holds its package."""
    package = path.parent
    while (package / "__init__.py").is_file():
        package = package.parent
    return tuple(dict.fromkeys((path.parent, package)))


def _imported_names(path: Path, roots: tuple[Path, ...]) -> Iterator[str]:
    """Dotted names of all that a file imports; of ``from a import b`` both ``a`` and ``a.b``, which may be a module."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):  # running it will tell what is wrong
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for base in _bases(node, path, roots):
                yield base
                yield from (f"{base}.{alias.name}" for alias in node.names)


def _bases(node: ast.ImportFrom, path: Path, roots: tuple[Path, ...]) -> Iterator[str]:
    """Absolute name of the module in ``from MODULE import``: one for each root that a relative one may start at."""
    if not node.level:
        yield node.module or ""
        return
    folder = path.parents[node.level - 1] if node.level <= len(path.parents) else path.parent
    for root in roots:
        if folder != root and folder.is_relative_to(root):
            yield ".".join([*folder.relative_to(root).parts, *([node.module] if node.module else [])])


def _files_of(name: str, root: Path) -> Iterator[Path]:
    """Files that importing a module runs: its own and the ``__init__.py`` of the packages around it."""
    parts = name.split(".")
    if parts[0] == "qpibench":  # is imported before the entry, and a result records its version
        return
    for depth in range(1, len(parts) + 1):
        place = root.joinpath(*parts[:depth])
        file = place / "__init__.py" if place.is_dir() else place.with_name(f"{place.name}.py")
        if file.is_file():
            yield file


def _from_folder(file: Path, entry: Path) -> str:
    return Path(os.path.relpath(file, entry.parent)).as_posix()
