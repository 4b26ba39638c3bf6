"""What families and corruptions tell of kernels, observations and scatterers: columns with a type and a unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Per = Literal["kernel", "observation", "scatterer"]
"""What a column has a value for; one per scatterer is (observation, scatterer)."""


BUILT_IN = frozenset(
    {
        *("image", "kernel", "activation_map", "position_nm", "told_position_nm", "n_scatterers"),
        *("family", "kernel_index", "index", "kernel_image", "x", "y", "xy", "observation", "scatterer"),
        *(f"split_{task}_{role}" for task in ("id", "ood") for role in ("train", "validation", "test")),
    }
)
"""Names of what every release, stream or view of a release has; no declared column has one of them."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column.

    Attributes
    ----------
    name
        Its name, a Python identifier; all columns of a release have different ones.
    dtype
        NumPy's type string with byte order, such as ``"<f8"``.
    per
        What it has a value for.
    units, long_name
        What the values mean.
    absent
        The value where there is none: of a kernel whose parameters are not known, of an image without the corruption,
        behind the last scatterer.
    in_streams
        Whether batches of a stream have it as well; not if it needs the image of the kernel.
    """

    name: str
    dtype: str
    per: Per
    units: str
    long_name: str
    absent: float
    in_streams: bool = True

    def empty(self, *shape: int) -> NDArray[Any]:
        """An array of the column's type that holds the absent value."""
        return np.full(shape, self.absent, self.dtype)
