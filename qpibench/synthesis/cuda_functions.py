"""The CUDA kernels of ``kernels_cuda/``: compiled and loaded on first use, and launched."""

from __future__ import annotations

import threading
from typing import Any

from qpibench.locator import locate
from qpibench.synthesis.device import NoGpuError
from qpibench.synthesis.gpu_kernels import THREADS
from qpibench.synthesis.nvrtc import Nvrtc, cached_cubin

OF_ALL = ("draw_scatterers", "activation_maps", "clean_variance", "kernel_rms", "superpose_table")
"""CUDA kernels that are the same for all kernel families. The others are compiled with a family's header or belong to
corruptions."""


class CudaFunctions:
    """The compiled CUDA kernels of a device. Several threads may call it at once.

    Parameters
    ----------
    cupy
        The module.
    nvrtc
        The compiler.
    capability
        The compute capability to compile for; see :func:`compiled_capability`.
    """

    def __init__(self, cupy: Any, nvrtc: Nvrtc, capability: int) -> None:
        self._cupy, self._nvrtc, self._capability = cupy, nvrtc, capability
        self._functions: dict[tuple[str, str], Any] = {}
        self._loading = threading.Lock()

    def launch(self, name: tuple[str, ...], threads: int, *arguments: Any) -> None:
        """Launch a CUDA kernel, named as for `function`, with at least so many threads in blocks of ``THREADS``."""
        self.function(*name)((-(-threads // THREADS),), (THREADS,), arguments)

    def function(self, name: str, family: str = "") -> Any:
        """A CUDA kernel, for a kernel family if it depends on one; compiled and loaded on first use."""
        with self._loading:
            if (name, family) not in self._functions:
                self._functions[name, family] = self._load(name, family)
            return self._functions[name, family]

    def _load(self, name: str, family: str) -> Any:
        source = locate("kernels_cuda") / f"{name}.cu"
        cubin = cached_cubin(self._nvrtc, source, self._capability, family=family)
        try:
            module = self._cupy.cuda.Module()
            module.load(cubin)
            return module.get_function(name)
        except RuntimeError as error:
            raise NoGpuError(
                f"the driver does not load the CUDA kernel {name} ({error})", "update the driver"
            ) from error


def compiled_capability(nvrtc: Nvrtc, capability: int) -> int:
    """The compute capability to compile for; code runs on devices of the same generation that are not older."""
    known = [each for each in nvrtc.architectures() if each // 10 == capability // 10 and each <= capability]
    if not known:
        version = ".".join(map(str, nvrtc.version))
        raise NoGpuError(
            f"NVRTC {version} at '{nvrtc.path}' does not compile for compute capability {capability / 10}",
            "pip install --upgrade nvidia-cuda-nvrtc",
        )
    return max(known)
