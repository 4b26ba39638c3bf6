"""Benchmarks of training steps.

They are compared with the steps of the first release of this loop, and those that are fed from a release or a stream
with the same steps fed from memory.
"""

from __future__ import annotations

import contextlib
import itertools
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.training_steps import Stepper

pytest.importorskip("accelerate")
pytest.importorskip("diffusers")

import torch

from qpibench.locator import locate
from qpibench.training import TrainingRun

FIELDS = ("image", "activation_map", "kernel")
BATCH = 8
CPU_STEPS, GPU_STEPS = 6, 20
VALIDATION_BATCH = 32

ON_GPU = {
    f"train.gpu_{kind}_of_memory": {
        "name": f"train.gpu_{kind}_of_memory",
        "what": f"training step on the GPU, `compact`, batches of 64 from {of}, over that of batches in memory",
        "unit": "",
        "at_most": 1.05,
    }
    for kind, of in {"release": "a release in the disk cache", "stream": "a stream"}.items()
}


@pytest.fixture
def learned(monkeypatch):
    """Import the package `learned` as the worker of a shipped entry imports it."""
    monkeypatch.syspath_prepend(str(locate("baselines")))
    import one_step
    from accelerate.state import AcceleratorState
    from learned import device, loop, precision, recipes, source, steps

    threads = torch.get_num_threads()
    modules = {
        "device": device,
        "loop": loop,
        "precision": precision,
        "recipes": recipes,
        "source": source,
        "steps": steps,
    }
    yield SimpleNamespace(one_step=one_step, **modules)
    torch.set_num_threads(threads)
    AcceleratorState._reset_state(reset_partial_state=True)


class Fed:
    """Return a training that continues from round to round; `batches` makes a new source of batches for each round."""

    def __init__(self, learned, accelerator, source, preset, batches):
        torch.manual_seed(0)
        net = learned.one_step.OneStepNet(preset).to(accelerator.device)
        stage = learned.loop.Stage(
            name="kernels",
            module=learned.one_step.KernelLoss(net, learned.recipes.ONE_STEP["code"]),
            score=lambda batch: batch["kernel"],
            source=source,
            steps=10**6,
            budget=10**6,
            learning_rate=1e-5,
        )
        self.steps, self.batches, self.step = learned.steps.Steps(accelerator, stage, net, seed="0"), batches, 0

    def run(self, count):
        """Run steps that start without a prefetched batch."""
        ahead = self.batches(self.step)
        for batch in itertools.islice(ahead, count):
            losses = self.steps.take(self.step, batch)
            self.step += 1
        losses["loss"].item()
        ahead.close()


def kept_in_memory(source, count):
    """Return an endless source that repeats the first batches of another source."""
    kept = [source.batch(step) for step in range(count)]
    if torch.cuda.is_available():
        kept = [{field: tensor.cpu().pin_memory() for field, tensor in batch.items()} for batch in kept]
    return lambda start: (kept[step % count] for step in itertools.count(start))


def measured(learned, alternate, run_of, *, preset, batch, steps, rounds):
    accelerator = learned.device.make_accelerator(learned.precision.choose_precision(run_of).mode)
    source = learned.source.open_source(run_of, fields=FIELDS, map_mode="paper", batch_size=batch)
    fed = Fed(learned, accelerator, source, preset, source.ahead)
    from_memory = Fed(learned, accelerator, source, preset, kept_in_memory(source, 16))
    return alternate(lambda: fed.run(steps), {"memory": lambda: from_memory.run(steps)}, rounds=rounds, warmup_rounds=2)


def request_of(kind, paper, paper_release):
    where = {"release_path": paper_release} if kind == "release" else {"spec": paper}
    return TrainingRun(entry="one_step", entry_path=Path("one_step.py"), folder=Path("run"), **where)


@pytest.mark.parametrize(
    ("kind", "words"),
    [("release", "a release in the disk cache"), ("stream", "a stream")],
    ids=["release", "stream"],
)
def test_training_step(alternate, report, learned, paper, paper_release, kind, words):
    if torch.cuda.is_available():
        pytest.skip("training takes the GPU where there is one")
    torch.set_num_threads(1)
    run = request_of(kind, paper, paper_release)
    rounds = measured(learned, alternate, run, preset="tiny", batch=BATCH, steps=CPU_STEPS, rounds=15)
    what = f"training step, `tiny`, batches of {BATCH} from {words}, one thread"
    report(f"train.{kind}", what, "ms", 1e3 * rounds.seconds / CPU_STEPS)
    ratio = rounds.seconds / rounds.reference["memory"]
    report(f"train.{kind}_of_memory", f"{what}, over that of batches in memory", "", ratio, at_most=1.05)


@pytest.mark.gpu
@pytest.mark.figures(*ON_GPU.values())
@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("kind", ["release", "stream"])
def test_training_step_on_the_gpu(alternate, report, learned, paper, paper_release, kind):
    if not torch.cuda.is_available():
        pytest.skip(f"PyTorch {torch.__version__} has no CUDA device")
    run = request_of(kind, paper, paper_release)
    rounds = measured(learned, alternate, run, preset="compact", batch=64, steps=GPU_STEPS, rounds=7)
    report(**ON_GPU[f"train.gpu_{kind}_of_memory"], values=rounds.seconds / rounds.reference["memory"])


WITHOUT_AMX = {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}
"""Variable that keeps convolutions from the instructions for bf16 that some processors have."""

WAYS = {
    "before, without AMX": {"precision": "bf16", "variables": WITHOUT_AMX},
    "now, without AMX": {"precision": "no", "allocator": True, "variables": WITHOUT_AMX},
    "before": {"precision": "bf16"},
    "now": {"precision": "auto", "allocator": True},
}
"""Before, PyTorch chose bf16 on every processor, and the allocator had its own settings."""

COMPILED = {"compiled": {"precision": "auto", "allocator": True, "compiled": True}}
"""Only for the alignment, whose networks compile in a minute."""

GAIN_ROUNDS, GAIN_WARMUP = 5, 1


@pytest.mark.parametrize(("method", "goal", "cost"), [("one_step", 1.6, 0.5), ("alignment", 1.8, 2.0)])
def test_gain_of_a_training_step(benchmark, report, paper_release, method, goal, cost):
    if torch.cuda.is_available():
        pytest.skip("training takes the GPU where there is one")
    ways = WAYS if method == "one_step" else WAYS | COMPILED
    with contextlib.ExitStack() as stack:
        # Each has a process of its own, because the variables hold for a whole process.
        steppers = {name: stack.enter_context(Stepper(method, paper_release, **way)) for name, way in ways.items()}
        failed = {name: said for name, each in steppers.items() if len(said := each.ready()) > len("bf16")}
        seconds = {name: [] for name in steppers}

        def step_in_turn():
            for name, stepper in steppers.items():
                seconds[name].append(stepper())

        benchmark.pedantic(step_in_turn, rounds=GAIN_ROUNDS, warmup_rounds=GAIN_WARMUP)
        score = [steppers["now"]("score") for _ in range(GAIN_ROUNDS)]
    took = {name: np.array(values[GAIN_WARMUP:]) for name, values in seconds.items()}
    what = f"training step of {method}, `compact`, one thread: bf16 and the system's allocator settings over today's"
    gain = took["before, without AMX"] / took["now, without AMX"]
    report(f"train.{method}_gain_without_amx", f"{what}, convolutions without AMX", "x", gain, at_least=goal)
    report(f"train.{method}_gain", f"{what}, all instructions", "x", took["before"] / took["now"])
    what = f"image of {method} in a validation over the same in a training step; validations of 3 % assume the target"
    report(
        f"train.{method}_score_cost", what, "", np.array(score) / VALIDATION_BATCH / took["now"] * BATCH, at_most=cost
    )
    if "compiled" in took and not failed:
        what = f"training step of {method}, `compact`, one thread, over the same compiled"
        report(f"train.{method}_compiled", what, "x", took["now"] / took["compiled"])
