"""Identity of an entry's code: one hash of its file and of the entry's own modules that it imports.

The imports are read from the source without running it. Imports by a computed name (``importlib.import_module``) are
not found. Installed libraries are not hashed; a result records their versions.
"""

from __future__ import annotations

import ast
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from qpibench.evaluation.entries import file_sha256
from qpibench.evaluation.import_statements import import_statements


def code_sha256(path: Path) -> str:
    """Return the SHA-256 of an entry's code, hexadecimal.

    An entry that imports no module of its own has the hash of its file. Otherwise a text with one line ``PATH SHA256``
    per file is hashed: the entry's file, then those of :func:`own_modules`, with paths relative to the entry's folder.

    Raises
    ------
    InvalidDataError
        If a file cannot be read.
    """
    modules = own_modules(path)
    if not modules:
        return file_sha256(path)
    lines = (f"{_from_folder(file, path)} {file_sha256(file)}\n" for file in (path, *modules))
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def own_modules(path: Path) -> tuple[Path, ...]:
    """Return the files that an entry imports, directly or indirectly, from its folder or from its package.

    The files are sorted by their path relative to the entry's folder; the entry's own file is left out. Modules of the
    same name elsewhere on Python's path do not count, as the worker searches the entry's folder first.
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
    """Return the folders to search for an entry's own modules: the file's folder and the folder of its package."""
    package = path.parent
    while (package / "__init__.py").is_file():
        package = package.parent
    return tuple(dict.fromkeys((path.parent, package)))


def _imported_names(path: Path, roots: tuple[Path, ...]) -> Iterator[str]:
    """Return the dotted names that a file imports; ``from a import b`` gives ``a`` and ``a.b``, perhaps a module."""
    for node in import_statements(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        else:
            for base in _bases(node, path, roots):
                yield base
                yield from (f"{base}.{alias.name}" for alias in node.names)


def _bases(node: ast.ImportFrom, path: Path, roots: tuple[Path, ...]) -> Iterator[str]:
    """Return the absolute names of the module in ``from MODULE import``, one per root of a relative import."""
    if not node.level:
        yield node.module or ""
        return
    folder = path.parents[node.level - 1] if node.level <= len(path.parents) else path.parent
    for root in roots:
        if folder != root and folder.is_relative_to(root):
            yield ".".join([*folder.relative_to(root).parts, *([node.module] if node.module else [])])


def _files_of(name: str, root: Path) -> Iterator[Path]:
    """Return the files that importing a module runs: its own and the ``__init__.py`` of its parent packages."""
    parts = name.split(".")
    if parts[0] == "qpibench":  # qpibench itself; a result records its version
        return
    for depth in range(1, len(parts) + 1):
        place = root.joinpath(*parts[:depth])
        file = place / "__init__.py" if place.is_dir() else place.with_name(f"{place.name}.py")
        if file.is_file():
            yield file


def _from_folder(file: Path, entry: Path) -> str:
    return Path(os.path.relpath(file, entry.parent)).as_posix()
