"""Kernels as the GPU makes images of them: by a formula, or from tables that the CPU makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from qpibench.arithmetic.streams import Domain
from qpibench.arithmetic.superposition import Axes
from qpibench.errors import UnavailableError
from qpibench.families import ClosedForm, FamilyOnGpu, get_family, is_tabulated
from qpibench.locator import locate
from qpibench.specs import ReleaseSpec
from qpibench.specs.species import species_count
from qpibench.synthesis.contract import Kernels
from qpibench.synthesis.draws import parameter_key
from qpibench.synthesis.fields import columns_of_shown
from qpibench.synthesis.shown import SampledKernels, shown_kernels
from qpibench.synthesis.species import Drawn, draw_kernels, kernel_rows

WARP, THREADS = 32, 256
"""Threads of a warp, and of a block of all CUDA kernels but superpose."""

PATCH, PATCHES = 4, 16
"""In superpose, pixels of a thread and largest number of patches of a tile, in each direction."""

TILE = 32
"""Pixels of a tile of superpose_table in each direction."""

TABLE_BYTES = 256 << 20
"""Tables are copied to the device in groups of about this many bytes."""


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """What a backend gives to make arrays on its device.

    Attributes
    ----------
    cupy
        The module.
    function
        From the name of a CUDA kernel, and of a kernel family, to the compiled function.
    launch
        Launch a CUDA kernel: its name as a tuple, the number of threads, and its arguments.
    one, zero
        Arrays of the device, a single 1 in float32 and a single 0 in int32.
    """

    cupy: Any
    function: Callable[..., Any]
    launch: Callable[..., None]
    one: Any
    zero: Any

    def axes(self, axes: Axes) -> tuple[Any, Any, np.int32, np.int32]:
        """Copy the coordinates of pixels: x, y, and their numbers."""
        both = self.cupy.asarray(np.concatenate([axes.x, axes.y]))
        count = len(axes.x)
        return both[:count], both[count:], np.int32(count), np.int32(len(axes.y))

    def images(self, count: int, axes: Axes) -> Any:
        """Memory for images."""
        return self.cupy.empty((count, len(axes.y), len(axes.x)), np.float32)


class GpuKernels(Protocol):
    """The kernels that observations show, on the device.

    Attributes
    ----------
    fields
        The parameters, and ``kernel_index`` and ``index``, (observation,) each, integers as int64. Of two species all
        but the last are (observation, species).
    """

    fields: dict[str, Any]

    def images(self, axes: Axes) -> Any:
        """Images (observation, y, x) of a single scatterer at the origin; of two species (2 observation, y, x)."""

    def superpose(self, axes: Axes, placed: Mapping[str, Any]) -> Any:
        """Images (observation, y, x) of placed scatterers.

        They have ``position_nm`` and ``n_scatterers``, and maybe ``amplitude`` and ``species``.
        """


def gpu_kernels(
    gpu: Gpu, spec: ReleaseSpec, start: int, stop: int, *, domain: Domain, kernels: Kernels | None = None
) -> GpuKernels:
    """The kernels that the observations ``start`` to ``stop`` show; they are not drawn again if they are given."""
    is_sampled = is_tabulated(get_family(spec.kernels.family))
    if spec.species is None and not is_sampled:
        return _Evaluated(gpu, spec, start, stop, domain)
    kernel = np.arange(start, stop) // spec.observations_per_kernel
    first, behind = int(kernel[0]), int(kernel[-1]) + 1
    if kernels is None:
        drawn = draw_kernels(spec, domain=domain, start=first, stop=behind)
    else:
        those = slice(first * species_count(spec), behind * species_count(spec))
        drawn = Drawn(*({name: v[those] for name, v in each.items()} for each in (kernels.parameters, kernels.pairs)))
    return (_Sampled if is_sampled else _EvaluatedPairs)(gpu, spec, drawn, np.arange(start, stop), kernel)


def require_gpu_family(spec: ReleaseSpec) -> None:
    """Raise UnavailableError if the kernels of a spec cannot be shown on a GPU."""
    if spec.scatterers.superposition == "multiple":
        raise UnavailableError(
            f"Release '{spec.name}' has scatterers.superposition = \"multiple\", which no CUDA kernel makes; use the"
            " CPU (same values): --backend cpu, or device='cpu' of a stream."
        )
    name = spec.kernels.family
    if not is_tabulated(get_family(name)) and not (locate("kernels_cuda") / "families" / f"{name}.cuh").is_file():
        raise UnavailableError(f"The kernel family '{name}' has no CUDA header; use the CPU (same values).")


class _Evaluated:
    """Kernels with a formula; the device draws their parameters."""

    def __init__(self, gpu: Gpu, spec: ReleaseSpec, start: int, stop: int, domain: Domain) -> None:
        self.gpu, self.name, self.count = gpu, spec.kernels.family, stop - start
        family = cast(FamilyOnGpu, get_family(self.name))
        cupy, count, per_kernel = gpu.cupy, self.count, spec.observations_per_kernel
        names = [column.name for column in family.COLUMNS if column.name != family.STRATUM]
        self.stratum, kernel_index, index = (cupy.empty(count, np.int64) for _ in range(3))
        parameters = cupy.empty((len(names), count), np.float64)
        self.table = cupy.empty((count, 5), np.float64)
        gpu.launch(
            ("draw_parameters", self.name),
            count,
            *(np.uint64(start), np.uint64(count), np.uint32(per_kernel), parameter_key(spec, domain=domain)),
            *(np.float64(number) for number in family.gpu_ranges(spec.kernels)),
            cupy.asarray(family.strata(spec.kernels, start // per_kernel, (stop - 1) // per_kernel + 1)),
            *(self.stratum, parameters, kernel_index, index, self.table),
        )
        self.fields = {family.STRATUM: self.stratum, "kernel_index": kernel_index, "index": index}
        self.fields |= {name: parameters[row] for row, name in enumerate(names)}

    def images(self, axes: Axes) -> Any:
        image = self.gpu.images(self.count, axes)
        on_device = self.gpu.axes(axes)
        threads = self.count * len(axes.x) * len(axes.y)
        self.gpu.launch(
            ("kernel_images", self.name), threads, *on_device, np.uint64(self.count), self.stratum, self.table, image
        )
        return image

    def superpose(self, axes: Axes, placed: Mapping[str, Any]) -> Any:
        image = self.gpu.images(self.count, axes)
        tiles, across, down, threads = tiling(len(axes.x), len(axes.y))
        arguments = (*self.gpu.axes(axes), np.int32(across), np.int32(down), *_places(self.gpu, placed))
        superpose = self.gpu.function("superpose", self.name)
        superpose((self.count * tiles,), (threads,), (*arguments, self.stratum, self.table, image))
        return image


class _OnHost:
    """Kernels that are drawn on the host, which also makes the images of single scatterers."""

    def __init__(
        self, gpu: Gpu, spec: ReleaseSpec, drawn: Drawn, index: NDArray[np.int64], kernel: NDArray[np.int64]
    ) -> None:
        self.gpu, self.parameters = gpu, drawn.parameters
        self.kernels = shown_kernels(spec, drawn.parameters)
        self.rows = kernel_rows(spec, kernel - kernel[0])
        columns = columns_of_shown(spec, drawn, index)
        self.fields = {name: gpu.cupy.asarray(values) for name, values in columns.items()}

    def images(self, axes: Axes) -> Any:
        return self.gpu.cupy.asarray(self.kernels.images(axes)[self.rows.reshape(-1)])


class _EvaluatedPairs(_OnHost):
    """Kernels with a formula, two for each image."""

    def __init__(
        self, gpu: Gpu, spec: ReleaseSpec, drawn: Drawn, index: NDArray[np.int64], kernel: NDArray[np.int64]
    ) -> None:
        super().__init__(gpu, spec, drawn, index, kernel)
        self.name = spec.kernels.family
        family = cast(ClosedForm, get_family(self.name))
        stratum = drawn.parameters[family.STRATUM].astype(np.int64)
        self.stratum = gpu.cupy.asarray(stratum[self.rows[:, 0]])
        self.table = gpu.cupy.asarray(family.coefficients(drawn.parameters)[self.rows])

    def superpose(self, axes: Axes, placed: Mapping[str, Any]) -> Any:
        image = self.gpu.images(len(self.rows), axes)
        tiles, across, down, threads = tiling(len(axes.x), len(axes.y))
        places = (*_places(self.gpu, placed), placed["species"])
        arguments = (*self.gpu.axes(axes), np.int32(across), np.int32(down), *places)
        superpose = self.gpu.function("superpose_species", self.name)
        superpose((len(self.rows) * tiles,), (threads,), (*arguments, self.stratum, self.table, image))
        return image


class _Sampled(_OnHost):
    """Kernels with tables, which the host makes."""

    def superpose(self, axes: Axes, placed: Mapping[str, Any]) -> Any:
        kernels, row = cast(SampledKernels, self.kernels), self.rows[:, 0]
        image = self.gpu.images(len(row), axes)
        on_device = self.gpu.axes(axes)
        tiles = -(-len(axes.x) // TILE) * -(-len(axes.y) // TILE)
        shape, count = kernels.table(0), self.rows.shape[1]
        at_once = count * max(1, TABLE_BYTES // (count * shape.values.nbytes))  # pairs stay together
        for first in range(0, len(kernels), at_once):
            tables = [kernels.table(row) for row in range(first, min(first + at_once, len(kernels)))]
            begin, end = np.searchsorted(row, [first, first + at_once])
            those = slice(int(begin), int(end))
            of_these = {name: values[those] for name, values in placed.items()}
            self.gpu.function("superpose_table")(
                (int(end - begin) * tiles,),
                (THREADS,),
                (
                    *(*on_device, *_places(self.gpu, of_these), *_species(self.gpu, of_these)),
                    self.gpu.cupy.asarray(self.rows[those] - first),
                    np.int32(count),
                    self.gpu.cupy.asarray(np.stack([table.values for table in tables])),
                    *map(np.int32, (*shape.values.shape, shape.first_x, shape.first_y, shape.per_pixel_y)),
                    *map(np.float64, (shape.step_x, shape.step_y, shape.reach_x, shape.reach_y)),
                    image[those],
                ),
            )
        return image


def _places(gpu: Gpu, placed: Mapping[str, Any]) -> tuple[Any, ...]:
    """Arguments of the placed scatterers."""
    most = np.int32(placed["position_nm"].shape[1])
    amplitude = placed.get("amplitude")
    amplitudes = (gpu.one, np.int32(0)) if amplitude is None else (amplitude, most)
    return placed["position_nm"], placed["n_scatterers"], most, *amplitudes


def _species(gpu: Gpu, placed: Mapping[str, Any]) -> tuple[Any, np.int32]:
    """Arguments of the species of placed scatterers."""
    species = placed.get("species")
    return (gpu.zero, np.int32(0)) if species is None else (species, np.int32(species.shape[1]))


def tiling(nx: int, ny: int) -> tuple[int, int, int, int]:
    """Tiles of an image, patches of a tile in x and y, and threads of its block; see kernels_cuda/superpose.cuh."""
    (tiles_x, across), (tiles_y, down) = (_shared(-(-pixels // PATCH)) for pixels in (nx, ny))
    threads = max(across * down, PATCH * (across + down))
    return tiles_x * tiles_y, across, down, -(-threads // WARP) * WARP


def _shared(patches: int) -> tuple[int, int]:
    """Number of tiles along an axis, and patches of each, distributed evenly."""
    tiles = -(-patches // PATCHES)
    return tiles, -(-patches // tiles)
