"""The run folder: begun once, continued only with the same request, and never half written."""

from __future__ import annotations

import json
import os
import resource

import pytest

from qpibench.errors import InvalidDataError, QpibenchError, UsageError
from qpibench.evaluation.run_record import run_schema
from qpibench.training import Best, RunFolder, SourceRecord, TrainingRun, begin_run, load_run, update_run
from qpibench.training.request import parse_options
from qpibench.training.run_folder import only_training

SOURCE = SourceRecord(kind="stream", name="mini", spec_sha256="a" * 64, content_sha256=None)
CONFIG = {"recipe": "article", "preset": {"name": "compact", "widths": [32, 64]}, "loss": {"alpha": 0.75}}


def begin(run, *, config=CONFIG, source=SOURCE, stated=200, budget=200):
    return begin_run(run, config=config, source=source, steps_stated=stated, steps_budget=budget)


def test_a_run_says_what_it_is_and_names_no_place_on_this_machine(request_run, tmp_path):
    run = request_run(seed=3, options={"alpha": 0})
    record = begin(run)
    assert load_run(run.folder) == record
    assert (record.entry, record.seed, record.options, record.config) == ("toy", 3, {"alpha": 0}, CONFIG)
    assert (record.recipe, record.preset) == ("article", "compact")
    assert (record.status, record.steps_done, record.weights_sha256) == ("running", 0, None)
    assert str(tmp_path) not in RunFolder(run.folder).record.read_text()
    assert (run.folder / record.entry_file).resolve() == run.entry_path


def test_a_run_that_is_refused_leaves_the_folder_to_the_one_that_trains_in_it(request_run):
    run = request_run()
    with only_training(run):
        for _ in range(2):
            with pytest.raises(QpibenchError, match="Another process is training"), only_training(run):
                pass
        assert run.folder.is_dir()
    assert not run.folder.exists()  # nothing was written


def test_a_shipped_entry_is_known_by_its_name(request_run):
    from qpibench.evaluation.entries import find_code

    record = begin(request_run(entry="zeros", entry_path=find_code("zeros").path))
    assert record.entry_file is None
    assert record.code_sha256 is not None


def test_a_folder_that_holds_a_run_is_not_used_for_another(request_run):
    begin(request_run())
    with pytest.raises(UsageError, match="run' holds a run already; use --resume"):
        begin(request_run())


def test_resuming_where_there_is_no_run_begins_one(request_run):
    assert begin(request_run(resume=True)).steps_done == 0


def test_a_resumed_run_goes_on_with_what_was_done(request_run):
    run = request_run()
    begin(run, budget=50)
    best = Best(stage="kernel", step=40, score=0.5)
    update_run(run.folder, status="stopped", steps_done=50, seconds=12.0, best=best, weights_sha256="c" * 64)
    record = begin(request_run(resume=True), budget=100)
    assert (record.steps_done, record.seconds, record.best, record.weights_sha256) == (50, 12.0, best, "c" * 64)
    assert (record.status, record.steps_budget) == ("running", 100)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"config": CONFIG | {"loss": {"alpha": 0.7}}}, "config.loss.alpha was 0.75 and is 0.7"),
        ({"config": CONFIG | {"recipe": "code"}}, "config.recipe was 'article' and is 'code'"),
        ({"config": CONFIG | {"batch": 8}}, "config.batch was None and is 8"),
        ({"source": SOURCE.model_copy(update={"name": "paper"})}, "source.name was 'mini' and is 'paper'"),
        ({"stated": 300}, "steps_stated was 200 and is 300"),
    ],
)
def test_a_run_is_not_continued_with_a_changed_request(request_run, changes, sentence):
    begin(request_run())
    before = RunFolder(request_run().folder).record.read_bytes()
    with pytest.raises(UsageError) as error:
        begin(request_run(resume=True), **changes)
    assert sentence in str(error.value)
    assert RunFolder(request_run().folder).record.read_bytes() == before


@pytest.mark.parametrize("budget", [40, 200])
def test_a_complete_run_does_not_become_one_of_another_length(request_run, budget):
    run = request_run(resume=True)
    begin(run, budget=50)
    complete = update_run(run.folder, status="complete", steps_done=50)
    with pytest.raises(UsageError) as error:
        begin(run, budget=budget)
    sentence = (
        "holds a run that --steps 50 ended; it is complete, and --resume cannot make it a run of"
        f" {budget} steps; for that, train in another folder"
    )
    assert sentence in str(error.value)
    assert load_run(run.folder) == complete
    assert begin(run, budget=50).steps_done == 50


def test_every_change_is_named_but_those_of_another_entry(request_run):
    begin(request_run())
    with pytest.raises(UsageError, match=r"is asked: config.recipe was .*; seed was 0 and is 5;"):
        begin(request_run(resume=True, seed=5), config=CONFIG | {"recipe": "code"})
    with pytest.raises(UsageError, match=r"is asked: entry was 'toy' and is 'other'; ask for the same"):
        begin(request_run(resume=True, entry="other", seed=5))


@pytest.mark.parametrize(
    ("steps_done", "status", "stopped_early", "fraction"),
    [
        (6, "stopped", False, 0.03),
        (6, "complete", False, 0.03),
        (200, "complete", False, 1.0),
        (90, "complete", True, 1.0),
        (90, "running", True, 0.45),
    ],
)
def test_the_fraction_is_of_the_stated_steps_unless_early_stopping_ended_the_run(
    request_run, steps_done, status, stopped_early, fraction
):
    run = request_run()
    begin(run)
    record = update_run(run.folder, steps_done=steps_done, status=status, stopped_early=stopped_early)
    assert record.fraction == pytest.approx(fraction)


def test_a_change_that_is_not_valid_leaves_the_record_as_it_was(request_run):
    run = request_run()
    record = begin(run)
    for change in ({"steps_done": -1}, {"status": "tired"}, {"unknown": 1}):
        with pytest.raises(InvalidDataError, match=f"run.json' cannot be changed: .*{next(iter(change))}"):
            update_run(run.folder, **change)
    assert load_run(run.folder) == record


def test_a_full_disk_leaves_the_record_as_it_was(request_run):
    run = request_run()
    record = begin(run)
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, former[1]))
    try:
        with pytest.raises(QpibenchError, match=r"Run record .*run.json' cannot be written: File too large"):
            update_run(run.folder, steps_done=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
    assert load_run(run.folder) == record
    assert os.listdir(run.folder) == ["run.json"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"{", "it is not valid JSON"),
        (b"\xff\xfe", "it is not valid JSON"),
        (b"[1]", "it has no schema_version"),
        (b'{"schema_version": 9}', "schema_version 9, this qpibench reads 1"),
        (b'{"schema_version": 1, "entry": "toy"}', "does not describe a training run: field"),
    ],
)
def test_a_corrupt_record_is_named(request_run, content, sentence):
    run = request_run(resume=True)
    run.folder.mkdir()
    RunFolder(run.folder).record.write_bytes(content)
    with pytest.raises(InvalidDataError) as error:
        load_run(run.folder)
    assert "run.json" in str(error.value)
    assert sentence in str(error.value)
    with pytest.raises(InvalidDataError):
        begin(run)


def test_a_place_that_is_a_file_cannot_be_a_run_folder(request_run, tmp_path):
    (tmp_path / "file").write_text("precious")
    with pytest.raises(UsageError, match="file' is not a folder"):
        begin(request_run(folder=tmp_path / "file"))


def test_every_field_of_the_schema_is_described_and_none_may_be_added():
    schema = run_schema()
    json.dumps(schema)
    for model in (schema, *schema["$defs"].values()):
        assert model["additionalProperties"] is False
        for name, field in model["properties"].items():
            assert field.get("description"), f"{model['title']}.{name}"


def test_a_request_survives_its_json(request_run, tmp_path):
    fields = {"preset": "tiny", "options": {"a": [1, 0.5], "b": "x"}, "max_seconds": 1.5, "precision": "bf16"}
    for run in (request_run(**fields), request_run(spec=None, release_path=tmp_path / "paper.h5", steps=4)):
        assert TrainingRun.from_json(run.to_json()) == run


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"entry": 1}'])
def test_a_request_that_is_none_is_refused(text):
    with pytest.raises(InvalidDataError, match="request for training cannot be read"):
        TrainingRun.from_json(text)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"spec": None}, "one source of images"),
        ({"seed": -1}, "seed must be"),
        ({"steps": 0}, "steps must be 1 or more, found 0"),
        ({"max_seconds": float("nan")}, "time limit"),
        ({"precision": "fp8"}, "no precision 'fp8'; choose one of auto, no, bf16, tf32"),
        ({"options": {"rate": float("inf")}}, "Option rate = inf"),
    ],
)
def test_a_request_that_cannot_be_granted_is_refused(request_run, fields, sentence):
    with pytest.raises(UsageError) as error:
        request_run(**fields)
    assert sentence in str(error.value)


def test_options_are_values_of_toml_and_else_texts():
    texts = ["alpha=0.5", "steps = 3", "on=true", "name=exact", "widths=[1, 2]", "path=a=b"]
    expected = {"alpha": 0.5, "steps": 3, "on": True, "name": "exact", "widths": [1, 2], "path": "a=b"}
    assert parse_options(texts) == expected
    for text in ("alpha", "=3"):
        with pytest.raises(UsageError, match="is not of the form name=value"):
            parse_options([text])
