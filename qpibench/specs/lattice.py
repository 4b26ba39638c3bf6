"""The lattice of offsets on which the kernels of a tabulated family are sampled."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from qpibench.corruptions import get_corruption
from qpibench.families import get_family, is_tabulated

if TYPE_CHECKING:
    from qpibench.specs.spec import ReleaseSpec

MAX_TABLE_BYTES = 128 << 20
"""Largest table of a kernel; a spec that needs a larger one is refused."""

TAPS_BEYOND = 4
"""Coefficients beyond the outermost offset on either side."""


class Lattice(NamedTuple):
    """Samples along one axis: sample k lies at the offset ``k * step_nm``, for k from -outermost to outermost.

    Offsets larger than ``reach_nm`` are skipped. They do not occur, or the kernel is 0 there.
    """

    step_nm: float
    per_pixel: int
    outermost: int
    reach_nm: float


def lattices(spec: ReleaseSpec) -> tuple[Lattice, Lattice]:
    """Return the lattices along x and y of a spec with a tabulated family."""
    grid = spec.grid
    border = sum(spec.borders_px().values())
    margin = max(spec.scatterers.margin_nm, 0.0) + outside_nm(spec)
    return (
        _lattice(spec, grid.size_x_nm, grid.nx, margin + border * grid.pitch_x_nm),
        _lattice(spec, grid.size_y_nm, grid.ny, margin + border * grid.pitch_y_nm),
    )


def check_tables(spec: ReleaseSpec) -> None:
    """Raise ValueError if scatterers lie farther out than a spec's kernels reach, or its tables would be too large."""
    family = get_family(spec.kernels.family)
    if not is_tabulated(family):
        return
    reach, margin = family.reach_nm(spec.kernels), spec.scatterers.margin_nm
    if margin > reach:
        raise ValueError(
            f"scatterers.margin_nm = {margin:g} must be at most {reach:g} nm, as far as the kernels reach along x and y"
        )
    if table_bytes(spec) <= MAX_TABLE_BYTES:
        return
    size, limit = table_bytes(spec) / 2**20, MAX_TABLE_BYTES >> 20
    needs = f"needs a table of {size:,.0f} MiB per kernel, and at most {limit} MiB are allowed"
    if margin > 0 and table_bytes(_with_margin(spec, 0.0)) <= MAX_TABLE_BYTES:
        low, high = 0.0, margin
        for _ in range(40):
            middle = (low + high) / 2
            if table_bytes(_with_margin(spec, middle)) <= MAX_TABLE_BYTES:
                low = middle
            else:
                high = middle
        raise ValueError(f"scatterers.margin_nm = {margin:g} {needs}; use at most {0.99 * low:.3g}")
    (x, y), grid = lattices(spec), spec.grid
    raise ValueError(
        f"a field of {grid.size_y_nm:g} x {grid.size_x_nm:g} nm with samples every {min(x.step_nm, y.step_nm):.3g} nm"
        f" {needs}; use a smaller field, a smaller margin or smoother kernels"
    )


def table_bytes(spec: ReleaseSpec) -> int:
    """Return the size of a kernel's table."""
    x, y = lattices(spec)
    return 4 * (2 * (x.outermost + TAPS_BEYOND) + 1) * (2 * (y.outermost + TAPS_BEYOND) + 1)


def outside_nm(spec: ReleaseSpec) -> float:
    """Return how far beyond the margin corruptions may place scatterers."""
    return sum(
        float(_member(name, "outside_nm")(settings, spec))
        for name, settings in (spec.corruptions or {}).items()
        if hasattr(get_corruption(name), "outside_nm")
    )


def _member(name: str, member: str) -> Any:
    return getattr(get_corruption(name), member)


def _with_margin(spec: ReleaseSpec, margin_nm: float) -> ReleaseSpec:
    return spec.model_copy(update={"scatterers": spec.scatterers.model_copy(update={"margin_nm": margin_nm})})


def _lattice(spec: ReleaseSpec, size_nm: float, pixels: int, beyond_nm: float) -> Lattice:
    family: Any = get_family(spec.kernels.family)
    pitch = size_nm / (pixels - 1)
    exact = family.samples_per_pixel(spec.kernels, pitch) if hasattr(family, "samples_per_pixel") else None
    per_pixel = exact or max(1, math.ceil(pitch / family.resolution_nm(spec.kernels)))
    step = size_nm / ((pixels - 1) * per_pixel)
    # The largest offset of a pixel from a scatterer, and a sample more, so that rounding leaves out no pixel.
    reach = min(family.reach_nm(spec.kernels), size_nm + beyond_nm + step)
    return Lattice(step, per_pixel, math.ceil(reach / step), reach)
