"""The GPU backend: the CUDA kernels of ``kernels_cuda/``, compiled once, launched through CuPy; the bits of the CPU."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qpibench.arithmetic.streams import Domain
from qpibench.errors import QpibenchError
from qpibench.locator import locate
from qpibench.specs import ReleaseSpec
from qpibench.synthesis.contract import Kernels, Observations
from qpibench.synthesis.cpu import CpuBackend, noise_over_kernel_rms
from qpibench.synthesis.device import NoGpuError, find_device
from qpibench.synthesis.draws import draw_folds, noise_draws, observation_draws, parameter_key
from qpibench.synthesis.noise import NOISE_FIELDS
from qpibench.synthesis.nvrtc import Nvrtc, cached_cubin, find_nvrtc

RUN_BYTES = 64 << 20
"""Observations pass through the device, and through pinned memory, in runs of about so many bytes."""

CUDA_KERNELS = ("draw_parameters", "draw_scatterers", "superpose", "white_noise", "kernel_images", "activation_maps")
WARP, THREADS = 32, 256
"""Threads in a warp, and in a block of all CUDA kernels but superpose."""

PATCH, PATCHES = 4, 16
"""Pixels of a thread of superpose, and most patches of a tile, in either direction."""

_RUNS_UNDER_WAY = 2


class CudaBackend:
    """Makes releases on the GPU; any number of threads may call it at once.

    Raises
    ------
    NoGpuError
        If there is no GPU that works, or no compiler for it.
    """

    name = "cuda"

    def __init__(self) -> None:
        self.device = find_device()
        nvrtc = find_nvrtc(newest_major=self.device.cuda[0])
        capability = _compiled_capability(nvrtc, self.device.capability)
        import cupy
        import cupyx

        self._cupy, self._cupyx = cupy, cupyx
        # Whatever device another library has made current: CUDA kernels belong to the one that they were loaded on.
        with cupy.cuda.Device(0):
            self._functions = {name: self._load(nvrtc, capability, name) for name in CUDA_KERNELS}
        self._cpu = CpuBackend()
        # While the images of one run travel to the host, the next run is computed.
        self._runs = ThreadPoolExecutor(_RUNS_UNDER_WAY, thread_name_prefix="qpibench-cuda")
        self._of_thread = threading.local()

    def kernels(self, spec: ReleaseSpec, *, domain: Domain = "benchmark") -> Kernels:
        """All kernels of the release, made by the CPU: they are few, and of the same bits."""
        return self._cpu.kernels(spec, domain=domain)

    def observations(
        self, spec: ReleaseSpec, kernels: Kernels, start: int, stop: int, *, domain: Domain = "benchmark"
    ) -> Observations:
        """Observations ``start`` to ``stop``; see :class:`qpibench.synthesis.contract.Backend`.

        Raises
        ------
        NoGpuError
            If the memory of the GPU is too small.
        QpibenchError
            If the GPU fails.
        """
        count, most = stop - start, spec.scatterers.max
        is_noisy = spec.white_noise is not None
        made = Observations(
            image=np.empty((count, *spec.grid.shape), np.float32),
            kernel=(np.arange(start, stop) // spec.observations_per_kernel).astype(np.int32),
            n_scatterers=np.empty(count, np.int32),
            position_nm=np.empty((count, most, 2), np.float64),
            snr_db=np.empty(count, np.float64) if is_noisy else None,
            noise_sigma=np.empty(count, np.float32) if is_noisy else None,
        )
        step = max(1, RUN_BYTES // (4 * spec.grid.ny * spec.grid.nx + 16 * most))
        runs = [
            self._runs.submit(self._run, spec, domain, start, made, first, min(first + step, count))
            for first in range(0, count, step)
        ]
        try:
            for run in runs:
                run.result()
        finally:
            for run in runs:
                run.cancel()
        if made.noise_sigma is None:
            return made
        ratio = noise_over_kernel_rms(kernels, made.kernel, made.noise_sigma)
        return replace(made, noise_over_kernel_rms=ratio)

    def fresh(
        self, spec: ReleaseSpec, start: int, stop: int, *, fields: Sequence[str], map_mode: str
    ) -> dict[str, Any]:
        """Training images ``start`` to ``stop`` as CuPy arrays, made on CuPy's current stream without waiting.

        Their memory is used again in the order of that stream: who uses them on another one calls this in `on_stream`.

        See :class:`qpibench.synthesis.contract.Backend`; raises as :meth:`observations`.
        """
        with _explained_failures("the stream resumes at any step, in a new process"), self._cupy.cuda.Device(0):
            made = self._make(spec, start, stop, domain="training", fields=fields, map_mode=map_mode)
            return {field: made[field] for field in fields}

    @contextmanager
    def on_stream(self, pointer: int) -> Iterator[None]:
        """Make CuPy's current stream the one of this address, such as PyTorch's."""
        stream = self._cupy.cuda.Stream
        with self._cupy.cuda.Device(0):
            if hasattr(stream, "from_external"):
                external = stream.from_external(SimpleNamespace(__cuda_stream__=lambda: (0, pointer)))
            else:  # before CuPy 14
                external = self._cupy.cuda.ExternalStream(pointer)
            with external:
                yield

    def _make(
        self, spec: ReleaseSpec, start: int, stop: int, *, domain: Domain, fields: Sequence[str], map_mode: str = ""
    ) -> dict[str, Any]:
        """Launch what makes the fields of :data:`qpibench.synthesis.stream.FIELDS`, and those that they need."""
        cupy, launch, grid = self._cupy, self._launch, spec.grid
        draws = observation_draws(spec, domain=domain)
        count = np.uint64(stop - start)
        first, per_kernel = np.uint64(start), np.uint32(draws.per_kernel)
        most = np.int32(draws.most)
        made = {name: cupy.empty(stop - start, np.int64) for name in ("fold", "kernel_index", "index", "n_scatterers")}
        made |= {name: cupy.empty(stop - start, np.float64) for name in ("phi1", "B", "phi2", "C")}
        made["position_nm"] = cupy.empty((stop - start, draws.most, 2), np.float64)
        table = cupy.empty((stop - start, 5), np.float64)
        low_high = [np.array(limits) for limits in (spec.kernels.wavelength_nm, spec.kernels.decay_nm)]
        launch(
            "draw_parameters",
            stop - start,
            *(first, count, per_kernel, parameter_key(spec, domain=domain)),
            *(number for low, high in low_high for number in (low, high - low)),
            cupy.asarray(draw_folds(spec, start // draws.per_kernel, (stop - 1) // draws.per_kernel + 1)),
            *(made[name] for name in ("fold", "phi1", "B", "phi2", "C", "kernel_index", "index")),
            table,
        )
        launch(
            "draw_scatterers",
            (stop - start) * ((draws.most + 1) // 2),
            *(first, count, per_kernel, draws.count_key, draws.position_key, np.int32(draws.fewest), most),
            *(np.float64(draws.half_y_nm), np.float64(draws.half_x_nm), made["n_scatterers"], made["position_nm"]),
        )
        pixels = (np.int32(grid.nx), np.int32(grid.ny))
        places = (made["position_nm"], made["n_scatterers"], most)
        for name in ("image", "kernel", "activation_map"):
            if name in fields or (name == "image" and not NOISE_FIELDS.isdisjoint(fields)):
                made[name] = cupy.empty((stop - start, *grid.shape), np.float32)
        if "image" in made or "kernel" in made:
            x_y = cupy.asarray(np.concatenate([grid.x_nm, grid.y_nm]))
            axes = (x_y[: grid.nx], x_y[grid.nx :], *pixels)
        if "image" in made:
            tiles, across, down, threads = tiling(grid.nx, grid.ny)
            arguments = (*axes, np.int32(across), np.int32(down), *places, made["fold"], table, made["image"])
            self._functions["superpose"](((stop - start) * tiles,), (threads,), arguments)
            if spec.white_noise is not None or not NOISE_FIELDS.isdisjoint(fields):
                made |= self._noise(spec, start, made["image"], domain=domain)
        if "kernel" in made:
            threads = (stop - start) * grid.ny * grid.nx
            launch("kernel_images", threads, *axes, count, made["fold"], table, made["kernel"])
        if "activation_map" in made:
            launch(
                "activation_maps",
                (stop - start) * THREADS,
                *(np.int32(map_mode == "paper"), np.float64(grid.size_x_nm), np.float64(grid.size_y_nm), *pixels),
                *(*places, cupy.empty((stop - start, draws.most), np.int32), made["activation_map"]),
            )
        return made

    def _noise(self, spec: ReleaseSpec, start: int, image: Any, *, domain: Domain) -> dict[str, Any]:
        """Launch what corrupts clean images from observation ``start`` on; the fields that tell of it."""
        cupy, count = self._cupy, image.shape[0]
        draws = noise_draws(spec, domain=domain)
        if draws is None:
            return {"snr_db": cupy.asarray(np.full(count, np.inf)), "noise_sigma": cupy.asarray(np.zeros(count, "f4"))}
        made = {"snr_db": cupy.empty(count, np.float64), "noise_sigma": cupy.empty(count, np.float32)}
        self._launch(
            "white_noise",
            count * THREADS,
            *(np.uint64(start), np.uint32(spec.observations_per_kernel), draws.ratio_key, draws.normal_key),
            *(np.float64(draws.low_db), np.float64(draws.span_db), np.int32(spec.grid.ny * spec.grid.nx), image),
            *(made["snr_db"], made["noise_sigma"]),
        )
        return made

    def _launch(self, name: str, threads: int, *arguments: Any) -> None:
        self._functions[name]((-(-threads // THREADS),), (THREADS,), arguments)

    def _load(self, nvrtc: Nvrtc, capability: int, name: str) -> Any:
        cubin = cached_cubin(nvrtc, locate("kernels_cuda") / f"{name}.cu", capability)
        try:
            module = self._cupy.cuda.Module()
            module.load(cubin)
            return module.get_function(name)
        except RuntimeError as error:
            raise NoGpuError(
                f"the driver does not load the CUDA kernel {name} ({error})", "update the driver"
            ) from error

    def _run(self, spec: ReleaseSpec, domain: Domain, start: int, made: Observations, first: int, last: int) -> None:
        """Fill rows ``first`` to ``last`` of `made`, whose first row is observation ``start``."""
        with _explained_failures("what is written is kept: continue with --resume"), self._stream() as stream:
            on_device = self._make(spec, start + first, start + last, domain=domain, fields=("image",))
            arrived = [
                (getattr(made, name), self._download(name, on_device[name], stream))
                for name in ("image", "n_scatterers", "position_nm", *(NOISE_FIELDS if spec.white_noise else ()))
            ]
            stream.synchronize()
        for rows, pinned in arrived:
            rows[first:last] = pinned

    def _stream(self) -> Any:
        if not hasattr(self._of_thread, "stream"):
            self._of_thread.stream = self._cupy.cuda.Stream(non_blocking=True)
            self._of_thread.pinned = {}
        return self._of_thread.stream

    def _download(self, name: str, array: Any, stream: Any) -> NDArray[Any]:
        """Start to copy an array of the device to pinned memory, which is overwritten by this thread's next run."""
        pinned: dict[str, NDArray[np.uint8]] = self._of_thread.pinned
        if name not in pinned or pinned[name].nbytes < array.nbytes:
            pinned[name] = self._cupyx.empty_pinned(array.nbytes, np.uint8)
        target: NDArray[Any] = pinned[name][: array.nbytes].view(array.dtype).reshape(array.shape)
        array.data.copy_to_host_async(target.ctypes.data, array.nbytes, stream)
        return target


def tiling(nx: int, ny: int) -> tuple[int, int, int, int]:
    """Tiles of an image, patches of a tile across and down, and threads in its block; see kernels_cuda/superpose.cu."""
    (tiles_x, across), (tiles_y, down) = (_shared(-(-pixels // PATCH)) for pixels in (nx, ny))
    threads = max(across * down, PATCH * (across + down))
    return tiles_x * tiles_y, across, down, -(-threads // WARP) * WARP


def _shared(patches: int) -> tuple[int, int]:
    """Number of tiles along an axis, and patches of each, as even as can be."""
    tiles = -(-patches // PATCHES)
    return tiles, -(-patches // tiles)


def _compiled_capability(nvrtc: Nvrtc, capability: int) -> int:
    """The compute capability to compile for: code runs on devices of its own generation that are no older."""
    known = [each for each in nvrtc.architectures() if each // 10 == capability // 10 and each <= capability]
    if not known:
        version = ".".join(map(str, nvrtc.version))
        raise NoGpuError(
            f"NVRTC {version} at '{nvrtc.path}' does not compile for compute capability {capability / 10}",
            "pip install --upgrade nvidia-cuda-nvrtc",
        )
    return max(known)


@contextmanager
def _explained_failures(advice: str) -> Iterator[None]:
    try:
        yield
    except MemoryError as error:
        raise NoGpuError(
            f"its free memory is too small ({error})", "end what else uses it or name another in CUDA_VISIBLE_DEVICES"
        ) from error
    except RuntimeError as error:
        # CuPy reports pinned memory that cannot be had as an error of the CUDA runtime.
        if "cudaErrorMemoryAllocation" in str(error):
            raise NoGpuError(f"memory for copying cannot be had ({error})", "end what else uses memory") from error
        raise QpibenchError(f"The GPU failed in the middle of the run ({error}); {advice}.") from error
