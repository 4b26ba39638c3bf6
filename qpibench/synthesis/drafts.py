"""The steps from a draft to observations, which both backends take on the CPU; images are superposed elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from qpibench.arithmetic.streams import Domain, stream_key
from qpibench.arithmetic.sums import clean_variance, root_mean_squares
from qpibench.arithmetic.superposition import Axes, Scatterers
from qpibench.corruptions import ComparedWithKernels, Draft, Stage, is_of_instrument
from qpibench.errors import QpibenchError
from qpibench.families import NO_HOLE, get_family, is_on_lattice
from qpibench.specs import ReleaseSpec
from qpibench.specs.columns import Applied, applied_corruptions, scatterer_capacity, tells_other_positions
from qpibench.specs.instrument import border_px, instrument
from qpibench.specs.lattice import outside_nm
from qpibench.specs.species import SCATTERER_SPECIES, TOLD_SPECIES, species_count
from qpibench.synthesis.contract import Kernels, Observations
from qpibench.synthesis.draws import ATTEMPTS, draw_scatterers, keep_apart, scatterer_draws
from qpibench.synthesis.shown import ShownKernels
from qpibench.synthesis.species import draw_species, kernel_rows, told_species


def draw(spec: ReleaseSpec, start: int, stop: int, *, domain: Domain) -> Draft:
    """Draft of observations ``start`` to ``stop``: scatterers are drawn, told positions and images are empty."""
    draws = scatterer_draws(spec, domain=domain)
    n_scatterers = np.empty(stop - start, np.int32)
    position = np.empty((stop - start, draws.most, 2), np.float64)
    draw_scatterers(draws, start, n_scatterers, position)
    family = get_family(spec.kernels.family)
    to_sites = partial(family.snap, spec.kernels) if is_on_lattice(family) else None
    apart = spec.scatterers.min_separation_nm
    if to_sites is not None:
        half, first = (draws.half_x_nm, draws.half_y_nm), np.zeros(len(position), np.int32)
        to_sites(position, first=first, hole_nm=NO_HOLE, half_nm=half, separation_nm=apart or 0.0)
    elif apart is not None:
        key = stream_key(domain, spec.seed, "scatterer separation")
        if keep_apart(draws, key, apart, start, n_scatterers, position):
            raise QpibenchError(
                f"Release '{spec.name}': {ATTEMPTS} draws found no place for a scatterer at least {apart:g} nm from"
                " the others; use another seed."
            )
    if added := scatterer_capacity(spec) - draws.most:
        position = np.pad(position, ((0, 0), (0, added), (0, 0)), constant_values=np.nan)
    return Draft(
        grid=spec.grid,
        margin_nm=spec.scatterers.margin_nm,
        to_sites=to_sites,
        key=partial(stream_key, domain, spec.seed),
        start=start,
        per_kernel=draws.per_kernel,
        n_drawn=n_scatterers.copy(),
        n_scatterers=n_scatterers,
        position_nm=position,
        told_position_nm=np.empty((stop - start, 0, 2), np.float64),
        amplitude=np.ones(position.shape[:2], np.float32),
        species=np.zeros(position.shape[:2], np.int32),
        image=np.empty((stop - start, 0, 0), np.float32),
    )


def undrawn(spec: ReleaseSpec, start: int, stop: int, *, domain: Domain) -> Draft:
    """Draft of observations ``start`` to ``stop`` with memory for scatterers that the device draws; all are told."""
    position = np.empty((stop - start, spec.scatterers.max, 2), np.float64)
    number = np.empty(stop - start, np.int32)
    return Draft(
        grid=spec.grid,
        margin_nm=spec.scatterers.margin_nm,
        key=partial(stream_key, domain, spec.seed),
        start=start,
        per_kernel=spec.observations_per_kernel,
        n_drawn=number,
        n_scatterers=number,
        position_nm=position,
        told_position_nm=position,
        amplitude=np.empty((0, 0), np.float32),
        image=np.empty((0, 0, 0), np.float32),
    )


def superpose(spec: ReleaseSpec, draft: Draft, row: NDArray[np.int64], kernels: ShownKernels) -> None:
    """Fill a draft with ideal images and the border that the instrument needs.

    ``row`` (observation, species) has the kernels of each.
    """
    axes = axes_with(spec, border_px(spec, instrument(spec)))
    draft.image = np.empty((len(draft), len(axes.y), len(axes.x)), np.float32)
    kernels.superpose(axes, row, _scatterers(draft), draft.image)


def corrupt_scatterers(spec: ReleaseSpec, draft: Draft) -> dict[str, NDArray[Any]]:
    """Apply the corruptions of the scatterers, and set the told positions to those of the drawn scatterers.

    The told positions are a copy if a corruption may change them. With two species, the scatterers then get theirs.
    Returns the columns by name.
    """
    made: dict[str, NDArray[Any]] = {}
    if not applied_corruptions(spec, "scatterers", "told"):
        draft.told_position_nm = draft.position_nm
    else:
        made = _corrupt_scatterers(spec, draft)
    return made if spec.species is None else {SCATTERER_SPECIES.name: draw_species(spec, draft), **made}


def _corrupt_scatterers(spec: ReleaseSpec, draft: Draft) -> dict[str, NDArray[Any]]:
    is_drawn = ~np.isnan(draft.position_nm)
    made = corrupt(spec, draft, "scatterers")
    if draft.to_sites is not None:
        margin, outside = max(spec.scatterers.margin_nm, 0.0), outside_nm(spec)
        hole = (spec.grid.size_x_nm / 2 + margin, spec.grid.size_y_nm / 2 + margin)
        half = (hole[0] + outside, hole[1] + outside)
        draft.to_sites(draft.position_nm, first=draft.n_drawn, hole_nm=hole, half_nm=half)
    draft.told_position_nm = np.where(is_drawn, draft.position_nm, np.nan)
    draft.told_index = np.where(is_drawn[..., 0], np.arange(is_drawn.shape[1], dtype=np.int32), np.int32(-1))
    if not tells_other_positions(spec) and (~np.isnan(draft.position_nm) & ~is_drawn).any():
        raise ValueError(f"release '{spec.name}': a corruption adds scatterers and does not define extra_scatterers")
    return made


def corrupt_told(spec: ReleaseSpec, draft: Draft) -> dict[str, NDArray[Any]]:
    """Apply the corruptions of what a model is told to a draft; return their columns and told species by name."""
    made = corrupt(spec, draft, "told")
    if spec.species is not None and tells_other_positions(spec):
        made[TOLD_SPECIES.name] = told_species(spec, draft)
    return made


def corrupt(spec: ReleaseSpec, draft: Draft, *stages: Stage) -> dict[str, NDArray[Any]]:
    """Apply the corruptions of some stages to a draft; return their columns by name."""
    made: dict[str, NDArray[Any]] = {}
    for applied in applied_corruptions(spec, *stages):
        made |= applied.corruption.corrupt(applied.settings, draft)
    return made


def corrupt_images(spec: ReleaseSpec, draft: Draft, applied: Sequence[Applied]) -> dict[str, NDArray[Any]]:
    """Apply corruptions of images to a draft, and take its variance after those of the instrument; return the columns.

    A draft that has a variance already is left with it.
    """
    made: dict[str, NDArray[Any]] = {}
    for each in applied:
        if not is_of_instrument(each.corruption) and not len(draft.variance):
            draft.variance = np.empty(len(draft), np.float64)
            core_nm = core_radius_nm(spec)
            clean_variance(axes_with(spec, 0), _scatterers(draft), core_nm, draft.image, draft.variance)
        made |= each.corruption.corrupt(each.settings, draft)
    return made


def core_radius_nm(spec: ReleaseSpec) -> float:
    """Radius of the core of a spec's kernels, whose pixels do not count in the variance; 0 if there is none."""
    return get_family(spec.kernels.family).core_radius_nm(spec.kernels)


def kernel_rms(spec: ReleaseSpec, kernels: Kernels, start: int, stop: int) -> NDArray[np.float64]:
    """Roots of the mean squares of the kernels, or pairs of kernels, that observations show, (observation,)."""
    shown = np.arange(start, stop) // spec.observations_per_kernel
    image = as_pairs(spec, kernels.image)[shown[0] : shown[-1] + 1]
    rms: NDArray[np.float64] = rms_of_images(image)[shown - shown[0]]
    return rms


def rms_of_images(image: NDArray[np.float32]) -> NDArray[np.float64]:
    """Roots of the mean squares of images."""
    rms = np.empty(len(image), np.float64)
    root_mean_squares(image, rms)
    return rms


def as_pairs(spec: ReleaseSpec, image: NDArray[np.float32]) -> NDArray[np.float32]:
    """View of kernels (kernel, y, x) in which the images of a pair lie one above the other."""
    return image.reshape(-1, species_count(spec) * image.shape[1], image.shape[2])


def finish(spec: ReleaseSpec, kernels: Kernels, draft: Draft, extra: Mapping[str, NDArray[Any]]) -> Observations:
    """The observations of a finished draft, with the columns that depend on the kernels' images."""
    kernel = (draft.start + np.arange(len(draft))) // draft.per_kernel
    first = int(kernel[0])
    shown = kernel_rows(spec, kernel).astype(np.int32)
    columns = dict(extra)
    for applied in applied_corruptions(spec):
        if hasattr(applied.corruption, "compare_with_kernels"):
            compared = cast(ComparedWithKernels, applied.corruption)
            image = as_pairs(spec, kernels.image)[first : int(kernel[-1]) + 1]
            columns |= compared.compare_with_kernels(columns, kernel - first, image)
    return Observations(
        image=draft.image,
        kernel=shown if spec.species is not None else shown[:, 0],
        n_scatterers=draft.n_scatterers,
        position_nm=draft.position_nm,
        told_position_nm=draft.told_position_nm if tells_other_positions(spec) else None,
        extra=columns,
    )


def count_told(told_position_nm: NDArray[np.float64]) -> NDArray[np.int32]:
    """Number of scatterers that a model is told of, (observation,) int32, from their padded positions."""
    count: NDArray[np.int32] = (~np.isnan(told_position_nm[..., 0])).sum(axis=1, dtype=np.int32)
    return count


def axes_with(spec: ReleaseSpec, border: int) -> Axes:
    """Coordinates of the pixels, with a border of some pixels on every side."""
    return Axes(*spec.grid.extended(border))


def _scatterers(draft: Draft) -> Scatterers:
    return Scatterers(draft.n_scatterers, draft.position_nm, draft.amplitude, draft.species)
