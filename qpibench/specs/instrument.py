"""The corruptions of the instrument: what they need of a clean image before it is cropped to the field."""

from __future__ import annotations

from typing import cast

from qpibench.corruptions import OfInstrument, is_of_instrument
from qpibench.specs.columns import Applied, applied_corruptions
from qpibench.specs.spec import ReleaseSpec


def instrument(spec: ReleaseSpec, *, in_kernels: bool = False) -> tuple[Applied, ...]:
    """Return the corruptions of the instrument in their order: of the images, or those that the kernels show too."""
    applied = (each for each in applied_corruptions(spec, "image") if is_of_instrument(each.corruption))
    return tuple(each for each in applied if not in_kernels or cast(OfInstrument, each.corruption).SHOWN_IN_KERNELS)


def border_px(spec: ReleaseSpec, applied: tuple[Applied, ...]) -> int:
    """Return the number of pixels that corruptions of the instrument need on every side together."""
    return sum(spec.borders_px()[each.name] for each in applied)
