"""Request for a training run: :class:`TrainingRun`, and its JSON form, in which the training process receives it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from qpibench.errors import InvalidDataError, UsageError
from qpibench.parsing import parse_json, shown, toml_value
from qpibench.paths import quoted, unquoted
from qpibench.specs import ReleaseSpec, spec_from_json

Precision = Literal["auto", "no", "bf16", "tf32"]
PRECISIONS: tuple[Precision, ...] = ("auto", "no", "bf16", "tf32")


def parse_options(texts: Sequence[str]) -> dict[str, Any]:
    """Parse options from texts ``"name=value"``. A value in TOML syntax is parsed, any other value is a text.

    Raises
    ------
    UsageError
        If a text does not have this form.
    """
    options = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not name:
            raise UsageError(f"Option '{text}' is not of the form name=value, such as batch_size=16.")
        options[name] = toml_value(value)
    return options


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """Request for a training run; the argument of an entry's ``train(run)``.

    Attributes
    ----------
    entry, entry_path
        Name and file of the entry.
    folder
        The run folder.
    release_path, spec
        Source of the training images: the training role of a release file, or fresh draws of a spec. Exactly one of the
        two is given.
    preset, recipe
        Names of an architecture and of a recipe of the entry; None for the entry's default.
    options
        Other settings by name, values of JSON.
    pretrained
        Name on the Hugging Face Hub or local path of pretrained weights, or None.
    seed
        Seed of the initial weights, the order of the images and all draws.
    resume
        Whether to continue the run in the folder, if there is one.
    max_seconds
        Time in s, from this start, after which training stops with a checkpoint; None for no limit.
    steps
        Number of steps of all stages and all starts together; None for the recipe's number.
    precision
        ``"no"`` for float32, ``"bf16"``, ``"tf32"`` (CUDA only), or ``"auto"``.
    compile
        Whether to compile the losses with ``torch.compile``.

    Raises
    ------
    UsageError
        If none or both of the sources are given, or a number or an option is not valid.
    """

    entry: str
    entry_path: Path
    folder: Path
    release_path: Path | None = None
    spec: ReleaseSpec | None = None
    preset: str | None = None
    recipe: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    pretrained: str | None = None
    seed: int = 0
    resume: bool = False
    max_seconds: float | None = None
    steps: int | None = None
    precision: Precision = "auto"
    compile: bool = False

    def __post_init__(self) -> None:
        if (self.release_path is None) == (self.spec is None):
            raise UsageError("Training needs one source of images: either a release or the spec of a stream.")
        if not 0 <= self.seed < 2**63:
            raise UsageError(f"The seed must be from 0 to 2^63 - 1, found {self.seed}.")
        if self.steps is not None and self.steps < 1:
            raise UsageError(f"The number of steps must be 1 or more, found {self.steps}.")
        if self.max_seconds is not None and not self.max_seconds > 0:
            raise UsageError(f"The time limit of training must be larger than 0 s, found {self.max_seconds:g} s.")
        if self.precision not in PRECISIONS:
            raise UsageError(f"There is no precision '{self.precision}'; choose one of {', '.join(PRECISIONS)}.")
        for name, value in self.options.items():
            try:
                json.dumps(value, allow_nan=False)
            except (TypeError, ValueError):
                raise UsageError(
                    f"Option {name} = {shown(value)} is not a number, text, truth value or list."
                ) from None

    def to_json(self) -> str:
        """Return the request as JSON."""
        content = {part.name: getattr(self, part.name) for part in fields(self)}
        for name in ("entry_path", "folder", "release_path"):
            content[name] = None if content[name] is None else quoted(content[name].absolute())
        content["spec"] = None if self.spec is None else self.spec.canonical_json()
        content["options"] = dict(self.options)
        return json.dumps(content, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> TrainingRun:
        """Read a request.

        Raises
        ------
        InvalidDataError
            If the text was not written by :meth:`to_json`.
        """
        try:
            content = parse_json(text, "The request for training cannot be read: it")
            for name in ("entry_path", "folder", "release_path"):
                content[name] = None if content[name] is None else unquoted(content[name])
            content["spec"] = None if content["spec"] is None else spec_from_json(content["spec"])
            return cls(**content)
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidDataError(f"The request for training cannot be read: {error}.") from None
