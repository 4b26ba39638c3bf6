"""Tables of kernels, and what else their images share, made when needed and kept in a bounded memory.

Several threads share them.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from qpibench.arithmetic.ieee import LANES
from qpibench.arithmetic.tables import EDGE, SPAN, Table, coefficients, phases
from qpibench.families import KernelSpec, Parameters, Tabulated
from qpibench.specs.lattice import TAPS_BEYOND, Lattice

Made = TypeVar("Made", bound=tuple[Any, ...])

KEPT_BYTES = 256 << 20
"""Memory of the tables that are kept for later; at least one is kept."""


class TableMaker:
    """Makes the tables of one family on one lattice.

    Parameters
    ----------
    family, ranges
        The family and its table of a spec.
    x, y
        Lattices along x and y.
    """

    def __init__(self, family: Tabulated, ranges: KernelSpec, x: Lattice, y: Lattice) -> None:
        self.family, self.ranges, self.x, self.y = family, ranges, x, y
        self._identity = ranges.model_dump_json(), x, y

    def table(self, parameters: Parameters) -> Table:
        """The table of a kernel; its parameters are columns of length 1. It may come from the cache."""
        return kept(self._identity, parameters, lambda: self._made(parameters))

    def _made(self, parameters: Parameters) -> Table:
        dx, dy = _offsets(self.x), _offsets(self.y)
        (samples,) = self.family.samples(self.ranges, parameters, dx, dy)
        spline = coefficients(np.ascontiguousarray(samples))
        rows, needed = (2 * (axis.outermost + TAPS_BEYOND) + 1 for axis in (self.y, self.x))
        columns = -(-needed // self.x.per_pixel // LANES) * LANES
        memory = np.zeros(rows * self.x.per_pixel * columns + SPAN + LANES, np.float32)
        first = -memory.ctypes.data // memory.itemsize % LANES
        values = memory[first : first + rows * self.x.per_pixel * columns].reshape(rows, self.x.per_pixel, columns)
        phases(spline, values)
        return Table(
            values=values,
            first_x=-self.x.outermost - TAPS_BEYOND,
            first_y=-self.y.outermost - TAPS_BEYOND,
            step_x=self.x.step_nm,
            step_y=self.y.step_nm,
            per_pixel_y=self.y.per_pixel,
            reach_x=self.x.reach_nm,
            reach_y=self.y.reach_nm,
        )


def kept(identity: tuple[Hashable, ...], parameters: Parameters, make: Callable[[], Made]) -> Made:
    """What ``make`` returns for an identity and the columns, of length 1, of a kernel; it may come from the cache."""
    key = (*identity, *(values.tobytes() for values in parameters.values()))
    made: Made = _kept.get(key, make)
    return made


def _nbytes(made: Any) -> int:
    """Memory of the arrays in nested tuples."""
    if isinstance(made, tuple):
        return sum(map(_nbytes, made))
    return int(getattr(made, "nbytes", 0))


def _offsets(axis: Lattice) -> NDArray[np.float64]:
    outermost = axis.outermost + TAPS_BEYOND + EDGE
    offsets: NDArray[np.float64] = np.arange(-outermost, outermost + 1, dtype=np.float64) * axis.step_nm
    return offsets


@dataclass
class _Entry:
    lock: threading.Lock = field(default_factory=threading.Lock)
    made: Any = None


class _Cache:
    """The tuples used last, by key. Two threads that need the same one do not both make it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._bytes = 0

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        with self._lock:
            entry = self._entries.setdefault(key, _Entry())
            self._entries.move_to_end(key)
        with entry.lock:
            if entry.made is None:
                entry.made = make()
                self._count(_nbytes(entry.made))
            return entry.made

    def _count(self, new: int) -> None:
        with self._lock:
            self._bytes += new
            for key in list(self._entries)[:-1]:
                if self._bytes <= KEPT_BYTES:
                    return
                made = self._entries[key].made
                if made is not None:
                    self._bytes -= _nbytes(made)
                    del self._entries[key]


_kept = _Cache()
