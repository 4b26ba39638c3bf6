"""Training of entries in their own processes, and the run folders that it writes. Nothing here imports torch."""

from qpibench.training.request import TrainingRun
from qpibench.training.run_folder import Best, RunFolder, RunRecord, SourceRecord, begin_run, load_run, update_run

__all__ = [
    "Best",
    "RunFolder",
    "RunRecord",
    "SourceRecord",
    "TrainingRun",
    "begin_run",
    "load_run",
    "update_run",
]
