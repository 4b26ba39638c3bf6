"""Settings of the run that is resumed, which a resumed run keeps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qpibench.errors import QpibenchError
from qpibench.training import RunFolder, TrainingRun, load_run


def resumed_config(run: TrainingRun) -> Mapping[str, Any] | None:
    """Return the configuration of the run that is resumed; None for a new run, or if its record cannot be read."""
    if not (run.resume and RunFolder(run.folder).record.exists()):
        return None
    try:
        return load_run(run.folder).config
    except QpibenchError:  # begin_run reports it
        return None
