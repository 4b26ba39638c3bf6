"""Specs, which define releases: :class:`ReleaseSpec` and the shipped specs, commented TOML files in this folder."""

from qpibench.grid import Grid
from qpibench.specs.load import load_spec, spec_from_json, spec_names
from qpibench.specs.spec import MAX_SCATTERERS, ImportedSpec, ReleaseSpec

__all__ = [
    "MAX_SCATTERERS",
    "Grid",
    "ImportedSpec",
    "ReleaseSpec",
    "load_spec",
    "spec_from_json",
    "spec_names",
]
