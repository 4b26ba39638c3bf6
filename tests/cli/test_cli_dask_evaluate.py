"""A model evaluated on dask workers: the result of one process, whatever the model, the workers or the command do."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import psutil
import pytest

from qpibench.cluster.models import Call, Models
from qpibench.errors import UsageError
from qpibench.evaluation.entries import find_entry
from qpibench.evaluation.entry_code import code_sha256
from qpibench.evaluation.execution import Execution
from qpibench.evaluation.predict import Request
from qpibench.release import open_release

PATIENCE_S = 300
SMALL = ["--limit", 20, "--batch-size", 6, "--task", "ood"]


@pytest.fixture
def evaluate(qpibench, scheduler, mini, tmp_path):
    """Evaluate a model in this process, and then on two threads of a worker."""

    def run(model, *options, release=mini):
        files = {place: (tmp_path / f"{place}.json", tmp_path / f"{place}.h5") for place in ("one", "many")}
        given = {"one": (), "many": ("--dask", scheduler)}
        outcomes = [
            qpibench("evaluate", model, "--release", release, "-o", o, "--predictions", p, *options, *given[place])
            for place, (o, p) in files.items()
        ]
        return *outcomes, *(_unmeasured(json.loads(o.read_text())) if o.exists() else None for o, _ in files.values())

    return run


def _unmeasured(result):
    """Return a result without times, memory and machines."""
    del result["scoring_run"]
    for cell in result["cells"].values():
        for part in cell["parts"]:
            del part["predict_seconds"], part["prediction_run"]
    return result


def _models(process):
    return [each for each in process.children(recursive=True) if "isolation.worker" in " ".join(each.cmdline())]


LEARNS_AND_DRAWS = """
    import random
    import numpy as np
    from qpibench import Prediction

    class Model:
        def fit(self, train):
            self.kernel = train.kernels.mean(axis=0) + np.random.random() + random.random()

        def predict(self, batch):
            noise = np.random.random(batch.image.shape) + random.random()
            return Prediction(kernel=self.kernel + noise, std=noise, latent=batch.image[:, 0, :3])

        def encode_kernel(self, kernels):
            return kernels[:, 0, :3] + np.random.random()

        def autoencode(self, kernels):
            return kernels * random.random()
"""


def test_workers_give_the_result_of_one_process_also_for_a_model_that_learns_and_draws(evaluate, write_model):
    one, many, of_one, of_many = evaluate(write_model(LEARNS_AND_DRAWS), *SMALL)
    assert (many.exit_code, many.stderr) == (0, one.stderr)
    assert "or on chance" in many.stderr
    assert of_many == of_one
    assert of_many["cells"]["ood"]["floor"] is not None
    assert psutil.wait_procs(_models(psutil.Process()), timeout=PATIENCE_S)[1] == []


def test_no_image_after_the_first_failure_counts_though_it_was_predicted(evaluate, write_model, tmp_path):
    model = write_model("""
        def predict(batch):
            if len(batch) < 6:
                raise ValueError("too few")
            return batch.image
    """)
    one, many, of_one, of_many = evaluate(model, "--limit", 8, "--batch-size", 6)
    assert (many.exit_code, many.stderr) == (1, one.stderr)
    assert "after 6 of 16 images" in many.error
    assert of_many == of_one
    with h5py.File(tmp_path / "many.h5") as file:
        predicted = {task: np.isfinite(file[task]["kernel"]).all(axis=(1, 2)).sum() for task in ("id", "ood")}
    assert predicted == {"id": 6, "ood": 0}


def test_a_model_that_cannot_be_loaded_is_refused_as_by_one_process(evaluate, write_model, tmp_path):
    one, many, *_ = evaluate(write_model("import qpibench.nothing"), *SMALL)
    many.fails(3, "cannot be used", "my_model.py")
    assert many.error == one.error
    assert not (tmp_path / "many.json").exists()


@pytest.mark.slow
def test_a_model_that_was_killed_is_asked_again(qpibench, scheduler, mini, write_model, tmp_path):
    model = write_model(f"""
        import os, signal
        def predict(batch):
            if not os.path.exists({str(tmp_path / "killed")!r}):
                open({str(tmp_path / "killed")!r}, "x").close()
                os.kill(os.getpid(), signal.SIGTERM)
            return batch.image
    """)
    given = ("--dask", scheduler, "-o", tmp_path / "r.json", "--limit", 2)
    assert qpibench("evaluate", model, "--release", mini, *given).exit_code == 0


@pytest.fixture
def sent(mini, write_model, tmp_path):
    """Models as a worker gets them, with a release and a file of the model that a test may change."""
    path = tmp_path / "a.h5"
    path.write_bytes(mini.read_bytes())
    entry = find_entry(str(write_model("def predict(batch): return batch.image")))
    with open_release(path) as release:
        models = Models(entry, (entry.sha256, code_sha256(entry.path)), [(Request(), release)], Execution(), [])
        return pickle.loads(pickle.dumps(models)), path, entry.path


@pytest.mark.parametrize("other", [b"", None], ids=["other", "none"])
@pytest.mark.parametrize("what", ["release", "model"])
def test_a_worker_that_does_not_see_what_the_command_sees_says_so(sent, mini, qpibench, tmp_path, what, other):
    models, *paths = sent
    path = paths[what == "model"]
    path.unlink()
    if other is not None and what == "model":
        path.write_bytes(other)
    elif other is not None:
        assert qpibench("generate", "mini", "--set", "kernels.count=2", "-o", path).exit_code == 0
    with pytest.raises(UsageError, match=f"on machine .* {'does not see' if other is None else 'sees another'} .*"):
        models(Call(method="load", number=0))


def test_options_of_dask_are_those_of_generate(qpibench, mini, tmp_path, unchanged):
    with unchanged():
        qpibench("evaluate", "zeros", "--release", mini, "--dask", "x", "-o", tmp_path / "r.json").fails(2, "local:N")


SLOW_IN_BATCHES = """
    import time
    import numpy as np

    class Model:
        def fit(self, train):
            self.offset = np.float32(train.kernels.mean())

        def predict(self, batch):
            if len(batch) == 4:
                time.sleep(600)
            return batch.image + self.offset * len(batch)
"""


@pytest.mark.slow  # the limit is waited for
def test_a_batch_that_takes_too_long_makes_all_later_ones_single_images(evaluate, write_model):
    # The 10 images of ID are batches of 6 and of 4.
    given = ("--limit", 12, "--batch-size", 6, "--time-limit", 4)
    one, many, of_one, of_many = evaluate(write_model(SLOW_IN_BATCHES), *given)
    assert (many.exit_code, many.stderr) == (0, one.stderr)
    assert "one image at a time from row 6 of task 'id' on" in many.stderr
    assert of_many == of_one


SUITE = """
summary = "cells of one release each, or of two"

[every_cell]
set = ["observations_per_kernel=8"]
specs = ["mini"]
task = "ood"
view = "raster"
metrics = ["rel_l2_capped"]
primary = "rel_l2_capped"

[cells.id]
map = "exact"
task = "id"

[cells.two]
map = "exact"
specs = ["mini", {spec = "mini", set = ["grid.nx=48", "name=wide"]}]

[cells.pixels]
map = "exact"
specs = [{spec = "mini", set = ["grid.nx=48", "name=wide"]}, "mini"]

[cells.image]
view = "image"
"""

TAKES_ITS_TIME = """
    import time
    needs = "raster"
    takes_pixels = {pixels}

    class Model:
        def fit(self, train):
            self.kernel = train.kernels.mean(axis=0)

        def predict(self, batch):
            time.sleep({seconds})
            return self.kernel[None] * batch.image.mean((1, 2), keepdims=True)
"""


@pytest.fixture
def suite(tmp_path):
    """The options that name a suite of four cells."""
    (tmp_path / "toy.toml").write_text(SUITE)
    (tmp_path / "all.toml").write_text("summary = 'all'\ncells = ['toy.toml']\n")
    return ["--suite", tmp_path / "all.toml", "--data", tmp_path / "data", "--batch-size", 4, "--limit", 12]


@pytest.mark.slow  # several releases, and processes that import everything
def test_the_cells_of_a_suite_are_those_of_one_process(qpibench, distributed, suite, write_model, tmp_path):
    model = write_model(TAKES_ITS_TIME.format(pixels="(64, 64)", seconds=0))
    one = qpibench("evaluate", model, *suite, "-o", tmp_path / "one.json", "--predictions", tmp_path / "one.h5")
    many = qpibench("evaluate", model, *suite, "-o", tmp_path / "many.json", "--dask", "local:2")
    assert (many.exit_code, many.stderr) == (one.exit_code, one.stderr) == (0, one.stderr)
    of_one, of_many = (_unmeasured(json.loads((tmp_path / f"{place}.json").read_text())) for place in ("one", "many"))
    assert of_many == of_one
    assert (list(of_many["cells"]), list(of_many["not_applicable"])) == (
        ["toy/id"],
        ["toy/two", "toy/pixels", "toy/image"],
    )


def _start(*arguments, folder):
    return psutil.Popen(
        [sys.executable, "-m", "qpibench.cli.main", "evaluate", *map(str, arguments), "-o", "many.json"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _wait(found, by):
    deadline = time.monotonic() + PATIENCE_S
    while not found():
        assert by.poll() is None, by.communicate()
        assert time.monotonic() < deadline
        psutil.wait_procs([by], timeout=0.01)


@pytest.fixture
def slow_model(write_model, qpibench, suite, tmp_path):
    """A model that takes a while, its result by one process, and its first cell's."""
    model = write_model(TAKES_ITS_TIME.format(pixels="None", seconds=0.3))
    outcome = qpibench("evaluate", model, *suite, "-o", tmp_path / "one.json")
    assert outcome.exit_code == 0, outcome.stderr
    return model


def _results(folder):
    return [_unmeasured(json.loads((folder / f"{place}.json").read_text())) for place in ("one", "many")]


@pytest.mark.slow
def test_the_batches_of_a_worker_that_is_killed_are_predicted_by_another(distributed, suite, slow_model, tmp_path):
    process = _start(slow_model, *suite, "--dask", "local:2", folder=tmp_path)
    _wait((tmp_path / "many.json").exists, process)
    models = _models(process)
    os.kill(models[0].ppid(), signal.SIGKILL)
    _, stderr = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, stderr
    of_one, of_many = _results(tmp_path)
    assert of_many == of_one
    assert psutil.wait_procs(models, timeout=PATIENCE_S)[1] == []


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL], ids=lambda ending: ending.name)
def test_an_interrupted_run_leaves_no_model_and_is_resumed(
    distributed, suite, slow_model, start_scheduler, tmp_path, ending
):
    scheduler, address = start_scheduler()
    process = _start(slow_model, *suite, "--dask", address, folder=tmp_path)
    _wait((tmp_path / "many.json").exists, process)
    models = _models(psutil.Process(scheduler.pid))
    assert models
    process.send_signal(ending)
    _, stderr = process.communicate(timeout=PATIENCE_S)
    assert psutil.wait_procs(models, timeout=PATIENCE_S)[1] == []
    if ending == signal.SIGINT:
        assert process.returncode == 130
        assert "of 4 cells; --resume evaluates the others." in stderr
    resumed = _start(slow_model, *suite, "--dask", address, "--resume", folder=tmp_path)
    _, stderr = resumed.communicate(timeout=PATIENCE_S)
    assert resumed.returncode == 0, stderr
    of_one, of_many = _results(tmp_path)
    assert of_many == of_one


@pytest.mark.slow
def test_a_run_whose_scheduler_is_lost_keeps_its_cells(distributed, suite, slow_model, start_scheduler, tmp_path):
    scheduler, address = start_scheduler()
    process = _start(slow_model, *suite, "--dask", address, folder=tmp_path)
    _wait((tmp_path / "many.json").exists, process)
    scheduler.kill()
    _, stderr = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert stderr.startswith("Error: The dask scheduler at tcp://127.0.0.1:")
    assert stderr.endswith("was lost; run the same command with --resume added to continue.\n")
    resumed = _start(slow_model, *suite, "--dask", "local:1", "--resume", folder=tmp_path)
    assert resumed.wait(PATIENCE_S) == 0
    of_one, of_many = _results(tmp_path)
    assert of_many == of_one
