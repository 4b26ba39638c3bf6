"""ReleaseSpec: the complete, frozen and validated definition of a release; it gives the same bits on every machine."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from typing import Annotated, Any, Literal, Self, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    SerializeAsAny,
    ValidationInfo,
    model_validator,
)
from pydantic_core import PydanticCustomError

from qpibench.columns import BUILT_IN
from qpibench.corruptions import AddsScatterers, OfInstrument, Restricted, get_corruption, is_of_instrument
from qpibench.errors import UsageError
from qpibench.families import KernelSpec, get_family, is_on_lattice
from qpibench.grid import Grid
from qpibench.parsing import shown
from qpibench.specs.corruptions import Corruptions
from qpibench.specs.lattice import check_tables
from qpibench.specs.scattering import check_scattering, check_separation
from qpibench.specs.species import SpeciesSpec, check_species

MAX_SCATTERERS = 10_000
"""Documented limit of scatterers per observation."""

MIN_PIXELS_PER_PERIOD = 2.0
"""Smallest number of pixels per period (Nyquist); a spec with shorter periods, which would alias, is refused."""

MAX_MARGIN_FIELDS = 10
"""Largest distance of a scatterer from the field in field sizes; farther out float32 phases lose too many digits."""

MAX_BORDER_PX = 1024
"""Largest number of pixels outside the field, on every side, that corruptions of the instrument may need."""

MAX_NAME_LENGTH = 200

Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_LENGTH, pattern=r"^[\x20-\x7e]+$")]
Index31 = Annotated[int, Field(ge=1, lt=2**31)]
Fraction = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]


Superposition = Annotated[
    Literal["linear", "multiple"], AfterValidator(lambda value: None if value == "linear" else value)
]
"""How the scatterers of an image act together; "linear" is the same as no value and has the same hash."""

_Seed = Annotated[int, Field(ge=0, lt=2**128)] | str


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Identified(_Frozen):
    def canonical_json(self) -> str:
        """Return the spec as JSON with sorted keys, no white space and shortest floats: the text that is hashed.

        Unused options (null) are omitted, so that a new option does not change the hashes of existing specs.
        """
        fields = self.model_dump(mode="json", exclude_none=True)
        return json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False)

    @property
    def sha256(self) -> str:
        """SHA-256 of the canonical JSON, hexadecimal."""
        return hashlib.sha256(self.canonical_json().encode()).hexdigest()


def _seed(value: object) -> object:
    number = value
    if isinstance(value, str):
        with suppress(ValueError):
            number = int(value, 0)
    if isinstance(number, str) or (isinstance(number, int) and not 0 <= number < 2**128):
        raise ValueError(f"expected an integer from 0 to 2^128 - 1, found {shown(value)}; a seed has up to 128 bits")
    return number


def _kernels(value: Any, info: ValidationInfo) -> KernelSpec:
    """Return the validated ranges of the family that a table names; the context has the folder of the spec's file."""
    if isinstance(value, KernelSpec):
        return value
    if not isinstance(value, dict):
        raise PydanticCustomError("model_type", "should be a table of fields")
    try:
        family = get_family(str(value.get("family", "eq7")))
    except UsageError as error:
        raise ValueError(str(error).rstrip(".")) from None
    return family.Ranges.model_validate_json(json.dumps(value, default=str), strict=True, context=info.context)


def expand_count(table: dict[str, Any]) -> dict[str, Any]:
    """Replace the short form ``count``, a number or a range, in a table of scatterers by min and max.

    Raises
    ------
    ValueError
        If ``count`` is neither, or the table has min or max too.
    """
    if "count" not in table:
        return table
    count = table["count"]
    ends = count if isinstance(count, (list, tuple)) and len(count) == 2 else (count, count)
    if not all(type(end) is int for end in ends):
        raise ValueError(
            f"scatterers.count must be a whole number such as 20 or a range such as [1, 100], found {shown(count)}"
        )
    if "min" in table or "max" in table:
        raise ValueError("scatterers.count stands for scatterers.min and scatterers.max; leave out one or the other")
    return {name: value for name, value in table.items() if name != "count"} | {"min": ends[0], "max": ends[1]}


def _with_count(schema: dict[str, Any]) -> None:
    """Add the short form to the JSON Schema of a table of scatterers."""
    number = {"type": "integer", "minimum": 1, "maximum": MAX_SCATTERERS}
    pair = {"type": "array", "prefixItems": [number, number], "minItems": 2, "maxItems": 2}
    count = {"anyOf": [number, pair], "description": "short for min and max: 20 is both, [1, 100] is a range"}
    schema["properties"] = {"count": count, **schema["properties"]}
    schema["oneOf"] = [{"required": ["max"]}, {"required": ["count"]}]
    del schema["required"]


class ScattererSpec(_Frozen):
    """Number and positions of the scatterers of an image.

    The number is uniform in min..max; ``count = 20`` and ``count = [1, 100]`` are short forms. Positions are uniform in
    the field, widened on every side by ``margin_nm`` (a negative margin keeps them away from the edges). With
    ``min_separation_nm`` a scatterer that would be closer to an earlier one is drawn again, or moves to another lattice
    site.
    """

    model_config = ConfigDict(json_schema_extra=_with_count)

    min: Annotated[int, Field(ge=1, le=MAX_SCATTERERS)] = Field(default=1, description="fewest scatterers of an image")
    max: Annotated[int, Field(ge=1, le=MAX_SCATTERERS)] = Field(
        description="most scatterers of an image; required unless count is given"
    )
    margin_nm: Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)] = Field(
        default=0.0, description="how far outside the field scatterers may lie; a negative margin keeps them inside"
    )
    superposition: Superposition | None = Field(
        default=None,
        description="multiple: scatterers scatter each other's waves (surface_state, tight_binding); linear if absent",
    )
    min_separation_nm: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)] | None = Field(
        default=None, description="smallest distance between the drawn scatterers of an image"
    )

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, value: object) -> object:
        return expand_count(value) if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"scatterers min..max is reversed: {self.min} is larger than {self.max}")
        return self


class SplitSpec(_Frozen):
    """Shares of the splits; see :mod:`qpibench.synthesis.splits`."""

    ood_kernels: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = Field(
        default=0.2, description="share of the kernels of a stratum kept for the OOD test; 1 keeps all"
    )
    id_test: Fraction = Field(default=0.2, description="share of the images of a training kernel kept for the ID test")
    validation: Fraction = Field(default=0.1, description="share of the other images kept for validation")


class ReleaseSpec(_Identified):
    """A generated release. Every field is part of its identity.

    ``seed`` has up to 128 bits. ``arithmetic`` is the version of the arithmetic contract. It changes if and only if the
    bits of a spec change.
    """

    name: Name = Field(description="name of the release, printable ASCII")
    arithmetic: Literal[1] = Field(default=1, description="version of the arithmetic contract")
    seed: Annotated[int, Field(ge=0, lt=2**128), BeforeValidator(_seed, json_schema_input_type=_Seed)] = Field(
        default=0, description="seed of all draws, as a number or as a text such as '0xff'"
    )
    grid: Grid = Field(description="pixels of kernels and images")
    kernels: Annotated[SerializeAsAny[KernelSpec], PlainValidator(_kernels)] = Field(
        description="what kernels are drawn from"
    )
    observations_per_kernel: Index31 = Field(description="images of every kernel")
    scatterers: ScattererSpec = Field(description="how many scatterers an image has and where they lie")
    species: SpeciesSpec | None = Field(default=None, description="a second species of scatterers")
    splits: SplitSpec = Field(default=SplitSpec(), description="shares of the splits")
    corruptions: Corruptions = Field(default=None, description="what is added to the ideal image")

    @model_validator(mode="after")
    def _check_columns(self) -> Self:
        of_corruptions = [(name, get_corruption(name).COLUMNS) for name in self.corruptions or {}]
        known = dict.fromkeys(BUILT_IN, "every release")
        for declarer, columns in [(self.kernels.family, get_family(self.kernels.family).COLUMNS), *of_corruptions]:
            for column in columns:
                if column.name in known:
                    raise ValueError(
                        f"'{declarer}' declares the column '{column.name}', which {known[column.name]} has already"
                    )
                known[column.name] = f"'{declarer}'"
        for name, columns in of_corruptions:
            for column in columns:
                if column.per == "kernel":
                    raise ValueError(f"'{name}' declares the column '{column.name}' of kernels, which only families do")
        return self

    def _longer_periods(self) -> str:
        if getattr(self.kernels, "shortest_period_nm", 0) is None:
            return "use more pixels, or state kernels.shortest_period_nm, which is two pixels of the file unless stated"
        return "draw longer ones or use more pixels"

    @model_validator(mode="after")
    def _check(self) -> Self:
        pitch = max(self.grid.pitch_y_nm, self.grid.pitch_x_nm)
        shortest = get_family(self.kernels.family).shortest_period_nm(self.kernels)
        if shortest < MIN_PIXELS_PER_PERIOD * pitch:
            raise ValueError(
                f"kernels: a period of {shortest:g} nm would alias: pixels are {pitch:.4g} nm apart, and a period must"
                f" be at least {MIN_PIXELS_PER_PERIOD:g} of them, {MIN_PIXELS_PER_PERIOD * pitch:.4g} nm;"
                f" {self._longer_periods()}"
            )
        half = min(self.grid.size_y_nm, self.grid.size_x_nm) / 2
        if half + self.scatterers.margin_nm <= 0:
            raise ValueError(
                f"scatterers.margin_nm = {self.scatterers.margin_nm:g} leaves no part of the field for scatterers; it"
                f" must be above {-half:g} nm, half of the field's shorter side"
            )
        largest = max(self.grid.size_y_nm, self.grid.size_x_nm)
        if self.scatterers.margin_nm > MAX_MARGIN_FIELDS * largest:
            raise ValueError(
                f"scatterers.margin_nm = {self.scatterers.margin_nm:g} is more than {MAX_MARGIN_FIELDS} times the field"
                f" and must be at most {MAX_MARGIN_FIELDS * largest:g} nm"
            )
        self._check_corruptions()
        self._check_sites()
        check_species(self)
        check_separation(self)
        check_scattering(self)
        if self.observation_count >= 2**31:
            raise ValueError(
                f"{self.observation_count} observations are more than one release holds ({2**31 - 1}); write several"
            )
        check_tables(self)
        return self

    def _check_corruptions(self) -> None:
        for name, settings in (self.corruptions or {}).items():
            if hasattr(corruption := get_corruption(name), "check"):
                cast(Restricted, corruption).check(settings, self)
        if (border := sum(self.borders_px().values())) > MAX_BORDER_PX:
            raise ValueError(
                f"{' and '.join(f'corruptions.{name}' for name in self.borders_px())} need {border} pixels outside the"
                f" field on every side, and {MAX_BORDER_PX} is the limit; weaken them or use fewer pixels"
            )
        places = self.scatterers.max
        for name, added in self.added_scatterers().items():
            places += added
            if places > MAX_SCATTERERS:
                raise ValueError(
                    f"corruptions.{name} adds up to {added} scatterers to the {places - added} that an image may have"
                    f" without it, and {MAX_SCATTERERS} is the limit; change its settings or lower scatterers.max"
                )

    def borders_px(self) -> dict[str, int]:
        """Return the number of pixels outside the field that each corruption of the instrument needs on every side."""
        return {
            name: cast(OfInstrument, corruption).border_px(settings, self.grid)
            for name, settings in (self.corruptions or {}).items()
            if is_of_instrument(corruption := get_corruption(name))
        }

    def added_scatterers(self) -> dict[str, int]:
        """Return the largest number of scatterers that each corruption adds to images or to the told positions."""
        return {
            name: cast(AddsScatterers, corruption).extra_scatterers(settings, self)
            for name, settings in (self.corruptions or {}).items()
            if hasattr(corruption := get_corruption(name), "extra_scatterers")
        }

    def _check_sites(self) -> None:
        """Each scatterer on a lattice has a site of its own."""
        family, margin = get_family(self.kernels.family), self.scatterers.margin_nm
        if not is_on_lattice(family):
            return
        half_x, half_y = self.grid.size_x_nm / 2 + margin, self.grid.size_y_nm / 2 + margin
        sites = family.site_count(self.kernels, half_x, half_y, enough=self.scatterers.max)
        if self.scatterers.max > sites:
            raise ValueError(
                f"scatterers.max must be at most {sites}, the number of lattice sites where scatterers may lie, found"
                f" {self.scatterers.max}"
            )

    @property
    def observation_count(self) -> int:
        """Number of images in the release."""
        return self.kernels.count * self.observations_per_kernel


class ImportedSpec(_Identified):
    """A release that was imported from foreign files: it records its sources and cannot be regenerated.

    ``source`` is the name of the reader. ``files_sha256`` has one hash per file, of its numbers, see
    :func:`qpibench.readers.images.hash_numbers`. ``axis_order`` is the order of the pixels in the files, if the reader
    had to determine it.
    """

    name: Name
    source: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")] = "csv"
    files_sha256: tuple[str, ...]
    axis_order: Literal["x_first", "y_first"] | None = None
    grid: Grid
    seed: Annotated[int, Field(ge=0, lt=2**128)] = 0
    splits: SplitSpec = SplitSpec()
