"""The precision in which a run trains, and the settings of PyTorch that decide how numbers are rounded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from learned.resumed import resumed_config
from qpibench.errors import UnavailableError
from qpibench.training import TrainingRun

PROCESSOR_FLAGS = Path("/proc/cpuinfo")


@dataclass(frozen=True, kw_only=True)
class Precision:
    """A precision and the reason for it.

    Attributes
    ----------
    mode
        ``"no"`` for float32, ``"tf32"`` for float32 in which convolutions round their inputs to 10 bits, or ``"bf16"``.
    reason
        Why this precision was chosen, for the run's record.
    """

    mode: str
    reason: str


def choose_precision(run: TrainingRun) -> Precision:
    """Choose the precision of a run, whatever the version of PyTorch.

    ``auto`` is the precision of the run that is resumed. For a new run it is bf16 on a GPU of compute capability 8.0
    or newer, bf16 on a processor with AMX instructions for bf16, and float32 elsewhere.

    Raises
    ------
    UnavailableError
        If bf16 or tf32 is asked for and the GPU does not support it.
    """
    if run.precision == "auto":
        return _of_resumed_run(run) or _by_rule()
    if run.precision == "tf32" and not (torch.cuda.is_available() and _is_ampere()):
        raise UnavailableError(
            "--precision tf32 needs an NVIDIA GPU of compute capability 8 or newer; use --precision no or bf16."
        )
    if run.precision == "bf16" and torch.cuda.is_available() and not _is_ampere():
        raise UnavailableError(f"{torch.cuda.get_device_name()} does not compute in bf16; use --precision no.")
    return Precision(mode=run.precision, reason="asked for")


def numerics(precision: Precision, *, compiled: str) -> dict[str, str]:
    """Return the settings of this process that decide how numbers are rounded, for the run's record.

    Parameters
    ----------
    precision
        The precision of the run.
    compiled
        Whether losses are compiled, ``torch.compile`` or ``no``.
    """
    backends = torch.backends
    return {
        "precision": precision.mode,
        "precision_reason": precision.reason,
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "cudnn_allow_tf32": str(backends.cudnn.allow_tf32),
        "cudnn_benchmark": str(backends.cudnn.benchmark),
        "cudnn_deterministic": str(backends.cudnn.deterministic),
        "bf16_reduced_precision_reduction": str(backends.cuda.matmul.allow_bf16_reduced_precision_reduction),
        "deterministic_algorithms": str(torch.are_deterministic_algorithms_enabled()),
        "compile": compiled,
        "threads": str(torch.get_num_threads()),
    }


def _of_resumed_run(run: TrainingRun) -> Precision | None:
    mode = (resumed_config(run) or {}).get("precision")
    return Precision(mode=mode, reason="that of the resumed run") if isinstance(mode, str) else None


def _by_rule() -> Precision:
    if torch.cuda.is_available():
        major, minor = torch.cuda.get_device_capability()
        relation = "8.0 or newer" if _is_ampere() else "older than 8.0"
        return Precision(
            mode="bf16" if _is_ampere() else "no", reason=f"auto: compute capability {major}.{minor} is {relation}"
        )
    if "amx_bf16" in _processor_flags():
        return Precision(mode="bf16", reason="auto: the processor has AMX for bf16")
    return Precision(mode="no", reason="auto: the processor has no AMX for bf16")


def _is_ampere() -> bool:
    return torch.cuda.get_device_capability()[0] >= 8


def _processor_flags() -> set[str]:
    try:
        text = PROCESSOR_FLAGS.read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux
        return set()
    lines = (line.partition(":") for line in text.splitlines() if line.startswith("flags"))
    return set(next((flags.split() for _, _, flags in lines), []))
