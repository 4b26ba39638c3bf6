"""Columns that families and corruptions add to kernels, observations and scatterers, each with a type and a unit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Per = Literal["kernel", "observation", "scatterer"]
"""The thing that has one value in the column; a column per scatterer has the shape (observation, scatterer)."""


BUILT_IN = frozenset(
    {
        *("image", "kernel", "activation_map", "position_nm", "told_position_nm", "n_scatterers"),
        *("species", "told_species", "contrast", "rotation", "scatterer_species", "kernel_species"),
        *("family", "kernel_index", "index", "kernel_image", "x", "y", "xy", "observation", "scatterer"),
        *(f"split_{task}_{role}" for task in ("id", "ood") for role in ("train", "validation", "test")),
    }
)
"""Names used by every release, stream or view of a release; no column may have one of them."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """Declaration of one column.

    Attributes
    ----------
    name
        A Python identifier, unique within a release.
    dtype
        NumPy's type string with byte order, such as ``"<f8"``.
    per
        The thing that has one value in the column.
    units, long_name
        Unit and description of the values.
    absent
        The value where there is none: of a kernel whose parameters are not known, of an image without the corruption,
        behind the last scatterer.
    in_streams
        Whether batches of a stream have the column too. A column computed from the kernel image is in releases only.
    """

    name: str
    dtype: str
    per: Per
    units: str
    long_name: str
    absent: float
    in_streams: bool = True

    def empty(self, *shape: int) -> NDArray[Any]:
        """Return an array of the column's type, filled with the absent value."""
        return np.full(shape, self.absent, self.dtype)


def parameter_column(name: str, units: str, long_name: str) -> Column:
    """Declare a parameter of a family's kernels, float64; NaN where it is not known."""
    return Column(name=name, dtype="<f8", per="kernel", units=units, long_name=long_name, absent=math.nan)


def sigma_column(name: str, what: str) -> Column:
    """Declare the standard deviation of the values that a corruption adds to each image, float32; 0 without it."""
    long_name = f"standard deviation of {what} in the image"
    return Column(name=name, dtype="<f4", per="observation", units="1", long_name=long_name, absent=0.0)


FOLD = Column(
    name="fold",
    dtype="<i4",
    per="kernel",
    units="1",
    long_name="rotational symmetry, 0 for total symmetry, -1 where unknown",
    absent=-1,
)
"""The stratum of the families whose kernels have a rotational symmetry."""


def fold_label(fold: int) -> str:
    """A fold in words: ``total``, ``3-fold``, or ``unknown``."""
    return {-1: "unknown", 0: "total"}.get(fold, f"{fold}-fold")
