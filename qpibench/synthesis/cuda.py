"""The GPU backend: launches the CUDA kernels of ``kernels_cuda/`` through CuPy; gives the bits of the CPU backend."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from qpibench.arithmetic.streams import Domain, stream_key
from qpibench.corruptions import Draft, OnGpu, is_of_instrument
from qpibench.errors import UnavailableError
from qpibench.families import get_family, is_on_lattice
from qpibench.locator import locate
from qpibench.specs import ReleaseSpec
from qpibench.specs.columns import Applied, applied_corruptions, scatterer_capacity
from qpibench.specs.instrument import border_px, instrument
from qpibench.specs.species import species_count
from qpibench.synthesis.contract import Kernels, Observations
from qpibench.synthesis.cpu import CpuBackend
from qpibench.synthesis.cuda_functions import OF_ALL, CudaFunctions, compiled_capability
from qpibench.synthesis.device import explained_failures, find_device
from qpibench.synthesis.drafts import (
    axes_with,
    core_radius_nm,
    corrupt_images,
    corrupt_scatterers,
    corrupt_told,
    draw,
    finish,
    kernel_rms,
    undrawn,
)
from qpibench.synthesis.draws import scatterer_draws
from qpibench.synthesis.fields import PLACES, Wanted, absent_columns, needs_kernel_rms
from qpibench.synthesis.gpu_kernels import THREADS, Gpu, GpuKernels, gpu_kernels, require_gpu_family
from qpibench.synthesis.nvrtc import find_nvrtc
from qpibench.synthesis.shown import check_offsets
from qpibench.synthesis.transfers import Transfers

RUN_BYTES = 64 << 20
"""Observations are computed and copied to the host in runs of about this many bytes."""

CLEAN_VARIANCE = "clean variance"
"""Name of the variances among the arrays of a batch; no column can have it, because it has a space."""

_RUNS_UNDER_WAY = 2


class CudaBackend:
    """Makes releases on the GPU. Several threads may call it at once.

    Raises
    ------
    NoGpuError
        If no GPU can be used, or there is no compiler for it.
    """

    name = "cuda"

    def __init__(self) -> None:
        self.device = find_device()
        nvrtc = find_nvrtc(newest_major=self.device.cuda[0])
        capability = compiled_capability(nvrtc, self.device.capability)
        import cupy
        import cupyx

        self._cupy = cupy
        self._transfers = Transfers(cupy, cupyx)
        functions = CudaFunctions(cupy, nvrtc, capability)
        self._launch = functions.launch
        # CUDA kernels belong to the device that loaded them, and other libraries may have selected another one.
        with cupy.cuda.Device(0):
            for name in OF_ALL:
                functions.function(name)
            one, zero = cupy.asarray(np.ones(1, np.float32)), cupy.asarray(np.zeros(1, np.int32))
            self._unread = cupy.asarray(np.full(1, np.nan))
        self._gpu = Gpu(cupy=cupy, function=functions.function, launch=functions.launch, one=one, zero=zero)
        self._cpu = CpuBackend()
        # While the images of one run are copied to the host, the next run is computed.
        self._runs = ThreadPoolExecutor(_RUNS_UNDER_WAY, thread_name_prefix="qpibench-cuda")

    def kernels(self, spec: ReleaseSpec, *, domain: Domain = "benchmark") -> Kernels:
        """All kernels of the release. The CPU makes them, because they are few; the bits are the same."""
        require_gpu_family(spec)
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
        require_gpu_family(spec)
        draft, extra = self._draft(spec, start, stop, domain=domain)
        on_device, on_host = _corruptions_of_images(spec)
        border = border_px(spec, _of_instrument(on_host))
        draft.image = np.empty((stop - start, spec.grid.ny + 2 * border, spec.grid.nx + 2 * border), np.float32)
        if on_host and not _of_instrument(on_host):
            draft.variance = np.empty(stop - start, np.float64)
        if needs_kernel_rms(spec):
            draft.kernel_rms = kernel_rms(spec, kernels, start, stop)
        extra |= {
            column.name: np.empty(stop - start, column.dtype)
            for applied in on_device
            for column in applied.corruption.COLUMNS
            if column.in_streams
        }
        border = border_px(spec, instrument(spec))
        pixels = (spec.grid.ny + 2 * border) * (spec.grid.nx + 2 * border)
        step = max(1, RUN_BYTES // (4 * pixels + 16 * scatterer_capacity(spec)))
        runs = [
            self._runs.submit(
                copy_context().run, self._run, spec, kernels, domain, draft, extra, first, min(first + step, len(draft))
            )
            for first in range(0, len(draft), step)
        ]
        try:
            for run in runs:
                run.result()
        finally:
            for run in runs:
                run.cancel()
        extra |= corrupt_images(spec, draft, on_host)
        return finish(spec, kernels, draft, extra)

    def _draft(
        self, spec: ReleaseSpec, start: int, stop: int, *, domain: Domain
    ) -> tuple[Draft, dict[str, NDArray[Any]]]:
        """Draft whose scatterers the device will draw; if corruptions change them, they are drawn here."""
        if _are_drawn_on_host(spec):
            drawn = draw(spec, start, stop, domain=domain)
            extra = corrupt_scatterers(spec, drawn)
            check_offsets(spec, axes_with(spec, border_px(spec, instrument(spec))), drawn.position_nm)
            return drawn, extra | corrupt_told(spec, drawn)
        return undrawn(spec, start, stop, domain=domain), {}

    def fresh(
        self, spec: ReleaseSpec, start: int, stop: int, *, fields: Sequence[str], map_mode: str
    ) -> dict[str, Any]:
        """Training images ``start`` to ``stop`` as CuPy arrays, queued on CuPy's current CUDA stream.

        Their memory is reused in the order of that stream. To use them on another stream, call this in `on_stream`.

        See :class:`qpibench.synthesis.contract.Backend`; raises what :meth:`observations` raises.
        """
        require_gpu_family(spec)
        wanted = Wanted.by(spec, fields)
        _require_cuda_kernels(spec, wanted)
        with explained_failures("the stream resumes at any step, in a new process"), self._cupy.cuda.Device(0):
            made, scatterers = absent_columns(fields, stop - start, spec), None
            if _are_drawn_on_host(spec):
                draft, columns = self._draft(spec, start, stop, domain="training")
                made, scatterers = made | columns, self._transfers.upload(draft)
            made = {name: self._cupy.asarray(values) for name, values in made.items()}
            made |= self._make(
                spec, start, stop, domain="training", wanted=wanted, map_mode=map_mode, scatterers=scatterers
            )
            made.setdefault("told_position_nm", made["position_nm"])
            return {field: made[field] for field in fields}

    @contextmanager
    def on_stream(self, pointer: int) -> Iterator[None]:
        """Make the CUDA stream at this address, such as PyTorch's, the current stream of CuPy."""
        stream = self._cupy.cuda.Stream
        with self._cupy.cuda.Device(0):
            if hasattr(stream, "from_external"):
                external = stream.from_external(SimpleNamespace(__cuda_stream__=lambda: (0, pointer)))
            else:  # before CuPy 14
                external = self._cupy.cuda.ExternalStream(pointer)
            with external:
                yield

    def _make(
        self,
        spec: ReleaseSpec,
        start: int,
        stop: int,
        *,
        domain: Domain,
        wanted: Wanted,
        map_mode: str = "",
        scatterers: Mapping[str, Any] | None = None,
        kernels: Kernels | None = None,
        rms: Any = None,
    ) -> dict[str, Any]:
        """Launch the CUDA kernels for what is wanted of a batch.

        The scatterers are those of :meth:`Transfers.upload`; they, and the kernels, are drawn if they are None.
        """
        shown = gpu_kernels(self._gpu, spec, start, stop, domain=domain, kernels=kernels)
        placed = self._drawn(spec, start, stop, domain=domain) if scatterers is None else scatterers
        made = shown.fields | {name: values for name, values in placed.items() if name in PLACES}
        if wanted.kernel_images:
            made["kernel"] = self._kernel_images(spec, start, shown, domain=domain)
        if wanted.kernel_rms:
            rms = self._kernel_rms(spec, made["kernel"], stop - start)
        if wanted.images:
            made |= self._images(spec, start, shown, placed, self._unread if rms is None else rms, domain=domain)
        if wanted.activation_maps:
            made["activation_map"] = self._activation_maps(spec, placed, map_mode)
        return made

    def _kernel_rms(self, spec: ReleaseSpec, image: Any, count: int) -> Any:
        """Launch the CUDA kernel for the roots of the mean squares of the kernels, or pairs, of some observations."""
        rms = self._cupy.empty(count, np.float64)
        pixels = species_count(spec) * spec.grid.ny * spec.grid.nx
        self._launch(("kernel_rms",), count * THREADS, np.int32(pixels), image, rms)
        return rms

    def _activation_maps(self, spec: ReleaseSpec, placed: Mapping[str, Any], map_mode: str) -> Any:
        """Launch the CUDA kernel for the maps of the told positions."""
        grid = spec.grid
        told = placed.get("told_position_nm", placed["position_nm"])
        n_told = placed.get("n_told", placed["n_scatterers"])
        count, most = told.shape[:2]
        image = self._cupy.empty((count, *grid.shape), np.float32)
        self._launch(
            ("activation_maps",),
            count * THREADS,
            *(np.int32(map_mode == "paper"), np.float64(grid.size_x_nm), np.float64(grid.size_y_nm)),
            *(np.int32(grid.nx), np.int32(grid.ny), told, n_told, np.int32(most)),
            *(self._cupy.empty((count, most), np.int32), image),
        )
        return image

    def _kernel_images(self, spec: ReleaseSpec, start: int, shown: GpuKernels, *, domain: Domain) -> Any:
        """Launch the CUDA kernels for the images of the kernels; of two species (observation, species, y, x)."""
        applied, count = instrument(spec, in_kernels=True), species_count(spec)
        image = shown.images(axes_with(spec, border_px(spec, applied)))
        # The instrument is the same for both species.
        images = start * count, spec.observations_per_kernel * count
        for each in applied:
            image, _ = self._corrupt(spec, each, images, image, (), domain=domain)
        return image if count == 1 else image.reshape(-1, count, *spec.grid.shape)

    def _images(
        self, spec: ReleaseSpec, start: int, shown: GpuKernels, placed: Mapping[str, Any], rms: Any, *, domain: Domain
    ) -> dict[str, Any]:
        """Launch the CUDA kernels for images, their corruptions on the device, and the columns of these."""
        on_device, on_host = _corruptions_of_images(spec)
        image = shown.superpose(axes_with(spec, border_px(spec, instrument(spec))), placed)
        count = image.shape[0]
        made: dict[str, Any] = {}
        signal: tuple[Any, ...] = ()
        for each in [*on_device, *on_host]:
            if not is_of_instrument(each.corruption) and not signal:
                signal = self._cupy.empty(count, np.float64), rms
                core_nm = np.float64(core_radius_nm(spec))
                places = placed["position_nm"], placed["n_scatterers"], np.int32(placed["position_nm"].shape[1])
                axes = self._gpu.axes(axes_with(spec, 0))
                self._launch(("clean_variance",), count * THREADS, *axes, *places, core_nm, image, signal[0])
                made[CLEAN_VARIANCE] = signal[0]
            if each in on_host:
                break
            images = start, spec.observations_per_kernel
            image, columns = self._corrupt(spec, each, images, image, signal, domain=domain)
            made |= columns
        return made | {"image": image}

    def _drawn(self, spec: ReleaseSpec, start: int, stop: int, *, domain: Domain) -> dict[str, Any]:
        """Launch the CUDA kernel that draws the scatterers."""
        draws = scatterer_draws(spec, domain=domain)
        made = {
            "n_scatterers": self._cupy.empty(stop - start, np.int64),
            "position_nm": self._cupy.empty((stop - start, draws.most, 2), np.float64),
        }
        self._launch(
            ("draw_scatterers",),
            (stop - start) * ((draws.most + 1) // 2),
            *(np.uint64(start), np.uint64(stop - start), np.uint32(draws.per_kernel)),
            *(draws.count_key, draws.position_key, np.int32(draws.fewest), np.int32(draws.most)),
            *(np.float64(draws.half_y_nm), np.float64(draws.half_x_nm), made["n_scatterers"], made["position_nm"]),
        )
        return made

    def _corrupt(
        self,
        spec: ReleaseSpec,
        applied: Applied,
        images: tuple[int, int],
        image: Any,
        signal: tuple[Any, ...],
        *,
        domain: Domain,
    ) -> tuple[Any, dict[str, Any]]:
        """Launch the CUDA kernel of a corruption; return the images and its columns.

        ``images`` is the index of the first image, and the number of images of a kernel. The signal is variances and
        rms, which corruptions of the instrument do not need.
        """
        count, height, width = image.shape
        columns = [column for column in applied.corruption.COLUMNS if column.in_streams]
        made = {column.name: self._cupy.empty(count, np.dtype(column.dtype)) for column in columns}
        start, per_kernel = images
        pixels = (*signal, image)
        if is_of_instrument(applied.corruption):
            border = border_px(spec, (applied,))
            width, height = width - 2 * border, height - 2 * border
            source, image = image, self._cupy.empty((count, height, width), np.float32)
            pixels = (np.int32(border), source, image)
        self._launch(
            (applied.name,),
            count * THREADS,
            *(np.uint64(start), np.uint32(per_kernel)),
            *cast(OnGpu, applied.corruption).numbers(
                applied.settings, partial(stream_key, domain, spec.seed), spec.grid
            ),
            *(np.int32(width), np.int32(height), *pixels, *made.values()),
        )
        return image, made

    def _run(
        self,
        spec: ReleaseSpec,
        kernels: Kernels,
        domain: Domain,
        draft: Draft,
        extra: Mapping[str, Any],
        first: int,
        last: int,
    ) -> None:
        """Fill rows ``first`` to ``last`` of a draft and of its columns."""
        with explained_failures("what is written is kept: continue with --resume"), self._transfers.stream() as stream:
            is_drawn = _are_drawn_on_host(spec)
            start, stop = draft.start + first, draft.start + last
            scatterers = self._transfers.upload(draft, slice(first, last)) if is_drawn else None
            rms = self._cupy.asarray(draft.kernel_rms[first:last]) if len(draft.kernel_rms) else None
            made = self._make(
                spec,
                start,
                stop,
                domain=domain,
                wanted=Wanted(images=True),
                scatterers=scatterers,
                kernels=kernels,
                rms=rms,
            )
            targets = {"image": draft.image} | {name: values for name, values in extra.items() if name in made}
            if len(draft.variance):
                targets[CLEAN_VARIANCE] = draft.variance
            if not is_drawn:
                targets |= {"n_scatterers": draft.n_scatterers, "position_nm": draft.position_nm}
            arrived = [(rows, self._transfers.download(name, made[name], stream)) for name, rows in targets.items()]
            stream.synchronize()
        for rows, pinned in arrived:
            rows[first:last] = pinned


def _corruptions_of_images(spec: ReleaseSpec) -> tuple[list[Applied], list[Applied]]:
    """Corruptions that the device applies, and those from the first without a CUDA kernel on, which the CPU applies."""
    applied = list(applied_corruptions(spec, "image"))
    for place, each in enumerate(applied):
        if not (locate("kernels_cuda") / f"{each.name}.cu").is_file():
            return applied[:place], applied[place:]
    return applied, []


def _require_cuda_kernels(spec: ReleaseSpec, wanted: Wanted) -> None:
    """Raise UnavailableError if images that are wanted have a corruption without a CUDA kernel."""
    _, on_host = _corruptions_of_images(spec)
    if not wanted.images:
        needed = instrument(spec, in_kernels=True) if wanted.kernel_images else ()
        on_host = [each for each in on_host if each in needed]
    if on_host:
        raise UnavailableError(
            f"The corruption '{on_host[0].name}' has no CUDA kernel, which a stream on the GPU needs; use"
            " device='cpu' (same values)."
        )


def _of_instrument(applied: Sequence[Applied]) -> tuple[Applied, ...]:
    return tuple(each for each in applied if is_of_instrument(each.corruption))


def _are_drawn_on_host(spec: ReleaseSpec) -> bool:
    """Whether the CPU draws the scatterers.

    It does if they lie on lattice sites, keep a distance or are of two species, or corruptions change them or told
    positions.
    """
    has_changes = bool(applied_corruptions(spec, "scatterers", "told"))
    is_drawn_here = spec.species is not None or spec.scatterers.min_separation_nm is not None
    return has_changes or is_drawn_here or is_on_lattice(get_family(spec.kernels.family))
