r"""The identity of predictions: one SHA-256 of the predicted values, their release and their record.

It is the SHA-256 of these lines, each ended by ``\n``: ``qpibench predictions 1``; the content hash of the release; the
record as JSON with sorted keys and without spaces (``{}`` where the file has none); and for each array, sorted by name,
``NAME DTYPE SHAPE DIGEST``, such as ``id/kernel <f4 500x64x64 0c1d...``. DIGEST is the SHA-256 of the array's bytes:
little endian, C order, every NaN the quiet NaN 0x7fc00000, no negative zero. The arrays are all that scoring can read:
``<task>/index`` as ``<i4`` and, where the file has them, ``<task>/kernel``, ``kernel_full``, ``std``, ``latent``,
``kernels/latent`` and ``kernels/autoencoded`` as ``<f4``; with two species of scatterers ``<task>/species`` as ``<i4``.

The hashed record omits the fields that may differ between two runs of one deterministic model: times, the machine, the
number of images in a batch, and the text of an error. Storage options are not hashed either.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qpibench.release.identity import canonical

MEASURED = frozenset({"run", "fit_seconds", "task_seconds", "batch_size"})
"""Fields of the record that may differ between two runs of one deterministic model."""

_ERROR_TEXTS = frozenset({"message", "traceback"})


def content_sha256(release_sha256: str, record: Mapping[str, Any], arrays: Mapping[str, Iterable[NDArray[Any]]]) -> str:
    """Identity of predictions, hexadecimal.

    Parameters
    ----------
    release_sha256
        Content hash of the release that was predicted.
    record
        The record as it stands in the file, decoded from JSON; empty if the file has none.
    arrays
        Blocks of rows of each array, in order, by the array's name; one block at least, which may have no rows.
    """
    digest = hashlib.sha256(f"qpibench predictions 1\n{release_sha256}\n{_canonical_json(record)}\n".encode())
    for name in sorted(arrays):
        of_array = hashlib.sha256()
        rows = 0
        for block in arrays[name]:
            values = np.ascontiguousarray(canonical(block.astype(block.dtype.newbyteorder("<"), copy=False)))
            of_array.update(values.reshape(-1).view(np.uint8).data)
            rows += len(values)
        shape = "x".join(map(str, (rows, *values.shape[1:])))
        digest.update(f"{name} {values.dtype.str} {shape} {of_array.hexdigest()}\n".encode())
    return digest.hexdigest()


def _canonical_json(record: Mapping[str, Any]) -> str:
    kept = {name: value for name, value in record.items() if name not in MEASURED}
    if isinstance(failure := kept.get("failure"), dict):
        kept["failure"] = {name: value for name, value in failure.items() if name not in _ERROR_TEXTS}
    return json.dumps(kept, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
