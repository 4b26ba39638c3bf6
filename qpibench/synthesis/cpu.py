"""The CPU backend: functions compiled by Numba, in strict IEEE arithmetic, that release the interpreter lock."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qpibench.arithmetic.flush import flushes_to_zero
from qpibench.arithmetic.streams import Domain, stream_key
from qpibench.corruptions import Draft
from qpibench.errors import UnavailableError
from qpibench.specs import ReleaseSpec
from qpibench.specs.columns import applied_corruptions
from qpibench.specs.instrument import border_px, instrument
from qpibench.specs.species import species_count
from qpibench.synthesis.contract import Kernels, Observations
from qpibench.synthesis.drafts import (
    as_pairs,
    axes_with,
    corrupt_images,
    corrupt_scatterers,
    corrupt_told,
    count_told,
    draw,
    finish,
    kernel_rms,
    rms_of_images,
    superpose,
)
from qpibench.synthesis.fields import Wanted, absent_columns, columns_of_shown, needs_kernel_rms, of_draft
from qpibench.synthesis.fields import as_fields as as_fields  # baselines/ import it from here
from qpibench.synthesis.rasterise import activation_maps
from qpibench.synthesis.shown import ShownKernels, shown_kernels
from qpibench.synthesis.species import draw_kernels, kernel_rows, per_observation

_checked = threading.local()


class CpuBackend:
    """Makes releases on the CPU. Several threads may call it at once."""

    name = "cpu"

    def kernels(self, spec: ReleaseSpec, *, domain: Domain = "benchmark", count: int | None = None) -> Kernels:
        """The first kernels of the release, by default all; see :class:`qpibench.synthesis.contract.Backend`."""
        _require_gradual_underflow()
        drawn = draw_kernels(spec, domain=domain, stop=count)
        image = _kernel_images(spec, shown_kernels(spec, drawn.parameters), 0, domain=domain)
        return Kernels(
            image=image,
            family=np.full(len(image), spec.kernels.family.encode(), "S16"),
            parameters=drawn.parameters,
            pairs=drawn.pairs,
        )

    def observations(
        self, spec: ReleaseSpec, kernels: Kernels, start: int, stop: int, *, domain: Domain = "benchmark"
    ) -> Observations:
        """Observations ``start`` to ``stop``; see :class:`qpibench.synthesis.contract.Backend`."""
        _require_gradual_underflow()
        rows = kernel_rows(spec, np.arange(start, stop) // spec.observations_per_kernel)
        shown = slice(int(rows[0, 0]), int(rows[-1, -1]) + 1)
        parameters = {name: values[shown] for name, values in kernels.parameters.items()}
        draft = draw(spec, start, stop, domain=domain)
        extra = corrupt_scatterers(spec, draft)
        superpose(spec, draft, rows - rows[0, 0], shown_kernels(spec, parameters))
        if needs_kernel_rms(spec):
            draft.kernel_rms = kernel_rms(spec, kernels, start, stop)
        extra |= corrupt_images(spec, draft, applied_corruptions(spec, "image"))
        extra |= corrupt_told(spec, draft)
        return finish(spec, kernels, draft, extra)

    def fresh(
        self, spec: ReleaseSpec, start: int, stop: int, *, fields: Sequence[str], map_mode: str
    ) -> dict[str, NDArray[Any]]:
        """Training images ``start`` to ``stop``; see :class:`qpibench.synthesis.contract.Backend`."""
        _require_gradual_underflow()
        wanted = Wanted.by(spec, fields)
        index = np.arange(start, stop)
        kernel = index // spec.observations_per_kernel
        first, rows = int(kernel[0]), kernel_rows(spec, kernel - kernel[0])
        drawn = draw_kernels(spec, domain="training", start=first, stop=int(kernel[-1]) + 1)
        kernels = shown_kernels(spec, drawn.parameters)
        draft = draw(spec, start, stop, domain="training")

        made: dict[str, NDArray[Any]] = absent_columns(fields, len(index), spec)
        made |= corrupt_scatterers(spec, draft)
        if wanted.kernel_images:
            image = _kernel_images(spec, kernels, first, domain="training")
            made["kernel"] = image if rows.shape == (len(image), 1) else per_observation(image, rows)
            if wanted.kernel_rms:
                draft.kernel_rms = rms_of_images(as_pairs(spec, image))[kernel - first]
        if wanted.images:
            superpose(spec, draft, rows, kernels)
            made |= corrupt_images(spec, draft, applied_corruptions(spec, "image"))
        made |= corrupt_told(spec, draft)
        if wanted.activation_maps:
            made["activation_map"] = _activation_maps(draft, map_mode)
        made |= columns_of_shown(spec, drawn, index) | of_draft(draft)
        return {field: made[field] for field in fields}


def _activation_maps(draft: Draft, map_mode: str) -> NDArray[np.float32]:
    """Maps of the told positions of a draft, (observation, y, x)."""
    grid, told = draft.grid, draft.told_position_nm
    made = np.empty((len(draft), *grid.shape), np.float32)
    activation_maps(map_mode == "paper", grid.size_x_nm, grid.size_y_nm, count_told(told), told, made)
    return made


def _kernel_images(spec: ReleaseSpec, kernels: ShownKernels, first: int, *, domain: Domain) -> NDArray[np.float32]:
    """Images of the kernels, or pairs of kernels, from number ``first`` on, as the instrument shows them."""
    applied = instrument(spec, in_kernels=True)
    axes = axes_with(spec, border_px(spec, applied))
    image = kernels.images(axes)
    count = len(image)
    if not applied:
        return image
    draft = Draft(
        grid=spec.grid,
        margin_nm=0.0,
        key=partial(stream_key, domain, spec.seed),
        start=first * species_count(spec),
        per_kernel=species_count(spec),  # the instrument is the same for both species
        n_drawn=np.ones(count, np.int32),
        n_scatterers=np.ones(count, np.int32),
        position_nm=np.zeros((count, 1, 2)),
        told_position_nm=np.zeros((count, 1, 2)),
        amplitude=np.ones((count, 1), np.float32),
        species=np.zeros((count, 1), np.int32),
        image=image,
    )
    corrupt_images(spec, draft, applied)
    return draft.image


def _require_gradual_underflow() -> None:
    """Raise an error if the calling thread replaces denormals by zero; the mode is a property of each thread."""
    if getattr(_checked, "passed", False):
        return
    if flushes_to_zero():
        raise UnavailableError(
            "The processor is in flush-to-zero mode, in which releases would get other bits: some library switched it"
            " on (torch.set_flush_denormal(True), or a library built with -ffast-math); run without it."
        )
    _checked.passed = True
