"""Changes of files: of bytes, of the words of a text, of the values of a JSON text, and of the objects of an HDF5 file.

Hypothesis draws lists of edits. An edit says which of the places of a file it changes by a number, which is taken
modulo the number of places, so the same edits can be made in any file.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
from hypothesis import strategies as st

NUMBERS = (
    *("0", "-1", "1", "2", "255", "65536", "2147483648", "-9223372036854775809", "99999999999999999999999999"),
    *("1e308", "1e-320", "1e999", "nan", "inf", "-inf", "-0.0", "0.1", "3.5", "1_000", "0x10", "1,5"),
)
WORDS = (
    *(
        "",
        " ",
        '"',
        "'",
        "=",
        "#",
        "[",
        "]",
        ",",
        ";",
        "\t",
        "\n",
        "\r",
        "\0",
        "-",
        ".",
        "e",
        "~",
        "[]",
        "{}",
        "{0}",
        "%s",
    ),
    *("\ufeff", "\u2028", "\u00b5", "\u00e9", "true", "null", "name", "../x", "$HOME", "CON"),
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, 10**30, 0.0, -0.0, 0.5, 1e308, -1e308, 5e-324),
    *("", "x", "id", "0" * 64, "f" * 64, "\u00e9\0", "../../x", "a" * 5000),
    *([], [[]], {}, {"a": 1}, [0], ["x"], [None]),
)


@dataclass(frozen=True)
class Edit:
    """One change: its kind, the number of the place, another number, and a value."""

    kind: str
    place: int
    other: int
    value: Any


def _edits(kinds: Sequence[str], values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Edit]]:
    numbers = st.integers(0, 2**20)
    edit = st.builds(Edit, st.sampled_from(kinds), numbers, numbers, values)
    return st.lists(edit, min_size=1, max_size=3)


_BYTES = _edits(("flip", "set", "insert", "delete", "repeat", "cut"), st.binary(min_size=1, max_size=8))
_TEXT = _edits(
    ("number", "word", "drop line", "repeat line", "swap lines", "drop field", "character", "cut"),
    st.sampled_from(NUMBERS) | st.sampled_from(WORDS) | st.text(max_size=4),
)
_JSON = _edits(
    ("set", "drop", "rename", "repeat", "move", "scale"), st.sampled_from(VALUES) | st.floats() | st.integers()
)
_HDF5 = _edits(
    (
        "set attribute",
        "drop attribute",
        "drop",
        "rename",
        "reshape",
        "retype",
        "fill",
        "link",
        "group",
        "huge",
        "filter",
    ),
    st.sampled_from(VALUES),
)


def _in_bytes(content: bytes, edits: Sequence[Edit]) -> bytes:
    changed = bytearray(content)
    for edit in edits:
        place = edit.place % (len(changed) + 1)
        size = 1 + edit.other % 64
        if edit.kind == "flip" and changed:
            changed[place % len(changed)] ^= 1 << edit.other % 8
        elif edit.kind == "set":
            changed[place : place + len(edit.value)] = edit.value
        elif edit.kind == "insert":
            changed[place:place] = edit.value
        elif edit.kind == "delete":
            del changed[place : place + size]
        elif edit.kind == "repeat":
            changed[place:place] = changed[place : place + size] * (1 + edit.other % 9)
        elif edit.kind == "cut":
            del changed[place:]
    return bytes(changed)


_NUMBER = re.compile(r"[-+]?\d[\d.]*(?:[eE][-+]?\d+)?")
_WORD = re.compile(r"[A-Za-z_]+|[^\w\s]")


def _in_text(content: bytes, edits: Sequence[Edit]) -> bytes:
    text = content.decode("latin-1")
    for edit in edits:
        value = str(edit.value)
        lines = text.split("\n")
        line = edit.place % len(lines)
        if edit.kind in ("number", "word"):
            found = list((_NUMBER if edit.kind == "number" else _WORD).finditer(text))
            if found:
                start, end = found[edit.place % len(found)].span()
                text = text[:start] + value + text[end:]
            continue
        if edit.kind == "drop line":
            del lines[line]
        elif edit.kind == "repeat line":
            lines[line:line] = [lines[line]] * (1 + edit.other % 3)
        elif edit.kind == "swap lines":
            other = edit.other % len(lines)
            lines[line], lines[other] = lines[other], lines[line]
        elif edit.kind == "drop field":
            fields = re.split(r"([,;\t=])", lines[line])
            del fields[edit.other % len(fields)]
            lines[line] = "".join(fields)
        elif edit.kind == "character":
            place = edit.other % (len(lines[line]) + 1)
            lines[line] = lines[line][:place] + value + lines[line][place + 1 :]
        elif edit.kind == "cut":
            lines = [*lines[:line], lines[line][: edit.other % (len(lines[line]) + 1)]]
        text = "\n".join(lines)
    return text.encode("latin-1", errors="ignore") if text.isascii() else text.encode("utf-8", errors="replace")


def _in_json(content: bytes, edits: Sequence[Edit]) -> bytes:
    tree = json.loads(content)
    for edit in edits:
        places = list(_places(tree))
        if not places:
            break
        holder, key = places[edit.place % len(places)]
        if edit.kind == "set":
            holder[key] = edit.value
        elif edit.kind == "drop":
            del holder[key]
        elif edit.kind == "rename" and isinstance(holder, dict):
            holder[str(edit.value)] = holder.pop(key)
        elif edit.kind == "repeat" and isinstance(holder, list):
            holder[key:key] = [holder[key]] * (1 + edit.other % 3)
        elif edit.kind == "move":
            other, its_key = places[edit.other % len(places)]
            holder[key] = json.loads(json.dumps(other[its_key]))
        elif edit.kind == "scale" and isinstance(holder[key], (int, float)):
            holder[key] = holder[key] * (-1, 0, 2, 1e-3, 1e3, 1e300)[edit.other % 6]
    return json.dumps(tree).encode()


def _places(tree: Any) -> Any:
    """Every place of a JSON value: its list or object, and the index or key."""
    if isinstance(tree, (dict, list)):
        for key in list(tree if isinstance(tree, dict) else range(len(tree))):
            yield tree, key
            yield from _places(tree[key])


def _in_hdf5(content: bytes, edits: Sequence[Edit]) -> bytes:
    buffer = io.BytesIO(content)
    with h5py.File(buffer, "r+") as file:
        for edit in edits:
            try:
                _change(file, edit)
            except (ValueError, TypeError, OSError, RuntimeError, LookupError, OverflowError):
                continue  # a change that HDF5 refuses
    return buffer.getvalue()


def _change(file: h5py.File, edit: Edit) -> None:
    names: list[str] = []
    file.visit(names.append)
    found: Any = file[names[edit.place % len(names)]] if names and edit.place % 4 else file
    if edit.kind in ("set attribute", "drop attribute"):
        if not found.attrs:
            found = file
        keys = sorted(found.attrs)
        if not keys:
            return
        key = keys[edit.other % len(keys)]
        del found.attrs[key]
        if edit.kind == "set attribute":
            found.attrs[key] = _attribute(edit.value)
        return
    if not names:
        return
    name = names[edit.other % len(names)]
    if edit.kind == "drop":
        del file[name]
    elif edit.kind == "rename":
        file.move(name, f"{name}x")
    elif edit.kind == "group":
        del file[name]
        file.create_group(name)
    elif edit.kind == "link":
        del file[name]
        targets = ("/", name, "/nowhere", names[edit.place % len(names)])
        file[name] = (
            h5py.ExternalLink("elsewhere.h5", "/a") if edit.place % 5 == 4 else h5py.SoftLink(targets[edit.place % 4])
        )
    elif isinstance(file[name], h5py.Dataset):
        _change_values(file, name, edit)


def _change_values(file: h5py.File, name: str, edit: Edit) -> None:
    if file[name].is_virtual or file[name].shape is None or file[name].size > 2**20:
        return  # HDF5 crashes on virtual values of a file in memory; none and huge ones are of an edit before
    values, attributes = file[name][...], dict(file[name].attrs)
    if edit.kind == "fill":
        value = (np.nan, np.inf, -1, 0, 2**31 - 1, 1e30)[edit.place % 6]
        if values.size and edit.place % 2:
            values.reshape(-1)[edit.place % values.size] = value
        else:
            values[...] = value
        file[name][...] = values
        return
    del file[name]
    if edit.kind == "reshape":
        shaped: tuple[Callable[[], Any], ...] = (
            lambda: values[:-1],
            lambda: values[..., :-1],
            lambda: values.reshape(-1),
            lambda: values[None],
            lambda: values[:0],
            lambda: np.concatenate([values, values]),
            lambda: values.reshape(-1)[0],
            lambda: h5py.Empty(values.dtype),
        )
        file.create_dataset(name, data=shaped[edit.place % len(shaped)]())
    elif edit.kind == "retype":
        kind = ("f2", "f8", "i1", "i8", "u8", "c8", ">f4", "S3", "?")[edit.place % 9]
        file.create_dataset(name, data=values.astype(kind))
    elif edit.kind == "huge":
        shape = list(values.shape) or [1]
        shape[edit.place % len(shape)] = 2 ** (20 + edit.place % 40)
        file.create_dataset(name, shape=shape, dtype=values.dtype, chunks=tuple(min(n, 16) for n in shape))
    elif edit.kind == "filter":
        options: dict[str, Any] = ({"compression": "gzip"}, {"compression": "lzf"}, {"fletcher32": True})[
            edit.place % 3
        ]
        file.create_dataset(name, data=values, chunks=True, **options)
    for key, value in attributes.items():
        if key not in ("DIMENSION_LIST", "REFERENCE_LIST", "CLASS", "NAME"):
            file[name].attrs[key] = value


def _attribute(value: Any) -> Any:
    if value is None:
        return h5py.Empty("f4")
    if isinstance(value, dict):
        return np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")])
    if isinstance(value, list):
        return np.zeros((2, 0)) if value == [[]] else np.array([3.5, np.nan])
    return np.bytes_(value.encode()) if isinstance(value, str) and len(value) % 2 else value


MUTATIONS: dict[str, tuple[st.SearchStrategy[list[Edit]], Callable[[bytes, Sequence[Edit]], bytes]]] = {
    "bytes": (_BYTES, _in_bytes),
    "text": (_TEXT, _in_text),
    "json": (_JSON, _in_json),
    "hdf5": (_HDF5, _in_hdf5),
}
