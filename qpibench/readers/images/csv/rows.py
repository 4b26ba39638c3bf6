"""Rows of numbers in a text file: separators, decimal points, and lengths in Angstrom; messages name row and column."""

from __future__ import annotations

import gzip
import io
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from qpibench.errors import InvalidDataError

_SEPARATORS = {b",": "commas", b";": "semicolons", b"\t": "tabs", None: "spaces"}


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of the file: its place for messages, its number from 1, and its fields as text."""

    place: str
    number: int
    fields: list[bytes]
    separator: bytes | None

    @property
    def separated(self) -> str:
        """How the fields are separated, for messages."""
        return f"separated by {_SEPARATORS[self.separator]}, as the first row has it"

    def check_decimal_commas(self, expected: int) -> None:
        """Refuse a row with twice as many fields as there should be numbers, all of them filled."""
        if self.separator == b"," and len(self.fields) == 2 * expected and all(map(bytes.strip, self.fields)):
            raise InvalidDataError(
                f"{self.place}: expected {expected} numbers separated by commas, found {2 * expected}; if these are"
                " numbers with decimal commas, write decimal points."
            )

    def numbers(self, start: int, stop: int) -> NDArray[np.float64]:
        """Numbers of a run of fields, finite in float32."""
        fields = self.fields[start:stop]
        try:
            values = np.array(fields, dtype=np.float64)
        except ValueError:
            values = np.array([_number(field) for field in fields])
        # A number that overflows in float32 cannot be stored either.
        wrong = ~(np.abs(values) <= np.finfo(np.float32).max)
        if wrong.any():
            column = int(np.argmax(wrong))
            raise InvalidDataError(f"{self.place}, column {start + column + 1}: {self._not_a_number(fields[column])}.")
        return values

    def length_nm(self, column: int) -> float:
        """Length in nm of a field that is known to be a number, in Angstrom."""
        try:
            return nanometres(self.fields[column].decode())
        except ValueError:  # an exponent of thousands of digits
            raise InvalidDataError(f"{self.place}, column {column + 1}: the number is too long.") from None

    def _not_a_number(self, field: bytes) -> str:
        """Say what a field is that should be a number, without the full stop."""
        try:
            found = field.strip().decode()
        except UnicodeDecodeError:
            return "the file is not text in UTF-8; save it as CSV in UTF-8"
        if self.separator != b"," and re.fullmatch(r"[+-]?\d+,\d+([eE][+-]?\d+)?", found):
            return f"found {found[:40]!r}, a number with a decimal comma; write decimal points"
        return f"expected a finite number, found {repr(found[:40]) if found else 'nothing'}"


def decompressed(path: Path, file: io.BufferedReader) -> io.BufferedReader:
    """The text of a file that may be compressed by gzip.

    Raises
    ------
    InvalidDataError
        If it is not text in UTF-8.
    """
    if file.peek(2).startswith(b"\x1f\x8b"):
        file = io.BufferedReader(cast(io.RawIOBase, gzip.GzipFile(fileobj=file)))
    head = file.peek(2)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InvalidDataError(f"'{path}' is text in UTF-16; expected UTF-8: save it as CSV in UTF-8.")
    if b"\0" in head:
        raise InvalidDataError(f"'{path}' is not text; expected a CSV file in UTF-8.")
    return file


def read_rows(path: Path, file: BinaryIO) -> Iterator[Row]:
    """All rows that are not blank. The first row determines the separator of the fields."""
    separator: bytes | None = b""
    for number, line in enumerate(file, 1):
        text = (line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line).strip(b" \r\n")
        if not text.strip():
            continue
        if separator == b"":
            # A comma may be a decimal comma where semicolons or tabs separate.
            separator = next((mark for mark in (b";", b"\t", b",") if mark in text), None)
        yield Row(place=f"'{path}', row {number}", number=number, fields=text.split(separator), separator=separator)


def _number(field: bytes) -> float:
    with suppress(ValueError):
        return float(field)
    return np.nan


def nanometres(angstrom: str) -> float:
    """Read a length in Angstrom: the float64 nearest to a tenth of it.

    Raises
    ------
    ValueError
        If the text is not a number.
    """
    mantissa, _, exponent = angstrom.strip().lower().partition("e")
    return float(f"{mantissa}e{int(exponent or 0) - 1}")


def angstrom(nm: float) -> str:
    """Write a length so that :func:`nanometres` reads the same float64."""
    return format(Decimal(repr(float(nm))).scaleb(1), "f")
