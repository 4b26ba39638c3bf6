"""Ranges in specs: ``wavelength_nm: Annotated[tuple[Length, Length], RISING]``."""

from __future__ import annotations

from pydantic import AfterValidator


def _rising(ends: tuple[float, float] | None) -> tuple[float, float] | None:
    if ends is not None and ends[0] > ends[1]:
        raise ValueError(f"the range is reversed: {ends[0]:g} is larger than {ends[1]:g}")
    return ends


RISING = AfterValidator(_rising)
"""Validator that refuses a range whose lower end exceeds its upper end; None passes."""
