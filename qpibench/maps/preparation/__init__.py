"""Preparation of measured maps: one file a step, found by its name.

A step is a module with the members of :class:`Preparation`, such as :mod:`qpibench.maps.preparation.plane`. Points that
were not measured are NaN before and after each step, and no measured point becomes NaN because a neighbour is. Every
layer of a stack is treated like a map of its own.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal, Protocol, cast, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from qpibench import registry
from qpibench.errors import InvalidDataError, UsageError
from qpibench.maps.measurement import Channel, Maps, Step

Kind = Literal["levelling", "denoising", "lattice", "points", "spectra"]

KINDS: tuple[Kind, ...] = get_args(Kind)

Found = Mapping[str, Any]
"""Numbers that a step finds in the data, by name, such as the wavevectors of Bragg peaks; JSON can hold them."""


class Preparation(Protocol):
    """Members of the module of a step.

    Attributes
    ----------
    KIND
        The kind of preparation, under which the documents describe it.
    Settings
        Its settings; JSON can hold them.
    """

    KIND: Kind
    Settings: type[BaseModel]

    def prepare(self, settings: Any, maps: Maps) -> tuple[Maps, Found]:
        """Return the prepared maps, without a record of the step, and what the step found.

        Raises
        ------
        UsageError
            If the maps have no such channel, or the settings do not suit the maps.
        InvalidDataError
            If the maps lack what the step needs, such as an axis of bias.
        """


class StepSettings(BaseModel):
    """Settings of a step that changes all channels."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _one_or_more(names: Any) -> Any:
    return (names,) if isinstance(names, str) else names


class ChannelSettings(StepSettings):
    """Settings of a step that changes some channels."""

    channels: Annotated[tuple[str, ...] | None, BeforeValidator(_one_or_more)] = Field(
        default=None,
        description="channels that are changed, by name, which means both directions, or by label; all by default",
    )


def step_names() -> tuple[str, ...]:
    """Names of all steps."""
    return registry.names(sys.modules[__name__])


def get_step(name: str) -> Preparation:
    """The step of a name.

    Raises
    ------
    UsageError
        If there is none.
    """
    return cast(Preparation, registry.load(sys.modules[__name__], name, "preparation step"))


def apply(maps: Maps, name: str, **settings: Any) -> Maps:
    """Prepare maps by one step.

    Parameters
    ----------
    maps
        The maps; they do not change.
    name
        Name of the step, one of :func:`step_names`.
    **settings
        Settings of the step; ``docs/preparation.md`` lists them.

    Returns
    -------
    Maps
        The prepared maps. Their last step has all settings, also those that were not given, and what was found.

    Raises
    ------
    UsageError
        If there is no such step or channel, a setting is wrong, or no measured point of a channel would be left.
    InvalidDataError
        If the maps lack what the step needs, such as an axis of bias.
    """
    step = get_step(name)
    try:
        chosen = step.Settings.model_validate(settings)
    except ValidationError as error:
        from qpibench.specs.load import explain

        raise UsageError(f"Step '{name}': {explain(error, step.Settings)}.") from None
    prepared, found = step.prepare(chosen, maps)
    measured = {one.label for one in maps.channels if np.isfinite(one.values).any()}
    if lost := [one.label for one in prepared.channels if one.label in measured and not np.isfinite(one.values).any()]:
        raise UsageError(f"Step '{name}' leaves no measured point of '{lost[0]}'; choose settings that keep some.")
    made = Step(name=name, settings=chosen.model_dump(mode="json"), found=dict(found))
    return replace(prepared, steps=(*maps.steps, made))


def undone(maps: Maps, original: Maps) -> Maps:
    """Maps without their last step: the other steps are applied again to the original maps.

    Steps with a channel of reference take the one that they took, even if the original maps have another first channel.

    Parameters
    ----------
    maps
        Prepared maps.
    original
        The maps of the same file as they were read, ``read_maps("grid.3ds")``.

    Raises
    ------
    UsageError
        If the maps have no step, or the original ones have, or lack a channel that a step needs.
    InvalidDataError
        If the original maps are of a file with another SHA-256, or were told another size, energies or first row.
    """
    if not maps.steps:
        raise UsageError(f"The maps of {maps.source.file} have no step that can be undone.")
    if original.steps:
        raise UsageError(f"The original maps of {original.source.file} have steps already; read the file again.")
    if original.source.sha256 != maps.source.sha256:
        raise InvalidDataError(
            f"The maps come from {maps.source.file} with the SHA-256 {maps.source.sha256[:12]}..., and the original"
            f" maps from {original.source.file} with {original.source.sha256[:12]}...; read their own file."
        )
    told, now = (
        {name: value for name, value in one.metadata.items() if name.startswith("told ")} for one in (maps, original)
    )
    if told != now:
        said = "; ".join(f"{name.removeprefix('told ')}: {value}" for name, value in told.items()) or "nothing"
        raise InvalidDataError(f"The maps of {maps.source.file} were read with other values told; tell {said}.")
    again = original
    for step in maps.steps[:-1]:
        again = apply(again, step.name, **_made_with(step))
    return again


def _made_with(step: Step) -> Mapping[str, Any]:
    """Settings of a step, with the channel of reference that it took if none was given."""
    found = step.found.get("reference")
    if found is not None and step.settings.get("reference") is None:
        return {**step.settings, "reference": found}
    return step.settings


def chosen_channels(maps: Maps, names: tuple[str, ...] | None) -> tuple[Channel, ...]:
    """Channels of these names or labels, in the order of the maps; all if None.

    Raises
    ------
    UsageError
        If there is none of a name; the message lists the channels.
    """
    if names is None:
        return maps.channels
    labels: set[str] = set()
    for name in names:
        wanted = name.strip().lower()
        both = {one.label for one in maps.channels if wanted in (one.name.lower(), one.label.lower())}
        labels |= both or {maps.channel(name).label}
    return tuple(one for one in maps.channels if one.label in labels)


def changed(
    maps: Maps, names: tuple[str, ...] | None, change: Callable[[NDArray[np.float64]], NDArray[np.float64]]
) -> Maps:
    """Maps whose chosen channels are changed layer by layer.

    Parameters
    ----------
    maps
        The maps.
    names
        Names or labels of the channels; all if None.
    change
        Function of the values of a layer, (y, x) float64 with NaN where nothing was measured. Layers without a measured
        point are left out. Its result has the same shape.

    Raises
    ------
    UsageError
        If there is no such channel.
    """
    labels = {one.label for one in chosen_channels(maps, names)}
    channels = [
        replace(one, values=each_layer(one.values, change)) if one.label in labels else one for one in maps.channels
    ]
    return replace(maps, channels=tuple(channels))


def each_layer(
    values: NDArray[np.floating], change: Callable[[NDArray[np.float64]], NDArray[np.float64]]
) -> NDArray[np.floating]:
    """Values (..., y, x) whose layers with a measured point are changed, in the precision of the values."""
    result = values.copy()
    for index in np.ndindex(*values.shape[:-2]):
        layer = values[index].astype(np.float64)
        measured = np.isfinite(layer)
        if measured.any():
            result[index] = np.where(measured, change(np.where(measured, layer, np.nan)), values[index])
    return result
