"""Reading JSON and TOML texts that come from files: every fault of a text is one error with one sentence.

Python's decoders raise errors of six kinds, follow brackets to any depth, and keep the last of two equal keys of an
object. The functions here refuse all of that alike.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from typing import Any

from qpibench.errors import InvalidDataError

MAX_DEPTH = 64
"""Largest depth of nested lists and tables; the deepest file of the package has 9."""

MAX_DIGITS = 100
"""Largest number of decimal digits of an integer; the largest number of the package, a seed, has 39."""

MAX_SHOWN = 100
"""Largest number of characters of a value in an error message."""


def parse_json(text: str | bytes, subject: str) -> Any:
    """Decode a JSON text.

    Parameters
    ----------
    text
        The text, or its bytes in UTF-8.
    subject
        Subject of the sentence ``"... is not valid JSON (reason)"``, such as ``"Result file 'a.json'"``.

    Raises
    ------
    InvalidDataError
        If the text is not UTF-8 or not JSON, an object has a key twice, a text half a character (a lone surrogate),
        lists and objects are nested more than ``MAX_DEPTH`` deep, or an integer has more than ``MAX_DIGITS`` digits.
    """
    return _parsed(_decode_json, text, f"{subject} is not valid JSON", _JSON_STRING)


def parse_toml(text: str | bytes, subject: str) -> dict[str, Any]:
    """Decode a TOML text; parameters and errors as :func:`parse_json`."""
    table: dict[str, Any] = _parsed(tomllib.loads, text, f"{subject} is not valid TOML", _TOML_STRING)
    return table


def toml_value(text: str) -> Any:
    """Decode a value of TOML, as it stands after ``name =``; what is none is itself: a text needs no quotes."""
    try:
        return parse_toml(f"value = {text}", "The value")["value"]
    except InvalidDataError:
        return text


def shown(value: object) -> str:
    """Return a value as text for an error message, shortened if it is long."""
    try:
        return cut(repr(value))
    except (RecursionError, ValueError):  # nested too deep, or an integer of too many digits
        return f"a {type(value).__name__}"


def cut(text: str, length: int = MAX_SHOWN) -> str:
    """Return a text for an error message, shortened if it is long."""
    return text if len(text) <= length else f"{text[:length]}..."


def check_nesting(value: object) -> None:
    """Refuse lists and dictionaries nested deeper than ``MAX_DEPTH``, and integers of more than ``MAX_DIGITS`` digits.

    Raises
    ------
    ValueError
        The reason.
    """
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        for each in level:
            if isinstance(each, int) and abs(each) >= 10**MAX_DIGITS:
                raise ValueError(_TOO_LARGE)
        inner = [each.values() if isinstance(each, dict) else each for each in level if isinstance(each, (dict, list))]
        level = [each for values in inner for each in values]
        if not level:
            return
    raise ValueError(_TOO_DEEP)


def check_brackets(text: str, strings: re.Pattern[str] | None = None) -> None:
    """Refuse a text with lists and objects nested deeper than ``MAX_DEPTH`` before it is decoded.

    Decoders call themselves for each bracket, up to Python's recursion limit. The garbage collector may run there. If
    it then frees an h5py object, h5py takes its lock and cannot release it (h5py 3.16), so every other thread that uses
    or frees an h5py object waits for ever.

    Parameters
    ----------
    text
        The text.
    strings
        Pattern of strings and comments, whose brackets do not count; by default the strings of JSON.

    Raises
    ------
    ValueError
        The reason.
    """
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    depth = 0
    for bracket in re.findall(r"[][{}]", (strings or _JSON_STRING).sub("", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > MAX_DEPTH:
            raise ValueError(_TOO_DEEP)


# The end of a string is optional, so that a text with many strings that do not end is read once.
_JSON_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_TOML_STRING = re.compile(
    r"""
    \#[^\n]*
    | \"{3} (?: [^"\\] | \\. | "(?!"") )*+ \"{0,5}
    | \'{3} (?: [^'] | '(?!'') )*+ \'{0,5}
    | \" (?: [^"\\\n] | \\. )*+ "?
    | \' [^'\n]*+ '?
    """,
    re.DOTALL | re.VERBOSE,
)
_TOO_DEEP = f"its lists and tables are nested more than {MAX_DEPTH} deep"
_TOO_LARGE = f"an integer has more than {MAX_DIGITS} digits"


def _parsed(decode: Callable[[str], Any], text: str | bytes, problem: str, strings: re.Pattern[str]) -> Any:
    try:
        decoded = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        check_brackets(decoded, strings)
        content = decode(decoded)
        check_nesting(content)
    except UnicodeDecodeError as error:
        raise InvalidDataError(f"{problem} (byte {error.start} is not UTF-8; save it as UTF-8).") from None
    except ValueError as error:  # JSONDecodeError and TOMLDecodeError are ValueErrors
        reason = _TOO_LARGE if "integer string conversion" in str(error) else str(error)
        raise InvalidDataError(f"{problem} ({cut(' '.join(reason.split()), 3 * MAX_SHOWN)}).") from None
    return content


def _decode_json(text: str) -> Any:
    content = json.loads(text, object_pairs_hook=_object)
    if "\\ud" in text.lower():
        try:
            json.dumps(content, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("a text has half a surrogate pair") from None
    return content


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"an object has the key {shown(next(name for name in names if names.count(name) > 1))} twice")
    return content
