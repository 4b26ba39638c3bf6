"""Tikhonov deconvolution: the classical entry. It knows that scatterers superpose linearly, and nothing about kernels.

An observation is the sum of shifted copies of the kernel, one for each scatterer. The kernel is written in cubic
B-splines on the lattice of offsets between pixels, so that a scatterer may lie anywhere between the pixels, and its
coefficients c minimise

    |A c - image|^2 + count ( SMOOTHNESS |h^2 lap c / 4|^2 + CONFINEMENT |(r / L)^2 c|^2 ),

with the Laplacian in units of the pixel pitch h, and the offset r in units of the field size L. The lattice spans every
offset that the image shows, which is twice the field and more than the kernel's own window. A is a convolution with
the scatterers followed by a cut to the field: two Fourier transforms. The normal equations are solved by conjugate
gradients.

Both weights were chosen on 200 images drawn like those of the release `paper`, from another seed: SMOOTHNESS out of
0.1, 0.3, 1, 3 and 10, CONFINEMENT out of 0.5, 1, 2, 4 and 10, for the least mean absolute error over the clean images
and the same images with noise at 10 dB.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.sparse.linalg import LinearOperator, cg

from qpibench import Batch, Prediction
from qpibench.specs import Grid

needs = "raster"
knows: list[str] = []

SMOOTHNESS = 0.3
CONFINEMENT = 2.0
ITERATIONS = 40
TOLERANCE = 1e-3


def predict(batch: Batch) -> Prediction:
    """Estimate every image's kernel, from the coordinates if the view has them, else from the activation map."""
    window = [batch.kernel_grid.y_nm / batch.grid.pitch_y_nm, batch.kernel_grid.x_nm / batch.grid.pitch_x_nm]
    offsets = [np.arange(1 - n, n, dtype=np.float64) for n in batch.grid.shape]
    kernel = np.empty((len(batch), *batch.kernel_grid.shape), dtype=np.float32)
    kernel_full = np.empty((len(batch), *batch.grid.offsets.shape), dtype=np.float32)
    for i, image in enumerate(batch.image):
        row, column, weight = _scatterers(batch, i)
        coefficient = deconvolve(image, row, column, weight, batch.grid)
        kernel[i] = _evaluate(coefficient, *window)
        kernel_full[i] = _evaluate(coefficient, *offsets)
    return Prediction(kernel=kernel, kernel_full=kernel_full)


def deconvolve(
    image: NDArray[np.floating],
    row: NDArray[np.float64],
    column: NDArray[np.float64],
    weight: NDArray[np.float64],
    grid: Grid,
) -> NDArray[np.float32]:
    """Estimate the kernel's spline coefficients from an image and its scatterers.

    Parameters
    ----------
    image
        (ny, nx) observation.
    row, column
        (scatterer,) places in pixels; 0 is the centre of the first pixel.
    weight
        (scatterer,) strengths.
    grid
        Grid of the image.

    Returns
    -------
    ndarray
        float32 coefficients on a periodic lattice whose element [0, 0] is the offset 0.
    """
    ny, nx = grid.shape
    lattice = _lattice_size(row, ny), _lattice_size(column, nx)
    count = max(weight.sum(), 1.0)
    spread = _splines(row, lattice[0]).T @ (weight[:, None] * _splines(column, lattice[1]))
    scatterers = fft.rfft2(spread.astype(np.float32))
    smoothness, confinement = (count * penalty.astype(np.float32) for penalty in _penalties(grid, lattice))

    def back_project(residual: NDArray[np.floating]) -> NDArray[np.complex64]:
        padded = np.zeros(lattice, dtype=np.float32)
        padded[:ny, :nx] = residual
        return (scatterers.conj() * fft.rfft2(padded)).astype(np.complex64, copy=False)

    def normal_equations(flat: NDArray[np.float32]) -> NDArray[np.float32]:
        coefficient = flat.reshape(lattice)
        transformed = fft.rfft2(coefficient)
        shown = fft.irfft2(scatterers * transformed, s=lattice)[:ny, :nx]
        gradient = fft.irfft2(back_project(shown) + smoothness * transformed, s=lattice)
        applied: NDArray[np.float32] = (gradient + confinement * coefficient).ravel()
        return applied

    # How often each coefficient is seen, which varies over the lattice much more than the coupling between neighbours.
    seen = _correlate_with_field(spread**2, ny, nx)
    diagonal = (seen + confinement + smoothness.mean()).ravel()
    shape = (diagonal.size, diagonal.size)
    solution, _ = cg(
        LinearOperator(shape, matvec=normal_equations, dtype=np.float32),
        fft.irfft2(back_project(image), s=lattice).ravel(),
        rtol=TOLERANCE,
        maxiter=ITERATIONS,
        M=LinearOperator(shape, matvec=lambda flat: flat / diagonal, dtype=np.float32),
    )
    return solution.reshape(lattice)


def _scatterers(batch: Batch, i: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Rows and columns of an image's scatterers in pixels, and their strengths."""
    ny, nx = batch.grid.shape
    if batch.position_nm is not None:
        x, y = batch.position_nm[i][~np.isnan(batch.position_nm[i]).any(axis=1)].T
        row = y / batch.grid.pitch_y_nm + (ny - 1) / 2
        column = x / batch.grid.pitch_x_nm + (nx - 1) / 2
        return row, column, np.ones(len(row))
    if batch.activation_map is None:
        raise ValueError("tikhonov needs the scatterers: the view 'raster' or 'positions'")
    marks = batch.activation_map[i]
    row, column = (index.astype(np.float64) for index in np.nonzero(marks))
    weight = marks[marks != 0].astype(np.float64)
    if (weight == 1).all():
        # The published raster: n cells that divide the field, while n pixels reach from edge to edge.
        row, column = (row + 0.5) * (ny - 1) / ny, (column + 0.5) * (nx - 1) / nx
    return row, column, weight


def _lattice_size(place: NDArray[np.float64], n: int) -> int:
    """Size of a periodic lattice on which no two offsets between the n pixels and the scatterers meet."""
    reach = max(n - 1, int(np.ceil(max(place.max(initial=0), n - 1 - place.min(initial=n - 1)))))
    return int(fft.next_fast_len(2 * reach + 3, real=True))


def _splines(place: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Values (place, size) of the periodic cubic B-splines of a lattice at some places on it."""
    distance = np.abs((place[:, None] - np.arange(size) + size / 2) % size - size / 2)
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.maximum(2 - distance, 0) ** 3 / 6
    return np.where(distance < 1, near, far)


def _evaluate(
    coefficient: NDArray[np.float32], row: NDArray[np.float64], column: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Kernel (row, column) at offsets in pixels."""
    return _splines(row, coefficient.shape[0]) @ coefficient @ _splines(column, coefficient.shape[1]).T


def _penalties(grid: Grid, lattice: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What smoothness costs each Fourier coefficient, and confinement each spline coefficient."""
    pitch = np.sqrt(grid.pitch_y_nm * grid.pitch_x_nm)
    frequency_y, frequency_x = 2 * np.pi * fft.fftfreq(lattice[0]), 2 * np.pi * fft.rfftfreq(lattice[1])
    laplacian = (2 - 2 * np.cos(frequency_y))[:, None] * (pitch / grid.pitch_y_nm) ** 2
    laplacian = laplacian + (2 - 2 * np.cos(frequency_x)) * (pitch / grid.pitch_x_nm) ** 2
    y = fft.fftfreq(lattice[0], 1 / lattice[0]) * grid.pitch_y_nm
    x = fft.fftfreq(lattice[1], 1 / lattice[1]) * grid.pitch_x_nm
    r_squared = (y[:, None] ** 2 + x**2) / (grid.size_y_nm * grid.size_x_nm)
    return SMOOTHNESS * (laplacian / 4) ** 2, CONFINEMENT * r_squared**2


def _correlate_with_field(spread: NDArray[np.float64], ny: int, nx: int) -> NDArray[np.float32]:
    """Sum over the field's pixels of what each lattice point contributes to them."""
    field = np.zeros(spread.shape, dtype=np.float32)
    field[:ny, :nx] = 1
    seen = fft.irfft2(fft.rfft2(spread.astype(np.float32)).conj() * fft.rfft2(field), s=spread.shape)
    return np.maximum(seen, 0)
