"""The device that trains and the precision that it computes in."""

from __future__ import annotations

import torch
from accelerate import Accelerator

from qpibench.errors import UnavailableError


def make_accelerator(precision: str) -> Accelerator:
    """An accelerator on the GPU where there is one, else on the CPU.

    Parameters
    ----------
    precision
        ``"no"`` for float32, ``"tf32"`` for float32 in which convolutions round to 10 bits, ``"bf16"``, or ``"auto"``:
        bf16 where the device has instructions for it.

    Raises
    ------
    UnavailableError
        If bf16 or tf32 is asked for and the device has none.
    """
    if precision == "tf32" and not (torch.cuda.is_available() and torch.cuda.get_device_capability()[0] >= 8):
        raise UnavailableError(
            "--precision tf32 needs an NVIDIA GPU of compute capability 8 or newer; use --precision no or bf16."
        )
    # Not in products of matrices, in which the coordinates of rotations are made.
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    if precision == "tf32":
        precision = "no"
    if precision == "auto":
        precision = "bf16" if _has_bf16() else "no"
    elif precision == "bf16" and torch.cuda.is_available() and not _has_bf16():
        raise UnavailableError(f"{torch.cuda.get_device_name()} does not compute in bf16; use --precision no.")
    return Accelerator(mixed_precision=precision, cpu=not torch.cuda.is_available())


def hardware(accelerator: Accelerator) -> str | None:
    """What trains, for the run's record; None for one process on the CPU."""
    count = accelerator.num_processes
    if accelerator.device.type == "cuda":
        name = torch.cuda.get_device_name(accelerator.device)
        return name if count == 1 else f"{count} x {name}"
    return None


def described(accelerator: Accelerator, precision: str) -> str:
    """One sentence on the device and the precision, ``no``, ``tf32`` or ``bf16``."""
    threads = torch.get_num_threads()
    device = hardware(accelerator) or f"the CPU, {threads} thread{'s' * (threads > 1)}"
    if accelerator.num_processes > 1 and accelerator.device.type == "cpu":
        device += f", {accelerator.num_processes} processes"
    words = {
        "no": "float32",
        "tf32": "float32 with TF32 convolutions",
        "bf16": "bf16 where that is safe, float32 elsewhere",
    }
    return f"Training on {device}, in {words[precision]}."


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the memory of the device or of the machine did not suffice."""
    words = ("DefaultCPUAllocator", "not enough memory", "CUDA out of memory")
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or (
        isinstance(error, RuntimeError) and any(each in str(error) for each in words)
    )


def _has_bf16() -> bool:
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    probes = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, probe, bool)() for probe in probes)
