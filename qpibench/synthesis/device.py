"""Find a usable GPU by using it, because CuPy imports without a driver and fails only at the first call."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from qpibench.errors import QpibenchError, UnavailableError
from qpibench.home import home

_WHEELS = ("cupy", "cupy-cuda11x", "cupy-cuda12x", "cupy-cuda13x")
_OLDEST_CUDA = 12


class NoGpuError(UnavailableError):
    """The GPU cannot be used.

    Attributes
    ----------
    reason, remedy
        Why it cannot be used, and what to do about it.
    """

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(f"The GPU cannot be used: {reason}; {remedy}, or leave --gpu away to use the CPU (same bits).")
        self.reason = reason
        self.remedy = remedy


@dataclass(frozen=True, kw_only=True)
class Device:
    """The GPU in use: the first that ``CUDA_VISIBLE_DEVICES`` shows.

    Attributes
    ----------
    name
        Product name.
    capability
        Compute capability, such as 90.
    memory, free
        Total memory in bytes, and free memory in bytes at the time of the query.
    cuda
        The newest version of CUDA that its driver supports, such as (13, 0).
    """

    name: str
    capability: int
    memory: int
    free: int
    cuda: tuple[int, int]


def find_device() -> Device:
    """Return the GPU after a successful call to it.

    Raises
    ------
    NoGpuError
        If none can be used: CuPy is not installed or installed twice, there is no driver or one too old for CuPy, there
        is no device, or the device does not respond.
    """
    require_one_cupy()
    try:
        import cupy
    except Exception as error:
        # The import fails for many reasons, such as a missing library or a cache folder that cannot be created.
        remedy = (
            "set CUPY_CACHE_DIR to a folder that can be written to" if isinstance(error, OSError) else _install(None)
        )
        raise NoGpuError(f"CuPy cannot be imported ({_line(error)})", remedy) from error
    try:
        runtime = cupy.cuda.runtime
        driver = runtime.driverGetVersion()
        _require_driver(driver, built_for=runtime.runtimeGetVersion() // 1000)
        if not runtime.getDeviceCount():
            raise NoGpuError("the driver finds no device", _look_for_device())
        properties = runtime.getDeviceProperties(0)
        free, memory = cupy.cuda.Device(0).mem_info  # the first call that needs the device itself
    except NoGpuError:
        raise
    except Exception as error:
        raise NoGpuError(f"it does not respond ({_line(error)})", _look_for_device()) from error
    return Device(
        name=properties["name"].decode(),
        capability=10 * properties["major"] + properties["minor"],
        memory=memory,
        free=free,
        cuda=(driver // 1000, driver % 1000 // 10),
    )


def device_count() -> int:
    """Return how many GPUs this process may use; raises as :func:`find_device`."""
    find_device()
    import cupy

    return int(cupy.cuda.runtime.getDeviceCount())


def cupy_wheels() -> tuple[str, ...]:
    """Installed wheels of CuPy with their versions; several overwrite each other's files."""
    found = []
    for wheel in _WHEELS:
        try:
            found.append(f"{wheel} {metadata.version(wheel)}")
        except metadata.PackageNotFoundError:
            continue
    return tuple(found)


def cupy_cache_folder() -> Path | None:
    """Folder of the code that CuPy compiles, if there is one; the import of CuPy fails if it cannot be created."""
    if chosen := os.environ.get("CUPY_CACHE_DIR"):
        return Path(chosen)
    found = home()
    return found / ".cupy" / "kernel_cache" if found else None


def require_one_cupy() -> None:
    """Raise NoGpuError if there is no wheel of CuPy, or more than one."""
    installed = cupy_wheels()
    if not installed:
        raise NoGpuError("CuPy is not installed", _install(None))
    if len(installed) > 1:
        names = [wheel.split()[0] for wheel in installed]
        raise NoGpuError(
            f"{' and '.join(installed)} are installed and overwrite each other",
            f"pip uninstall {' '.join(names)}, then {_install(None)}",
        )


def _require_driver(driver: int, *, built_for: int) -> None:
    supported = driver // 1000
    if not driver:
        raise NoGpuError("no NVIDIA driver is installed", "install the driver of the GPU")
    if supported < built_for:
        remedy = "update the driver"
        if supported >= _OLDEST_CUDA:
            remedy += f", or pip uninstall the present CuPy and {_install(supported)}"
        raise NoGpuError(
            f"CuPy is built for CUDA {built_for}, and the driver supports CUDA {supported}.{driver % 1000 // 10}",
            remedy,
        )


def _install(cuda: int | None) -> str:
    if cuda is not None:
        return f"pip install 'qpibench[gpu-cuda{cuda}]'"
    return f"{_install(12)} or {_install(13)}, whichever CUDA version nvidia-smi shows"


def _look_for_device() -> str:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return f"see whether nvidia-smi lists the one that CUDA_VISIBLE_DEVICES={visible!r} names"
    return "see whether nvidia-smi lists it"


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}"


@contextmanager
def explained_failures(advice: str) -> Iterator[None]:
    """Turn failures of the GPU within the context into errors in a sentence, which ends with advice."""
    try:
        yield
    except MemoryError as error:
        raise NoGpuError(
            f"its free memory is too small ({error})", "end what else uses it or name another in CUDA_VISIBLE_DEVICES"
        ) from error
    except RuntimeError as error:
        # CuPy reports a failed allocation of pinned memory as an error of the CUDA runtime.
        if "cudaErrorMemoryAllocation" in str(error):
            raise NoGpuError(f"memory for copying cannot be had ({error})", "end what else uses memory") from error
        raise QpibenchError(f"The GPU failed in the middle of the run ({error}); {advice}.") from error
