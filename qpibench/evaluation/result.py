"""What a score says: :class:`Result`, a closed and versioned schema, its file, and when two of them agree.

A result is a function of the predictions file and the release. What differs between two computations of the same score
(how long it took, on which machine) is kept apart in ``scoring_run``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from qpibench.errors import InvalidDataError, UsageError
from qpibench.evaluation.run_record import JsonObject, SourceRecord
from qpibench.grid import Grid
from qpibench.pages.whole_file import write_whole
from qpibench.specs.load import explain

if TYPE_CHECKING:
    from qpibench.tasks.track import Track

SCHEMA_VERSION = 1

PRIMARY_METRIC = "rel_l2_capped"
"""The metric that ranks entries."""

HIGHER_IS_BETTER = frozenset({"ssim", "psnr"})
"""Metrics of which more is better; of all others less is."""

ORACLE = "the true kernel (oracle)"
"""What an entry knows that was shown the truth; it takes no rank."""

Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Text = Annotated[str, Field(min_length=1)]


class _Closed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Interval(_Closed):
    """A number and the interval that its population value is expected in."""

    value: Finite = Field(description="The statistic of the scored images.")
    low: Finite = Field(description="Lower end of the interval.")
    high: Finite = Field(description="Upper end of the interval.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.low <= self.value <= self.high:
            raise ValueError(f"low <= value <= high is expected, found {self.low!r}, {self.value!r}, {self.high!r}")
        return self


class Metrics(_Closed):
    """The scores of one task; formulas are those of ``qpibench.evaluation.metrics``.

    Failed images are in every one of them: each with the worse of the error of predicting zeros and the entry's own
    worst image.
    """

    mae: Interval = Field(description="Mean absolute error per image, native units, averaged over images.")
    mse: Interval = Field(description="Mean squared error per image, native units, averaged over images.")
    rmse: Interval = Field(description="Root-mean-square error per image, native units, averaged over images.")
    mae_published: Interval = Field(description="MAE in the published convention: 2 MAE / (truth's max - min).")
    mse_published: Interval = Field(description="MSE in the published convention: 4 MSE / (truth's max - min)^2.")
    rmse_published: Interval = Field(description="RMSE in the published convention: 2 RMSE / (truth's max - min).")
    rel_l2_mean: Interval = Field(description="Relative L2 error ||p - t|| / ||t||, mean over images.")
    rel_l2_median: Interval = Field(description="Relative L2 error, median over images.")
    rel_l2_q90: Interval = Field(description="Relative L2 error, 90 % quantile over images.")
    rel_l2_capped: Interval = Field(description="Mean over images of min(relative L2 error, 1): the ranking score.")
    failure_rate: Interval = Field(
        description="Share of images without an answer or with a relative L2 error of 1 or more: no better than zeros."
    )
    ssim: Interval = Field(description="Structural similarity with the truth's range, averaged over images.")
    psnr: Interval = Field(description="Peak signal-to-noise ratio in dB with the truth's range, at most 150 dB.")


class ScattererBin(_Closed):
    """The ranking score of the images whose number of scatterers lies in a range."""

    min_scatterers: Count = Field(description="Fewest scatterers of the bin.")
    max_scatterers: Count = Field(description="Most scatterers of the bin, included.")
    n_images: Positive = Field(description="Images in the bin.")
    n_kernels: Positive = Field(description="Different kernels among them.")
    rel_l2_capped: Interval = Field(description="Mean of min(relative L2 error, 1) over the bin.")


class FoldGroup(_Closed):
    """The ranking score of the images whose kernel has a given symmetry."""

    fold: int = Field(description="Rotational symmetry 2, 3, 4 or 6; 0 for total symmetry, -1 where it is not known.")
    n_images: Positive = Field(description="Images in the group.")
    n_kernels: Positive = Field(description="Different kernels among them.")
    rel_l2_capped: Interval = Field(description="Mean of min(relative L2 error, 1) over the group.")


class TaskResult(_Closed):
    """The scores of one task."""

    metrics: Metrics = Field(description="The scores, each with its interval.")
    n_images: Positive = Field(description="Images that were scored, failed ones included.")
    n_available: Positive = Field(description="Images in the task's test role.")
    subset: bool = Field(description="Whether fewer images were scored than the test role has.")
    n_failed: Count = Field(description="Scored images without a finite prediction.")
    n_kernels: Positive = Field(description="Different kernels among the scored images; 1 makes the intervals narrow.")
    predict_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        default=None,
        description="Wall-clock time in s of the calls of predict, import and fit left out, as the predictions file"
        " records it; null if it does not, or if none was made.",
    )
    by_scatterers: tuple[ScattererBin, ...] = Field(description="The ranking score against the number of scatterers.")
    by_fold: tuple[FoldGroup, ...] = Field(description="The ranking score by rotational symmetry.")

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


class ReleaseRecord(_Closed):
    """Which data the score was measured on."""

    name: Text = Field(description="Name of the release.")
    content_sha256: Sha256 = Field(description="Identity of the release: hash of its arrays and its spec.")
    spec_sha256: Sha256 = Field(description="SHA-256 of the canonical JSON of its spec.")
    observation_count: Positive = Field(description="Images in the release, all roles together.")
    kernel_count: Positive = Field(description="Kernels in the release.")
    grid: Grid = Field(description="Pixels and size in nm of an image.")


class TrainingRecord(_Closed):
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


class ModelRecord(_Closed):
    """Which model answered, and what it was given beyond the images."""

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


class IntervalSettings(_Closed):
    """How the intervals were made."""

    level: Annotated[float, Field(gt=0, lt=1)] = Field(description="Share of intervals meant to cover.")
    method: Text = Field(description="Name of the method; see qpibench.evaluation.statistics.")
    replicates: Positive = Field(description="Number of bootstrap replicates.")
    seed: Annotated[int, Field(ge=0, lt=2**64)] = Field(description="Seed of the draws.")


class CellRecord(_Closed):
    """The cell of a track that was asked; what it shows and asks stands beside it."""

    track: Text = Field(description="Name of the track.")
    track_sha256: Sha256 = Field(description="SHA-256 of the track's canonical JSON.")
    cell: Text = Field(description="Name of the cell.")
    primary: Text = Field(description="The metric that ranks.")
    size: Positive | None = Field(description="Images that the cell has of each release; null for the whole test role.")

    @classmethod
    def of(cls, track: Track, name: str) -> Self:
        """The record of a track's cell."""
        cell = track.cell(name)
        return cls(track=track.name, track_sha256=track.sha256, cell=name, primary=cell.primary, size=cell.size)

    @property
    def label(self) -> str:
        """Track and cell, as commands take them."""
        return f"{self.track}/{self.cell}"


class Run(_Closed):
    """What a computation took, and where it ran."""

    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = Field(description="Wall-clock time in s.")
    peak_memory_bytes: Count | None = Field(description="Largest resident memory in bytes; null if not measured.")
    environment: dict[str, str] = Field(description="Versions, processor and platform, as texts.")


class Failure(_Closed):
    """Why an entry stopped before it had answered every image."""

    kind: Text = Field(description="What happened: such as raised, shape, dtype, time limit, memory limit, died.")
    message: Text = Field(description="One sentence with the model's own error.")
    task: Text | None = Field(description="The task during which it happened; null if before the first.")


class Result(_Closed):
    """The score of one entry on one release."""

    schema_version: Literal[1] = Field(description="Version of this schema.")
    evaluator_version: Text = Field(description="Version of qpibench that scored.")
    status: Literal["complete", "failed"] = Field(description="failed: the entry stopped, see failure; all are scored.")
    failure: Failure | None = Field(description="Why the entry stopped; null when it did not.")
    visibility: Literal["public"] = Field(description="public: anyone can draw the test data from their known seed.")
    release: ReleaseRecord = Field(description="The data.")
    model: ModelRecord = Field(description="The entry.")
    view: Text = Field(description="What the entry was shown: image, raster or positions.")
    map_mode: Text | None = Field(description="How activation maps were rasterised: paper or exact; null without any.")
    cell: CellRecord | None = Field(default=None, description="The cell of a track; null outside of tracks.")
    predictions_sha256: Sha256 = Field(description="SHA-256 of the predictions file.")
    intervals: IntervalSettings = Field(description="How low and high were made.")
    tasks: dict[Text, TaskResult] = Field(description="The scores by task.", min_length=1)
    prediction_run: Run = Field(description="What predicting took, as the predictions file records it.")
    scoring_run: Run = Field(description="What scoring took; no part of the comparison of two results.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.status == "failed") != (self.failure is not None):
            raise ValueError(f"status '{self.status}' does not fit failure {self.failure!r}")
        if self.cell is not None and self.cell.primary not in Metrics.model_fields:
            raise ValueError(f"there is no metric '{self.cell.primary}' to rank by")
        return self


def result_schema() -> dict[str, Any]:
    """JSON Schema of a result file."""
    return Result.model_json_schema()


def load_result(path: str | Path) -> Result:
    """Read a result file.

    Raises
    ------
    UsageError
        If there is no such file or it cannot be read.
    InvalidDataError
        If it is not a result, or one of another schema version.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise UsageError(f"Result file '{path}' cannot be read: {error.strerror}.") from None
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError
        raise InvalidDataError(f"'{path}' is not a result file: it is not valid JSON ({error}).") from None
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version is None:
        raise InvalidDataError(f"'{path}' is not a result file: it has no schema_version.")
    if version != SCHEMA_VERSION:
        raise InvalidDataError(
            f"Result file '{path}' has schema_version {version!r}, this qpibench reads {SCHEMA_VERSION};"
            " score its predictions again or use the version of qpibench that wrote it."
        )
    try:
        return Result.model_validate_json(json.dumps(content))
    except ValidationError as error:
        raise InvalidDataError(f"Result file '{path}' is not valid: {explain(error, Result)}.") from None


def save_result(result: Result, path: str | Path) -> None:
    """Write a result file: numbers in full precision, and either the whole file or none.

    Raises
    ------
    UsageError
        If the folder is missing or cannot be written to.
    QpibenchError
        If writing fails, as on a full disk.
    """
    text = json.dumps(result.model_dump(mode="json"), indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    write_whole(Path(path), text.encode(), what="Result file")


def compare_results(stored: Result, derived: Result, *, tolerance: float = 1e-9) -> list[str]:
    """Where two results differ: one sentence for each field, none if they agree.

    Numbers may differ by ``tolerance``, relative to the larger of the two, because sums are not bit-identical on all
    machines; everything else must be equal. ``scoring_run`` is left out.
    """
    left, right = (result.model_dump(mode="json", exclude={"scoring_run"}) for result in (stored, derived))
    return list(_differences("", left, right, tolerance))


def _differences(where: str, left: Any, right: Any, tolerance: float) -> Iterator[str]:
    if isinstance(left, dict) and isinstance(right, dict):
        for key in sorted(left.keys() | right.keys()):
            path = f"{where}.{key}" if where else str(key)
            if key not in left or key not in right:
                yield f"{path} is only in the {'stored' if key in left else 're-derived'} result."
            else:
                yield from _differences(path, left[key], right[key], tolerance)
    elif isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        for place, (a, b) in enumerate(zip(left, right, strict=True)):
            yield from _differences(f"{where}[{place}]", a, b, tolerance)
    elif isinstance(left, float) and isinstance(right, float):
        if not math.isclose(left, right, rel_tol=tolerance):
            yield f"{where} is {left!r} in the stored result and {right!r} re-derived."
    elif left != right:
        yield f"{where} is {left!r} in the stored result and {right!r} re-derived."
