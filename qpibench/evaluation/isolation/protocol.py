"""Messages between qpibench and the process that runs a user's model: a JSON header and raw arrays, over two pipes.

A message is

- the length of its header, 4 bytes, little-endian;
- the header, UTF-8 JSON: ``{"kind": ..., "fields": {...}, "arrays": [[name, dtype, shape], ...]}``;
- the bytes of every array, little-endian, in C order, in the order of the header.

A message contains no code. The receiver checks the header's length and the arrays' types, shapes and sizes before it
allocates memory for them.
"""

from __future__ import annotations

import json
import os
import select
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qpibench.parsing import check_brackets

DTYPES = frozenset({"<f2", "<f4", "<f8", "<i4", "<i8"})
"""Types of array elements that may be exchanged."""

MAX_HEADER_BYTES = 1 << 20
MAX_ARRAYS = 16
POLL_S = 0.05
"""Interval in seconds between calls of a watch."""


class ProtocolError(Exception):
    """The received bytes are no message, or a message that is not allowed."""


@dataclass(frozen=True)
class Message:
    """One message.

    Attributes
    ----------
    kind
        Kind of the message.
    fields
        JSON values by name.
    arrays
        Arrays by name.
    """

    kind: str
    fields: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)


class Channel:
    """One end of the exchange.

    Parameters
    ----------
    read_fd, write_fd
        The ends of the two pipes; non-blocking if a watch is given.
    watch
        Function called every ``POLL_S`` seconds while waiting. It returns whether the other process is alive; an
        exception from it ends the exchange.
    """

    def __init__(self, read_fd: int, write_fd: int, *, watch: Callable[[], bool] | None = None) -> None:
        self._read_fd, self._write_fd, self._watch = read_fd, write_fd, watch
        self._watched = time.monotonic()

    def send(
        self, kind: str, fields: Mapping[str, Any] | None = None, arrays: Mapping[str, NDArray[Any]] | None = None
    ) -> None:
        """Send one message.

        Raises
        ------
        ProtocolError
            If an array is of a type that is not exchanged.
        BrokenPipeError
            If the other process has closed the pipe.
        """
        packed = {name: _little_endian(name, array) for name, array in (arrays or {}).items()}
        header = {
            "kind": kind,
            "fields": dict(fields or {}),
            "arrays": [[name, array.dtype.str, array.shape] for name, array in packed.items()],
        }
        text = json.dumps(header, ensure_ascii=False).encode(errors="replace")  # a lone surrogate is not valid text
        if len(text) > MAX_HEADER_BYTES:
            raise ProtocolError(f"a header of {len(text)} bytes is longer than {MAX_HEADER_BYTES}")
        self._write(memoryview(struct.pack("<I", len(text)) + text))
        for array in packed.values():
            self._write(_bytes_of(array))

    def receive(self, *, max_bytes: int | None = None) -> Message:
        """Wait for one message; its arrays are writable.

        Parameters
        ----------
        max_bytes
            Largest size of all its arrays together; no limit if not given.

        Raises
        ------
        ProtocolError
            If the received bytes are no allowed message.
        EOFError
            If the other process has closed the pipe.
        """
        length = struct.unpack("<I", self._read(4))[0]
        if length > MAX_HEADER_BYTES:
            raise ProtocolError(f"a header of {length} bytes is longer than {MAX_HEADER_BYTES}")
        kind, fields, specs = _parse_header(self._read(length))
        size = sum(dtype.itemsize * count for _, dtype, _, count in specs)
        if max_bytes is not None and size > max_bytes:
            raise ProtocolError(f"arrays of {size} bytes are larger than {max_bytes}")
        arrays = {}
        for name, dtype, shape, _ in specs:
            arrays[name] = np.empty(shape, dtype=dtype)
            self._read_into(_bytes_of(arrays[name]))
        return Message(kind, fields, arrays)

    def _read(self, size: int) -> bytearray:
        buffer = bytearray(size)
        self._read_into(memoryview(buffer))
        return buffer

    def _read_into(self, view: memoryview) -> None:
        while view:
            self._wait(self._read_fd, select.POLLIN)
            count = os.readv(self._read_fd, [view])
            if count == 0:
                raise EOFError("the other process has closed the pipe")
            view = view[count:]

    def _write(self, view: memoryview) -> None:
        while view:
            self._wait(self._write_fd, select.POLLOUT)
            view = view[os.write(self._write_fd, view) :]

    def _wait(self, fd: int, event: int) -> None:
        if self._watch is None:
            return
        poll = select.poll()
        poll.register(fd, event)
        # Bytes that the other process wrote before it ended are still read.
        while not poll.poll(POLL_S * 1000):
            if not self._look() and not poll.poll(0):
                raise EOFError("the other process has closed the pipe")
        # The watch is called even if the other process writes without pause.
        if time.monotonic() - self._watched > POLL_S:
            self._look()

    def _look(self) -> bool:
        assert self._watch is not None
        self._watched = time.monotonic()
        return self._watch()


def _parse_header(text: bytearray) -> tuple[str, dict[str, Any], list[tuple[str, np.dtype[Any], tuple[int, ...], int]]]:
    try:
        decoded = text.decode()
        check_brackets(decoded)
        header = json.loads(decoded)
        kind, fields, entries = header["kind"], header["fields"], header["arrays"]
    except (ValueError, KeyError, TypeError) as error:
        raise ProtocolError(f"the header is not valid: {error}") from None
    if not (isinstance(kind, str) and isinstance(fields, dict) and isinstance(entries, list)):
        raise ProtocolError("the header's fields are not of the right types")
    if len(entries) > MAX_ARRAYS:
        raise ProtocolError(f"{len(entries)} arrays are more than {MAX_ARRAYS}")
    return kind, fields, [_parse_array(entry) for entry in entries]


def _parse_array(entry: Any) -> tuple[str, np.dtype[Any], tuple[int, ...], int]:
    if not (isinstance(entry, list) and len(entry) == 3):
        raise ProtocolError("an array is not described by its name, type and shape")
    name, dtype, shape = entry
    if not (isinstance(name, str) and isinstance(dtype, str) and dtype in DTYPES):
        raise ProtocolError(f"array {name!r} is of type {dtype!r}; allowed are {', '.join(sorted(DTYPES))}")
    if not (isinstance(shape, list) and len(shape) <= 4 and all(type(n) is int and 0 <= n < 2**31 for n in shape)):
        raise ProtocolError(f"array {name!r} has an impossible shape")
    count = 1
    for n in shape:
        count *= n
    return name, np.dtype(dtype), tuple(shape), count


def _little_endian(name: str, array: NDArray[Any]) -> NDArray[Any]:
    packed = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).reshape(array.shape)
    if packed.dtype.str not in DTYPES:
        raise ProtocolError(f"array {name!r} is of type {array.dtype}, which is not exchanged")
    return packed


def _bytes_of(array: NDArray[Any]) -> memoryview:
    return array.reshape(-1).view(np.uint8).data
