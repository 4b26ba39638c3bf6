"""Coverage of stated standard deviations by the distance from the scatterer.

python -m benchmarks.coverage_by_radius --predictions polar-noise-10dB.h5 --release DATA/noise-10dB-HASH.h5

It prints a row for each file of predictions: the shares of the pixels whose true value lies within the 68 and the 95 %
interval, by fifths of the radius that holds 99 % of the true kernel's energy. An image counts once, however many
pixels a ring of it has. Intervals are over kernels.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qpibench.evaluation.metrics.uncertainty import LEVELS, covered, energy_pixels
from qpibench.evaluation.predictions import open_predictions, release_of
from qpibench.evaluation.statistics import Statistic, bootstrap_intervals
from qpibench.release import open_release

RINGS = 5


def coverage_by_radius(
    truth: NDArray[np.floating],
    prediction: NDArray[np.floating],
    std: NDArray[np.floating],
    counted: NDArray[np.bool_],
    r_nm: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Shares of covered pixels, (level, ring, image); NaN for a ring without pixels.

    The images are (image, y, x), `counted` those of their pixels that count, and `r_nm` (y, x) the distances.
    """
    farthest = np.where(counted, r_nm, 0.0).max(axis=(1, 2))
    ring = np.minimum(np.floor(RINGS * r_nm / np.maximum(farthest, 1e-12)[:, None, None]), RINGS - 1)
    shares = np.full((len(LEVELS), RINGS, len(truth)), np.nan)
    for k in range(RINGS):
        chosen = counted & (ring == k)
        number = chosen.sum(axis=(1, 2))
        for level, confidence in enumerate(LEVELS):
            within = (chosen & covered(prediction - truth, std, confidence)).sum(axis=(1, 2))
            shares[level, k] = np.divide(within, number, out=np.full(len(truth), np.nan), where=number > 0)
    return shares


def rows(predictions: list[Path], releases: list[Path]) -> Iterator[str]:
    """The lines of the table."""
    yield f"| predictions | {' | '.join(f'{(k + 1) / RINGS:.1f} R' for k in range(RINGS))} |\n|{'---|' * (RINGS + 1)}"
    opened = [open_release(path) for path in releases]
    for path in predictions:
        release = release_of(path, opened)
        with open_predictions(path, release) as found:
            (task,) = found.tasks
            kernel_of = release.observation_kernel[found.index(task)]
            truth = release.kernels.image[kernel_of].astype(np.float64)
            std = found.std(task)
            if std is None:
                yield f"| {path.stem} | states no standard deviation |"
                continue
            r_nm = np.hypot(release.grid.x_nm, release.grid.y_nm[:, None])
            counted = energy_pixels(truth, release.grid)
            shares = coverage_by_radius(truth, found.kernel(task), std, counted, r_nm)
        yield f"| {path.stem} | {' | '.join(_cell(shares[:, k], kernel_of) for k in range(RINGS))} |"


def _cell(shares: NDArray[np.float64], kernel: NDArray[np.integer]) -> str:
    """Coverage at both levels in %, with the 95 % interval of each."""
    said = []
    for values in shares:
        known = np.isfinite(values)
        statistic = {"": Statistic(100 * values[known])}
        estimate = bootstrap_intervals(statistic, kernel[known])[""]
        said.append(f"{estimate.value:.0f} [{estimate.low:.0f}, {estimate.high:.0f}]")
    return " / ".join(said)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--predictions", type=Path, nargs="+", required=True)
    parser.add_argument("--release", type=Path, nargs="+", required=True)
    asked = parser.parse_args()
    for line in rows(asked.predictions, asked.release):
        print(line, flush=True)


if __name__ == "__main__":
    main()
