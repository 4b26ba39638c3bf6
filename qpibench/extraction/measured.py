"""A measured image with its scatterers: arrays of the caller, checked and brought to the package's conventions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qpibench.counting import agreeing, counted
from qpibench.errors import InvalidDataError, UsageError
from qpibench.grid import MOST_PIXELS, Grid

Origin = Literal["centre", "corner", "pixel"]
"""How positions are given; see :func:`qpibench.extraction.extract`."""

_CONVENTION = "positions are x, y in nm from the centre of the field, with y along ascending rows"
_MEANT = {
    "corner": "distances from the first pixel (origin='corner'; --origin corner)",
    "pixel": "pixels, column and row (origin='pixel'; --origin pixel)",
}
_LEAST_PIXELS = 4
_TOGETHER = 0.1  # pixels
_SEVERAL = 4  # scatterers, from which on whole numbers of nm are doubted
_LEAST, _MOST = 1e-30, 1e30  # of the largest pixel; entries compute squares, and some of them in float32
_METRES = 1e-6  # positions within this share of the field are not in nm
_MOSTLY = 0.8  # share of scatterers outside the field from which on their unit is doubted
_ROUNDING = 1e-12  # share of the field by which a computed position may be off


@dataclass(frozen=True, kw_only=True)
class Measured:
    """An image with its scatterers.

    Attributes
    ----------
    image
        (y, x) float64; NaN where a pixel is masked.
    position_nm
        (scatterer, 2) float64: x and y in nm from the centre of the field.
    grid, kernel_grid
        Grids of the image and of the wanted kernel, of the same pitch.
    """

    image: NDArray[np.float64]
    position_nm: NDArray[np.float64]
    grid: Grid
    kernel_grid: Grid


def measured(
    image: ArrayLike,
    positions: ArrayLike,
    size_nm: float | Sequence[float],
    *,
    kernel_shape: int | Sequence[int] | None,
    origin: str,
    beyond_edge: bool,
) -> Measured:
    """Check the arguments of :func:`qpibench.extraction.extract`.

    Raises
    ------
    UsageError
        If one of them cannot be used.
    InvalidDataError
        If the positions have no scatterer, are not finite, or do not lie in the field.
    """
    pixels = usable_image(image)
    grid = _grid(pixels.shape, size_nm)
    return Measured(
        image=pixels,
        position_nm=_positions(positions, grid, origin, beyond_edge=beyond_edge),
        grid=grid,
        kernel_grid=_kernel_grid(grid, kernel_shape),
    )


def doubts(position_nm: NDArray[np.float64], grid: Grid) -> tuple[str, ...]:
    """Sentences on positions that can be used but are probably wrong: given twice, or numbers of pixels."""
    from scipy.spatial import KDTree

    found = []
    in_pixels = position_nm / [grid.pitch_x_nm, grid.pitch_y_nm]
    twice = len(np.unique(KDTree(in_pixels).query_pairs(_TOGETHER, output_type="ndarray")))
    if twice:
        found.append(
            f"{twice:,} of {len(position_nm):,} scatterers lie on another one, closer than a tenth of a pixel; each"
            " counts, so leave out those that are given twice."
        )
    if len(position_nm) >= _SEVERAL and (position_nm >= 0).all() and np.equal(position_nm, np.round(position_nm)).all():
        found.append(
            "All scatterers lie right of the centre and above it, at whole numbers of nm. If they are pixels, say so"
            " (origin='pixel'; --origin pixel, or name the columns column and row)."
        )
    return tuple(found)


def real_numbers(name: str, values: Any) -> NDArray[np.float64]:
    """Return a float64 copy of numbers, in which masked values are NaN.

    Raises
    ------
    UsageError
        If they are no real numbers or have rows of different lengths; ``name`` is theirs in the message.
    """
    try:
        array = np.ma.asarray(values) if np.ma.isMaskedArray(values) else np.asarray(values)
    except ValueError as error:  # rows of different lengths
        raise UsageError(f"{name} is no array of numbers: {error}") from None
    if array.dtype.kind == "c":
        raise UsageError(f"{name} is complex; give its real part, its imaginary part or its amplitude.")
    if array.dtype.kind not in "iuf":
        raise UsageError(f"{name} must be an array of real numbers, found the type {array.dtype}.")
    return np.array(np.ma.filled(array.astype(np.float64), np.nan))


def usable_image(values: Any) -> NDArray[np.float64]:
    """Return an image as float64 with NaN for masked pixels.

    Raises
    ------
    UsageError
        If it is no image of two different values with the largest pixel between 1e-30 and 1e30.
    """
    image = real_numbers("image", values)
    if image.ndim != 2:
        first = "image[0]" if image.ndim == 3 else "one image"
        raise UsageError(f"image must be one image (y, x), found the shape {image.shape}; give {first}.")
    if min(image.shape) < _LEAST_PIXELS:
        raise UsageError(f"image has {image.shape} pixels; at least {_LEAST_PIXELS} x {_LEAST_PIXELS} are needed.")
    if infinite := int(np.isinf(image).sum()):
        raise UsageError(f"image has {counted(infinite, 'infinite pixel')}; set pixels that are not to be used to NaN.")
    seen = image[~np.isnan(image)]
    if not len(seen):
        raise UsageError("All pixels of image are NaN, which marks pixels that are not to be used.")
    if seen.min() == seen.max():
        kept = "The only pixel" if len(seen) == 1 else f"All {len(seen):,} pixels"
        is_nan = agreeing(len(seen), "is", "are")
        raise UsageError(f"{kept} of image that {is_nan} not NaN {is_nan} {seen[0]:g}: it shows no kernel.")
    largest = float(np.abs(seen).max())
    if not _LEAST <= largest <= _MOST:
        raise UsageError(
            f"The largest pixel of image is {largest:g}, expected {_LEAST:g} to {_MOST:g}; multiply it by a factor."
        )
    return image


def _grid(shape: tuple[int, ...], size_nm: Any) -> Grid:
    size = real_numbers("size_nm", size_nm)
    if size.shape not in ((), (2,)):
        raise UsageError(f"size_nm must be a number or (size_y, size_x), found the shape {size.shape}.")
    if not np.isfinite(size).all() or size.min() <= 0:
        raise UsageError(f"size_nm must be positive, found {size.tolist()}.")
    least, most = 1e-3, 1e6
    if size.min() < least or size.max() > most:
        metres = "; it looks like metres: multiply by 1e9" if size.max() < least else ""
        raise UsageError(f"size_nm is in nm, from {least:g} to {most:g}, found {size.tolist()}{metres}.")
    if max(shape) > MOST_PIXELS:
        raise UsageError(f"image has {shape} pixels; at most {MOST_PIXELS} x {MOST_PIXELS} are taken.")
    size_y_nm, size_x_nm = np.broadcast_to(size, 2).tolist()
    return Grid(ny=shape[0], nx=shape[1], size_y_nm=size_y_nm, size_x_nm=size_x_nm)


def _kernel_grid(grid: Grid, kernel_shape: Any) -> Grid:
    if kernel_shape is None:
        return grid
    shape = np.asarray(kernel_shape)
    if shape.shape not in ((), (2,)) or shape.dtype.kind not in "iu":
        raise UsageError(f"kernel_shape must be a whole number or (ny, nx), found {kernel_shape!r}.")
    ny, nx = np.broadcast_to(shape, 2).tolist()
    most_y, most_x = (min(each, MOST_PIXELS) for each in grid.offsets.shape)
    if min(ny, nx) < 2 or ny > most_y or nx > most_x:
        raise UsageError(
            f"kernel_shape (--kernel-px) must be from 2 x 2 to {most_y} x {most_x} pixels, the largest offsets"
            f" between two pixels of the image and at most {MOST_PIXELS}; found {ny} x {nx}."
        )
    return Grid(ny=ny, nx=nx, size_y_nm=(ny - 1) * grid.pitch_y_nm, size_x_nm=(nx - 1) * grid.pitch_x_nm)


def _positions(values: Any, grid: Grid, origin: str, *, beyond_edge: bool) -> NDArray[np.float64]:
    if origin not in get_args(Origin):
        raise UsageError(f"There is no origin {origin!r}; choose one of {', '.join(get_args(Origin))}.")
    given = real_numbers("positions_nm", values)
    if given.size == 0:
        raise InvalidDataError(
            "positions_nm has no scatterer; a kernel is extracted from an image with known scatterers."
        )
    if given.ndim != 2 or given.shape[1] != 2:
        advice = "; give positions_nm.T" if given.ndim == 2 and given.shape[0] == 2 else ""
        raise UsageError(f"positions_nm must have the shape (scatterer, 2), x and y, found {given.shape}{advice}.")
    given = given[~np.isnan(given).all(axis=1)]  # releases pad their positions with such rows
    if not len(given):
        raise InvalidDataError("All positions_nm are NaN, so there is no scatterer.")
    if bad := int((~np.isfinite(given)).any(axis=1).sum()):
        raise InvalidDataError(
            f"{bad:,} of {len(given):,} positions_nm {agreeing(bad, 'is', 'are')} not finite; leave them out."
        )
    found = _from_centre(given, grid, origin)
    told = _in_nm(given, grid, origin)
    if _ROUNDING < np.abs(told / _size(grid)).max() < _METRES:
        place = "centre" if origin == "centre" else "first pixel"
        raise InvalidDataError(
            f"All positions lie within {np.abs(told).max():.2g} nm of the {place} of a field of"
            f" {grid.size_x_nm:g} x {grid.size_y_nm:g} nm; if they are in metres, multiply them by 1e9, or in a file"
            " name their columns x_m and y_m."
        )
    outside = ~_inside(found, grid)
    if outside.all() or (outside.any() and not beyond_edge):
        raise InvalidDataError(_outside(given, found, outside, grid, origin))
    return found


def _from_centre(given: NDArray[np.float64], grid: Grid, origin: str) -> NDArray[np.float64]:
    told = _in_nm(given, grid, origin)
    return told if origin == "centre" else told - _size(grid) / 2


def _in_nm(given: NDArray[np.float64], grid: Grid, origin: str) -> NDArray[np.float64]:
    """Positions from their origin."""
    return given * [grid.pitch_x_nm, grid.pitch_y_nm] if origin == "pixel" else given


def _size(grid: Grid) -> NDArray[np.float64]:
    return np.array([grid.size_x_nm, grid.size_y_nm])


def _inside(position_nm: NDArray[np.float64], grid: Grid) -> NDArray[np.bool_]:
    """Whether positions lie in the area of the pixels, half a pixel more than from the first centre to the last."""
    pixel_nm = np.array([grid.pitch_x_nm, grid.pitch_y_nm])
    within = np.abs(position_nm) <= (_size(grid) + pixel_nm) / 2 * (1 + _ROUNDING)
    return np.asarray(within.all(axis=1))


def _outside(
    given: NDArray[np.float64], found: NDArray[np.float64], outside: NDArray[np.bool_], grid: Grid, origin: str
) -> str:
    """Return a sentence on positions outside the field, with the likely reason."""
    x, y = found[np.flatnonzero(outside)[0]]
    share = (
        "No scatterer lies inside"
        if outside.all()
        else f"{outside.sum():,} of {len(found):,} scatterers {agreeing(int(outside.sum()), 'lies', 'lie')} outside"
    )
    fact = (
        f"{share} the field, which has x from {-grid.size_x_nm / 2:g} to {grid.size_x_nm / 2:g} nm and y from"
        f" {-grid.size_y_nm / 2:g} to {grid.size_y_nm / 2:g} nm; the first outside has x = {x:.4g}, y = {y:.4g} nm."
    )
    if origin != "centre":
        return f"{fact} They were taken as {_MEANT[origin]}; otherwise {_CONVENTION}."
    likely = {other: bool(_inside(_from_centre(given, grid, other), grid).all()) for other in ("corner", "pixel")}
    if likely["pixel"] and np.equal(given, np.round(given)).all():
        return f"{fact} They look like {_MEANT['pixel']}."
    if any(likely.values()):
        return f"{fact} They look like {' or '.join(_MEANT[name] for name, fits in likely.items() if fits)}."
    if _inside(given[:, ::-1], grid).all():
        return f"{fact} They look like (y, x): exchange x and y, as positions_nm[:, ::-1] does."
    if outside.mean() > _MOSTLY and _inside(given / 10, grid).all():
        return (
            f"{fact} They look like angstrom: divide them by 10, or in a file name the columns x_angstrom, y_angstrom."
        )
    if not outside.all():
        return f"{fact} Leave them out, or take those beyond the edge as scatterers (beyond_edge=True; --beyond-edge)."
    return f"{fact} By convention {_CONVENTION}."
