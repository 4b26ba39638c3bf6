"""Refuses releases and specs with two species where only one kernel of an image is meant."""

from __future__ import annotations

from qpibench.errors import UsageError
from qpibench.specs import ImportedSpec, ReleaseSpec
from qpibench.specs.species import species_count


def require_one_species(spec: ReleaseSpec | ImportedSpec, *, what: str) -> None:
    """Check that the scatterers of an image have one kernel.

    Parameters
    ----------
    spec
        The spec of a release or of a stream.
    what
        What is not defined for two species, such as ``"Training"``.

    Raises
    ------
    UsageError
        If the spec has the table ``[species]``.
    """
    if species_count(spec) > 1:
        raise UsageError(
            f"{what} is not defined yet for two species of scatterers, which '{spec.name}' has; use a spec without"
            " [species]."
        )
