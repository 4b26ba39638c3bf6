"""Checks of this machine: what qpibench needs or can use, what was found, and how to mend what is missing."""

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

from qpibench.errors import QpibenchError, reason
from qpibench.memory import memory
from qpibench.processors import machine_processors, processors

PACKAGES = ("numpy", "numba", "h5py", "scipy", "scikit-image", "matplotlib", "pydantic", "psutil", "click", "jinja2")
NEEDED_BYTES = 2**30
"""Bytes of disk space that the release `paper` and its predictions need."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One check of this machine.

    Attributes
    ----------
    what
        The package, device or folder that was checked.
    found
        Its version, or its state.
    advice
        How to mend it; empty if nothing is wrong.
    required
        Whether the problem keeps qpibench from its main job.
    """

    what: str
    found: str
    advice: str = ""
    required: bool = False


def diagnose() -> list[Finding]:
    """Check everything that qpibench needs or can use; if a required package is missing, check the packages only."""
    findings = [
        Finding(what="Python", found=f"{platform.python_version()} at {sys.executable}"),
        Finding(what="platform", found=platform.platform()),
        *map(_package, ("qpibench", *PACKAGES)),
    ]
    if any(finding.required and finding.advice for finding in findings):
        return findings
    return [
        *findings,
        _processor(),
        Finding(what="cores", found=f"{processors()} available of {machine_processors()}"),
        _memory(),
        _flush_to_zero(),
        _numba_cache(),
        _disk_space(Path.cwd()),
        *_gpu(),
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


def _memory() -> Finding:
    found = memory()
    if found is None:
        return Finding(
            what="memory", found="the system does not say", advice="mount /proc, without which no model runs"
        )
    return Finding(
        what="memory",
        found=f"{found.available / 2**30:.1f} GiB available of {found.total / 2**30:.1f} GiB",
        advice="close other programs: qpibench and a model want 2 GiB" if found.available < 2**31 else "",
    )


def _flush_to_zero() -> Finding:
    from qpibench.arithmetic.flush import flushes_to_zero

    what = "denormal numbers"
    if not flushes_to_zero():
        return Finding(what=what, found="kept, as they must be")
    return Finding(
        what=what,
        found="flushed to zero, which would change bits",
        advice="find the library that switches this on (one built with -ffast-math; look at LD_PRELOAD)",
        required=True,
    )


def _numba_cache() -> Finding:
    from qpibench.arithmetic.compiled import ADVICE
    from qpibench.families.eq7 import superpose

    what, advice = "Numba cache", f"{ADVICE}, or every start compiles again"
    if superpose.stats.cache_path is None:
        return Finding(what=what, found="Numba finds no folder that can be written to", advice=advice)
    return _cache(what, Path(superpose.stats.cache_path), advice=advice)


def _cache(what: str, folder: Path | None, *, advice: str) -> Finding:
    """Return whether files can be written to a folder, or to the folder in which it would be created."""
    if folder is None:
        return Finding(what=what, found="the user has no home folder", advice=advice)
    place = next(each for each in (folder, *folder.parents) if os.path.exists(each))
    try:
        with tempfile.TemporaryFile(dir=place):
            return Finding(what=what, found=str(folder))
    except OSError as error:
        return Finding(what=what, found=f"{folder}: {error.strerror}", advice=advice)


def _disk_space(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    return Finding(
        what="disk space here",
        found=f"{free / 1e9:.1f} GB free in {folder}",
        advice="free some space: the release 'paper' takes 0.9 GB" if free < NEEDED_BYTES else "",
    )


def _gpu() -> list[Finding]:
    """Check everything that ``--gpu`` needs. Checking the GPU loads the CUDA kernels, which may compile them."""
    from qpibench.synthesis import nvrtc
    from qpibench.synthesis.cuda import RUN_BYTES, CudaBackend
    from qpibench.synthesis.device import Device, NoGpuError, cupy_cache_folder

    driver = _cuda_version()
    device: Device | None = None
    try:
        device = CudaBackend().device
    except NoGpuError as error:
        gpu = Finding(what="GPU", found=f"cannot be used: {error.reason}", advice=f"for --gpu only: {error.remedy}")
    except QpibenchError as error:
        gpu = Finding(what="GPU", found=f"cannot be used: {error}", advice="for --gpu only")
    else:
        taken = device.free < 4 * RUN_BYTES
        gpu = Finding(
            what="GPU",
            found=f"{device.name}, {device.free / 2**30:.1f} GiB free of {device.memory / 2**30:.1f} GiB",
            advice="end what else uses it or name another in CUDA_VISIBLE_DEVICES" if taken else "",
        )
    try:
        compiler = nvrtc.find_nvrtc(newest_major=driver[0] if driver else None)
        found = Finding(what="NVRTC", found=f"{'.'.join(map(str, compiler.version))} at {compiler.path}")
    except NoGpuError as error:
        found = Finding(what="NVRTC", found=error.reason, advice=f"for --gpu only: {error.remedy}")
    writable = "to a folder that can be written to"
    return [
        _torch(beside_gpu=device is not None),
        _driver(driver),
        _cupy(),
        _cache("CuPy cache", cupy_cache_folder(), advice=f"for --gpu only: set CUPY_CACHE_DIR {writable}"),
        found,
        _cache(
            "CUDA kernel cache",
            nvrtc.cache_folder(),
            advice=f"for --gpu only: set QPIBENCH_CACHE_DIR {writable}, or every start compiles anew",
        ),
        gpu,
    ]


def _torch(*, beside_gpu: bool) -> Finding:
    try:
        import torch
    except Exception as error:  # a shared library of the package may be missing
        missing = isinstance(error, ModuleNotFoundError)
        found = "not installed" if missing else f"cannot be imported: {reason(error)}"
        return Finding(what="torch", found=found, advice="for networks only: pip install 'qpibench[torch]'")
    has_cuda = torch.cuda.is_available()
    return Finding(
        what="torch",
        found=f"{torch.__version__}, {'with' if has_cuda else 'without'} CUDA",
        advice="for qpibench.stream on the GPU: install PyTorch with CUDA" if beside_gpu and not has_cuda else "",
    )


def _cuda_version() -> tuple[int, int] | None:
    """Return the newest version of CUDA that the driver reports; None without a driver."""
    version = ctypes.c_int()
    try:
        ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(version))
    except OSError:
        return None
    return version.value // 1000, version.value % 1000 // 10


def _driver(version: tuple[int, int] | None) -> Finding:
    if version is None:
        return Finding(what="CUDA driver", found="not installed", advice="for --gpu only: install the GPU's driver")
    return Finding(what="CUDA driver", found=f"supports CUDA {version[0]}.{version[1]}")


def _cupy() -> Finding:
    from qpibench.synthesis.device import NoGpuError, cupy_wheels, require_one_cupy

    found = ", ".join(cupy_wheels()) or "not installed"
    try:
        require_one_cupy()
    except NoGpuError as error:
        return Finding(what="CuPy", found=found, advice=f"for --gpu only: {error.remedy}")
    return Finding(what="CuPy", found=found)
