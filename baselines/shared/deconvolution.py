"""Deconvolution on a lattice: the image as a linear function of the kernel's coefficients in cubic B-splines.

The kernel is K(u) = sum_j c_j B(u - j) with cubic B-splines B on the lattice of offsets j between pixels, so that a
scatterer may lie anywhere between the pixels. The superposition at scatterers r_s of strengths w_s shows at pixel p

    (A c)_p = sum_s w_s K(p - r_s) = sum_j c_j b_{p - j},    b_i = sum_s w_s B(r_s - i),

a convolution of the coefficients with the spread b of the scatterers, cut to the pixels that can be used: two Fourier
transforms on a lattice on which no two offsets between pixels and scatterers meet. The lattice spans every offset that
the image shows, which is twice the field and more than the kernel's own window.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.sparse.linalg import LinearOperator, cg

from qpibench.grid import Grid
from shared.extractor import Extraction, Observation
from shared.scatterers import Scatterers
from shared.splines import periodic_splines

Lattice = NDArray[np.float32]
"""(y, x) values on a periodic lattice of unit spacing whose element [0, 0] is the offset 0."""

REACH = 1.0
"""Scatterers farther outside the field than this many fields are left out: they would only enlarge the lattice."""

FAINTEST = 1e-6
"""Least variance of coefficients in :func:`envelope_penalty`, relative to the largest."""

POWER_STEPS = 5
ROUNDING = 1.001


@dataclass(frozen=True, kw_only=True)
class Superposition:
    """Superposition of a kernel at the scatterers of one observation.

    Attributes
    ----------
    seen
        (y, x) float32: 1 for pixels that can be used, else 0.
    spread
        Spread b of the scatterers over the lattice.
    transfer
        (y, x) complex64: its Fourier transform.
    strength
        Sum of the scatterers' strengths, 1 at least.
    """

    seen: NDArray[np.float32]
    spread: Lattice
    transfer: NDArray[np.complex64]
    strength: float

    @property
    def lattice(self) -> tuple[int, int]:
        """Rows and columns of the lattice."""
        rows, columns = self.spread.shape
        return rows, columns

    @property
    def scale(self) -> float:
        """Strength of the scatterers times the share of the pixels that can be used: how often the kernel is seen."""
        return self.strength * float(self.seen.mean())

    def shown(self, transformed: NDArray[np.complexfloating]) -> NDArray[np.float32]:
        """Image (y, x) of coefficients, given their Fourier transform; 0 at pixels that cannot be used."""
        ny, nx = self.seen.shape
        columns = fft.ifft(self.transfer * transformed, axis=0)[:ny]
        image: NDArray[np.float32] = self.seen * fft.irfft(columns, n=self.lattice[1], axis=1)[:, :nx]
        return image

    def transformed(self, image: NDArray[np.floating]) -> NDArray[np.complex64]:
        """Fourier transform over the lattice of the pixels of an image (y, x) that can be used."""
        padded = np.zeros((self.seen.shape[0], self.lattice[1]), dtype=np.float32)
        padded[:, : self.seen.shape[1]] = self.seen * image
        transformed: NDArray[np.complex64] = fft.fft(fft.rfft(padded, axis=1), n=self.lattice[0], axis=0)
        return transformed

    def back_projected(self, image: NDArray[np.floating]) -> NDArray[np.complex64]:
        """Fourier transform of the transpose of the superposition, applied to an image (y, x)."""
        projected: NDArray[np.complex64] = self.transfer.conj() * self.transformed(image)
        return projected

    @property
    def sensitivity(self) -> Lattice:
        """Sum over the used pixels of the squares of each coefficient's contributions: the diagonal of A^T A."""
        field = fft.rfft2(self.seen, s=self.lattice)
        seen = fft.irfft2(fft.rfft2(self.spread**2).conj() * field, s=self.lattice)
        diagonal: Lattice = np.maximum(seen, 0)
        return diagonal


def superposition(observation: Observation, *, all_pixels: bool = False) -> Superposition:
    """Build the superposition of an observation.

    Parameters
    ----------
    observation
        Image and scatterers.
    all_pixels
        Whether pixels that cannot be used count, because they are filled.

    Raises
    ------
    ValueError
        If no pixel can be used, or no scatterer lies in the field or near it.
    """
    ny, nx = observation.grid.shape
    near = nearby(observation.scatterers, ny, nx)
    seen = observation.seen.astype(np.float32)
    if not seen.any():
        raise ValueError("the observation has no pixel that can be used: every pixel is NaN or infinite")
    if all_pixels:
        seen = np.ones_like(seen)
    lattice = _size(near.row, ny), _size(near.column, nx)
    spread = spread_of(near.row, near.column, near.weight, lattice)
    return Superposition(
        seen=seen, spread=spread, transfer=fft.rfft2(spread), strength=max(float(near.weight.sum()), 1.0)
    )


def spread_of(
    row: NDArray[np.float64], column: NDArray[np.float64], weight: NDArray[np.float64], lattice: tuple[int, int]
) -> Lattice:
    """Spread b of points (point,) over a periodic lattice: the sum of their weights times the B-splines at them."""
    (rows, by_row), (columns, by_column) = (
        _four_splines(place, size) for place, size in zip((row, column), lattice, strict=True)
    )
    spread = np.zeros(lattice)
    np.add.at(
        spread,
        (rows[:, :, None], columns[:, None, :]),
        by_row[:, :, None] * (weight[:, None] * by_column)[:, None, :],
    )
    return spread.astype(np.float32)


def _four_splines(place: NDArray[np.float64], size: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Lattice points (point, 4) whose cubic B-splines are not 0 at a place, and the values there."""
    below = np.floor(place)
    t = (place - below)[:, None]
    values = np.concatenate([(1 - t) ** 3, (3 * t - 6) * t**2 + 4, ((3 - 3 * t) * t + 3) * t + 1, t**3], axis=1) / 6
    return (below.astype(np.intp)[:, None] + np.arange(-1, 3)) % size, values


def nearby(scatterers: Scatterers, ny: int, nx: int) -> Scatterers:
    """Scatterers in the field and up to :data:`REACH` fields outside it.

    Raises
    ------
    ValueError
        If there is none.
    """
    outside = [np.maximum(-place, place - (n - 1)) / n for place, n in zip(_places(scatterers), (ny, nx), strict=True)]
    near = np.maximum(*outside) <= REACH
    if not near.any():
        raise ValueError("no scatterer lies in the field or near it, so the observation shows no kernel")
    return Scatterers(scatterers.row[near], scatterers.column[near], scatterers.weight[near], scatterers.cell)


def _places(scatterers: Scatterers) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return scatterers.row, scatterers.column


def _size(place: NDArray[np.float64], n: int) -> int:
    """Size of a periodic lattice on which no two offsets between the n pixels and the scatterers meet."""
    reach = max(n - 1, int(np.ceil(max(place.max(initial=0), n - 1 - place.min(initial=n - 1)))))
    return int(fft.next_fast_len(2 * reach + 3, real=True))


@dataclass(frozen=True, kw_only=True)
class Penalty:
    """Quadratic penalty of coefficients: a weight of each Fourier coefficient plus one of each lattice point.

    Attributes
    ----------
    smoothness
        (y, x) float32 weights of the squared Fourier coefficients, in the form of ``rfft2``.
    confinement
        Weights of the squared coefficients.
    """

    smoothness: NDArray[np.float32]
    confinement: Lattice


def penalty(grid: Grid, lattice: tuple[int, ...], *, smoothness: float, confinement: float) -> Penalty:
    """Penalty ``smoothness |h^2 lap c / 4|^2 + confinement |(r / L)^2 c|^2``.

    The Laplacian is that of finite differences in units of the pixel pitch h (the geometric mean of both pitches), and
    the offset r is in units of the field size L (the geometric mean of both sides).
    """
    pitch = np.sqrt(grid.pitch_y_nm * grid.pitch_x_nm)
    frequency_y, frequency_x = 2 * np.pi * fft.fftfreq(lattice[0]), 2 * np.pi * fft.rfftfreq(lattice[1])
    laplacian = (2 - 2 * np.cos(frequency_y))[:, None] * (pitch / grid.pitch_y_nm) ** 2
    laplacian = laplacian + (2 - 2 * np.cos(frequency_x)) * (pitch / grid.pitch_x_nm) ** 2
    r_squared = _radius(grid, lattice) ** 2 / (grid.size_y_nm * grid.size_x_nm)
    return Penalty(
        smoothness=(smoothness * (laplacian / 4) ** 2).astype(np.float32),
        confinement=(confinement * r_squared**2).astype(np.float32),
    )


def envelope_penalty(grid: Grid, coefficient: Lattice, *, smoothness: float, unexplained: float) -> Penalty:
    """Penalty that confines the coefficients to the envelope of an earlier estimate of them.

    The coefficients at the distance r from the scatterer are taken as normal with a variance v(r), the mean square of
    the earlier coefficients in a ring of two pixels, averaged with its neighbours and made to fall outwards. With
    pixels of the unexplained variance s this is the confinement s / v(r).

    Parameters
    ----------
    grid
        Grid of the image.
    coefficient
        Earlier estimate, not all 0.
    smoothness
        Weight of the smoothness, see :func:`penalty`.
    unexplained
        Variance of what the model leaves of a pixel.
    """
    ring = np.rint(_radius(grid, coefficient.shape) / (2 * np.sqrt(grid.pitch_y_nm * grid.pitch_x_nm))).astype(np.intp)
    square = np.bincount(ring.ravel(), coefficient.ravel().astype(np.float64) ** 2)
    variance = square / np.maximum(np.bincount(ring.ravel()), 1)
    variance = np.convolve(np.pad(variance, 1, mode="edge"), [0.25, 0.5, 0.25], mode="valid")
    variance = np.maximum.accumulate(variance[::-1])[::-1]
    confinement = unexplained / np.maximum(variance, FAINTEST * variance.max())
    smooth = penalty(grid, coefficient.shape, smoothness=smoothness, confinement=0).smoothness
    return Penalty(smoothness=smooth, confinement=confinement[ring].astype(np.float32))


def _radius(grid: Grid, lattice: tuple[int, ...]) -> NDArray[np.float64]:
    """Distance in nm of every lattice point from the offset 0."""
    y = fft.fftfreq(lattice[0], 1 / lattice[0]) * grid.pitch_y_nm
    x = fft.fftfreq(lattice[1], 1 / lattice[1]) * grid.pitch_x_nm
    radius: NDArray[np.float64] = np.hypot(y[:, None], x)
    return radius


@dataclass(frozen=True, kw_only=True)
class LeastSquares:
    """Minimum of ``|A c - image|^2 + penalty(c)`` over the coefficients c."""

    model: Superposition
    image: NDArray[np.float32]
    penalty: Penalty

    def applied(self, coefficient: Lattice) -> Lattice:
        """Apply the matrix of the normal equations, A^T A plus the penalty's."""
        transformed = fft.rfft2(coefficient)
        gradient = self.model.back_projected(self.model.shown(transformed)) + self.penalty.smoothness * transformed
        product: Lattice = fft.irfft2(gradient, s=self.model.lattice) + self.penalty.confinement * coefficient
        return product

    @property
    def right_side(self) -> Lattice:
        """A^T image."""
        side: Lattice = fft.irfft2(self.model.back_projected(self.image), s=self.model.lattice)
        return side

    @property
    def diagonal(self) -> Lattice:
        """Diagonal of the matrix of the normal equations."""
        return self.model.sensitivity + self.penalty.confinement + self._mean_smoothness

    def nonnegative_solution(self, *, iterations: int, tolerance: float, start: Lattice) -> Lattice:
        """Minimise over coefficients that are not negative, so that the kernel is nowhere negative.

        By accelerated projected gradient steps, scaled by the diagonal, whose momentum restarts where it points uphill:
        A. Beck and M. Teboulle, SIAM Journal on Imaging Sciences 2, 183 (2009), https://doi.org/10.1137/080716542
        (FISTA); B. O'Donoghue and E. Candes, Foundations of Computational Mathematics 15, 715 (2015),
        https://doi.org/10.1007/s10208-013-9150-3 (restart).

        Parameters
        ----------
        iterations
            Largest number of steps.
        tolerance
            Change of the coefficients in a step, relative to their norm, at which to end.
        start
            Coefficients to start from; negative ones are set to 0.
        """
        right_side, diagonal = self.right_side, self.diagonal
        curvature = self._curvature(diagonal)
        last = point = np.maximum(start, 0)
        applied_last = applied_point = self.applied(point)
        momentum = 1.0
        for _ in range(iterations):
            gradient = applied_point - right_side
            while True:
                found = np.maximum(point - gradient / (np.float32(curvature) * diagonal), 0)
                applied, move = self.applied(found), found - point
                bound = float(np.vdot(diagonal * move, move))
                found_curvature = float(np.vdot(applied - applied_point, move)) / bound if bound else 0.0
                if found_curvature <= curvature * ROUNDING:
                    break
                curvature = 1.5 * found_curvature
            change, applied_change = found - last, applied - applied_last
            last, applied_last = found, applied
            if np.linalg.norm(change) <= tolerance * np.linalg.norm(found):
                break
            if np.vdot(diagonal * move, change) < 0:
                momentum, point, applied_point = 1.0, found, applied
            else:
                following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
                carried = np.float32((momentum - 1) / following)
                momentum, point, applied_point = following, found + carried * change, applied + carried * applied_change
        return last

    def _curvature(self, diagonal: Lattice) -> float:
        """Largest eigenvalue of the matrix divided by its diagonal from below, by a few steps of the power method."""
        vector = diagonal  # positive, as the eigenvector is where scatterers have positive strengths
        value = 1.0
        for _ in range(POWER_STEPS):
            vector = self.applied(vector / np.linalg.norm(vector)) / diagonal
            value = float(np.linalg.norm(vector))
        return value

    @property
    def _mean_smoothness(self) -> float:
        rows = np.full(self.penalty.smoothness.shape[1], 2.0)
        rows[0] = 1
        if self.model.lattice[1] % 2 == 0:
            rows[-1] = 1
        return float(self.penalty.smoothness.mean(axis=0, dtype=np.float64) @ rows / rows.sum())

    def solution(self, *, iterations: int, tolerance: float, start: Lattice | None = None) -> Lattice:
        """Minimise by conjugate gradients.

        The preconditioner is the diagonal: the number of pixels that constrain a coefficient varies over the lattice
        much more than the coupling between neighbours.

        Parameters
        ----------
        iterations
            Largest number of iterations.
        tolerance
            Residual of the normal equations, relative to their right side, at which to end.
        start
            Coefficients to start from; zeros without it.
        """
        shape, inverse = self.model.lattice, (1 / self.diagonal.ravel()).astype(np.float32)

        def operator(apply: Callable[[Lattice], Lattice]) -> LinearOperator:
            return LinearOperator((inverse.size, inverse.size), matvec=apply, dtype=np.float32)

        solution, _ = cg(
            operator(lambda flat: self.applied(flat.reshape(shape)).ravel()),
            self.right_side.ravel(),
            x0=None if start is None else start.ravel(),
            rtol=tolerance,
            maxiter=iterations,
            M=operator(lambda flat: flat * inverse),
        )
        coefficient: Lattice = solution.reshape(shape)
        return coefficient


def spline_response(rows: int, columns: int) -> NDArray[np.float64]:
    """Values on a periodic lattice over the coefficients of the spline through them, by Fourier coefficient.

    The array has the form of ``rfft2`` and lies between 1/9 and 1.
    """
    response: NDArray[np.float64] = np.multiply.outer(
        (2 + np.cos(2 * np.pi * fft.fftfreq(rows))) / 3, (2 + np.cos(2 * np.pi * fft.rfftfreq(columns))) / 3
    )
    return response


def extraction(coefficient: Lattice, observation: Observation, **diagnostics: object) -> Extraction:
    """Evaluate the kernel on the wanted grid and on the offsets of the image."""
    grid, wanted = observation.grid, observation.kernel_grid
    offsets = [np.arange(1 - n, n, dtype=np.float64) for n in grid.shape]
    return Extraction(
        kernel=evaluated(coefficient, wanted.y_nm / grid.pitch_y_nm, wanted.x_nm / grid.pitch_x_nm),
        kernel_full=evaluated(coefficient, *offsets),
        diagnostics=diagnostics,
    )


def evaluated(coefficient: Lattice, row: NDArray[np.float64], column: NDArray[np.float64]) -> NDArray[np.float64]:
    """Kernel (row, column) at offsets in pixels; 0 where an offset lies beyond the lattice."""
    by_row, by_column = (
        _splines(place.tobytes(), size) for place, size in zip((row, column), coefficient.shape, strict=True)
    )
    return (by_row @ coefficient @ by_column.T).astype(np.float64)


@functools.lru_cache(maxsize=8)
def _splines(place: bytes, size: int) -> NDArray[np.float32]:
    """Splines (place, size) at offsets, given as the bytes of float64 numbers: most images have the same grids."""
    offset = np.frombuffer(place)
    splines = periodic_splines(offset, size)
    splines[np.abs(offset) > (size - 1) / 2] = 0
    return splines.astype(np.float32)
