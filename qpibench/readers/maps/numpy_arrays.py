"""Reads NumPy's files: ``.npy`` with one map or a stack, ``.npz`` with named arrays (:mod:`qpibench.maps.named`).

Arrays are (y, x) or (layer, y, x). An ``.npy`` file cannot tell its size.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qpibench.errors import InvalidDataError, reason
from qpibench.maps import Source
from qpibench.maps.arrays import Array, Arrays, is_map
from qpibench.maps.named import arrays_of

FORMAT = "NumPy"
SUFFIXES = (".npy", ".npz")

_ARRAY, _ARCHIVE = b"\x93NUMPY", b"PK"


def read(path: Path, source: Source) -> Arrays:
    """Read a file; see :class:`qpibench.readers.maps.MapsReader`."""
    with open(path, "rb") as file:
        if not file.read(len(_ARRAY)).startswith((_ARRAY, _ARCHIVE)):
            raise InvalidDataError(f"'{path}' is no file of NumPy, or its beginning is damaged.")
        file.seek(0)
        try:
            loaded = np.load(file, allow_pickle=False)
            named = None if isinstance(loaded, np.ndarray) else {name: loaded[name] for name in loaded.files}
        except Exception as error:  # of NumPy, zipfile, zlib and Python's tokenizer, which reads the header
            why = "its arrays are Python objects" if "allow_pickle" in str(error) else reason(error)
            raise InvalidDataError(f"'{path}' is truncated, or has no numbers: {why}.") from None
    if named is not None:
        arrays, warnings = arrays_of(source.file, named)
        return Arrays(arrays=arrays, source=source, warnings=warnings)
    _check(path, loaded)
    return Arrays(arrays=(Array(name=path.stem, values=loaded),), source=source)


def _check(path: Path, values: NDArray[Any]) -> None:
    if not is_map(values):
        shape = " x ".join(map(str, values.shape)) or "one number"
        raise InvalidDataError(
            f"'{path}' must have real numbers (y, x) or (layer, y, x) with two or more pixels along each side, found"
            f" {values.dtype} ({shape})."
        )
