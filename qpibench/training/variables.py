"""Environment variables of training: those that are removed from its processes, and those that are recorded."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Mapping

PROCESSES = (
    "WORLD_SIZE",
    "RANK",
    "LOCAL_RANK",
    "LOCAL_WORLD_SIZE",
    "GROUP_RANK",
    "GROUP_WORLD_SIZE",
    "ROLE_*",
    "NODE_RANK",
    "MASTER_ADDR",
    "MASTER_PORT",
    "FORK_LAUNCHED",
    "TORCHELASTIC_*",
    "PET_*",
    "OMPI_*",
    "PMI_*",
    "PMIX_*",
    "MV2_*",
)
"""Variables with which launchers set the number and the index of a process for PyTorch and Accelerate."""

ACCELERATE = ("ACCELERATE_*", "FSDP_*", "DEEPSPEED_*", "MEGATRON_*", "PARALLELISM_CONFIG_*", "XLA_*")
"""Variables that change how Accelerate trains, such as its gradient accumulation."""

TF32 = ("TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "NVIDIA_TF32_OVERRIDE")
"""Variables that switch TF32 on or off behind the precision that was asked for."""

ALLOCATOR = {
    "hugetlb": 1,  # transparent huge pages: fewer page faults
    "mmap_threshold": 2**30,  # tensors come from the heap, whose pages stay mapped
    "trim_threshold": 2**33,  # the heap is not returned to the system after every step
    "top_pad": 2**28,  # and grows in large parts
}
"""Tunables of glibc's malloc in training processes; without them each step maps, faults and unmaps its memory anew."""

_TUNABLES = "GLIBC_TUNABLES"
_MALLOC = "MALLOC_*"
"""Older names of the same settings, such as ``MALLOC_TOP_PAD_``."""

NUMERICS = (
    "ATEN_CPU_CAPABILITY",
    "CUBLAS_*",
    "CUDA_VISIBLE_DEVICES",
    "CUDNN_*",
    "DNNL_*",
    "KMP_*",
    "MKL_*",
    "NUMBA_*",
    "OMP_*",
    "ONEDNN_*",
    "OPENBLAS_*",
    "PYTORCH_*",
    "TORCHINDUCTOR_*",
    "TORCH_CUDNN_*",
    "TORCH_NCCL_*",
)
"""Variables that may change the last bits of the libraries' results."""

PARENT = "QPIBENCH_PARENT"
"""Process id of the process that starts a training process; the training process is killed when that process ends."""

_IGNORED = "QPIBENCH_IGNORED_VARIABLES"
_PATHS = ("_CACHE", "_DIR", "_FILE", "_HOME", "_PATH")
"""Endings of the names of variables that hold paths: a record names no place of the machine."""


def without_launchers(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for training processes that this package starts.

    The variables of launchers, of Accelerate and of TF32 are removed, so that a run depends on its request alone. The
    names of the removed variables are kept for :func:`ignored_variables`.
    """
    ignored = _matching(environment, (*PROCESSES, *ACCELERATE, *TF32))
    kept = {name: value for name, value in environment.items() if name not in ignored}
    return kept | {_IGNORED: " ".join(ignored)}


def allocator_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variable that sets :data:`ALLOCATOR` for training processes; empty where the C library is not glibc.

    Settings in the given environment are kept, also those under older names.
    """
    if not _has_glibc():
        return {}
    given = [text for text in environment.get(_TUNABLES, "").split(":") if text]
    names = {text.partition("=")[0] for text in given}
    own = [
        f"glibc.malloc.{name}={value}"
        for name, value in ALLOCATOR.items()
        if f"glibc.malloc.{name}" not in names and f"MALLOC_{name.upper()}_" not in environment
    ]
    return {_TUNABLES: ":".join([*given, *own])}


def ignored_variables(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Return the names of the variables that :func:`without_launchers` removed when this process was started."""
    return environment.get(_IGNORED, "").split()


def recorded_variables(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables of this process that may change a result or its speed, with their values.

    Variables of Accelerate are among them where the process was not started by this package, but by ``accelerate
    launch`` (``qpibench train --launched``) or by a program that calls an entry's ``train`` itself.
    """
    names = _matching(environment, ("WORLD_SIZE", _TUNABLES, _MALLOC, *ACCELERATE, *TF32, *NUMERICS))
    return {name: environment[name] for name in names if not name.endswith(_PATHS)}


def _has_glibc() -> bool:
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (AttributeError, OSError, ValueError):  # Windows, macOS, musl
        return False


def _matching(environment: Mapping[str, str], patterns: tuple[str, ...]) -> list[str]:
    return sorted(name for name in environment if any(fnmatch.fnmatchcase(name, each) for each in patterns))
