r"""Computes the identity of a release: one SHA-256 of all values and of the spec, and of nothing else.

The hash is a tree of three levels, so that any number of threads can hash blocks in any order. All texts are ASCII,
``\n`` is one byte, and digests are 32 raw bytes unless called hexadecimal:

1. A *block* is a run of 256 rows along the first axis of an array (the last one may be shorter). Its digest is the
   SHA-256 of the line ``qpibench block NAME DTYPE SHAPE INDEX\n`` followed by the bytes of its rows: little endian, C
   order, every NaN the quiet NaN 0x7ff8000000000000 (0x7fc00000 in float32), no negative zero. Such a line is, for
   example, ``qpibench block observations/image <f4 50000x64x64 0\n``.
2. The digest of an *array* is the SHA-256 of the line ``qpibench array NAME DTYPE SHAPE\n`` followed by the digests of
   its blocks. An array without rows has no block.
3. The *content* digest is the SHA-256 of the lines ``qpibench release 1\n``, the canonical JSON of the spec and ``\n``,
   and for every array, sorted by name, ``NAME HEXDIGEST\n``. In hexadecimal it is `content_sha256`.

The arrays are all those of :mod:`qpibench.release.layout`, and the JSON is the file's attribute `spec`. Compression,
the offset of an array in the file, the version of the package and dates are not part of the identity.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qpibench.release.layout import Array, raw

BLOCK_ROWS = 256

RUN_BYTES = 1 << 22
"""Blocks of large images are hashed in parts of about this many bytes, which bounds the memory."""


def block_count(array: Array) -> int:
    """Number of blocks of an array."""
    return -(-array.shape[0] // BLOCK_ROWS)


def block_rows(array: Array, block: int) -> tuple[int, int]:
    """First row of a block, and the row after its last."""
    return block * BLOCK_ROWS, min((block + 1) * BLOCK_ROWS, array.shape[0])


def hash_block(
    arrays: Sequence[Array], block: int, rows: Callable[[int, int], Iterable[NDArray[Any]]]
) -> NDArray[np.uint8]:
    """Compute the digests of the same block of several arrays.

    Parameters
    ----------
    arrays
        Arrays of equal length along the first axis.
    block
        Number of the block.
    rows
        Called for the parts of the block in order, each with its first row and the row after its last; returns these
        rows of every array, in the stored dtype.

    Returns
    -------
    ndarray
        (array, 32) uint8.
    """
    hashes = [hashlib.sha256(f"qpibench block {_signature(array)} {block}\n".encode()) for array in arrays]
    start, stop = block_rows(arrays[0], block)
    step = max(1, RUN_BYTES // max(array.row_bytes for array in arrays))
    for first, last in pairwise([*range(start, stop, step), stop]):
        for digest, values in zip(hashes, rows(first, last), strict=True):
            digest.update(raw(values))
    return np.frombuffer(b"".join(digest.digest() for digest in hashes), np.uint8).reshape(len(arrays), 32)


def array_digest(array: Array, block_digests: NDArray[np.uint8]) -> str:
    """Digest of an array, hexadecimal, from the digests of its blocks, (block, 32) uint8."""
    return hashlib.sha256(f"qpibench array {_signature(array)}\n".encode() + block_digests.tobytes()).hexdigest()


def content_digest(spec_json: str, array_digests: Mapping[str, str]) -> str:
    """`content_sha256` of a release, from the canonical JSON of its spec and the hexadecimal digests of its arrays."""
    lines = ["qpibench release 1", spec_json, *(f"{name} {array_digests[name]}" for name in sorted(array_digests))]
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()


def hash_blocks(array: Array, values: Any) -> NDArray[np.uint8]:
    """Compute the digests of all blocks of one array, (block, 32) uint8; `values` may be in memory or in a file."""
    digests = np.empty((block_count(array), 32), np.uint8)
    for block in range(len(digests)):
        digests[block] = hash_block([array], block, lambda start, stop: [np.ascontiguousarray(values[start:stop])])
    return digests


def canonical(values: NDArray[Any]) -> NDArray[Any]:
    """Copy floating values with the quiet NaN for every NaN and 0 for -0; other arrays are returned unchanged."""
    if not np.issubdtype(values.dtype, np.floating):
        return values
    values = values + 0.0
    values[np.isnan(values)] = np.nan
    return values


def _signature(array: Array) -> str:
    return f"{array.name} {array.dtype} {'x'.join(map(str, array.shape))}"
