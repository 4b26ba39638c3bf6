r"""Stated standard deviations: the coverage of their intervals, and the likelihood of the true kernel.

Both count the pixels within the least radius that holds 99 % of the true kernel's energy, the sum of its squares.
Beyond it most kernels are 0 and easily predicted. With the error e of a pixel, its stated deviation s, and the root
mean square R of the true kernel over all pixels, the negative log-likelihood of a normal distribution is

.. math:: \frac{e^2}{2 s^2} + \ln\frac{s}{R} + \frac{1}{2} \ln 2\pi, \qquad s \ge R / 1000,

where smaller deviations are replaced by the least one.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from qpibench.evaluation.metrics import Case, Images, Metric, PerImage, Values
from qpibench.grid import Grid

LEVELS = (0.68, 0.95)
"""Levels of the intervals, which reach 0.99 and 1.96 standard deviations from the prediction."""

ENERGY = 0.99
"""Share of a kernel's energy within the radius of the counted pixels."""

LEAST_STD = 1e-3
"""Least standard deviation in a likelihood, over the root mean square of the true kernel."""

_LEAST_NLL = math.log(LEAST_STD) + math.log(2 * math.pi) / 2


def energy_pixels(kernel: Images, grid: Grid, share: float = ENERGY) -> NDArray[np.bool_]:
    """Pixels of (n, y, x) kernels within the least radius that holds a share of the kernel's energy, sum of K^2."""
    r = np.hypot(grid.x_nm, grid.y_nm[:, None]).ravel()
    order = np.argsort(r, kind="stable")
    energy = np.cumsum((kernel.reshape(len(kernel), -1) ** 2)[:, order], axis=1)
    last = (energy >= share * energy[:, -1:]).argmax(axis=1)
    # 1e-9: the pixels of a circle differ in their last digits.
    within: NDArray[np.bool_] = r <= r[order][last][:, None] * (1 + 1e-9)
    return within.reshape(kernel.shape)


def covered(error: Images, std: Images, level: float) -> NDArray[np.bool_]:
    """Whether errors are within the normal interval of a level around the prediction."""
    return np.asarray(np.abs(error) <= NormalDist().inv_cdf((1 + level) / 2) * std)


def _covered_pixels(level: float) -> PerImage:
    def measure(case: Case) -> Values:
        counted = energy_pixels(case.known, case.grid) & covered(case.error, case.stated, level)
        return np.asarray(counted.sum(axis=(1, 2)), dtype=np.float64)

    return PerImage(name=f"covered_{100 * level:.0f}", measure=measure, worse="lower", uses=("truth", "std"))


def counted_pixels(case: Case) -> Values:
    """Number of pixels that count."""
    return np.asarray(energy_pixels(case.known, case.grid).sum(axis=(1, 2)), dtype=np.float64)


def negative_log_likelihood(case: Case) -> Values:
    """Mean over the counted pixels of the negative log-likelihood, in nats."""
    counted = energy_pixels(case.known, case.grid)
    rms = np.sqrt((case.known**2).mean(axis=(1, 2)))[:, None, None]
    std = np.maximum(case.stated / rms, LEAST_STD)
    of_pixel = (case.error / rms / std) ** 2 / 2 + np.log(std) + math.log(2 * math.pi) / 2
    nll: Values = np.where(counted, of_pixel, 0.0).sum(axis=(1, 2)) / counted.sum(axis=(1, 2))
    return nll


COUNTED = PerImage(name="energy_pixels", measure=counted_pixels, worse=None)

METRICS = (
    *(
        Metric(
            name=f"coverage_{100 * level:.0f}",
            label=f"coverage, {100 * level:.0f} %",
            description=(
                f"Share of the pixels that hold {100 * ENERGY:.0f} % of the kernel's energy whose error is at most"
                f" {NormalDist().inv_cdf((1 + level) / 2):.2f} stated standard deviations."
            ),
            better="higher",
            nominal=level,
            bounds=(0.0, 1.0),
            columns=(_covered_pixels(level), COUNTED),
            aggregation="coverage",
            ranks=False,
        )
        for level in LEVELS
    ),
    Metric(
        name="nll",
        label="negative log-likelihood",
        unit="nats per pixel",
        description=(
            "Negative log-likelihood of the true kernel over its rms, for normal pixels with the stated standard"
            f" deviations, of at least {LEAST_STD:g} rms; mean over the pixels that hold {100 * ENERGY:.0f} % of the"
            " kernel's energy, then over images."
        ),
        better="lower",
        bounds=(_LEAST_NLL, math.inf),
        columns=(PerImage(name="nll", measure=negative_log_likelihood, uses=("truth", "std")),),
        on_board=False,
    ),
)
