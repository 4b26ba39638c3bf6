"""Tikhonov deconvolution: the classical entry. It assumes linear superposition and a smooth, confined kernel.

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
from shared.scatterers import Scatterers, scatterers_of
from shared.splines import periodic_splines

from qpibench import Batch, Prediction
from qpibench.grid import Grid

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
        coefficient = deconvolve(image, scatterers_of(batch, i), batch.grid)
        kernel[i] = _evaluate(coefficient, *window)
        kernel_full[i] = _evaluate(coefficient, *offsets)
    return Prediction(kernel=kernel, kernel_full=kernel_full)


def deconvolve(image: NDArray[np.floating], scatterers: Scatterers, grid: Grid) -> NDArray[np.float32]:
    """Estimate the kernel's spline coefficients from an image and its scatterers.

    Parameters
    ----------
    image
        (ny, nx) observation.
    scatterers
        Places and strengths of the scatterers of that image.
    grid
        Grid of the image.

    Returns
    -------
    ndarray
        float32 coefficients on a periodic lattice whose element [0, 0] is the offset 0.
    """
    ny, nx = grid.shape
    lattice = _lattice_size(scatterers.row, ny), _lattice_size(scatterers.column, nx)
    count = max(scatterers.weight.sum(), 1.0)
    across = scatterers.weight[:, None] * periodic_splines(scatterers.column, lattice[1])
    spread = periodic_splines(scatterers.row, lattice[0]).T @ across
    transfer = fft.rfft2(spread.astype(np.float32))
    smoothness, confinement = (count * penalty.astype(np.float32) for penalty in _penalties(grid, lattice))

    def back_project(residual: NDArray[np.floating]) -> NDArray[np.complex64]:
        padded = np.zeros(lattice, dtype=np.float32)
        padded[:ny, :nx] = residual
        return (transfer.conj() * fft.rfft2(padded)).astype(np.complex64, copy=False)

    def normal_equations(flat: NDArray[np.float32]) -> NDArray[np.float32]:
        coefficient = flat.reshape(lattice)
        transformed = fft.rfft2(coefficient)
        shown = fft.irfft2(transfer * transformed, s=lattice)[:ny, :nx]
        gradient = fft.irfft2(back_project(shown) + smoothness * transformed, s=lattice)
        applied: NDArray[np.float32] = (gradient + confinement * coefficient).ravel()
        return applied

    # The preconditioner is the diagonal: the number of pixels that constrain a coefficient varies over the lattice much
    # more than the coupling between neighbours.
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


def _lattice_size(place: NDArray[np.float64], n: int) -> int:
    """Size of a periodic lattice on which no two offsets between the n pixels and the scatterers meet."""
    reach = max(n - 1, int(np.ceil(max(place.max(initial=0), n - 1 - place.min(initial=n - 1)))))
    return int(fft.next_fast_len(2 * reach + 3, real=True))


def _evaluate(
    coefficient: NDArray[np.float32], row: NDArray[np.float64], column: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Kernel (row, column) at offsets in pixels."""
    return periodic_splines(row, coefficient.shape[0]) @ coefficient @ periodic_splines(column, coefficient.shape[1]).T


def _penalties(grid: Grid, lattice: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the smoothness penalty of each Fourier coefficient and the confinement of each spline coefficient."""
    pitch = np.sqrt(grid.pitch_y_nm * grid.pitch_x_nm)
    frequency_y, frequency_x = 2 * np.pi * fft.fftfreq(lattice[0]), 2 * np.pi * fft.rfftfreq(lattice[1])
    laplacian = (2 - 2 * np.cos(frequency_y))[:, None] * (pitch / grid.pitch_y_nm) ** 2
    laplacian = laplacian + (2 - 2 * np.cos(frequency_x)) * (pitch / grid.pitch_x_nm) ** 2
    y = fft.fftfreq(lattice[0], 1 / lattice[0]) * grid.pitch_y_nm
    x = fft.fftfreq(lattice[1], 1 / lattice[1]) * grid.pitch_x_nm
    r_squared = (y[:, None] ** 2 + x**2) / (grid.size_y_nm * grid.size_x_nm)
    return SMOOTHNESS * (laplacian / 4) ** 2, CONFINEMENT * r_squared**2


def _correlate_with_field(spread: NDArray[np.float64], ny: int, nx: int) -> NDArray[np.float32]:
    """Return, for each lattice point, the sum of its squared contributions to the field's pixels."""
    field = np.zeros(spread.shape, dtype=np.float32)
    field[:ny, :nx] = 1
    seen = fft.irfft2(fft.rfft2(spread.astype(np.float32)).conj() * fft.rfft2(field), s=spread.shape)
    return np.maximum(seen, 0)
