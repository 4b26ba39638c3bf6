"""Optional packages, and the message for a missing one."""

from __future__ import annotations

TRAINING = {
    "torch": "torch",
    "diffusers": "diffusers",
    "accelerate": "accelerate",
    "safetensors": "safetensors",
    "tensorboard": "tensorboard",
    "sklearn": "scikit-learn",
}
"""Packages that ``qpibench[training]`` installs, by the names of their modules."""


def missing_module(error: ImportError) -> str | None:
    """Return the module of :data:`TRAINING` that an import did not find; None if it failed for another reason."""
    name = (error.name or "").partition(".")[0]
    return name if isinstance(error, ModuleNotFoundError) and name in TRAINING else None


def missing_package(what: str, module: str) -> str:
    """Return the message that something needs a package of :data:`TRAINING`: one sentence without its full stop."""
    return (
        f"{what} needs the package {TRAINING[module]}, which is not installed; install it with:"
        ' pip install "qpibench[training]"'
    )
