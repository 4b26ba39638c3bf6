"""Benchmark of scoring every test image of `paper`."""

from __future__ import annotations

import numpy as np

from qpibench.evaluation.prediction_record import Record
from qpibench.evaluation.predictions import open_predictions
from qpibench.evaluation.predictions_writer import PredictionsWriter
from qpibench.evaluation.result import ModelRecord, Run
from qpibench.evaluation.score import score
from qpibench.release import open_release

RECORD = Record(
    model=ModelRecord(name="zeros", file_sha256=None, weights={}, knows=(), needs=(), trained_on=()),
    view="image",
    map_mode="paper",
    limit=None,
    seed=0,
    batch_size=500,
    failure=None,
    non_finite={},
    fit_seconds=None,
    task_seconds={},
    run=Run(seconds=None, peak_memory_bytes=None, environment={}),
)


def write_zeros(release, path):
    """Write predictions of zeros for all test images; return their number."""
    index = {task: release.split(task, "test") for task in release.tasks}
    with PredictionsWriter(path, release_sha256=release.content_sha256, index=index, grid=release.grid) as writer:
        for task, rows in index.items():
            for start in range(0, len(rows), 500):
                count = len(rows[start : start + 500])
                writer.write(task, start, {"kernel": np.zeros((count, *release.grid.shape), np.float32)})
        writer.finish(RECORD)
    return sum(map(len, index.values()))


def test_score_paper(alternate, report, paper_release, tmp_path):
    with open_release(paper_release) as release:
        path = tmp_path / "zeros.h5"
        images = write_zeros(release, path)

        def absolute_error():
            with open_predictions(path, release) as predictions:
                for task in predictions.tasks:
                    kernel = release.observation_kernel[predictions.index(task)]
                    for start in range(0, len(kernel), 500):
                        rows = slice(start, start + 500)
                        np.abs(predictions.kernel(task, rows) - release.kernels.image[kernel[rows]]).mean(axis=(1, 2))

        rounds = alternate(lambda: score(path, release), {"absolute error": absolute_error}, rounds=1, warmup_rounds=0)
        size = path.stat().st_size
        path.unlink()

    report(
        "score.seconds", f"scoring {images:,} predictions, all metrics and intervals", "s", rounds.seconds, at_most=30
    )
    report("score.rate", "scoring, bytes of predictions", "bytes/s", size / rounds.seconds)
    ratio = rounds.seconds / rounds.reference["absolute error"]
    report(
        "score.over_absolute_error",
        "scoring over reading the predictions and one mean absolute error of each",
        "x",
        ratio,
        better="lower",
    )
