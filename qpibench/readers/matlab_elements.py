"""Checks the lengths in a MATLAB file of version 5 (to 7.2), because SciPy crashes on some that are wrong.

The file is a header of 128 bytes and elements, which are a type, a number of bytes, and these bytes, padded to 8. A
matrix is an element that contains others: flags, dimensions, name and content. Compressed elements have a checksum of
their own and are not looked into.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator

HEADER = 128

_INT8, _INT32, _UINT32, _MATRIX, _COMPRESSED, _UTF8 = 1, 5, 6, 14, 15, 16
_BYTES = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8, 16: 1, 17: 2, 18: 4}
_CELL, _STRUCT, _OBJECT, _CHAR, _SPARSE, _LAST_NUMBER, _FUNCTION, _OPAQUE = 1, 2, 3, 4, 5, 15, 16, 17
_COMPLEX = 0x800
_MAX_DEPTH = 32


def is_version_5(content: bytes) -> bool:
    """Whether a file begins like those of versions 5 to 7.2."""
    return len(content) >= HEADER and 0 not in content[:4] and content[126:128] in (b"IM", b"MI")


def check(content: bytes) -> None:
    """Check the elements of a file for which :func:`is_version_5` is true.

    Raises
    ------
    ValueError
        The reason.
    """
    order = "<" if content[126:128] == b"IM" else ">"
    for kind, start, end in _elements(content, order, HEADER, len(content)):
        if kind == _MATRIX:
            _check_matrix(content, order, start, end, 0)
        elif kind != _COMPRESSED:
            raise ValueError(f"a variable is of the unknown type {kind}")


def _elements(content: bytes, order: str, position: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """Type, start and end of the elements between two positions."""
    while position < stop:
        if position + 8 > stop:
            raise ValueError("it ends within an element")
        first, second = struct.unpack_from(f"{order}II", content, position)
        if first >> 16:  # up to four bytes are stored in the place of their number
            kind, count, start, after = first & 0xFFFF, first >> 16, position + 4, position + 8
            if count > 4:
                raise ValueError(f"a short element has {count} bytes")
        else:
            kind, count, start = first, second, position + 8
            after = start + (count if kind == _COMPRESSED else (count + 7) // 8 * 8)
        if start + count > stop:
            raise ValueError("it ends within an element")
        yield kind, start, start + count
        position = after


def _check_matrix(content: bytes, order: str, start: int, end: int, depth: int) -> None:
    if start == end:
        return
    if depth > _MAX_DEPTH:
        raise ValueError(f"structs are nested more than {_MAX_DEPTH} deep")
    parts = list(_elements(content, order, start, end))
    if len(parts) < 3:
        raise ValueError("an array has no name")
    kinds, sizes = [part[0] for part in parts], [part[2] - part[1] for part in parts]
    if kinds[0] != _UINT32 or sizes[0] != 8:
        raise ValueError("the flags of an array are damaged")
    flags = struct.unpack_from(f"{order}I", content, parts[0][1])[0]
    kind = flags & 0xFF
    if kind == _OPAQUE:  # an object of a class has no dimensions
        for inner, first, last in parts[3:]:
            if inner == _MATRIX:
                _check_matrix(content, order, first, last, depth + 1)
        return
    if kinds[1] not in (_INT32, _UINT32) or sizes[1] < 8 or sizes[1] % 4:
        raise ValueError("the dimensions of an array are damaged")
    dims = struct.unpack_from(f"{order}{sizes[1] // 4}i", content, parts[1][1])
    if min(dims) < 0 or kinds[2] not in (_INT8, _UTF8):
        raise ValueError("the dimensions or the name of an array are damaged")
    _check_content(content, order, kind, bool(flags & _COMPLEX), math.prod(dims), parts[3:], depth)


def _check_content(
    content: bytes, order: str, kind: int, is_complex: bool, count: int, parts: list[tuple[int, int, int]], depth: int
) -> None:
    if kind in (_STRUCT, _OBJECT):
        parts = parts[kind == _OBJECT :]  # the name of its class
        if len(parts) < 2 or parts[0][0] != _INT32 or parts[0][2] - parts[0][1] != 4 or parts[1][0] != _INT8:
            raise ValueError("the fields of a struct are damaged")
        length = struct.unpack_from(f"{order}i", content, parts[0][1])[0]
        names = parts[1][2] - parts[1][1]
        if length <= 0 or names % length:
            raise ValueError("the names of the fields of a struct are damaged")
        count, parts = count * (names // length), parts[2:]
    if kind in (_CELL, _STRUCT, _OBJECT, _FUNCTION):
        if any(part[0] != _MATRIX for part in parts) or (kind != _FUNCTION and len(parts) != count):
            raise ValueError(f"a struct or cell has {len(parts)} arrays, {count} are expected")
        for _, start, end in parts:
            _check_matrix(content, order, start, end, depth + 1)
        return
    if not _CHAR <= kind <= _LAST_NUMBER or any(part[0] not in _BYTES for part in parts):
        raise ValueError("the type of an array is damaged")
    numbers = [(end - start) // _BYTES[each] for each, start, end in parts]
    if kind == _SPARSE:
        if len(parts) != 3 + is_complex:
            raise ValueError("a sparse array is damaged")
    elif kind == _CHAR:
        if len(parts) != 1 or 0 < numbers[0] < count:
            raise ValueError("a text is damaged")
    elif numbers != [count] * (1 + is_complex):
        raise ValueError(f"an array has {numbers[0] if numbers else 0} numbers, {count} are expected")
