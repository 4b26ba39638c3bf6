"""An entry that learns without torch: it predicts a weighted mean of the training kernels."""

import os
import signal
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from qpibench.errors import InvalidDataError
from qpibench.evaluation.entries import file_sha256
from qpibench.release import open_release
from qpibench.training import Best, RunFolder, SourceRecord, begin_run, update_run

needs = "image"


class Model:
    def __init__(self, run_folder):
        self._kernel = load_file(RunFolder(run_folder).weights)["kernel"]

    def predict(self, batch):
        return np.tile(self._kernel, (len(batch), 1, 1))


def train(run):
    folder = RunFolder(run.folder)
    config = {"recipe": {"name": run.recipe or "plain", "steps": 100}, "preset": "small", "map_mode": "exact"}
    kernel, source = read_source(run)
    budget = run.steps or 100
    record = begin_run(run, config=config, source=source, steps_stated=100, steps_budget=budget)
    if run.options.get("fail") == "raise":
        raise ValueError("the toy is broken")
    if run.options.get("fail") == "refuse":
        raise InvalidDataError("The toy has no wheels; give it some.")
    if run.options.get("fail") == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if run.options.get("fail") == "import":
        import tensorboard  # noqa: F401
    stopped = False
    if (told := run.options.get("wait")) and not Path(told).exists():
        save(folder, kernel, steps_done=7)
        Path(told).with_suffix(".new").write_text(str(os.getpid()))
        Path(told).with_suffix(".new").rename(told)
        try:
            signal.pause()
        except KeyboardInterrupt:
            stopped = True
    done = 7 if stopped else budget
    save(
        folder,
        kernel,
        steps_done=done,
        seconds=record.seconds + 1.5,
        status="stopped" if stopped else "complete",
        best=Best(stage="mean", step=done, score=0.25),
    )


def read_source(run):
    if run.spec is not None:
        source = SourceRecord(kind="stream", name=run.spec.name, spec_sha256=run.spec.sha256, content_sha256=None)
        return np.full(run.spec.grid.shape, 0.25, dtype=np.float32), source
    with open_release(run.release_path) as release:
        rows = release.observation_kernel[release.split("id", "train")]
        source = SourceRecord(
            kind="release",
            name=release.name,
            spec_sha256=release.spec.sha256,
            content_sha256=release.content_sha256,
        )
        return release.kernels.image[np.unique(rows)].mean(axis=0), source


def save(folder, kernel, **changes):
    save_file({"kernel": kernel}, folder.weights)
    update_run(folder, weights_sha256=file_sha256(folder.weights), **changes)
