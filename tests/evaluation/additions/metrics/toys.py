"""Toy metrics, one of each kind of aggregation that the package has not, in one file."""

import numpy as np

from qpibench.evaluation.metrics import Metric, PerImage


def _pixels(case):
    return np.full(len(case.prediction), float(case.prediction[0].size))


PIXELS = PerImage(name="pixels", measure=_pixels, worse=None, uses=())

METRICS = (
    Metric(
        name="worst_pixel",
        label="worst pixel",
        unit="native units",
        description="Largest absolute error of a pixel, averaged over images.",
        better="lower",
        columns=(PerImage(name="worst_pixel", measure=lambda case: np.abs(case.error).max(axis=(1, 2))),),
    ),
    Metric(
        name="energy_ratio",
        label="energy of the error",
        description="Squared error of all images over the squares of all truths.",
        better="lower",
        columns=(
            PerImage(name="error_energy", measure=lambda case: (case.error**2).sum(axis=(1, 2))),
            PerImage(name="energy", measure=lambda case: (case.known**2).sum(axis=(1, 2)), worse=None),
        ),
        aggregation="ratio",
    ),
    Metric(
        name="within",
        label="pixels within 0.1",
        description="Share of all pixels whose absolute error is at most 0.1.",
        better="higher",
        bounds=(0.0, 1.0),
        columns=(
            PerImage(
                name="pixels_within",
                measure=lambda case: (np.abs(case.error) <= 0.1).sum(axis=(1, 2)).astype(float),
                worse="lower",
            ),
            PIXELS,
        ),
        aggregation="coverage",
        on_board=False,
    ),
    Metric(
        name="covered",
        label="pixels within two stated deviations",
        description="Share of all pixels whose error is at most twice the standard deviation that was stated.",
        better="higher",
        bounds=(0.0, 1.0),
        columns=(
            PerImage(
                name="pixels_covered",
                measure=lambda case: (np.abs(case.error) <= 2 * case.std).sum(axis=(1, 2)).astype(float),
                worse="lower",
                uses=("truth", "std"),
            ),
            PIXELS,
        ),
        aggregation="coverage",
        on_board=False,
    ),
    Metric(
        name="full_error",
        label="error of the full kernel",
        unit="native units",
        description="Mean absolute difference between the truth and every second pixel of the lattice of offsets.",
        better="lower",
        columns=(
            PerImage(
                name="full_error",
                measure=lambda case: np.abs(case.kernel_full[:, ::2, ::2] - case.known).mean(axis=(1, 2)),
                uses=("truth", "kernel_full"),
            ),
        ),
        on_board=False,
    ),
    Metric(
        name="unlike_what_was_seen",
        label="distance from the observation",
        description="Mean absolute difference from the observation over the number of scatterers that were told.",
        better="lower",
        columns=(
            PerImage(
                name="unlike_what_was_seen",
                measure=lambda case: (
                    np.abs(case.prediction - case.observation).mean(axis=(1, 2))
                    / np.isfinite(case.position_nm).all(axis=2).sum(axis=1)
                ),
                uses=("observation", "position_nm"),
            ),
        ),
    ),
)
