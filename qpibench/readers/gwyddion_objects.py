"""Parses the objects of Gwyddion's native files.

After four bytes of magic a file has one object: a name that ends with a zero byte, the number of its bytes, and its
components. A component is a name that ends with a zero byte, one letter for its type, and its value; letters in
capitals are arrays, which begin with the number of their elements. All numbers are little-endian.

The package gwyfile 0.3.0 is not used, because it runs for hours on a damaged count. The tests write files with it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

MAGIC = b"GWYP"

_MAX_DEPTH = 32
_SCALARS = {"b": "<?", "i": "<i", "q": "<q", "d": "<d"}
_ARRAYS = {"C": "u1", "I": "<i4", "Q": "<i8", "D": "<f8"}


@dataclass(frozen=True)
class Object:
    """An object: the name of its type, such as ``GwyDataField``, and its components by name."""

    name: str
    members: dict[str, Any]

    def get(self, name: str, default: Any = None) -> Any:
        """Return a component, or the default if there is none."""
        return self.members.get(name, default)


def parse(content: bytes) -> Object:
    """Parse a file.

    Raises
    ------
    ValueError
        The reason why the content is no such file.
    """
    if not content.startswith(MAGIC):
        raise ValueError("it does not begin as one")
    parsed, _ = _object(content, len(MAGIC), len(content), 0)
    return parsed


def _object(content: bytes, position: int, stop: int, depth: int) -> tuple[Object, int]:
    """The object at a position, and where it ends."""
    if depth > _MAX_DEPTH:
        raise ValueError(f"its objects are nested more than {_MAX_DEPTH} deep")
    name, position = _text(content, position, stop)
    size, position = _number(content, position, stop, "<I")
    end = position + size
    if end > stop:
        raise ValueError(f"an object needs {end - stop} bytes more than there are")
    members = {}
    while position < end:
        key, position = _text(content, position, end)
        members[key], position = _value(content, position, end, depth)
    return Object(name, members), end


def _value(content: bytes, position: int, stop: int, depth: int) -> tuple[Any, int]:
    letter, position = _number(content, position, stop, "<c")
    kind = letter.decode("latin-1")
    if kind in _SCALARS:
        return _number(content, position, stop, _SCALARS[kind])
    if kind == "c":
        return content[position : position + 1].decode("latin-1"), position + 1
    if kind == "s":
        return _text(content, position, stop)
    if kind == "o":
        return _object(content, position, stop, depth + 1)
    count, position = _number(content, position, stop, "<I")
    if kind in _ARRAYS:
        dtype = np.dtype(_ARRAYS[kind])
        if position + count * dtype.itemsize > stop:
            raise ValueError("an array needs more bytes than there are")
        return np.frombuffer(content, dtype, count, position), position + count * dtype.itemsize
    if kind not in "SO":
        raise ValueError(f"a component has the unknown type {kind!r}")
    elements = []
    for _ in range(count):  # each takes a byte at least, so a count that is too large ends with an error
        element, position = (
            _text(content, position, stop) if kind == "S" else _object(content, position, stop, depth + 1)
        )
        elements.append(element)
    return elements, position


def _text(content: bytes, position: int, stop: int) -> tuple[str, int]:
    end = content.find(b"\0", position, stop)
    if end < 0:
        raise ValueError("a text does not end")
    return content[position:end].decode("utf-8", "replace"), end + 1


def _number(content: bytes, position: int, stop: int, layout: str) -> tuple[Any, int]:
    end = position + struct.calcsize(layout)
    if end > stop:
        raise ValueError("it ends within a number")
    return struct.unpack_from(layout, content, position)[0], end
