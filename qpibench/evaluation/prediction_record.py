"""The record of a predictions file: how, and from what, a model made its predictions."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from qpibench.evaluation.result import CellRecord, ModelRecord, Run
from qpibench.records import Closed

_LATER = ("told_species", "kernel_px")


class FailureRecord(Closed):
    """The reason why an entry stopped before it had predicted every image."""

    kind: str = Field(description="raised, prediction, exited, died, time limit, memory limit or protocol.")
    stage: Literal["fit", "predict"] = Field(description="What it was doing.")
    message: str = Field(description="One sentence with the model's own error and line.")
    traceback: str = Field(description="The model's traceback, or what it last printed; may be empty.")
    task: str | None = Field(description="The task during which it happened; null in fit.")
    row: int | None = Field(description="First row of that task without a prediction; null in fit.")


class Record(Closed):
    """Record of how a predictions file was made."""

    model: ModelRecord
    view: str = Field(description="What the entry was shown: image, raster or positions.")
    map_mode: str | None = Field(description="How activation maps were rasterised: paper or exact; null without any.")
    told_species: bool | None = Field(
        default=None,
        description="Whether the species of the scatterers were shown; left out where they are all of one.",
    )
    cell: CellRecord | None = Field(default=None, description="The cell of a track; null outside of tracks.")
    limit: Annotated[int, Field(ge=1)] | None = Field(description="Images per task; null for all of them.")
    kernel_px: Annotated[int, Field(ge=2)] | None = Field(
        default=None,
        description="Side of the predicted kernels, the central pixels of the grid; left out if they have all pixels.",
    )
    seed: int = Field(description="Seed given to the model's random number generators.")
    batch_size: int = Field(description="Images per call of predict.")
    threads: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="Threads of the model's numerical libraries; null where that is not recorded."
    )
    failure: FailureRecord | None = Field(description="Why the entry stopped; null when it did not.")
    non_finite: dict[str, int] = Field(description="Number of images by task whose prediction has NaN or infinity.")
    fit_seconds: float | None = Field(description="Wall-clock time of fit in s; null without it.")
    task_seconds: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(
        description="Wall-clock time of predict by task in s."
    )
    run: Run = Field(description="What it took in all, and where it ran.")

    def as_json(self) -> str:
        """The record as a predictions file has it, without ``told_species`` and ``kernel_px`` where they are null."""
        # The hash of predictions is also of this text, and older records have none of the two.
        return self.model_dump_json(exclude={name for name in _LATER if getattr(self, name) is None})
