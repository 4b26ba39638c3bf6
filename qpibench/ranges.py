"""Ranges in specs: ``wavelength_nm: Annotated[tuple[Length, Length], RISING]``."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError, ValidatorFunctionWrapHandler, WrapValidator


def _rising(value: Any, validate: ValidatorFunctionWrapHandler) -> tuple[float, float] | None:
    try:
        # Validators that wrap get the lists of JSON, and the strict one behind this takes tuples only.
        ends: tuple[float, float] | None = validate(tuple(value) if isinstance(value, list) else value)
    except ValidationError as error:
        if isinstance(value, int | float) and error.errors()[0]["type"] == "tuple_type":
            pair = "[1.5, 3]" if isinstance(value, bool) else f"[{value}, {value}]"
            raise ValueError(f"should be two numbers, such as {pair}, found {value}") from None
        raise
    if ends is not None and ends[0] > ends[1]:
        raise ValueError(f"the range is reversed: {ends[0]:g} is larger than {ends[1]:g}")
    return ends


RISING = WrapValidator(_rising)
"""Validator that refuses a single number, and a range whose lower end exceeds its upper end; None passes."""
