"""What this machine offers to qpibench, what it lacks, and what to do about it."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable
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
        _optional("torch", "pip install 'qpibench[torch]' to train or run networks", _torch),
        _cuda_driver(),
        _optional("CuPy", "pip install 'qpibench[gpu-cuda12]' or 'qpibench[gpu-cuda13]' to generate on a GPU", _cupy),
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


def _optional(what: str, install: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(what=what, found=look())
    except ImportError as error:
        # A library that a wheel needs may be missing, which is another thing than not being installed.
        missing = isinstance(error, ModuleNotFoundError)
        return Finding(what=what, found="not installed" if missing else f"cannot be imported: {error}", advice=install)
    except Exception as error:
        return Finding(
            what=what,
            found=f"cannot be used: {' '.join(str(error).split())}",
            advice="install a driver that fits, or do without: the CPU gives the same bits",
        )


def _torch() -> str:
    import torch

    return f"{torch.__version__}, " + ("with CUDA" if torch.cuda.is_available() else "without CUDA")


def _cuda_driver() -> Finding:
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return Finding(
            what="CUDA driver", found="not installed", advice="needed for --gpu only: install the driver of the GPU"
        )
    code, version = driver.cuInit(0), ctypes.c_int()
    driver.cuDriverGetVersion(ctypes.byref(version))
    named = f"CUDA {version.value // 1000}.{version.value % 1000 // 10}"
    if code:
        return Finding(
            what="CUDA driver",
            found=f"{named}, but it finds no device (error {code})",
            advice="needed for --gpu only: see whether nvidia-smi lists a GPU",
        )
    return Finding(what="CUDA driver", found=named)


def _cupy() -> str:
    import cupy

    device = cupy.cuda.runtime.getDeviceProperties(0)
    return f"{cupy.__version__} on {device['name'].decode()}"
