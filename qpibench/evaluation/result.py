"""What a score says: :class:`Result`, a closed and versioned schema.

A result is a function of predictions files and their releases. What differs between two computations of the same score
(how long it took, on which machine) is kept apart in ``scoring_run``. Files of schema 1 are read as well, see
:mod:`qpibench.evaluation.schema_1`.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from qpibench.evaluation.median_image import MedianImage
from qpibench.evaluation.metrics import all_metrics
from qpibench.evaluation.run_record import JsonObject, SourceRecord
from qpibench.grid import Grid
from qpibench.records import Closed, Count, Finite, Positive, Sha256, Text
from qpibench.tasks.suite import Suite
from qpibench.tasks.track import Track

SCHEMA_VERSION = 2

PRIMARY_METRIC = "rel_l2_capped"
"""Name of the metric that ranks entries outside of tracks."""

ORACLE = "the true kernel (oracle)"
"""Value of ``knows`` that marks an oracle, which uses the true kernels and takes no rank."""

ORACLE_VIEW = "oracle"
"""View of an oracle, which no model can be shown."""

UNKNOWN_VIEW = "unknown"
"""View of predictions that do not say what the entry was shown."""


class Interval(Closed):
    """An estimate and the confidence interval of its population value."""

    value: Finite = Field(description="The statistic of the scored images.")
    low: Finite = Field(description="Lower end of the interval.")
    high: Finite = Field(description="Upper end of the interval.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.low <= self.value <= self.high:
            raise ValueError(f"low <= value <= high is expected, found {self.low!r}, {self.value!r}, {self.high!r}")
        return self


Metrics = Annotated[dict[Text, Interval], Field(min_length=1)]
"""Scores by the name of their metric, see :mod:`qpibench.evaluation.metrics`.

Every score includes the failed images. A failed image counts with the worse of two errors: that of predicting zeros,
and that of the entry's own worst image.
"""


class Floor(Closed):
    """Error of the true kernels as the entry itself encodes and decodes them; no part of the ranking.

    The floor is the part of an error that better latents do not remove.
    """

    metrics: Metrics = Field(
        description="Scores of the auto-encoded true kernels in place of the predictions, by name; without metrics that"
        " use more than the true kernel."
    )
    added: dict[Text, Interval] = Field(
        description="Score of the predictions minus that of the auto-encoded kernels, paired image by image; of metrics"
        " that are means over images."
    )


class Group(Closed):
    """The ranking score of a group of images."""

    label: Text = Field(description="What the images of the group have in common, for tables and figures.")
    order: int = Field(description="Number by which groups are sorted: fewest scatterers, or the stratum's number.")
    n_images: Positive = Field(description="Images in the group.")
    n_kernels: Positive = Field(description="Different kernels among them.")
    metrics: Metrics = Field(description="Scores of the group, each with its interval, by name.")


class ReleaseRecord(Closed):
    """The release that the score was measured on."""

    name: Text = Field(description="Name of the release.")
    content_sha256: Sha256 = Field(description="Identity of the release: hash of its arrays and its spec.")
    spec_sha256: Sha256 = Field(description="SHA-256 of the canonical JSON of its spec.")
    observation_count: Positive = Field(description="Images in the release, all roles together.")
    kernel_count: Positive = Field(description="Kernels in the release.")
    grid: Grid = Field(description="Pixels and size in nm of an image.")


class TrainingRecord(Closed):
    """How a model was trained, as the run folder of its weights records it."""

    recipe: Text | None = Field(description="Name of the recipe; null if the entry has none.")
    preset: Text | None = Field(description="Name of the architecture; null if the entry has none.")
    options: JsonObject = Field(description="What was set beyond recipe and preset, by name.")
    seed: Count = Field(description="Seed of weights, order and draws.")
    source: SourceRecord = Field(description="The training images.")
    steps_done: Count = Field(description="Steps that were done.")
    steps_stated: Positive = Field(description="Steps that the recipe states.")
    fraction: Annotated[float, Field(ge=0, le=1)] = Field(
        description="Share of the stated steps that was done; 1 where early stopping ended the run."
    )
    hours: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(description="Wall-clock time in h.")
    hardware: Text = Field(description="The device that trained.")
    git_commit: Text | None = Field(
        description="Commit of the code that trained, '-dirty' if files differed from it; null outside of git."
    )


class ModelRecord(Closed):
    """The model that was scored, and its knowledge beyond the images."""

    name: Text = Field(description="Name of the entry; 'unnamed' if the predictions do not say.")
    file_sha256: Sha256 | None = Field(description="SHA-256 of the model's file; null if the predictions do not say.")
    code_sha256: Sha256 | None = Field(
        default=None,
        description="SHA-256 of the model's file and the modules of its own that it imports; that of the file if it"
        " imports none; null if the predictions do not say.",
    )
    weights: dict[Text, Sha256] = Field(description="SHA-256 of each file of weights, by its name; empty without any.")
    knows: tuple[str, ...] = Field(description="Prior knowledge the entry declares, such as eq. 7.")
    needs: tuple[str, ...] = Field(description="Views the entry declares it can work with; empty if none is declared.")
    trained_on: tuple[str, ...] = Field(description="Data the entry declares it was trained on.")
    training: TrainingRecord | None = Field(
        default=None, description="How its weights were trained; null for an entry without a run folder."
    )


class IntervalSettings(Closed):
    """Settings of the intervals."""

    level: Annotated[float, Field(gt=0, lt=1)] = Field(description="Share of intervals meant to cover.")
    method: Text = Field(description="Name of the method; see qpibench.evaluation.statistics.")
    replicates: Positive = Field(description="Number of bootstrap replicates.")
    seed: Annotated[int, Field(ge=0, lt=2**64)] = Field(description="Seed of the draws.")


class CellRecord(Closed):
    """The cell of a track; the fields beside it repeat its inputs and its number of images."""

    track: Text = Field(description="Name of the track.")
    track_sha256: Sha256 = Field(description="SHA-256 of the track's canonical JSON.")
    cell: Text = Field(description="Name of the cell.")
    primary: Text = Field(description="The metric that ranks.")
    size: Positive | None = Field(description="Images that the cell has of each release; null for the whole test role.")
    metrics: tuple[Text, ...] = Field(default=(), description="What is scored; empty where it is not recorded.")

    @classmethod
    def of(cls, track: Track, name: str) -> Self:
        """Return the record of a track's cell."""
        cell = track.cell(name)
        return cls(
            track=track.name,
            track_sha256=track.sha256,
            cell=name,
            primary=cell.primary,
            size=cell.size,
            metrics=cell.metrics,
        )

    @property
    def label(self) -> str:
        """Track and cell, as options of commands name them."""
        return f"{self.track}/{self.cell}"


class SuiteRecord(Closed):
    """The suite that was asked."""

    name: Text = Field(description="Name of the suite.")
    sha256: Sha256 = Field(description="SHA-256 of the suite's canonical JSON.")
    limit: Positive | None = Field(description="Largest number of images of each release; null for all.")

    @classmethod
    def of(cls, suite: Suite, *, limit: int | None) -> Self:
        """Return the record of a suite, of whose releases at most ``limit`` images each are scored."""
        return cls(name=suite.name, sha256=suite.sha256, limit=limit)


class Run(Closed):
    """Time, memory and machine of a computation."""

    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = Field(description="Wall-clock time in s.")
    peak_memory_bytes: Count | None = Field(description="Largest resident memory in bytes; null if not measured.")
    environment: dict[str, str] = Field(description="Versions, processor and platform, as texts.")


class Failure(Closed):
    """The reason why an entry stopped before it had predicted every image."""

    kind: Text = Field(description="What happened: such as raised, prediction, time limit, memory limit, died.")
    message: Text = Field(description="One sentence with the model's own error.")
    task: Text | None = Field(description="The task during which it happened; null if before the first.")


class PartResult(Closed):
    """The scores of one predictions file on one task of one release."""

    release: ReleaseRecord = Field(description="The data.")
    family: Text | None = Field(default=None, description="Family of the kernels; null in older results.")
    task: Text = Field(description="How the release was split: id or ood; its test role was asked.")
    view: Text = Field(description="What the entry was shown: image, raster or positions.")
    map_mode: Text | None = Field(description="How activation maps were rasterised: paper or exact; null without any.")
    told_species: bool | None = Field(
        default=None, description="Whether the species of scatterers were shown; null with one species, or unknown."
    )
    n_images: Positive = Field(description="Images that were scored, failed ones included.")
    n_available: Positive = Field(description="Images in the task's test role.")
    subset: bool = Field(description="Whether fewer images were scored than the test role has.")
    n_failed: Count = Field(description="Scored images without a finite prediction.")
    n_kernels: Positive = Field(description="Different kernels among the scored images; 1 makes the intervals narrow.")
    failure: Failure | None = Field(description="Why the entry stopped; null when it did not.")
    metrics: Metrics = Field(description="The scores, each with its interval, by name.")
    floor: Floor | None = Field(
        default=None, description="Error of the entry's own autoencoder; null for an entry without autoencode."
    )
    breakdowns: dict[Text, tuple[Group, ...]] = Field(
        description="The ranking score of groups that share out the images: by scatterers and by stratum."
    )
    median_image: MedianImage | None = Field(
        default=None,
        description="The image with the median error; null if none was predicted, and in older results.",
    )
    predictions_sha256: Sha256 = Field(
        description="Hash of the predictions, the same for two runs of a deterministic model; of the file in format 1."
    )
    predict_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        default=None,
        description="Wall-clock time in s of the calls of predict, import and fit left out, as the predictions file"
        " records it; null if it does not, or if none was made.",
    )
    threads: Positive | None = Field(
        default=None, description="Threads of the model's numerical libraries; null if the predictions do not say."
    )
    prediction_run: Run = Field(description="What predicting took, all tasks of the predictions file together.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.n_failed <= self.n_images <= self.n_available:
            raise ValueError(
                "n_failed <= n_images <= n_available is expected,"
                f" found {self.n_failed}, {self.n_images}, {self.n_available}"
            )
        if self.subset != (self.n_images < self.n_available):
            raise ValueError(f"subset is {self.subset}, but {self.n_images} of {self.n_available} images were scored")
        return self


class CellResult(Closed):
    """The scores of one cell."""

    record: CellRecord | None = Field(description="The cell of a track that was asked; null outside of tracks.")
    stands_for: SkipJsonSchema[CellRecord | None] = Field(
        default=None,
        exclude=True,
        description="The cell that a result older than tracks is ranked in, which reading it finds out; never written.",
    )
    primary: Text = Field(description="The metric that ranks.")
    metrics: Metrics = Field(
        description="The scores, each with its interval, by name: the mean over families of kernels of the mean over"
        " the parts of each."
    )
    floor: Floor | None = Field(
        default=None, description="The mean of the parts' floors; null if one of the parts has none."
    )
    parts: Annotated[tuple[PartResult, ...], Field(min_length=1)] = Field(description="One for each release.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.record is not None and self.record.primary != self.primary:
            raise ValueError(f"primary is '{self.primary}', but the cell is ranked by '{self.record.primary}'")
        if self.primary not in all_metrics():
            raise ValueError(f"there is no metric '{self.primary}' to rank by")
        if not all_metrics()[self.primary].ranks:
            raise ValueError(f"primary is '{self.primary}', a metric that does not rank")
        if self.primary not in self.metrics:
            raise ValueError(f"primary is '{self.primary}', which is not among the metrics")
        if len({part.release.content_sha256 for part in self.parts}) < len(self.parts):
            raise ValueError("two parts are of the same release")
        shown = [(part.task, part.view, part.map_mode) for part in self.parts]
        if len(set(shown)) > 1:
            raise ValueError(f"all parts have the same task, view and map_mode, found {shown}")
        return self

    @property
    def task(self) -> str:
        """The task, which names the split of the releases."""
        return self.parts[0].task

    @property
    def families(self) -> tuple[str, ...]:
        """The families of the parts' kernels, each once; empty in older results."""
        return tuple(dict.fromkeys(part.family for part in self.parts if part.family is not None))

    @property
    def view(self) -> str:
        """The view: the inputs that the entry was shown."""
        return self.parts[0].view

    @property
    def map_mode(self) -> str | None:
        """How activation maps were rasterised."""
        return self.parts[0].map_mode

    @property
    def n_images(self) -> int:
        """Number of scored images."""
        return sum(part.n_images for part in self.parts)

    @property
    def n_available(self) -> int:
        """Number of images in the test roles."""
        return sum(part.n_available for part in self.parts)

    @property
    def n_failed(self) -> int:
        """Number of scored images without a finite prediction."""
        return sum(part.n_failed for part in self.parts)

    @property
    def n_kernels(self) -> int:
        """Number of different kernels among the scored images."""
        return sum(part.n_kernels for part in self.parts)

    @property
    def failed(self) -> bool:
        """Whether the entry failed in one of the parts."""
        return any(part.failure is not None for part in self.parts)


class Result(Closed):
    """The scores of one entry."""

    schema_version: Literal[2] = Field(description="Version of this schema.")
    evaluator_version: Text = Field(description="Version of qpibench that scored.")
    status: Literal["complete", "failed", "unfinished"] = Field(
        description="failed: the entry stopped, see failure of the parts; all are scored. unfinished: the evaluation"
        " was interrupted, and cells of its suite or track are missing."
    )
    visibility: Literal["public"] = Field(description="public: anyone can draw the test data from their known seed.")
    model: ModelRecord = Field(description="The entry.")
    intervals: IntervalSettings = Field(description="How low and high were made.")
    suite: SuiteRecord | None = Field(default=None, description="The suite that was asked; null without one.")
    cells: dict[Text, CellResult] = Field(
        description="The scores by cell, in a suite by TRACK/CELL; outside of tracks the cells are named after the"
        " tasks.",
        min_length=1,
    )
    not_applicable: dict[Text, Text] = Field(
        default={}, description="Cells of the suite that the entry cannot take, by TRACK/CELL, with the reason."
    )
    scoring_run: Run = Field(description="What scoring took; no part of the comparison of two results.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        failed = any(cell.failed for cell in self.cells.values())
        if self.status not in ("unfinished", "failed" if failed else "complete"):
            raise ValueError(f"status '{self.status}' does not fit the failure of the parts")
        for name, cell in self.cells.items():
            record = cell.record
            if record is None:
                is_so_called = self.suite is None and name == cell.task
            else:
                is_so_called = name == (record.cell if self.suite is None else record.label)
            if not is_so_called:
                raise ValueError(f"cell '{name}' is called otherwise by its record or its task")
        if twice := self.cells.keys() & self.not_applicable.keys():
            raise ValueError(f"cell '{min(twice)}' has scores and is not applicable")
        if self.not_applicable and self.suite is None:
            raise ValueError("without a suite there is no cell that is not applicable")
        return self
