"""Runs that are trained together, against the same runs trained one after the other."""

import importlib
import json
from types import SimpleNamespace

import pytest
import tiny_training
import torch
from accelerate.state import AcceleratorState
from learned import lanes, loop, run_writer
from learned.device import make_accelerator
from learned.draws import Draws, normal_like, uniform
from learned.lanes import capture_or_say, fit_lanes
from learned.loop import Training, plan_of
from learned.resident import ResidentFeed
from learned.source import open_source
from learned.stop import watch
from safetensors.torch import load_file

from qpibench.locator import locate
from qpibench.training import RunFolder, TrainingRun, load_run

ARMS = [
    pytest.param("two_step", "code", {}, marks=pytest.mark.slow),
    pytest.param("two_step", "article", {"noise_snr_db": [0.0, 30.0]}, marks=pytest.mark.slow),
    ("one_step", "code", {"map_mode": "exact"}),
]


@pytest.fixture(autouse=True)
def _draws_no_curves(monkeypatch):
    monkeypatch.setattr(run_writer, "draw_curves", lambda log, picture: None)


@pytest.fixture(scope="module")
def spec(tiny_spec):
    """Images whose sides the autoencoder can halve three times."""
    grid = tiny_spec.grid.model_copy(update={"ny": 16, "nx": 16})
    return type(tiny_spec).model_validate(tiny_spec.model_dump() | {"name": "even", "grid": grid.model_dump()})


@pytest.fixture(scope="module")
def release(spec, tmp_path_factory):
    from qpibench.release import write_release
    from qpibench.synthesis import get_backend

    path = tmp_path_factory.mktemp("even") / "even.h5"
    write_release(spec, path, backend=get_backend("cpu")[0])
    return path


def request(entry, folder, seed=0, **options):
    place = locate("baselines") / f"{entry}.py"
    fixed = {"entry": entry, "entry_path": place, "preset": "tiny", "precision": "no"}
    return TrainingRun(**(fixed | options), folder=folder, seed=seed)


def alone(run):
    """Train by the eager loop, on a GPU too."""
    training = Training(plan_of(importlib.import_module(run.entry).train, run), make_accelerator(run.precision))
    with watch(run.max_seconds) as stop:
        training.run(stop)
    training.close()


def together(*runs, **options):
    plans = [plan_of(importlib.import_module(run.entry).train, run) for run in runs]
    return fit_lanes(plans, make_accelerator(runs[0].precision), **options)


def numbers(folder):
    """All that the log says, but for the time."""
    lines = [json.loads(line) for line in RunFolder(folder).log.read_text().splitlines()]
    return [value for line in lines for name, value in line.items() if name not in ("seconds", "stage")]


@pytest.mark.parametrize(
    ("entry", "recipe", "options"),
    [*ARMS, pytest.param("polar_two_step", "radial", {"batch_size": 16}, marks=pytest.mark.slow)],
)
def test_runs_trained_together_have_the_losses_of_runs_trained_alone(entry, recipe, options, release, tmp_path):
    given = {"recipe": recipe, "options": options, "steps": 8, "release_path": release}
    for seed in (0, 1):
        alone(request(entry, tmp_path / f"alone-{seed}", seed, **given))
    assert together(*(request(entry, tmp_path / f"lane-{seed}", seed, **given) for seed in (0, 1))) == [None, None]
    for seed in (0, 1):
        assert numbers(tmp_path / f"lane-{seed}") == pytest.approx(numbers(tmp_path / f"alone-{seed}"), rel=1e-4)
        assert load_run(tmp_path / f"lane-{seed}").status == "complete"
    assert numbers(tmp_path / "lane-0") != pytest.approx(numbers(tmp_path / "lane-1"), rel=1e-4)


@pytest.mark.slow
def test_a_stream_is_trained_on_in_lanes_too(spec, tmp_path):
    given = {"recipe": "code", "steps": 5, "spec": spec}
    alone(request("two_step", tmp_path / "alone", **given))
    assert together(request("two_step", tmp_path / "lane", **given)) == [None]
    assert numbers(tmp_path / "lane") == pytest.approx(numbers(tmp_path / "alone"), rel=1e-4)


class Tiny:
    """The runs of :mod:`tiny_training`, several together."""

    def __init__(self, release, folder):
        self.release, self.folder, self.harm = release, folder, {}

    def fit(self, seeds=(0, 1), stage_options=None, **options):
        plans = []
        for seed in seeds:
            training = tiny_training.Training(self.release, self.folder / str(seed), stage_options=stage_options)
            training.at_step = self.harm.get(seed, training.at_step)
            fixed = {"entry": "zeros", "entry_path": "", "folder": "", "release_path": self.release}
            plans.append(plan_of(lambda run, t=training, s=seed: t.fit(seed=s, **options), TrainingRun(**fixed)))
        self.plans = plans
        return fit_lanes(plans, make_accelerator("no"))

    def steps(self, seed):
        return load_run(self.folder / str(seed)).steps_done


@pytest.fixture
def tiny(tiny_release, tmp_path):
    return Tiny(tiny_release, tmp_path / "together")


@pytest.fixture(scope="module")
def uninterrupted(tiny_release, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_writer, "draw_curves", lambda log, picture: None)
        tiny = Tiny(tiny_release, tmp_path_factory.mktemp("uninterrupted"))
        assert tiny.fit() == [None, None]
    return tiny


@pytest.mark.slow
def test_runs_that_are_stopped_and_resumed_have_the_losses_of_runs_that_were_not(tiny, uninterrupted):
    tiny.fit(max_seconds=1e-9)
    assert (tiny.steps(0), tiny.steps(1)) == (1, 1)
    assert load_run(tiny.folder / "0").status == "stopped"
    assert tiny.fit(resume=True) == [None, None]
    for seed in ("0", "1"):
        assert numbers(tiny.folder / seed) == numbers(uninterrupted.folder / seed)
        weights, expected = (load_file(RunFolder(each.folder / seed).weights) for each in (tiny, uninterrupted))
        assert all(torch.equal(weights[name], expected[name]) for name in expected)


@pytest.mark.slow
def test_runs_at_different_places_are_trained_to_their_ends(tiny, uninterrupted):
    tiny.fit(seeds=(0,), max_seconds=1e-9)
    tiny.fit(seeds=(1,))
    assert tiny.fit(resume=True) == [None, None]
    assert numbers(tiny.folder / "0") == numbers(uninterrupted.folder / "0")
    assert tiny.steps(1) == sum(tiny_training.STEPS)


def test_the_failure_of_one_run_does_not_end_the_others(tiny, uninterrupted):
    def spoil(stage, step, batch):
        if step == 7:
            with torch.no_grad():
                tiny.plans[1].net.last.bias.fill_(torch.nan)

    tiny.harm[1] = spoil
    first, second = tiny.fit()
    assert first is None
    assert "is nan at step 7" in str(second)
    assert load_run(tiny.folder / "1").status == "stopped"
    assert numbers(tiny.folder / "0") == numbers(uninterrupted.folder / "0")


@pytest.mark.slow
def test_runs_that_lose_patience_end_their_stage(tiny):
    tiny.fit(stage_options={"learning_rate": 0.0, "patience": 2, "validate_every": 3})
    record = load_run(tiny.folder / "1")
    assert (record.status, record.stopped_early, record.steps_done) == ("complete", True, 18)


def test_too_little_memory_for_all_is_said_in_a_sentence(tiny):
    def exhaust(stage, step, batch):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    tiny.harm[0] = exhaust
    assert ["train fewer runs together" in str(error) for error in tiny.fit()] == [True, True]
    assert "no smaller batch was found" in str(tiny.fit(seeds=(0,), resume=True)[0])


def test_a_graph_that_cannot_be_captured_is_said_in_a_sentence_and_training_goes_on():
    def refuse():
        raise RuntimeError("operation not permitted when stream is capturing\nCompile with TORCH_USE_CUDA_DSA")

    said = []
    lane = SimpleNamespace(
        stage=SimpleNamespace(name="kernels"),
        training=SimpleNamespace(progress=SimpleNamespace(say=said.append)),
    )
    capture_or_say(SimpleNamespace(capture=refuse), lane)
    assert said == [
        "Stage 'kernels' trains without a CUDA graph, more slowly: operation not permitted when stream is capturing."
    ]


def test_published_maps_are_held_in_bytes_and_come_as_they_are(release, tmp_path):
    run = request("one_step", tmp_path, release_path=release)
    source = open_source(run, fields=("activation_map", "image", "kernel", "fold"), batch_size=4, map_mode="paper")
    feed = ResidentFeed(source, torch.device("cpu"), most=5)
    feed.load(20, 5)
    expected, found = source.batch(23), feed.batch(torch.tensor([3]))
    assert all(torch.equal(found[field], expected[field]) for field in expected)
    assert {table.dtype for table in feed._tables.values()} >= {torch.uint8, torch.float32}


def test_prepared_draws_are_those_of_the_seeded_generator_in_every_step():
    draws, like = Draws(torch.device("cpu")), torch.zeros(3, 4, 5, 5).to(memory_format=torch.channels_last)
    for seed in (5, 6):
        torch.manual_seed(seed)
        expected = uniform((3, 1, 1), torch.device("cpu")), normal_like(like)
        draws.fill(seed)
        with draws.given():
            found = uniform((3, 1, 1), torch.device("cpu")), normal_like(like)
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    with draws.given(), pytest.raises(ValueError, match="where the first one drew uniform numbers"):
        normal_like(like)


@pytest.mark.gpu
@pytest.mark.parametrize(("entry", "recipe", "options"), ARMS)
def test_graphs_have_the_losses_of_the_eager_loop(entry, recipe, options, release, tmp_path, monkeypatch):
    if not torch.cuda.is_available():
        pytest.skip(f"PyTorch {torch.__version__} has no CUDA device")
    captured = []
    monkeypatch.setattr(lanes, "capture_or_say", lambda branches, lane: (branches.capture(), captured.append(lane)))
    given = {"recipe": recipe, "options": options, "steps": 40, "release_path": release}
    for seed in (0, 1):
        alone(request(entry, tmp_path / f"alone-{seed}", seed, **given))
        AcceleratorState._reset_state(reset_partial_state=True)
    assert together(*(request(entry, tmp_path / f"lane-{seed}", seed, **given) for seed in (0, 1))) == [None, None]
    assert len(captured) == (2 if entry == "two_step" else 1)
    for seed in (0, 1):
        assert numbers(tmp_path / f"lane-{seed}") == pytest.approx(numbers(tmp_path / f"alone-{seed}"), rel=0.02)


def test_plan_of_refuses_an_entry_that_does_not_train_by_fit(release, tmp_path):
    with pytest.raises(ValueError, match="calls fit 0 times"):
        plan_of(lambda run: None, request("one_step", tmp_path, release_path=release))
    assert loop._plans.get() is None
