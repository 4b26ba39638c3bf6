"""Ranges in specs: ``wavelength_nm: Annotated[tuple[Length, Length], RISING]``.

A range that may also be given as a single number, which then stands for both ends, needs a second validator:
``strength: Annotated[tuple[Strength, Strength], RISING, one_or_two("a strength", Strength)]``.
"""

from __future__ import annotations

import math
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from qpibench.parsing import shown


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

UNSIGNED_ZERO = AfterValidator(lambda value: value + 0.0)
"""Validator that turns -0 into 0: both are the same number, but their specs would have different hashes."""


def _integer_keys(value: object) -> object:
    if isinstance(value, dict):
        return {int(key) if isinstance(key, str) and key.isdigit() else key: item for key, item in value.items()}
    return value


INTEGER_KEYS = BeforeValidator(_integer_keys)
"""Validator of tables with integers as keys, which TOML and JSON write as text."""


def one_or_two(what: str, number: Any) -> BeforeValidator:
    """Return a validator that makes a range of a single number.

    Parameters
    ----------
    what
        The number in words, for the message, such as ``"a ratio in dB"``.
    number
        Type of the ends, for the JSON Schema.
    """

    def pair(value: object) -> object:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return value, value
        if isinstance(value, list | tuple) and len(value) == 2:
            return tuple(value)
        raise ValueError(f"expected {what} or a range [low, high], found {shown(value)}")

    return BeforeValidator(pair, json_schema_input_type=number | tuple[number, number])


def require_within(name: str, found: float | tuple[float, float], low: float, high: float, *, reason: str) -> None:
    """Raise ValueError if a number or a range does not lie within limits that depend on other fields of a spec.

    Parameters
    ----------
    name
        Field of the spec.
    found
        Its value.
    low, high
        The limits, both allowed; ``high`` may be infinite.
    reason
        Where the limits come from, for the message.
    """
    ends = found if isinstance(found, tuple) else (found,)
    if not low <= ends[0] <= ends[-1] <= high:
        allowed = f"at least {low:g}" if math.isinf(high) else f"from {low:g} to {high:g}"
        raise ValueError(f"{name} must be {allowed}, {reason}, found {' to '.join(f'{end:g}' for end in ends)}")


MAX_STRENGTH = 100.0

Strength = Annotated[float, Field(ge=0, le=MAX_STRENGTH, allow_inf_nan=False), UNSIGNED_ZERO]
"""Strength of a corruption of images in standard deviations of the clean image."""

Strengths = Annotated[tuple[Strength, Strength], RISING, one_or_two("a strength", Strength)]
"""Range of strengths, or a single one."""


class StrengthSettings(BaseModel):
    """Settings of a corruption that adds values of a drawn standard deviation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    strength: Strengths = Field(
        description="standard deviation of the added values, in standard deviations of the clean image"
    )


def between(ends: tuple[float, float], uniform: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return numbers in a range from uniform random numbers between 0 and 1."""
    low, high = ends
    return low + uniform * (high - low)
