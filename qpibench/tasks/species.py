"""The species of scatterers of a release: their number, and the refusal of two where only one kernel is meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qpibench.errors import UsageError
from qpibench.specs import ReleaseSpec
from qpibench.specs.species import SCATTERER_SPECIES, TOLD_SPECIES, species_count

if TYPE_CHECKING:
    from qpibench.release import Release


def count_of_species(release: Release) -> int:
    """Return the number of species of a release, 1 or 2: that of the kernels that an image shows."""
    kernel = release.observation_kernel
    return 1 if kernel.ndim == 1 else int(kernel.shape[1])


def first_kernel(release: Release) -> NDArray[np.int32]:
    """Return the row of the kernel of every observation, (observation,) int32.

    With two species it is that of the first, which stands for the pair: no kernel is in two pairs.
    """
    kernel = release.observation_kernel
    return kernel if kernel.ndim == 1 else kernel[:, 0]


def told_species_fields(release: Release) -> tuple[str, ...]:
    """Return the name of the column with the species of the scatterers at told positions; none with one species."""
    if count_of_species(release) == 1:
        return ()
    names = (TOLD_SPECIES.name, SCATTERER_SPECIES.name)
    return tuple(name for name in names if f"observations/{name}" in release.arrays)[:1]


def require_one_species(source: Release | ReleaseSpec, *, what: str) -> None:
    """Check that the scatterers of an image have one kernel.

    Parameters
    ----------
    source
        A release, or the spec of a stream.
    what
        What is not defined for two species, such as ``"Training"``.

    Raises
    ------
    UsageError
        If there are two species.
    """
    count = species_count(source) if isinstance(source, ReleaseSpec) else count_of_species(source)
    if count > 1:
        raise UsageError(
            f"{what} is not defined yet for two species of scatterers, which '{source.name}' has; use a spec without"
            " [species]."
        )
