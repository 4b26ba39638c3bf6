"""Pairs of kernels of a release with two species, and the species of scatterers.

Pair p of a spec has the kernels 2p and 2p + 1, of the species 0 and 1. They have the same stratum. Attempt t at a pair
takes the numbers of the first kernel from the stream ``kernel parameters``, of which a release with one species uses
the first attempt, and those of the second from streams of their own. The first attempt with enough contrast counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from qpibench.arithmetic.compiled import compiled
from qpibench.arithmetic.philox import random_order, unit, words
from qpibench.arithmetic.streams import Domain, stream_key
from qpibench.arithmetic.sums import contrasts
from qpibench.arithmetic.superposition import Axes
from qpibench.corruptions import Draft
from qpibench.errors import UsageError
from qpibench.families import Rotatable, get_family
from qpibench.specs import ReleaseSpec
from qpibench.specs.species import SPECIES, SpeciesSpec, species_count
from qpibench.synthesis.draws import draw_parameters, uniforms
from qpibench.synthesis.shown import shown_kernels

MOST_DRAWS = 1000
"""Attempts at a pair of kernels; then a spec is refused."""


class Drawn(NamedTuple):
    """Kernels of a spec, in the order of the kernel table.

    ``parameters`` has the columns of the family and ``pairs`` those of :func:`qpibench.specs.species.pair_columns`, by
    name, (kernel,) each.
    """

    parameters: Mapping[str, NDArray[Any]]
    pairs: Mapping[str, NDArray[Any]]


def draw_kernels(spec: ReleaseSpec, *, domain: Domain, start: int = 0, stop: int | None = None) -> Drawn:
    """Draw the kernels ``start`` to ``stop``, or pairs of kernels if there are two species; by default all.

    Raises
    ------
    UsageError
        If no attempt at a pair has enough contrast.
    """
    stop = spec.kernels.count if stop is None else stop
    if spec.species is None:
        return Drawn(draw_parameters(spec, domain=domain, start=start, stop=stop), {})
    drawn = _attempt(spec, spec.species, 0, start, stop, domain=domain)
    for pair in np.flatnonzero(drawn.pairs["contrast"][::SPECIES] < spec.species.min_contrast).tolist():
        better = _again(spec, spec.species, start + pair, domain=domain)
        for columns, replacing in zip(drawn, better, strict=True):
            for name, values in replacing.items():
                columns[name][SPECIES * pair : SPECIES * (pair + 1)] = values
    return drawn


def _again(spec: ReleaseSpec, species: SpeciesSpec, pair: int, *, domain: Domain) -> Drawn:
    highest = 0.0
    for attempt in range(1, MOST_DRAWS):
        drawn = _attempt(spec, species, attempt, pair, pair + 1, domain=domain)
        if (found := float(drawn.pairs["contrast"][0])) >= species.min_contrast:
            return drawn
        highest = max(highest, found)
    raise UsageError(
        f"Spec '{spec.name}': species.min_contrast = {species.min_contrast:g} is above the contrast of {MOST_DRAWS}"
        f" draws of the pair of kernels {pair}, of which the highest is {highest:.3g}; lower it, or widen the ranges of"
        " the kernels."
    )


def _attempt(spec: ReleaseSpec, species: SpeciesSpec, attempt: int, start: int, stop: int, *, domain: Domain) -> Drawn:
    family = get_family(spec.kernels.family)
    first = draw_parameters(spec, domain=domain, start=start, stop=stop, attempt=attempt)
    pairs: dict[str, NDArray[Any]] = {"species": np.arange(SPECIES * (stop - start), dtype=np.int32) % SPECIES}
    if species.second == "rotated":
        low, high = species.angle_deg or (0.0, 0.0)
        key = stream_key(domain, spec.seed, "second species angle")
        angle = (low + uniforms(key, 1, start, stop, attempt=attempt)[:, 0] * (high - low)) * (math.pi / 180.0)
        second = cast(Rotatable, family).rotated(first, angle)
        pairs["rotation"] = _interleaved(np.zeros(stop - start), angle)
    else:
        second = draw_parameters(spec, domain=domain, start=start, stop=stop, attempt=attempt, of_second=True)
    parameters = {name: _interleaved(values, second[name]) for name, values in first.items()}
    image = shown_kernels(spec, parameters).images(Axes(spec.grid.x_nm, spec.grid.y_nm))
    contrast = np.empty(stop - start, np.float64)
    contrasts(image, contrast)
    return Drawn(parameters, {**pairs, "contrast": np.repeat(contrast, SPECIES)})


def _interleaved(first: NDArray[Any], second: NDArray[Any]) -> NDArray[Any]:
    return np.stack([first, second], axis=1).reshape(-1)


def kernel_rows(spec: ReleaseSpec, kernel: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows of the kernel table that observations show, (observation, species), from the number of their pair."""
    count = species_count(spec)
    return count * kernel[:, None] + np.arange(count)


def per_observation(values: NDArray[Any], rows: NDArray[np.int64]) -> NDArray[Any]:
    """Values of kernels at ``rows`` (observation, species), without the axis of species if there is only one."""
    return values[rows[:, 0]] if rows.shape[1] == 1 else values[rows]


def draw_species(spec: ReleaseSpec, draft: Draft) -> NDArray[np.int32]:
    """Species of all scatterers in the images of a draft, (observation, scatterer) int32, then -1.

    Also makes them those of the draft.
    """
    species = cast(SpeciesSpec, spec.species)
    drawn = np.full(draft.position_nm.shape[:2], -1, np.int32)
    keys = tuple(draft.key(tag) for tag in ("species share", "species order", "species of added scatterers"))
    ranges = (*species.share, species.min_each)
    _assign(*keys, draft.start, draft.per_kernel, *ranges, draft.n_drawn, draft.n_scatterers, drawn)
    draft.species = drawn
    return drawn


def told_species(spec: ReleaseSpec, draft: Draft) -> NDArray[np.int32]:
    """Species of the scatterers at the told positions of a draft, (observation, scatterer) int32, then -1.

    A position without a scatterer has a species too, drawn by the image's share.
    """
    species = cast(SpeciesSpec, spec.species)
    told = np.full(draft.told_index.shape, -1, np.int32)
    keys = tuple(draft.key(tag) for tag in ("species share", "species of spurious positions"))
    _tell(*keys, draft.start, draft.per_kernel, *species.share, draft.n_drawn, draft.told_index, draft.species, told)
    return told


@compiled(nogil=True, error_model="numpy")
def _assign(  # type: ignore[no-untyped-def]
    share_key, order_key, added_key, start, per_kernel, low, high, least, n_drawn, n_scatterers, species
):
    """Fill ``species`` (observation, scatterer): a share of the drawn scatterers, in a random order, has the second."""
    for row in range(len(species)):
        kernel, image = divmod(start + row, per_kernel)
        share = low + unit(words(share_key, 0, image, kernel)[0]) * (high - low)
        n = n_drawn[row]
        second = min(max(np.int64(share * n + 0.5), least), n - least)
        order = random_order(order_key, image, kernel, n)
        for place in range(n):
            species[row, order[place]] = 1 if place < second else 0
        for k in range(n_scatterers[row] - n):
            species[row, n + k] = 1 if unit(words(added_key, k // 4, image, kernel)[k % 4]) < share else 0


@compiled(nogil=True, error_model="numpy")
def _tell(  # type: ignore[no-untyped-def]
    share_key, spurious_key, start, per_kernel, low, high, n_drawn, told_index, species, told
):
    """Fill ``told`` (observation, scatterer) with the species of the things that ``told_index`` names."""
    for row in range(len(told)):
        kernel, image = divmod(start + row, per_kernel)
        share = low + unit(words(share_key, 0, image, kernel)[0]) * (high - low)
        for place in range(told.shape[1]):
            k = told_index[row, place] - n_drawn[row]
            if told_index[row, place] < 0:
                break
            if k < 0:
                told[row, place] = species[row, told_index[row, place]]
            else:
                told[row, place] = 1 if unit(words(spurious_key, k // 4, image, kernel)[k % 4]) < share else 0
