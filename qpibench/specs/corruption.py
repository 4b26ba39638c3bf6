"""What a microscope adds to the ideal image. Every corruption is drawn in a stream of its own and can be left out."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

MIN_SNR_DB = -40.0
MAX_SNR_DB = 100.0


def _range(value: object) -> object:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value, value
    if isinstance(value, list | tuple) and len(value) == 2:
        return tuple(value)
    raise ValueError(f"expected a ratio in dB or a range [low, high], found {value!r}")


# A ratio of -0 would be the same as one of 0 and give another hash.
Decibel = Annotated[
    float, Field(ge=MIN_SNR_DB, le=MAX_SNR_DB, allow_inf_nan=False), AfterValidator(lambda value: value + 0.0)
]


class WhiteNoise(BaseModel):
    """Normal noise, independent from pixel to pixel and from image to image.

    ``snr_db`` is the range of the signal-to-noise ratio 10 log10(variance of the clean image / variance of the noise),
    drawn uniformly in dB for every image; a single number stands for a range of no width.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    snr_db: Annotated[tuple[Decibel, Decibel], BeforeValidator(_range)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        low, high = self.snr_db
        if low > high:
            raise ValueError(f"snr_db is reversed: {low:g} is larger than {high:g}")
        return self


class CorruptionSpec(BaseModel):
    """The corruptions of a release; one that is None does not occur."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    white_noise: WhiteNoise | None = None
