"""References of the benchmarks: the plain implementation of the same work, and the limits of the machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numba as nb
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from qpibench.arithmetic.ieee import fma, prefer_wide_vectors
from qpibench.families import get_family
from qpibench.specs import ReleaseSpec, load_spec
from qpibench.specs.lattice import lattices
from qpibench.synthesis import Kernels


def superpose(
    array_library: Any, x: Any, y: Any, position: Any, *, fold: int, phi1: float, B: float, phi2: float, C: float
) -> Any:
    """Superpose eq. 7 literally, by broadcasting over (scatterer, y, x) in NumPy or PyTorch.

    The type of the coordinates decides the library and the precision. The case r = 0 is not treated.
    """
    xp = array_library
    dx = x - position[:, 0, None, None]
    dy = y[:, None] - position[:, 1, None, None]
    r, theta = xp.hypot(dx, dy), xp.arctan2(dy, dx)
    kernels = xp.sin(fold / 2 * theta + phi1) ** 2 * xp.sin(B * r + phi2) ** 2 * xp.exp(-C * r**2)
    return kernels.sum(0)


class Spline:
    """Superposition of a sampled kernel by SciPy's cubic spline, scatterer after scatterer, on the table's lattice."""

    def __init__(self, spec: ReleaseSpec, kernels: Kernels, row: int) -> None:
        family: Any = get_family(spec.kernels.family)
        self.grid, (self.x, self.y) = spec.grid, lattices(spec)
        dx, dy = (np.arange(-axis.outermost, axis.outermost + 1) * axis.step_nm for axis in (self.x, self.y))
        parameters = {name: values[row : row + 1] for name, values in kernels.parameters.items()}
        (samples,) = family.samples(spec.kernels, parameters, dx, dy)
        self.coefficients = ndimage.spline_filter(samples, order=3)

    def __call__(self, position: NDArray[np.float64]) -> NDArray[np.float64]:
        image = np.zeros(self.grid.shape)
        for px, py in position:
            columns = (self.grid.x_nm - px) / self.x.step_nm + self.x.outermost
            rows = (self.grid.y_nm - py) / self.y.step_nm + self.y.outermost
            image += ndimage.map_coordinates(
                self.coefficients, np.meshgrid(rows, columns, indexing="ij"), order=3, prefilter=False
            )
        return image


FLOPS = {0: 22, 2: 37, 3: 40, 4: 38, 6: 43}
"""Floating-point operations of an evaluation by fold, counted in the formulas of `qpibench.families.eq7`. A fused
multiply-add counts two; every other operation, a square root included, counts one."""

CHAINS, DEPTH = 8, 32


@nb.njit(nogil=True, cache=True, error_model="numpy")
def fused_multiply_adds(values: Any, passes: int) -> None:
    """Do ``2 * DEPTH * values.size * passes`` floating-point operations as fast as one core can.

    ``values`` (8, n) float32 is small enough for the first-level cache. Eight independent chains, each one vector wide,
    cover the latency of a fused multiply-add; the values converge to 1.
    """
    prefer_wide_vectors()
    a = np.float32(0.75)
    b = np.float32(0.25)
    for _ in range(passes):
        for k in range(values.shape[1]):
            v0, v1, v2, v3 = values[0, k], values[1, k], values[2, k], values[3, k]
            v4, v5, v6, v7 = values[4, k], values[5, k], values[6, k], values[7, k]
            for _ in range(DEPTH):
                v0, v1, v2, v3 = fma(v0, a, b), fma(v1, a, b), fma(v2, a, b), fma(v3, a, b)
                v4, v5, v6, v7 = fma(v4, a, b), fma(v5, a, b), fma(v6, a, b), fma(v7, a, b)
            values[0, k], values[1, k], values[2, k], values[3, k] = v0, v1, v2, v3
            values[4, k], values[5, k], values[6, k], values[7, k] = v4, v5, v6, v7


def write_and_sync(path: Path, size: int, buffer: memoryview) -> None:
    """Write a fresh file of a size in bytes from a ready buffer, again and again, and wait until it is on the disk."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        while size:
            size -= os.write(fd, buffer[:size])
        os.fsync(fd)
    finally:
        os.close(fd)


def reach_specs(*, images: int) -> tuple[ReleaseSpec, ReleaseSpec]:
    """Return two specs of large images: kernels that decay within a small part of the field, and that span it."""
    field = [
        "grid={ny=512, nx=512, size_y_nm=80, size_x_nm=80}",
        "scatterers.min=2000",
        "scatterers.max=2000",
        f"kernels.count={images}",
        "observations_per_kernel=1",
    ]
    near, far = (load_spec("mini", overrides=[*field, f"kernels.decay_nm={decay}"]) for decay in ([2, 3], [400, 500]))
    return near, far
