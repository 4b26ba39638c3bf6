"""A trained model beside others: its name, and what a result says of its training."""

from __future__ import annotations

import json

from pydantic import JsonValue

from qpibench.evaluation.result import TrainingRecord
from qpibench.evaluation.run_record import RunRecord


def model_name(run: RunRecord) -> str:
    """What the board calls a trained model, such as ``two_step (article, compact, symmetry_weight=0, seed 1)``.

    It is the entry, and in parentheses what sets this run apart from others of the entry: recipe, preset, each option
    that was set, in alphabetical order, ``stream`` for fresh draws, and the seed. How far it was trained is not in the
    name: the board marks that.
    """
    options = [f"{name}={_text(value)}" for name, value in sorted(run.options.items())]
    parts = [run.recipe, run.preset, *options, "stream" if run.source.kind == "stream" else None, f"seed {run.seed}"]
    return f"{run.entry} ({', '.join(part for part in parts if part)})"


def _text(value: JsonValue) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def training_record(run: RunRecord) -> TrainingRecord:
    """What a result says of a run."""
    return TrainingRecord(
        recipe=run.recipe,
        preset=run.preset,
        options=run.options,
        seed=run.seed,
        source=run.source,
        steps_done=run.steps_done,
        steps_stated=run.steps_stated,
        fraction=run.fraction,
        hours=run.seconds / 3600,
        hardware=run.hardware,
        git_commit=run.git_commit,
    )
