"""Choosing a backend."""

from __future__ import annotations

from typing import Literal

from qpibench.errors import UnavailableError, UsageError
from qpibench.synthesis.contract import Backend

BackendName = Literal["auto", "cpu", "cuda"]


def get_backend(name: str = "auto") -> tuple[Backend, str]:
    """A backend, and one sentence that says which it is and why.

    Parameters
    ----------
    name
        ``"cpu"``, ``"cuda"``, or ``"auto"`` for the GPU where there is one.

    Raises
    ------
    UnavailableError
        If ``"cuda"`` is asked for and cannot be had: a GPU is never replaced in silence.
    UsageError
        If there is no backend of that name.
    """
    from qpibench.synthesis.cpu import CpuBackend

    if name == "cpu":
        return CpuBackend(), "CPU backend, as asked for."
    if name not in ("auto", "cuda"):
        raise UsageError(f"There is no backend '{name}'; known backends: auto, cpu, cuda.")
    reason = "this version generates on the CPU only"
    if name == "cuda":
        raise UnavailableError(f"The GPU cannot be used: {reason}; leave --gpu away to use the CPU (same bits).")
    return CpuBackend(), f"CPU backend, because {reason}."
