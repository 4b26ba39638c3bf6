"""What this machine offers to qpibench, what it lacks, and what to do about it."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import sys
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import psutil

PACKAGES = ("numpy", "numba", "h5py", "scipy", "scikit-image", "matplotlib", "pydantic", "psutil", "click", "jinja2")
ROOM = 2**30
"""Bytes of disk space that the release `paper` and its predictions fit into."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something looked at.

    Attributes
    ----------
    what
        The thing.
    found
        What was found.
    advice
        What to do about it; empty if it is as it should be.
    required
        Whether qpibench cannot do its main job before that is done.
    """

    what: str
    found: str
    advice: str = ""
    required: bool = False


def diagnose() -> list[Finding]:
    """Look at everything that qpibench needs or can use."""
    return [
        Finding(what="Python", found=f"{platform.python_version()} at {sys.executable}"),
        *map(_package, ("qpibench", *PACKAGES)),
        Finding(what="platform", found=platform.platform()),
        _processor(),
        Finding(what="cores", found=f"{_available_cores()} available of {os.cpu_count()}"),
        _memory(),
        _flush_to_zero(),
        _numba_cache(),
        _disk_space(Path.cwd()),
        _torch(),
        _cuda_driver(),
        _gpu(),
    ]


def _package(name: str) -> Finding:
    try:
        return Finding(what=name, found=metadata.version(name))
    except metadata.PackageNotFoundError:
        return Finding(what=name, found="not installed", advice=f"pip install {name}", required=name != "qpibench")


def _processor() -> Finding:
    from llvmlite import binding

    from qpibench.evaluation.environment import environment

    features = binding.get_host_cpu_features()
    named = [name for name in ("avx2", "fma", "avx512f", "neon") if features.get(name)]
    slow = platform.machine() in ("x86_64", "AMD64") and not features.get("fma")
    return Finding(
        what="processor",
        found=f"{environment()['cpu']} ({', '.join(named) or 'no vector features known'})",
        advice="it has no fused multiply-add: the same bits come out, but far slower" if slow else "",
    )


def _available_cores() -> int:
    from qpibench.release.parallel import available_threads

    return available_threads()


def _memory() -> Finding:
    memory = psutil.virtual_memory()
    return Finding(
        what="memory",
        found=f"{memory.available / 2**30:.1f} GiB available of {memory.total / 2**30:.1f} GiB",
        advice="close other programs: qpibench and a model want 2 GiB" if memory.available < 2**31 else "",
    )


def _flush_to_zero() -> Finding:
    what = "denormal numbers"
    try:
        from qpibench.synthesis.flush import flushes_to_zero
    except RuntimeError as error:  # Numba finds no place for its cache
        return Finding(what=what, found=f"not known: {error}")
    if not flushes_to_zero():
        return Finding(what=what, found="kept, as they must be")
    return Finding(
        what=what,
        found="flushed to zero, which would change bits",
        advice="find the library that switches this on (one built with -ffast-math; look at LD_PRELOAD)",
        required=True,
    )


def _numba_cache() -> Finding:
    what, advice = "Numba cache", "set NUMBA_CACHE_DIR to a folder that can be written to"
    try:
        from qpibench.synthesis.superposition import draw_and_superpose
    except RuntimeError as error:
        return Finding(what=what, found=str(error), advice=advice, required=True)
    folder = Path(str(draw_and_superpose.stats.cache_path))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return Finding(what=what, found=str(folder))
    except OSError as error:
        return Finding(what=what, found=f"{folder}: {error.strerror}", advice=f"{advice}, or every start compiles anew")


def _disk_space(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    return Finding(
        what="disk space here",
        found=f"{free / 1e9:.1f} GB free in {folder}",
        advice="make room: the release 'paper' takes 0.9 GB" if free < ROOM else "",
    )


def _torch() -> Finding:
    try:
        import torch
    except Exception as error:  # a library that the wheel needs may be missing
        missing = isinstance(error, ModuleNotFoundError)
        found = "not installed" if missing else f"cannot be imported: {' '.join(str(error).split())}"
        return Finding(what="torch", found=found, advice="for networks only: pip install 'qpibench[torch]'")
    return Finding(
        what="torch", found=f"{torch.__version__}, {'with' if torch.cuda.is_available() else 'without'} CUDA"
    )


def _cuda_driver() -> Finding:
    version = ctypes.c_int()
    try:
        ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(version))
    except OSError:
        return Finding(what="CUDA driver", found="not installed", advice="for --gpu only: install the GPU's driver")
    return Finding(what="CUDA driver", found=f"supports CUDA {version.value // 1000}.{version.value % 1000 // 10}")


def _gpu() -> Finding:
    from qpibench.synthesis.device import NoGpuError, find_device

    try:
        device = find_device()
    except NoGpuError as error:
        return Finding(what="GPU", found=f"cannot be used: {error.reason}", advice=f"for --gpu only: {error.remedy}")
    return Finding(what="GPU", found=f"{device.name}, {device.memory / 2**30:.0f} GiB")
