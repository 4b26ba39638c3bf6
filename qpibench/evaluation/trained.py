"""Name of a trained model, and its training as a result records it."""

from __future__ import annotations

import json
import re

from pydantic import JsonValue

from qpibench.evaluation.result import TrainingRecord
from qpibench.evaluation.run_record import RunRecord


def model_name(run: RunRecord) -> str:
    """Return the board's name of a trained model, such as ``two_step (article, compact, symmetry_weight=0, seed 1)``.

    The parentheses hold what distinguishes the entry's runs: recipe, preset, pretrained weights, the options that were
    set in alphabetical order, ``stream`` for fresh draws, and the seed. The name does not include the steps done; the
    board marks a partial training.
    """
    # A local file is identified by eight digits of its hash.
    pretrained = run.pretrained and "pretrained=" + re.sub(r"(sha256:\w{8})\w+", r"\1", run.pretrained)
    options = [f"{name}={_text(value)}" for name, value in sorted(run.options.items())]
    stream = "stream" if run.source.kind == "stream" else None
    parts = [run.recipe, run.preset, pretrained, *options, stream, f"seed {run.seed}"]
    return f"{run.entry} ({', '.join(part for part in parts if part)})"


def method_name(name: str) -> str:
    """Return the name of a trained model without its seed, which the runs of one method share.

    Examples
    --------
    >>> method_name("two_step (article, compact, seed 0)"), method_name("zeros")
    ('two_step (article, compact)', 'zeros')
    """
    return re.sub(r" \(seed \d+\)$", "", re.sub(r", seed \d+\)$", ")", name))


def _text(value: JsonValue) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def training_record(run: RunRecord) -> TrainingRecord:
    """Return the training record of a result, made from a run record."""
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
