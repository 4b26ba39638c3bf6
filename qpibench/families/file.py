r"""Kernels from a user's own file: measured, from density functional theory, or from a T-matrix code.

The file has kernels (kernel, y, x) with the scatterer at the centre, y pointing up, in HDF5 (``.h5``, ``.hdf5``) or
NumPy's formats (``.npy``, ``.npz``). It may state the distance of its pixels, as the attribute ``pixel_nm`` of the data
set of HDF5 or as an array of this name in ``.npz``; the spec must agree. The largest value of each kernel has a size
from 1e-12 to 1e12. A kernel is the septic B-spline through its pixels,

$$A(x, y) = \sum_{ij} c_{ij}\, \beta^7(y/p - i)\, \beta^7(x/p - j),$$

with the distance $p$ of neighbouring pixels in the file. The spline is continued by reflection at the outermost pixels.
It holds within the area of the pixels; beyond, the kernel is 0. Best the window is twice as wide as the field, or the
kernels fall to 0 within it. Where the pixels of the grid are as large as the file's, tables reproduce the spline
exactly; elsewhere they have four samples per pixel of the file.

A spec has this table, with a path that is relative to its own file:

    [kernels]
    family = "file"
    path = "my_kernels.npy"
    pixel_nm = 0.2
    count = 4

It identifies the file by the SHA-256 of its numbers, see :func:`qpibench.kernel_files.numbers_sha256`, not by its
path. The path is used when a spec is loaded and is not kept. Where a release is regenerated, the variable
``QPIBENCH_KERNELS`` names the file or its folder. Releases and training streams show the same kernels.

Source: interpolation by B-splines, M. Unser, IEEE Signal Process. Mag. 16 (6), 22 (1999), doi:10.1109/79.799930.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, ValidationInfo, model_validator

from qpibench.arithmetic.compiled import compiled
from qpibench.arithmetic.ieee import fma, rint
from qpibench.arithmetic.tables import BEFORE, GAIN, TAPS, coefficients, spline_weights
from qpibench.columns import FOLD, Column, fold_label
from qpibench.errors import InvalidDataError, UsageError
from qpibench.families import KernelSpec, Parameters
from qpibench.kernel_files import LARGEST, SMALLEST, kernels_of, numbers_sha256, read_kernels, remember, remembered

SAMPLES_PER_PIXEL = 4
"""Samples of a table per pixel of the file, at which the error is below 1e-5 even for white noise."""

EQUAL = 1e-6
"""Relative difference up to which pixels of the grid count as equal to the file's."""

Length = Annotated[float, Field(ge=1e-4, le=1e6, allow_inf_nan=False)]


class Ranges(KernelSpec):
    """The file and how its kernels are taken."""

    family: Literal["file"] = Field(default="file", description="name of the formula")
    path: str | None = Field(
        default=None,
        description="HDF5 or NumPy file of kernels (kernel, y, x), relative to the spec's file; not in the identity",
    )
    dataset: str | None = Field(
        default=None, description="name of the array in the file, if it has several; not in the identity"
    )
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] = Field(
        default="", description="SHA-256 of the file's numbers, found when the spec is loaded"
    )
    size_px: Annotated[int, Field(ge=SMALLEST, le=LARGEST)] = Field(
        default=0, description="pixels along a side of the file's kernels, found when the spec is loaded"
    )
    available: Annotated[int, Field(ge=1, lt=2**31)] = Field(
        default=0, description="number of kernels in the file, found when the spec is loaded"
    )
    pixel_nm: Length = Field(description="distance of neighbouring pixels in the file")
    drawn: bool = Field(
        default=False, description="whether kernels are drawn from the file, with repetition, or taken in its order"
    )
    shortest_period_nm: Length | None = Field(
        default=None, description="shortest period in the kernels; two pixels of the file unless stated"
    )
    core_radius_nm: Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)] = Field(
        default=0.0, description="radius around the scatterer that is left out of variances and of some scores"
    )

    @model_validator(mode="before")
    @classmethod
    def _read(cls, fields: Any, info: ValidationInfo) -> Any:
        if not isinstance(fields, dict) or not isinstance(fields.get("path"), str):
            return fields
        folder = (info.context or {}).get("folder")
        path = Path(folder or "", fields["path"])
        dataset = fields.get("dataset")
        if not isinstance(dataset, str | None):
            return fields
        try:
            numbers, pixel_nm = read_kernels(path, dataset)
        except (UsageError, InvalidDataError) as error:
            raise ValueError(str(error).rstrip(".")) from None
        stated = fields.get("pixel_nm")
        if (
            pixel_nm is not None
            and isinstance(stated, int | float)
            and not math.isclose(pixel_nm, stated, rel_tol=1e-6)
        ):
            raise ValueError(f"pixel_nm = {stated:g}, but '{path}' states {pixel_nm:g} nm; use this value")
        found = {"sha256": numbers_sha256(numbers), "size_px": numbers.shape[1], "available": len(numbers)}
        for name, value in found.items():
            if fields.get(name, value) != value:
                raise ValueError(
                    f"{name} = {fields[name]}, but the kernels in '{path}' have {value}; use the right file"
                )
        remember(found["sha256"], path, dataset)
        # Where the file lies is no property of the release.
        return {**fields, **found, "path": None, "dataset": None}

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.sha256 or not self.size_px or not self.available:
            raise ValueError("path is missing: the HDF5 or NumPy file of the kernels")
        if not self.drawn and self.count > self.available:
            raise ValueError(
                f"count = {self.count}, but the file has {self.available} kernels; use at most so many, or drawn = true"
            )
        return self


def _column(name: str, dtype: str, units: str, long_name: str, absent: float) -> Column:
    return Column(name=name, dtype=dtype, per="kernel", units=units, long_name=long_name, absent=absent)


COLUMNS = (
    FOLD,
    _column("file_row", "<i4", "1", "place of the kernel in its file", -1),
    _column("file_id", "<i4", "1", "first 31 bits of the SHA-256 of the file's numbers", -1),
    _column("pixel_nm", "<f8", "nm", "distance of neighbouring pixels in the file", math.nan),
)

STRATUM = FOLD.name
stratum_label = fold_label
UNIFORMS = 1
EXAMPLE = {"path": str(Path(__file__).with_name("file_example.npy")), "pixel_nm": 0.2}


def core_radius_nm(ranges: Ranges) -> float:
    """The radius that the spec states."""
    return ranges.core_radius_nm


def shortest_period_nm(ranges: Ranges) -> float:
    """The period that the spec states, or two pixels of the file, the shortest that it can hold."""
    return 2 * ranges.pixel_nm if ranges.shortest_period_nm is None else ranges.shortest_period_nm


def resolution_nm(ranges: Ranges) -> float:
    """A part of the file's pixel."""
    return ranges.pixel_nm / SAMPLES_PER_PIXEL


def samples_per_pixel(ranges: Ranges, pitch_nm: float) -> int | None:
    """Two for pixels as large as the file's: where their number is even, the scatterer is between pixels."""
    return 2 if math.isclose(pitch_nm, ranges.pixel_nm, rel_tol=EQUAL) else None


def reach_nm(ranges: Ranges) -> float:
    """Half the width of the file's window, with the area of its pixels."""
    return ranges.size_px * ranges.pixel_nm / 2


def strata(ranges: Ranges, start: int, stop: int) -> NDArray[np.int32]:
    """The symmetry of the kernels is not known."""
    return np.full(stop - start, -1, np.int32)


def parameters(ranges: Ranges, stratum: NDArray[np.int32], uniform: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
    """The columns of drawn kernels; see :func:`numbered` for those in the file's order."""
    count = len(stratum)
    return {
        "fold": stratum,
        "file_row": (uniform[:, 0] * ranges.available).astype(np.int32),
        "file_id": np.full(count, _file_id(ranges.sha256), np.int32),
        "pixel_nm": np.full(count, ranges.pixel_nm),
    }


def numbered(ranges: Ranges, columns: Mapping[str, NDArray[Any]], start: int) -> dict[str, NDArray[Any]]:
    """The columns of the kernels from ``start`` on; in order, the file begins again after its last kernel."""
    row = np.arange(start, start + len(columns["file_row"])) % ranges.available
    return {**columns, "file_row": columns["file_row"] if ranges.drawn else row.astype(np.int32)}


def is_random(ranges: Ranges) -> bool:
    """Whether kernels are drawn from the file."""
    return ranges.drawn


def wavevector(parameters: Parameters) -> NDArray[np.float64]:
    """Not known."""
    return np.full(len(parameters["file_row"]), math.nan)


def describe(parameters: Mapping[str, Any]) -> tuple[str, ...]:
    """Symmetry and place of a kernel."""
    row = int(parameters["file_row"])
    return (stratum_label(int(parameters["fold"])), *([f"kernel {row} of its file"] if row >= 0 else []))


def reference(
    dx: ArrayLike, dy: ArrayLike, *, fold: int, file_row: int, file_id: int, pixel_nm: float
) -> NDArray[np.float64]:
    """Evaluate the spline with SciPy, whose splines end where a reflected kernel repeats itself.

    Parameters
    ----------
    dx, dy
        Offsets in nm from the scatterer; they broadcast against each other.
    fold
        Not used.
    file_row, file_id
        Place of the kernel in its file, and the file, by the first 31 bits of its SHA-256; it must have been loaded.
    pixel_nm
        Distance of its pixels in nm.

    Returns
    -------
    ndarray
        float64 of the broadcast shape.
    """
    from scipy.interpolate import NdBSpline, make_interp_spline

    (sha256,) = (known for known in remembered() if _file_id(known) == file_id)
    kernel = kernels_of(sha256)[file_row]
    dx, dy = np.broadcast_arrays(dx, dy)
    beyond = 40  # pixels, more than the spline's memory
    along_y = make_interp_spline(np.arange(len(kernel) + 2 * beyond), np.pad(kernel, beyond, mode="reflect"), k=7)
    along_x = make_interp_spline(np.arange(len(kernel) + 2 * beyond), along_y.c.T, k=7)
    spline = NdBSpline((along_y.t, along_x.t), along_x.c.T, 7)
    centre = (len(kernel) - 1) / 2 + beyond
    inside = np.clip(np.stack([dy, dx], axis=-1) / pixel_nm + centre, 0, 2 * centre)
    values = spline(inside)
    reach = len(kernel) * pixel_nm / 2
    result: NDArray[np.float64] = np.where((np.abs(dx) <= reach) & (np.abs(dy) <= reach), values, 0.0)
    return result


def samples(
    ranges: Ranges, parameters: Parameters, dx_nm: NDArray[np.float64], dy_nm: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The splines at offsets in nm; see :class:`qpibench.families.Tabulated`."""
    values = np.empty((len(parameters["file_row"]), len(dy_nm), len(dx_nm)))
    for kernel, row in zip(values, parameters["file_row"].tolist(), strict=True):
        _evaluate(_spline(ranges.sha256, row), ranges.pixel_nm, dx_nm, dy_nm, kernel)
    return values


@compiled(nogil=True, error_model="numpy")
def _evaluate(spline, pixel, dx, dy, values):  # type: ignore[no-untyped-def]
    """Fill ``values`` (dy, dx): weights along x, for every row of the file, and then along y."""
    rows, columns = spline.shape
    across = np.empty((rows, len(dx)))
    for i in range(len(dx)):
        first, weight = _taps(dx[i] / pixel + 0.5 * (columns - 1))
        for row in range(rows):
            total = 0.0
            for tap in range(TAPS):
                total = fma(weight[tap], spline[row, _reflected(first + tap, columns)], total)
            across[row, i] = total
    for j in range(len(dy)):
        first, weight = _taps(dy[j] / pixel + 0.5 * (rows - 1))
        for i in range(len(dx)):
            total = 0.0
            for tap in range(TAPS):
                total = fma(weight[tap], across[_reflected(first + tap, rows), i], total)
            values[j, i] = GAIN * total


@compiled(nogil=True, error_model="numpy")
def _taps(place):  # type: ignore[no-untyped-def]
    """The first of eight pixels around a place, and their weights."""
    below = rint(place - 0.5)
    return np.int64(below) - BEFORE, spline_weights(place - below)


@compiled(nogil=True, error_model="numpy")
def _reflected(index, count):  # type: ignore[no-untyped-def]
    period = 2 * (count - 1)
    index = index % period
    return index if index < count else period - index


@functools.lru_cache(maxsize=64)
def _spline(sha256: str, row: int) -> NDArray[np.float64]:
    found: NDArray[np.float64] = coefficients(np.ascontiguousarray(kernels_of(sha256)[row]))
    return found


def _file_id(sha256: str) -> int:
    return int(sha256[:8], 16) >> 1
