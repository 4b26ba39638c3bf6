"""Run folder of a trained model and its record ``run.json``, a closed and versioned schema.

Training (:mod:`qpibench.training`) writes the folder and evaluation reads it, as a run folder is a model. It contains
no paths of this machine.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, JsonValue, ValidationError, WithJsonSchema, model_validator

from qpibench.errors import InvalidDataError, UsageError
from qpibench.parsing import parse_json, shown
from qpibench.records import Closed, Count, Finite, Sha256, Text
from qpibench.specs.load import explain

SCHEMA_VERSION = 1

JsonObject = Annotated[dict[str, JsonValue], WithJsonSchema({"type": "object"})]


@dataclass(frozen=True)
class RunFolder:
    """Paths of a run folder's parts; ``path`` is the folder."""

    path: Path

    @property
    def record(self) -> Path:
        """File of the record, :class:`RunRecord`."""
        return self.path / "run.json"

    @property
    def weights(self) -> Path:
        """File of the weights that the entry's model loads."""
        return self.path / "weights.safetensors"

    @property
    def checkpoint(self) -> Path:
        """Folder of the checkpoint from which training continues."""
        return self.path / "checkpoint.safetensors"

    @property
    def log(self) -> Path:
        """File of the log, one JSON object per line: logged steps and validations."""
        return self.path / "log.jsonl"

    @property
    def curves(self) -> Path:
        """File of the curves, a drawing of the log."""
        return self.path / "curves.png"

    @property
    def tensorboard(self) -> Path:
        """Folder of TensorBoard's event files."""
        return self.path / "tensorboard"


class SourceRecord(Closed):
    """The images that a model was trained on."""

    kind: Literal["release", "stream"] = Field(description="A release's training role, or fresh draws of a spec.")
    name: Text = Field(description="Name of the release or of the spec.")
    spec_sha256: Sha256 = Field(description="SHA-256 of the canonical JSON of the spec.")
    content_sha256: Sha256 | None = Field(description="Identity of the release; null for a stream.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.kind == "release") != (self.content_sha256 is not None):
            raise ValueError("content_sha256 is required for the kind 'release' and must be null for 'stream'")
        return self


class Best(Closed):
    """The step whose weights were saved."""

    stage: Text = Field(description="Name of the stage.")
    step: Count = Field(description="Steps of that stage that were done.")
    score: Finite = Field(description="Validation error there; less is better.")


class RunRecord(Closed):
    """Record of a training run: the entry, its settings, the training data and the steps done.

    The hashes, the version, the commit and the environment are those of the process that last wrote the record.
    """

    schema_version: Literal[1] = Field(default=1, description="Version of this schema.")
    entry: Text = Field(description="Name of the entry.")
    entry_file: Text | None = Field(
        description="The entry's file, relative to this folder; null for a shipped or registered entry."
    )
    entry_sha256: Sha256 = Field(description="SHA-256 of the entry's file.")
    code_sha256: Sha256 | None = Field(
        description="SHA-256 of the entry's file and the modules of its own that it imports. Older runs: of all modules"
        " that the shipped learned entries share, null for other entries."
    )
    qpibench_version: Text = Field(description="Version of qpibench.")
    git_commit: Text | None = Field(
        description="Commit of the entry's repository, '-dirty' if files differed from it; null outside of git."
    )
    config: JsonObject = Field(
        description="All that the entry resolved. Its members recipe and preset (a name, or an object with a name),"
        " pretrained (weights that it started from, or null) and map_mode (here or in the recipe) mean what they say;"
        " the others are the entry's own."
    )
    options: JsonObject = Field(default={}, description="What was set beyond recipe and preset, by name.")
    seed: Count = Field(description="Seed of weights, order and draws.")
    source: SourceRecord = Field(description="The training images.")
    steps_stated: Annotated[int, Field(ge=1)] = Field(description="Steps of the recipe, all stages together.")
    steps_budget: Count = Field(description="Steps that this run was allowed.")
    steps_done: Count = Field(default=0, description="Steps that were done.")
    status: Literal["running", "complete", "stopped"] = Field(
        default="running",
        description="running: now, or killed; complete: budget used or early stop; stopped: resumable.",
    )
    stopped_early: bool = Field(default=False, description="Whether validation did not improve any more.")
    best: Best | None = Field(default=None, description="The step whose weights are kept; null before a validation.")
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        default=0.0, description="Wall-clock time of training in s, of all starts together."
    )
    hardware: Text = Field(description="The device that trained.")
    environment: dict[str, str] = Field(description="Versions, processor and platform, as texts.")
    numerics: dict[str, str] = Field(
        default={}, description="Settings that decide how numbers are rounded, and how the precision was chosen."
    )
    variables: dict[str, str] = Field(
        default={}, description="Environment variables of the training process that may change a result or its speed."
    )
    ignored_variables: list[str] = Field(
        default=[], description="Names of variables of launchers, Accelerate and TF32 that were set and not used."
    )
    weights_sha256: Sha256 | None = Field(
        default=None, description="SHA-256 of the weights; null before there are any."
    )

    @property
    def recipe(self) -> str | None:
        """Name of the recipe, if the entry records it."""
        return self._named("recipe")

    @property
    def preset(self) -> str | None:
        """Name of the architecture, if the entry records it."""
        return self._named("preset")

    @property
    def pretrained(self) -> str | None:
        """Pretrained weights that the run started from, if the entry records them."""
        return self._named("pretrained")

    @property
    def map_mode(self) -> str | None:
        """How the activation maps of the training images were rasterised, if the entry records it."""
        recipe = self.config.get("recipe")
        places = [self.config, recipe] if isinstance(recipe, dict) else [self.config]
        return next((mode for place in places if isinstance(mode := place.get("map_mode"), str)), None)

    def _named(self, key: str) -> str | None:
        value = self.config.get(key)
        name = value.get("name") if isinstance(value, dict) else value
        return name if isinstance(name, str) and name else None

    @property
    def ended_by_steps(self) -> bool:
        """Whether the run ended because it was allowed fewer steps than stated, as by ``--steps``."""
        return self.status == "complete" and not self.stopped_early and self.steps_budget < self.steps_stated

    @property
    def fraction(self) -> float:
        """Share of the stated steps that was done; 1 if early stopping completed the run."""
        if self.status == "complete" and self.stopped_early:
            return 1.0
        return min(1.0, self.steps_done / self.steps_stated)


def run_schema() -> dict[str, Any]:
    """JSON Schema of run.json."""
    return RunRecord.model_json_schema()


def load_run(folder: Path) -> RunRecord:
    """Read the record of a run folder.

    Raises
    ------
    UsageError
        If the folder has no run.json or it cannot be read.
    InvalidDataError
        If run.json is not one of a training run, or of another schema version.
    """
    path = RunFolder(Path(folder)).record
    try:
        text = path.read_bytes()
    except OSError as error:
        raise UsageError(f"'{folder}' is not the folder of a training run: run.json: {error.strerror}.") from None
    content = parse_json(text, f"'{path}' does not describe a training run: it")
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version is None:
        raise InvalidDataError(f"'{path}' does not describe a training run: it has no schema_version.")
    if version != SCHEMA_VERSION:
        raise InvalidDataError(
            f"'{path}' has schema_version {shown(version)}, this qpibench reads {SCHEMA_VERSION}; use the version of"
            " qpibench that wrote it."
        )
    try:
        return RunRecord.model_validate_json(json.dumps(content))
    except ValidationError as error:
        raise InvalidDataError(f"'{path}' does not describe a training run: {explain(error, RunRecord)}.") from None
