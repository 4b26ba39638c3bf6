"""The forward residual: the part of an image that the superposition of its kernel does not explain."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qpibench.grid import Grid
from qpibench.physics.shapes import check_shape

_PIXELS_AT_ONCE = 1 << 21


def forward_residual(
    grid: Grid,
    kernel: NDArray[np.floating],
    image: NDArray[np.floating],
    position_nm: NDArray[np.float64],
    *,
    kernel_grid: Grid | None = None,
) -> NDArray[np.float64]:
    r"""Compare images with the superposition of one kernel at the stated positions.

    The residual of an image Y with scatterers at r_s is :math:`\|Y - \sum_s A(r - r_s)\| / \|Y\|`, with Euclidean norms
    over the pixels. The kernel A is the cubic B-spline through its pixels. It falls to zero beyond its window,
    where a tabulated kernel is not known; a kernel of long range therefore leaves a residual of 0.05 to 0.3 in images
    without noise. On the lattice of offsets no part is missing. A kernel of zeros gives exactly 1.

    The superposition is linear. Images of ``scatterers.superposition = "multiple"`` differ from it by
    multiple scattering, so that even the true kernel leaves a residual in them, which is no error of the kernel: 0.2 to
    0.6 in the spec ``ag111_64_multiple``, and 0.13 to 0.21 in its images with linear superposition.

    Parameters
    ----------
    grid
        Pixels of the images.
    kernel
        (y, x): the image of a single scatterer at the origin.
    image
        (image, y, x).
    position_nm
        (image, scatterer, 2): x and y of every scatterer in nm, padded with NaN.
    kernel_grid
        Pixels of the kernel, with the pitch of the images, such as :attr:`~qpibench.grid.Grid.offsets`; those of the
        images if None.

    Returns
    -------
    ndarray
        (image,) float64; 0 where both image and superposition are zero, infinity where only the image is zero.

    Raises
    ------
    UsageError
        If an array has another shape.
    """
    window = grid if kernel_grid is None else kernel_grid
    check_shape("kernel", kernel, *window.shape)
    check_shape("image", image, "image", *grid.shape)
    check_shape("position_nm", position_nm, len(image), "scatterer", 2)
    residual = np.empty(len(image))
    step = max(1, _PIXELS_AT_ONCE // (grid.ny * grid.nx))
    for start in range(0, len(image), step):
        chunk = np.asarray(image[start : start + step], dtype=np.float64)
        model = forward_images(grid, window, kernel, position_nm[start : start + step])
        difference = np.sqrt(((chunk - model) ** 2).sum(axis=(1, 2)))
        norm = np.sqrt((chunk**2).sum(axis=(1, 2)))
        nothing = np.where(difference == 0, 0.0, np.inf)
        residual[start : start + step] = np.where(norm > 0, difference / np.where(norm > 0, norm, 1), nothing)
    return residual


def forward_images(
    grid: Grid,
    window: Grid,
    kernel: NDArray[np.floating],
    position_nm: NDArray[np.float64],
    strength: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Return the images that the superposition of one kernel gives, (image, y, x).

    Parameters are those of :func:`forward_residual`; ``window`` has the pixels of the kernel, and ``strength`` the
    factor of the kernel at every scatterer, (image, scatterer), 1 if None.
    """
    # The kernel is sum_i c_i b(t - i) with B-splines b, so the superposition is the convolution of c with the image of
    # the scatterers that b makes. A sum over pixels and scatterers becomes one FFT per image.
    from scipy import fft, ndimage

    # Mirrored once on every side: the spline takes the kernel's values up to the edge of the window.
    coefficients = np.pad(ndimage.spline_filter(kernel.astype(np.float64), mode="mirror"), 1, mode="reflect")
    scatterers, lowest = _spread(grid, window, position_nm, strength)
    first = tuple(1 - number for number in lowest)
    shape = tuple(
        # The ends of a circular convolution are wrong where they overlap; only the pixels of the image must not be.
        fft.next_fast_len(max(marks, marks + taps - 1 - skipped, skipped + pixels), real=True)
        for marks, taps, skipped, pixels in zip(
            scatterers.shape[1:], coefficients.shape, first, grid.shape, strict=True
        )
    )
    summed = fft.irfft2(fft.rfft2(scatterers, shape) * fft.rfft2(coefficients, shape), shape)
    return np.asarray(summed[:, first[0] : first[0] + grid.ny, first[1] : first[1] + grid.nx])


def _spread(
    grid: Grid, window: Grid, position_nm: NDArray[np.float64], strength: NDArray[np.float64] | None
) -> tuple[NDArray[np.float64], tuple[int, int]]:
    """Cubic B-splines at the scatterers on a lattice, (image, m, n), and the numbers of its first row and column.

    The lattice has the pitch of the pixels. Pixel j of an image is the sum over i of c_i times point j - i of the
    lattice. Its row 0 and column 0 are therefore the centre of the field if kernel and image have equally many pixels,
    and otherwise half the difference away from it.
    """
    reach = np.array([grid.size_x_nm + window.size_x_nm, grid.size_y_nm + window.size_y_nm]) / 2
    shift = np.array([window.nx - grid.nx, window.ny - grid.ny]) / 2
    pitch = np.array([grid.pitch_x_nm, grid.pitch_y_nm])
    # A kernel that lies further away than its window reaches no pixel.
    used = (np.abs(position_nm) <= reach).all(axis=2)
    observation = np.nonzero(used)[0]
    place = position_nm[used] / pitch - shift
    pixel = np.floor(place).astype(np.intp)
    x, y = (_weights(place[:, axis] - pixel[:, axis]) for axis in (0, 1))
    lowest, highest = pixel.min(axis=0, initial=0), pixel.max(axis=0, initial=0)
    nx, ny = highest - lowest + 4
    column, row = (pixel - lowest).T
    flat = (observation[:, None, None] * ny + row[:, None, None] + np.arange(4)[:, None]) * nx
    flat = flat + column[:, None, None] + np.arange(4)
    weight = y[:, :, None] * x[:, None, :]
    if strength is not None:
        weight = weight * strength[used][:, None, None]
    minlength = len(position_nm) * ny * nx
    summed = np.asarray(np.bincount(flat.ravel(), weight.ravel(), minlength=minlength), dtype=np.float64)
    return summed.reshape(len(position_nm), ny, nx), (int(lowest[1]) - 1, int(lowest[0]) - 1)


def _weights(t: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values (place, 4) of the cubic B-splines of the pixels -1, 0, 1 and 2 at a fraction t of a pixel."""
    return np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], axis=-1) / 6
