"""Extracts the kernels of a microscope's maps: :func:`extract_maps`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qpibench.errors import InvalidDataError
from qpibench.extraction.kernel_file import KernelFile
from qpibench.extraction.layers import shows_something
from qpibench.extraction.stack import Progress, extract_stack
from qpibench.maps import Axis, Channel, Maps, Step
from qpibench.maps.chosen import chosen_channel, nearest_layers
from qpibench.maps.hdf5 import to_json

if TYPE_CHECKING:
    from qpibench.extraction.measured import Origin


def extract_maps(
    maps: Maps,
    positions_nm: ArrayLike,
    method: str | os.PathLike[str] = "polar",
    *,
    channel: str | None = None,
    energies_mev: Sequence[float] | None = None,
    kernel_shape: int | Sequence[int] | None = None,
    origin: Origin = "centre",
    beyond_edge: bool = False,
    workers: int | None = None,
    parts: str | Path | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> KernelFile:
    """Extract the kernel of a channel, or of every layer of a stack with the same scatterers.

    The mean of every layer is subtracted first, which is recorded as a step.

    Parameters
    ----------
    maps
        The maps.
    channel
        Name or label of the channel; it may be left out if there is only one, or only one that is swept.
    energies_mev
        Energies in meV whose layers are extracted; each takes the layer nearest to it. None: all layers.
    positions_nm, method, kernel_shape, origin, beyond_edge, workers, parts, progress, **options
        As for :func:`qpibench.extraction.stack.extract_stack`.

    Raises
    ------
    UsageError
        If there is no such channel or energy, or an argument cannot be used.
    InvalidDataError
        If the axis is no bias and energies are asked for, there is no scatterer or one lies outside the field, or no
        layer has a kernel.
    QpibenchError
        If a part cannot be written, or a process was killed.
    """
    to_json(options, "options")  # refused before the work
    chosen, layers, axis = chosen_layers(maps, channel, energies_mev)
    kernels = extract_stack(
        layers,
        positions_nm,
        (maps.grid.size_y_nm, maps.grid.size_x_nm),
        method,
        kernel_shape=kernel_shape,
        origin=origin,
        beyond_edge=beyond_edge,
        workers=workers,
        parts=parts,
        progress=progress,
        **options,
    )
    return KernelFile(
        kernels=kernels,
        channel=chosen.label,
        unit=chosen.unit,
        axis=axis,
        source=maps.source,
        steps=(*maps.steps, Step(name="mean", settings={"subtracted": True})),
        options=options,
    )


def chosen_layers(
    maps: Maps, channel: str | None, energies_mev: Sequence[float] | None
) -> tuple[Channel, NDArray[np.float64], Axis | None]:
    """Return a channel, its layers (layer, y, x) less their means, and their axis; see :func:`extract_maps`.

    Raises
    ------
    UsageError, InvalidDataError
        As :func:`extract_maps`; also if no layer has two different values.
    """
    chosen = chosen_channel(maps, channel)
    axis = maps.axis if chosen.values.ndim == 3 else None
    layers = chosen.values.astype(np.float64).reshape(-1, *maps.grid.shape)
    if energies_mev is not None:
        places = nearest_layers(maps, chosen, energies_mev)
        assert axis is not None
        layers, axis = layers[places], replace(axis, values=axis.values[places])
    if not any(shows_something(layer) for layer in layers):
        raise InvalidDataError(
            f"Channel '{chosen.label}' of {maps.source.file} is constant or was not measured: it shows no kernel."
        )
    return chosen, layers - _means(layers)[:, None, None], axis


def _means(layers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of the measured pixels of every layer; 0 where nothing was measured."""
    seen = np.isfinite(layers)
    counts = seen.sum(axis=(1, 2))
    means: NDArray[np.float64] = np.where(seen, layers, 0.0).sum(axis=(1, 2)) / np.maximum(counts, 1)
    return means
