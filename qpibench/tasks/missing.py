"""Finds the tests that a release lacks, and the reasons."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from qpibench.specs import ReleaseSpec
from qpibench.specs.species import species_count

if TYPE_CHECKING:
    from qpibench.release import Release


def missing_tests(release: Release) -> Iterator[str]:
    """Say for each test that a generated release lacks why it does, in one sentence.

    A test whose share is 0 in the spec is not missed.
    """
    spec = release.spec
    if not isinstance(spec, ReleaseSpec):
        return
    if "ood" not in release.tasks and spec.splits.ood_kernels > 0:
        strata, kernels = np.unique(release.stratum[:: species_count(spec)], return_counts=True)
        few, stratum = strata[kernels < 2], release.family.STRATUM
        yield (
            f"Release '{release.name}' has no task 'ood': an OOD test needs two kernels of every {stratum}, but"
            f" of {stratum} {', '.join(map(str, few))} there is only one; draw more kernels."
        )
    if "id" not in release.tasks and spec.splits.id_test > 0 and spec.splits.ood_kernels < 1:
        yield (
            f"Release '{release.name}' has no task 'id': a share of {spec.splits.id_test:g} of"
            f" {spec.observations_per_kernel} images of a kernel leaves no image for an ID test; draw more images"
            " (observations_per_kernel)."
        )
