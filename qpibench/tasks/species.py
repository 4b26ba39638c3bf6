"""Refuses releases and specs with two species where only one kernel of an image is meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qpibench.errors import UsageError
from qpibench.specs import ReleaseSpec
from qpibench.specs.species import species_count

if TYPE_CHECKING:
    from qpibench.release import Release


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
    is_paired = species_count(source) > 1 if isinstance(source, ReleaseSpec) else source.observation_kernel.ndim > 1
    if is_paired:
        raise UsageError(
            f"{what} is not defined yet for two species of scatterers, which '{source.name}' has; use a spec without"
            " [species]."
        )
