"""Assignment accuracy: the share of scatterers that are assigned to their species, in images with two species."""

from __future__ import annotations

import numpy as np

from qpibench.evaluation.metrics import Case, Metric, PerImage, Values


def assignment_accuracy(case: Case) -> Values:
    """Share of the told positions whose predicted species is that of their scatterer; 1 where none is told.

    The predicted species are numbered as their predicted kernels are matched with the true ones.
    """
    if case.told_species is None or case.species is None:
        raise ValueError("the assignment accuracy compares species, but the case has none")
    told = case.told_species >= 0
    right = (case.species == case.told_species) & told
    return np.where(told.any(axis=1), right.sum(axis=1) / np.maximum(told.sum(axis=1), 1), 1.0)


METRICS = (
    Metric(
        name="assignment_accuracy",
        label="assignment accuracy",
        description="Share of the told scatterers that are assigned to their species, in the order of the predicted"
        " kernels that has the least capped relative L2 error; mean over images.",
        better="higher",
        bounds=(0.0, 1.0),
        columns=(
            PerImage(
                name="assignment_accuracy", measure=assignment_accuracy, worse="lower", uses=("species", "told_species")
            ),
        ),
    ),
)
