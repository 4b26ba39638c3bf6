"""Weights of trained entries, in NumPy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from qpibench.errors import InvalidDataError, UsageError
from qpibench.evaluation.run_record import RunFolder


def shipped_weights(entry_file: str) -> Path:
    """Return the folder of the weights that are shipped with an entry.

    Raises
    ------
    UsageError
        If the entry is shipped without weights.
    """
    path = Path(entry_file)
    folder = path.parent / "weights" / path.stem
    if not RunFolder(folder).record.exists():
        raise UsageError(
            f"Entry {path.stem} is shipped without trained weights: train it with"
            f" `qpibench train {path.stem} --release FILE -o RUN_DIR`, then evaluate RUN_DIR."
        )
    return folder


def load_arrays(path: Path) -> dict[str, NDArray[np.float64]]:
    """Load the weights of a run by name, in float64.

    Raises
    ------
    UsageError
        If the run has no weights yet.
    InvalidDataError
        If the file is corrupt.
    """
    require_weights(path)
    try:
        return {name: array.astype(np.float64) for name, array in load_file(path).items()}
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise InvalidDataError(f"'{path}' is not a safetensors file of weights: {error}.") from None


def require_weights(path: Path) -> None:
    """Check that a run has weights.

    Raises
    ------
    UsageError
        If not.
    """
    if not path.exists():
        raise UsageError(f"The run in '{path.parent}' has no weights yet: continue it with `qpibench train --resume`.")
