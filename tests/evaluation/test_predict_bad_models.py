"""Every failure of a model gives one clear sentence and the right exit code, and leaves no partial file."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from qpibench.errors import InvalidDataError, UsageError
from qpibench.evaluation.execution import Execution
from qpibench.evaluation.isolation.isolated import Limits
from qpibench.evaluation.predict import Request, predict
from qpibench.evaluation.predictions import open_predictions

HEADER = "import os, signal, sys, time\nimport numpy as np\nfrom qpibench import Prediction\n\n"


def _predict_body(*lines: str) -> str:
    """A model whose predict has these lines; the first of them is line 6 of the file."""
    return HEADER + "def predict(batch):\n" + "".join(f"    {line}\n" for line in lines)


SHAPE = "(len(batch), *batch.kernel_grid.shape)"


@pytest.fixture
def out(tmp_path):
    return tmp_path / "predictions.h5"


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("import missing_package\n", r"my_model.py:1: ModuleNotFoundError: No module named 'missing_package'"),
        ("x = 1\n\nraise ValueError('on import')\n", r"my_model.py:3: ValueError: on import"),
        ("def predict(batch:\n    pass\n", r"my_model.py:1: SyntaxError: "),
        ("import sys\nsys.exit(0)\n", r"my_model.py:2: sys.exit\(0\) was called"),
        ("import os\nos._exit(3)\n", r"my_model.py: the process ended with exit code 3 during import"),
        ("import os\nos.kill(os.getpid(), 9)\n", r"the process was killed by signal SIGKILL during import"),
        ("def forecast(batch): ...\n", r"my_model.py defines neither a function 'predict' nor a class 'Model'"),
        (
            "def predict(batch): ...\nclass Model: ...\n",
            r"defines a function 'predict' and a class 'Model'; choose one as my_model.py:predict or my_model.py:Model",
        ),
        (
            "import torch\nclass Net(torch.nn.Module): ...\n",
            r"neither a function 'predict' nor a class 'Model'; it has the torch module 'Net', so give my_model.py:Net",
        ),
        ("x = 1\n", r"write def predict\(batch\), or name a torch.nn.Module in it as FILE.py:NAME, whose forward"),
        (
            "import torch\nclass Model(torch.nn.Module):\n    def forward(self, image, activation_map): ...\n",
            r"forward of the torch module 'Model' must take \(image\); it gets the activation map too if the module "
            "declares needs = 'raster'",
        ),
        ("predict = 3\n", r"my_model.py: 'int' has no method predict"),
        ("class Model: ...\n", r"my_model.py: 'Model' has no method predict"),
        ("class Model:\n    def __init__(self):\n        1 / 0\n", r"my_model.py:3: ZeroDivisionError"),
        ("needs = 'everything'\ndef predict(batch): ...\n", r"needs = 'everything' is not a view; choose one of image"),
        ("knows = 7\ndef predict(batch): ...\n", r"knows = 7 must be a text or a list of texts"),
        ("weights = 'net.pt'\ndef predict(batch): ...\n", r"declares the weights 'net.pt', but there is no such file"),
        ("weights = '../a'\ndef predict(batch): ...\n", r"declares the weights '../a', but there is no such file"),
    ],
)
def test_a_model_that_cannot_be_loaded_leaves_no_file(memory_release, write_model, out, source, sentence):
    with pytest.raises(InvalidDataError, match=sentence) as error:
        predict(write_model(source), memory_release, out)
    assert "\n" not in str(error.value)
    assert not list(out.parent.glob("*predictions*"))


def test_the_traceback_of_a_failed_import_is_shown_when_asked_for(memory_release, write_model, out):
    with pytest.raises(InvalidDataError, match=r"(?s)Traceback .*my_model.py.*ValueError: bad"):
        predict(write_model("raise ValueError('bad')"), memory_release, out, traceback=True)


@pytest.mark.parametrize(
    ("lines", "kind", "sentence"),
    [
        (["raise ValueError('bad')"], "raised", "my_model.py:6: ValueError: bad"),
        (["raise ValueError('one\\ntwo')"], "raised", "my_model.py:6: ValueError: one two"),
        (["return np.linalg.inv(np.zeros((2, 2)))"], "raised", "my_model.py:6: LinAlgError: Singular matrix"),
        (["raise KeyboardInterrupt"], "raised", "my_model.py:6: KeyboardInterrupt"),
        (["return predict(batch)"], "raised", "my_model.py:6: RecursionError: maximum recursion depth exceeded"),
        (["return"], "prediction", "my_model.py:5: predict returned None, expected an array of shape (5, 12, 10)"),
        (["return 'text'"], "prediction", "my_model.py:5: predict returned an object of type str, expected an array"),
        (["return [object()]"], "prediction", "my_model.py:5: predict returned an object of type list"),
        (
            ["return np.full((len(batch), 12, 10), None)"],
            "prediction",
            "my_model.py:5: predict returned a kernel of type object, expected float16, float32 or float64",
        ),
        ([f"return np.zeros({SHAPE}, int)"], "prediction", "predict returned a kernel of type int64, expected float16"),
        ([f"return np.zeros({SHAPE}, complex)"], "prediction", "predict returned a kernel of type complex128"),
        ([f"return np.full({SHAPE}, 'a')"], "prediction", "predict returned a kernel of type <U1"),
        (
            ["return np.zeros((len(batch), 3, 4))"],
            "prediction",
            "my_model.py:5: predict returned a kernel of shape (5, 3, 4), expected (5, 12, 10)",
        ),
        (
            ["return np.zeros((12, 10))"],
            "prediction",
            "predict returned a kernel of shape (12, 10), expected (5, 12, 10)",
        ),
        (
            ["return np.broadcast_to(0.0, (1 << 20, 1 << 20))"],
            "prediction",
            "predict returned a kernel of shape (1048576, ",
        ),
        (["return Prediction(kernel=None)"], "prediction", "the Prediction's kernel is None"),
        (
            [f"return Prediction(kernel=np.zeros({SHAPE}), std=np.zeros(3))"],
            "prediction",
            "predict returned a std of shape (3,), expected (5, 12, 10)",
        ),
        (
            [f"return Prediction(kernel=np.zeros({SHAPE}), std=np.full({SHAPE}, -0.5))"],
            "prediction",
            "my_model.py:5: predict returned a std of -0.5; a standard deviation is 0 or more",
        ),
        (["sys.exit(4)"], "exited", "my_model.py:6: sys.exit(4) was called"),
        (["os._exit(0)"], "exited", "the process ended with exit code 0 during predict, without a reply"),
        (
            ["os.kill(os.getpid(), signal.SIGKILL)"],
            "died",
            "my_model.py: the process was killed by signal SIGKILL during predict, without a reply",
        ),
        (
            ["os.kill(os.getpid(), signal.SIGSEGV)"],
            "died",
            "my_model.py:6: the process was killed by signal SIGSEGV during predict, without a reply",
        ),
        (["os.closerange(3, 99)", "time.sleep(60)"], "protocol", "the process closed its connection during predict"),
        (
            [
                "for fd in range(3, 99):",
                "    try: os.write(fd, b'junk' * 4)",
                "    except OSError: pass",
            ],
            "protocol",
            "the process replied to predict with an invalid message: a header of 1802401130 bytes is longer",
        ),
    ],
)
def test_a_model_that_fails_is_shown_with_its_line_and_its_images_stay_unanswered(
    memory_release, write_model, out, lines, kind, sentence
):
    outcome = predict(write_model(_predict_body(*lines)), memory_release, out, execution=Execution(batch_size=5))

    failure = outcome.record.failure
    assert outcome.exit_code == 1
    assert failure is not None
    assert (failure.kind, failure.stage, failure.task, failure.row) == (kind, "predict", "id", 0)
    assert sentence in failure.message
    assert "\n" not in failure.message
    with open_predictions(out, memory_release) as predictions:
        assert predictions.record == outcome.record
        assert np.isnan(predictions.kernel("id")).all()
        assert np.isnan(predictions.kernel("ood")).all()


def test_images_answered_before_the_failure_are_kept(memory_release, write_model, out):
    source = _predict_body(
        "predict.calls = getattr(predict, 'calls', 0) + 1",
        "if predict.calls == 3: raise RuntimeError('third batch')",
        f"return np.ones({SHAPE})",
    )
    outcome = predict(write_model(source), memory_release, out, execution=Execution(batch_size=5))

    assert outcome.record.failure is not None
    assert (outcome.record.failure.task, outcome.record.failure.row) == ("id", 10)
    with open_predictions(out, memory_release) as predictions:
        answered = np.isfinite(predictions.kernel("id")).all(axis=(1, 2))
        assert answered.tolist() == [True] * 10 + [False] * 2
        assert not np.isfinite(predictions.kernel("ood")).any()


def test_a_model_that_hangs_is_stopped_and_its_line_named(memory_release, write_model, out):
    source = _predict_body("while True:", "    pass")
    outcome = predict(write_model(source), memory_release, out, execution=Execution(limits=Limits(batch_s=0.3)))
    failure = outcome.record.failure
    assert failure is not None
    assert failure.kind == "time limit"
    assert failure.message.startswith("my_model.py:")
    assert "predict took longer than 0.3 s, with " in failure.message
    assert "; this was one image alone, as with --batch-size 1, so" in failure.message
    assert failure.message.endswith("allow more with --time-limit")
    assert float(re.search(r"with ([\d.]+) s of processor time", failure.message)[1]) > 0


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="the system does not tell who waits")
def test_the_time_in_which_a_model_waits_for_a_processor_does_not_count(memory_release, write_model, out):
    source = """
        import os, subprocess, sys, time

        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        program = "print(flush=True); input(); exec('while True: pass')"
        rival = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        rival.stdout.readline()

        def predict(batch):
            rival.stdin.write(b"now\\n")
            rival.stdin.flush()
            begun = time.process_time()
            while time.process_time() < begun + 0.6:
                pass
            rival.kill()
            return batch.image
    """
    execution = Execution(limits=Limits(batch_s=0.9))
    outcome = predict(write_model(source), memory_release, out, Request(tasks=["ood"], limit=1), execution=execution)
    assert outcome.record.failure is None


def test_a_model_that_ignores_signals_is_stopped_too(memory_release, write_model, out):
    source = _predict_body(
        "for name in (signal.SIGABRT, signal.SIGTERM): signal.signal(name, signal.SIG_IGN)", "time.sleep(60)"
    )
    outcome = predict(write_model(source), memory_release, out, execution=Execution(limits=Limits(batch_s=0.3)))
    assert outcome.record.failure is not None
    assert outcome.record.failure.kind == "time limit"


def test_a_model_that_exhausts_memory_is_stopped(memory_release, write_model, out):
    source = _predict_body("kept = []", "while True: kept.append(np.ones(1 << 20)); time.sleep(0.001)")
    outcome = predict(write_model(source), memory_release, out, execution=Execution(limits=Limits(memory_gib=0.125)))
    failure = outcome.record.failure
    assert failure is not None
    assert failure.kind == "memory limit"
    assert "the limit is 0.125 GiB" in failure.message
    assert failure.message.endswith("use a smaller --batch-size, or allow more with --memory-limit")
    assert outcome.record.run.peak_memory_bytes > 0.125 * 2**30


def test_a_model_that_exhausts_memory_on_import_leaves_no_file(memory_release, write_model, out):
    source = "import time\nimport numpy as np\nkept = []\nwhile True: kept.append(np.ones(1 << 20)); time.sleep(0.001)"
    with pytest.raises(InvalidDataError, match=r"import took .* GiB of memory; the limit is 0.25 GiB"):
        predict(write_model(source), memory_release, out, execution=Execution(limits=Limits(memory_gib=0.25)))
    assert not out.exists()


def test_memory_of_processes_that_the_model_starts_counts(memory_release, write_model, out):
    source = _predict_body(
        "if os.fork() == 0:",
        "    kept = []",
        "    while True: kept.append(np.ones(1 << 17)); time.sleep(0.001)",
        "time.sleep(60)",
    )
    outcome = predict(write_model(source), memory_release, out, execution=Execution(limits=Limits(memory_gib=0.125)))
    assert outcome.record.failure is not None
    assert outcome.record.failure.kind == "memory limit"


@pytest.mark.parametrize("value", ["np.nan", "np.inf", "1e300"])
def test_numbers_that_are_not_finite_in_float32_are_written_with_a_warning(memory_release, write_model, out, value):
    source = _predict_body(f"kernel = np.zeros({SHAPE})", f"kernel[0, 0, 0] = {value}", "return kernel")
    outcome = predict(write_model(source), memory_release, out, execution=Execution(batch_size=5))
    assert outcome.exit_code == 0
    assert outcome.record.failure is None
    assert outcome.record.non_finite == {"id": 3, "ood": 4}
    assert outcome.warnings[0] == "3 images of task 'id' have predictions with NaN or infinity and count as failed."


def test_printing_is_harmless(memory_release, write_model, out):
    source = "print('on import')\n" + _predict_body(
        "print('x' * 100_000)", "os.write(1, b'raw')", "sys.stderr.write('error')", f"return np.ones({SHAPE})"
    )
    outcome = predict(write_model(source), memory_release, out)
    assert outcome.exit_code == 0


def test_what_a_failing_model_printed_last_is_kept(memory_release, write_model, out):
    source = _predict_body("print('loss is 3', flush=True)", "raise ValueError('bad')")
    outcome = predict(write_model(source), memory_release, out)
    assert outcome.record.failure is not None
    assert "loss is 3" in outcome.record.failure.traceback
    assert "ValueError: bad" in outcome.record.failure.traceback
    assert "qpibench" not in outcome.record.failure.traceback.split("Last output")[0]


def test_an_error_of_any_length_and_content_is_recorded(memory_release, write_model, out):
    source = _predict_body("print('\\0' * 10**6)", "raise ValueError('\\0\\ud800' * 10**6)")
    outcome = predict(write_model(source), memory_release, out)
    assert outcome.record.failure is not None
    assert outcome.record.failure.message.startswith("my_model.py:7: ValueError: ")
    assert len(outcome.record.failure.message) <= 500
    with open_predictions(out, memory_release) as predictions:
        assert predictions.record == outcome.record


def test_reading_standard_input_gets_nothing(memory_release, write_model, out):
    outcome = predict(write_model(_predict_body("return input()")), memory_release, out)
    assert outcome.record.failure is not None
    assert outcome.record.failure.message == "my_model.py:6: EOFError: EOF when reading a line"


def test_a_fit_that_raises_leaves_every_image_unanswered(memory_release, write_model, out):
    source = (
        HEADER + "class Model:\n    def fit(self, train):\n        raise ValueError('no fit')\n    predict = None\n"
    )
    source = source.replace("predict = None", "def predict(self, batch): ...")
    outcome = predict(write_model(source), memory_release, out)
    failure = outcome.record.failure
    assert failure is not None
    assert (failure.kind, failure.stage, failure.task, failure.row) == ("raised", "fit", None, None)
    assert failure.message == "my_model.py:7: ValueError: no fit"
    with open_predictions(out, memory_release) as predictions:
        assert np.isnan(predictions.kernel("ood")).all()


def test_a_fit_that_takes_too_long_is_stopped(memory_release, write_model, out):
    source = _predict_body("...") + "\ndef fit(train):\n    time.sleep(60)\n"
    outcome = predict(write_model(source), memory_release, out, execution=Execution(limits=Limits(fit_s=0.3)))
    assert outcome.record.failure is not None
    assert "fit took longer than 0.3 s, with 0." in outcome.record.failure.message
    assert outcome.record.failure.message.endswith("; allow more with --fit-time-limit")


def test_a_model_that_needs_more_than_the_view_is_refused(memory_release, write_model, out):
    source = "needs = 'positions'\ndef predict(batch): ...\n"
    with pytest.raises(UsageError, match="needs the view 'positions', but is granted 'raster' only"):
        predict(write_model(source), memory_release, out, Request(view="raster", map_mode="paper"))
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"view": "all"}, "There is no view 'all'; choose one of image, raster, positions"),
        ({"tasks": ["idd"]}, "idd"),
        ({"limit": 0}, "The limit of images per task must be at least 1"),
        ({"map_mode": "exactly"}, "There is no activation map mode 'exactly'"),
        (
            {"view": "raster"},
            r"view 'raster' shows an activation map; say .* --map \(in Python map_mode\), paper or exact",
        ),
        ({"view": "image", "map_mode": "exact"}, "view 'image' shows no activation map; leave out --map"),
    ],
)
def test_an_impossible_request_is_refused(memory_release, out, options, sentence):
    with pytest.raises(UsageError, match=sentence):
        predict("zeros", memory_release, out, Request(**options))
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"batch_size": 0}, "The batch size must be larger than 0"),
        ({"threads": 0}, "The number of threads must be larger than 0"),
        ({"seed": -1}, "The seed must not be negative"),
        ({"limits": Limits(batch_s=-1)}, "The time limit must be larger than 0"),
        ({"limits": Limits(memory_gib=float("nan"))}, "The memory limit must be larger than 0"),
    ],
)
def test_an_impossible_execution_is_refused(options, sentence):
    with pytest.raises(UsageError, match=sentence):
        Execution(**options)


def test_an_entry_that_needs_a_map_is_refused_without_its_mode(memory_release, write_model, out):
    source = "needs = 'raster'\ndef predict(batch): ...\n"
    with pytest.raises(UsageError, match="Entry 'my_model' needs an activation map; say how it is rasterised by --map"):
        predict(write_model(source), memory_release, out, Request(view="positions"))
    assert not out.exists()


def test_a_missing_folder_is_refused_before_the_model_runs(memory_release, write_model, tmp_path):
    source = f"open({str(tmp_path / 'ran')!r}, 'w')\ndef predict(batch): ...\n"
    with pytest.raises(UsageError, match="does not exist"):
        predict(write_model(source), memory_release, tmp_path / "missing" / "p.h5")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("fold", "reason"),
    [([2, 2, 3, 4, 4, 4], "fold 3 has only 1 kernel, which"), ([2] * 6, "no kernels are held out, which")],
)
def test_a_release_without_a_test_role_is_refused_with_the_reason(memory_release, out, fold, reason):
    memory_release.tasks = ()
    memory_release.stratum = np.array(fold, dtype=np.int32)
    for tasks in (None, ["ood"]):
        with pytest.raises(UsageError, match=rf"'memory' has no test role.*{reason} .* has at most 10 images"):
            predict("zeros", memory_release, out, Request(tasks=tasks))
    assert not out.exists()


def test_a_fit_without_images_to_train_on_is_refused_before_it_runs(memory_release, write_model, out, tmp_path):
    split = memory_release.split
    memory_release.split = lambda task, role: split(task, role)[: 0 if role == "train" else None]
    source = f"def fit(train):\n    open({str(tmp_path / 'ran')!r}, 'w')\n\ndef predict(batch): return batch.image\n"
    with pytest.raises(UsageError, match="'my_model' has a fit, but the training role of release 'memory' is empty"):
        predict(write_model(source), memory_release, out)
    assert not (tmp_path / "ran").exists()
    assert not out.exists()
    assert predict("zeros", memory_release, out).exit_code == 0
