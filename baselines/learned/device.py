"""The device that trains."""

from __future__ import annotations

import torch
from accelerate import Accelerator


def make_accelerator(precision: str) -> Accelerator:
    """Make an accelerator on the GPU if there is one, else on the CPU.

    Parameters
    ----------
    precision
        ``"no"`` for float32, ``"tf32"`` for float32 in which convolutions round to 10 bits, or ``"bf16"``.
    """
    torch.set_float32_matmul_precision("highest")
    # Matrix products stay in float32, because the coordinates of rotations are computed by them.
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    return Accelerator(mixed_precision="no" if precision == "tf32" else precision, cpu=not torch.cuda.is_available())


def hardware(accelerator: Accelerator) -> str | None:
    """Return the name and number of the GPUs for the run's record; None for training on the CPU."""
    count = accelerator.num_processes
    if accelerator.device.type == "cuda":
        name = torch.cuda.get_device_name(accelerator.device)
        return name if count == 1 else f"{count} x {name}"
    return None


def described(accelerator: Accelerator, precision: str) -> str:
    """Return a sentence on the device and the precision (``no``, ``tf32`` or ``bf16``)."""
    threads = torch.get_num_threads()
    device = hardware(accelerator) or f"the CPU, {threads} thread{'s' * (threads > 1)}"
    if accelerator.num_processes > 1 and accelerator.device.type == "cpu":
        device += f", {accelerator.num_processes} processes"
    words = {
        "no": "float32",
        "tf32": "float32 with TF32 convolutions",
        "bf16": "bf16 by autocast, float32 where autocast keeps it",
    }
    return f"Training on {device}, in {words[precision]}."


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that the memory of the GPU or of the machine was exhausted."""
    words = ("DefaultCPUAllocator", "not enough memory", "CUDA out of memory")
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or (
        isinstance(error, RuntimeError) and any(each in str(error) for each in words)
    )
