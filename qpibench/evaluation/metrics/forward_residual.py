r"""Forward residual: the part of an image that the predicted kernel does not explain, without a truth.

The residual of an image Y with told positions r_s is :math:`\|Y - \sum_s A(r - r_s)\| / \|Y\|` with the predicted
kernel A on the lattice of offsets; see :func:`qpibench.physics.residual.forward_residual`. It assumes linear
superposition of equal scatterers, and explains noise as little as a wrong kernel does. A kernel that explains the image
need not be the true one, so the residual ranks no entries.

Beside it stands the residual of the true kernel, which is known on its window only and counts as zero beyond it. A
kernel of long range therefore leaves a residual even in images without noise, and a prediction on the whole lattice may
have a smaller one.
"""

from __future__ import annotations

import numpy as np

from qpibench.evaluation.metrics import Case, Images, Metric, PerImage, Values
from qpibench.grid import Grid
from qpibench.physics import residual


def forward_residual(case: Case) -> Values:
    """Residual of the superposition of the predicted kernels on the lattice of offsets."""
    if case.kernel_full is None:
        raise ValueError("a metric uses the kernel on the lattice of offsets, but uses does not say so")
    return _residual(case, np.asarray(case.kernel_full, dtype=np.float64), _image_grid(case).offsets)


def truth_residual(case: Case) -> Values:
    """Residual of the superposition of the true kernels, which are zero outside of their window."""
    return _residual(case, case.known, case.grid)


def _image_grid(case: Case) -> Grid:
    return case.grid if case.image_grid is None else case.image_grid


def _residual(case: Case, kernel: Images, kernel_grid: Grid) -> Values:
    if case.observation is None or case.position_nm is None:
        raise ValueError("a metric superposes kernels, but uses does not say so")
    grid, image, position_nm = _image_grid(case), np.asarray(case.observation), case.position_nm
    rows = (slice(row, row + 1) for row in range(len(kernel)))
    found = [
        residual.forward_residual(grid, kernel[row][0], image[row], position_nm[row], kernel_grid=kernel_grid)
        for row in rows
    ]
    residuals = np.concatenate([np.empty(0), *found])
    # An image of zeros has no norm; a kernel that does not leave it zero explains as little of it as no kernel.
    return np.where(np.isinf(residuals), 1.0, residuals)


METRICS = (
    Metric(
        name="forward_residual",
        label="forward residual",
        description=(
            "Norm of the difference between the image and the linear superposition of the predicted kernel_full at the"
            " told positions, over the norm of the image; mean over images."
        ),
        better="lower",
        columns=(
            PerImage(
                name="forward_residual", measure=forward_residual, uses=("observation", "position_nm", "kernel_full")
            ),
        ),
        ranks=False,
    ),
    Metric(
        name="truth_residual",
        label="forward residual of the truth",
        description=(
            "Forward residual of the true kernel, which is zero outside of its window: what noise, corruptions and the"
            " window leave; mean over images."
        ),
        better="lower",
        columns=(
            PerImage(
                name="truth_residual",
                measure=truth_residual,
                worse=None,
                # It stands only beside the forward residual.
                uses=("truth", "observation", "position_nm", "kernel_full"),
            ),
        ),
        on_board=False,
        ranks=False,
    ),
)
