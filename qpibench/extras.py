"""Packages that only some of the work needs, and what to say where they are missing."""

from __future__ import annotations

TRAINING = {
    "torch": "torch",
    "diffusers": "diffusers",
    "accelerate": "accelerate",
    "safetensors": "safetensors",
    "tensorboard": "tensorboard",
    "sklearn": "scikit-learn",
}
"""What ``qpibench[training]`` brings: packages by the names of their modules."""


def missing_module(error: ImportError) -> str | None:
    """The module of :data:`TRAINING` that an import did not find, or None if it failed for another reason."""
    name = (error.name or "").partition(".")[0]
    return name if isinstance(error, ModuleNotFoundError) and name in TRAINING else None


def missing_package(what: str, module: str) -> str:
    """Say that something needs a package of :data:`TRAINING`: one sentence without its full stop."""
    return (
        f"{what} needs the package {TRAINING[module]}, which is not installed; install it with:"
        ' pip install "qpibench[training]"'
    )
