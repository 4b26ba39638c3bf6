"""Failing models in ``qpibench evaluate``: the message has the user's error and line, and the result counts it."""

from __future__ import annotations

import json
import tempfile

import pytest

HEADER = "import os, signal, sys, time\nimport numpy as np\n\n"
SHAPE = "(len(batch), *batch.kernel_grid.shape)"


def _predicting(*lines: str) -> str:
    """A model whose predict has these lines; the first of them is line 5 of its file."""
    return HEADER + "def predict(batch):\n" + "".join(f"    {line}\n" for line in lines)


@pytest.fixture(autouse=True)
def temporary_folder(tmp_path_factory, monkeypatch):
    """Nothing may be left where temporary files go."""
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("source", "words"),
    [
        pytest.param("import missing_package\n", ["my_model.py:1", "No module named 'missing_package'"], id="import"),
        pytest.param("def predict(batch:\n", ["my_model.py:1", "SyntaxError"], id="syntax"),
        pytest.param("1 / 0\n", ["my_model.py:1", "ZeroDivisionError"], id="raises on import"),
        pytest.param("import sys\nsys.exit(0)\n", ["my_model.py:2", "sys.exit(0)"], id="sys.exit on import"),
        pytest.param("import os\nos.abort()\n", ["my_model.py", "SIGABRT", "import"], id="dies on import"),
        pytest.param("x = 1\n", ["my_model.py", "neither a function 'predict' nor a class 'Model'"], id="no predict"),
        pytest.param("class Model: ...\n", ["my_model.py", "no method predict"], id="class without predict"),
        pytest.param("", ["my_model.py", "neither a function 'predict'"], id="empty file"),
        pytest.param("weights = 'net.pt'\ndef predict(batch): ...\n", ["my_model.py", "'net.pt'"], id="no weights"),
    ],
)
@pytest.mark.parametrize("command", ["evaluate {model} --release {mini} -o {out}", "check {model}"])
def test_a_file_that_is_no_model(qpibench, mini, write_model, tmp_path, unchanged, command, source, words):
    places = {"model": write_model(source), "mini": mini, "out": tmp_path / "result.json"}
    with unchanged():
        qpibench(*(part.format(**places) for part in command.split()), "--json").fails(3, *words)


@pytest.mark.parametrize("command", ["evaluate {model} --release {mini} -o {out}", "check {model}"])
def test_a_model_whose_package_is_missing(qpibench, mini, write_model, tmp_path, command):
    model = write_model("from qpibench.errors import UnavailableError\nraise UnavailableError('No cupyx here.')\n")
    places = {"model": model, "mini": mini, "out": tmp_path / "result.json"}
    qpibench(*(part.format(**places) for part in command.split())).fails(4, "No cupyx here")


def test_a_name_that_the_file_does_not_have(qpibench, mini, write_model, tmp_path, unchanged):
    model = write_model(_predicting("return batch.image"))
    with unchanged():
        outcome = qpibench("evaluate", f"{model}:forecast", "--release", mini, "-o", tmp_path / "result.json")
    outcome.fails(3, "my_model.py", "no function or class 'forecast'")


@pytest.mark.parametrize("name", ["", ":predict"])
@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_a_model_is_not_written_over(qpibench, mini, write_model, unchanged, command, name):
    model = write_model(_predicting("return batch.image"))
    with unchanged():
        qpibench(command, f"{model}{name}", "--release", mini, "-o", model).fails(2, "my_model.py", "given twice")


FAILING = [
    pytest.param(["raise ValueError('bad luck')"], 60, ["my_model.py:5", "ValueError: bad luck"], id="raises"),
    pytest.param(["return np.zeros((2, 3))"], 60, ["my_model.py:4", "shape (2, 3)", "(4, 64, 64)"], id="shape"),
    pytest.param([f"return np.zeros({SHAPE}, int)"], 60, ["my_model.py:4", "int64", "float32"], id="dtype"),
    pytest.param(["return"], 60, ["my_model.py:4", "returned None"], id="None"),
    pytest.param(["return 'kernel'"], 60, ["my_model.py:4", "str"], id="text"),
    pytest.param([f"return np.full({SHAPE}, 'x')"], 60, ["my_model.py:4", "<U1"], id="array of texts"),
    pytest.param([f"return np.full({SHAPE}, None)"], 60, ["my_model.py:4", "object"], id="array of objects"),
    pytest.param(["return [object()]"], 60, ["my_model.py:4", "list"], id="objects"),
    pytest.param(["sys.exit(7)"], 60, ["my_model.py:5", "sys.exit(7)"], id="sys.exit"),
    pytest.param(["os._exit(0)"], 60, ["my_model.py", "exit code 0"], id="ends"),
    pytest.param(["os.kill(os.getpid(), signal.SIGKILL)"], 60, ["my_model.py", "SIGKILL"], id="killed"),
    pytest.param(["os.kill(os.getpid(), signal.SIGSEGV)"], 60, ["my_model.py:5", "SIGSEGV"], id="segmentation fault"),
    pytest.param(["while True: pass"], 0.5, ["my_model.py:5", "longer than 0.5 s"], id="hangs"),
    pytest.param(["time.sleep(600)"], 0.5, ["my_model.py:5", "longer than 0.5 s"], id="sleeps"),
    pytest.param(
        ["kept = []", "while True: kept.append(np.ones(1 << 22))"],
        60,
        ["my_model.py", "GiB of memory", "the limit is 0.25 GiB"],
        id="exhausts memory",
    ),
]


@pytest.mark.parametrize(("lines", "limit_s", "words"), FAILING)
def test_a_model_that_fails(qpibench, mini, write_model, tmp_path, lines, limit_s, words):
    model, path = write_model(_predicting(*lines)), tmp_path / "result.json"
    limits = ["--time-limit", limit_s, "--memory-limit", 0.25]
    outcome = qpibench("evaluate", model, "--release", mini, "--limit", 4, *limits, "-o", path, "--json")

    outcome.fails(1, "The model failed", *words)
    stored = json.loads(path.read_text())
    assert stored["status"] == "failed"
    for cell in stored["cells"].values():
        (part,) = cell["parts"]
        assert part["failure"]["message"] in outcome.error
        assert (part["n_failed"], part["n_images"]) == (4, 4)
        assert cell["metrics"]["failure_rate"]["value"] == 1
    assert sorted(file.name for file in tmp_path.iterdir()) == ["models", "result.json"]


def test_a_report_is_written_of_a_model_that_answered_nothing(qpibench, mini, write_model, tmp_path):
    model, report = write_model(_predicting("raise ValueError('bad luck')")), tmp_path / "report.html"
    outcome = qpibench(
        "evaluate", model, "--release", mini, "--limit", 4, "-o", tmp_path / "result.json", "--report", report
    )
    assert outcome.exit_code == 1
    assert "bad luck" in report.read_text()


def test_what_a_model_answered_before_it_failed_is_scored(qpibench, mini, write_model, tmp_path):
    source = _predicting(
        "predict.calls = getattr(predict, 'calls', 0) + 1",
        "if predict.calls == 2: raise RuntimeError('second batch')",
        f"return np.zeros({SHAPE})",
    )
    outcome = qpibench(
        *("evaluate", write_model(source), "--release", mini, "--limit", 4, "--batch-size", 3),
        *("-o", tmp_path / "result.json", "--json"),
    )
    outcome.fails(1, "my_model.py:6", "RuntimeError: second batch")
    failed = {name: cell["parts"][0]["n_failed"] for name, cell in outcome.json["cells"].items()}
    assert failed == {"id": 1, "ood": 4}


@pytest.mark.parametrize("value", ["np.nan", "np.inf", "-np.inf"])
def test_numbers_that_are_not_finite_are_warned_of_and_counted(qpibench, mini, write_model, tmp_path, value):
    model = write_model(_predicting(f"kernel = np.zeros({SHAPE})", f"kernel[0, 5, 5] = {value}", "return kernel"))
    outcome = qpibench("evaluate", model, "--release", mini, "--limit", 4, "-o", tmp_path / "result.json", "--json")
    assert outcome.exit_code == 0, outcome.stderr
    assert "Warning: An image of task 'id' has a prediction with NaN or infinity" in outcome.stderr
    # It spoils the first image of each batch, so there are warnings of predictions that depend on the others.
    assert sum("NaN or infinity" in warning for warning in outcome.json["warnings"]) == 2
    assert [cell["parts"][0]["n_failed"] for cell in outcome.json["cells"].values()] == [1, 1]


def test_a_model_may_print(qpibench, mini, write_model, tmp_path):
    source = "print('{}')\n" + _predicting("print('x' * 9999)", "os.write(1, b'{}')", f"return np.zeros({SHAPE})")
    outcome = qpibench(
        "evaluate", write_model(source), "--release", mini, "--limit", 4, "-o", tmp_path / "result.json", "--json"
    )
    assert outcome.exit_code == 0, outcome.stderr
    assert outcome.json["schema_version"] == 2
    assert "x" * 99 not in outcome.stdout + outcome.stderr


def test_predict_keeps_the_failure_and_score_repeats_it(qpibench, mini, write_model, tmp_path):
    model = write_model(_predicting("raise ValueError('bad luck')"))
    predictions = tmp_path / "predictions.h5"
    outcome = qpibench("predict", model, "--release", mini, "--limit", 4, "-o", predictions, "--json")
    outcome.fails(1, "my_model.py:5", "ValueError: bad luck")
    scored = qpibench("score", predictions, "--release", mini, "-o", tmp_path / "result.json", "--json")
    assert scored.exit_code == 0
    assert scored.json["status"] == "failed"
    assert "4 of 4 images of task 'id' have no finite prediction" in scored.stderr


@pytest.mark.parametrize("command", ["evaluate {model} --release {mini} --limit 4 -o {out}", "check {model}"])
def test_the_traceback_of_a_model_is_shown_when_asked_for(qpibench, mini, write_model, tmp_path, command):
    model = write_model(_predicting("raise ValueError('bad luck')"))
    places = {"model": model, "mini": mini, "out": tmp_path / "result.json"}
    outcome = qpibench(*(part.format(**places) for part in command.split()), "--traceback")
    assert outcome.exit_code == 1
    assert "Traceback (most recent call last)" in outcome.stderr
    assert 'my_model.py", line 5, in predict' in outcome.stderr


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["raise ValueError('bad luck')"], ["my_model.py:5", "ValueError: bad luck"]),
        (["return np.zeros((len(batch), 2, 2))"], ["shape"]),
        ([f"return np.full({SHAPE}, np.nan)"], ["NaN or infinite"]),
        (["batch.image[:] = 0", f"return np.ones({SHAPE})"], ["changed batch.image"]),
        ([f"return np.random.default_rng().random({SHAPE})"], ["differs", "second time"]),
        (["return batch.image - batch.image.mean()"], ["differs", "in another order", "among others"]),
    ],
    ids=["raises", "shape", "NaN", "inputs", "chance", "batch mates"],
)
def test_a_model_that_breaks_its_contract_is_told_so_by_check(qpibench, write_model, lines, words):
    outcome = qpibench("check", write_model(_predicting(*lines)), "--json")
    assert outcome.exit_code == 1
    assert any(word in outcome.error for word in words)
    assert "broken" not in outcome.stdout
    assert any(finding["problem"] for finding in outcome.json["findings"])


def test_a_model_that_fails_in_the_middle_is_told_how_far_it_came(qpibench, mini, write_model, tmp_path):
    model = write_model(
        HEADER
        + "calls = []\n\ndef predict(batch):\n    calls.append(1)\n    if len(calls) > 2:\n"
        + f"        raise RuntimeError('enough')\n    return np.zeros({SHAPE}, np.float32)\n"
    )
    request = ["evaluate", model, "--release", mini, "--limit", 4, "--batch-size", 2, "-o", tmp_path / "r.json"]
    qpibench(*request).fails(1, "RuntimeError: enough; it was stopped after 4 of 8 images; the other 4 count as failed")
    write_model(_predicting("raise RuntimeError('never')"))
    qpibench(*request).fails(1, "never; it was stopped before the first of 8 images, which all count as failed.")
