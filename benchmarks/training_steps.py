"""Process that does and times training steps of a published method whenever a benchmark asks for one.

    python -m benchmarks.training_steps {one_step,alignment} RELEASE PRECISION [--compile]

It prints a line when it is ready. For every line of standard input it does one step, or scores a part of the validation
images if the line is ``score``, and prints the seconds that it took.
"""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Self

from qpibench.locator import locate
from qpibench.training import TrainingRun
from qpibench.training.variables import allocator_variables

STAGES = {"one_step": ("one_step", 0), "alignment": ("two_step", 1)}
KEPT_BATCHES = 4


class Stepper:
    """The process, as its parent sees it; to be used as a context.

    Parameters
    ----------
    method
        One of :data:`STAGES`.
    release
        The release whose images are trained on.
    precision
        As in ``qpibench train``.
    allocator
        Whether the allocator is set as in ``qpibench train``.
    compiled
        Whether the loss is compiled.
    variables
        Other environment variables.
    """

    def __init__(
        self,
        method: str,
        release: Path,
        precision: str,
        *,
        allocator: bool = False,
        compiled: bool = False,
        variables: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        given = {**os.environ, "OMP_NUM_THREADS": "1", **variables}
        command = [sys.executable, "-m", "benchmarks.training_steps", method, str(release), precision]
        self._process = subprocess.Popen(
            [*command, *(["--compile"] if compiled else [])],
            env=given | (allocator_variables(given) if allocator else {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def ready(self) -> str:
        """Wait until the first step can be done, and return the precision, or why the loss is not compiled."""
        return self._read()

    def __call__(self, action: str = "step") -> float:
        """Do a step, or score a part of the validation images, and return the seconds that it took."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{action}\n")
        self._process.stdin.flush()
        return float(self._read())

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


def main() -> None:
    """Do what standard input asks for, until it ends."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training_steps")
    parser.add_argument("method", choices=STAGES)
    parser.add_argument("release", type=Path)
    parser.add_argument("precision")
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    said, actions = _prepared(options.method, options.release, options.precision, compiled=options.compile)
    print(said, flush=True)
    for line in sys.stdin:
        started = time.perf_counter()
        actions[line.strip()]()
        print(time.perf_counter() - started, flush=True)


def _prepared(
    method: str, release: Path, precision: str, *, compiled: bool
) -> tuple[str, dict[str, Callable[[], object]]]:
    """Return the precision, or why the loss is not compiled, and the functions that are timed."""
    sys.path.insert(0, str(locate("baselines")))
    import torch
    from learned.device import make_accelerator
    from learned.loop import plan_of
    from learned.precision import choose_precision
    from learned.steps import Steps

    entry, place = STAGES[method]
    module = importlib.import_module(entry)
    run = TrainingRun(
        entry=entry, entry_path=Path(f"{entry}.py"), folder=Path("run"), release_path=release, precision=precision
    )
    said = choose_precision(run).mode
    accelerator, plan = make_accelerator(said), plan_of(module.train, run)
    stage = plan.stages[place]()
    steps = Steps(accelerator, stage, plan.net, seed="0")
    if compiled and (failure := steps.compile()):
        said = failure
    kept, part, done = [stage.source.batch(step) for step in range(KEPT_BATCHES)], stage.validation_batches[0], 0

    def step() -> None:
        nonlocal done
        steps.take(done, kept[done % KEPT_BATCHES])["loss"].item()
        done += 1

    def score() -> None:
        plan.net.eval()
        with torch.no_grad(), accelerator.autocast():
            stage.score(part)
        stage.module.train()

    return said, {"step": step, "score": score}


if __name__ == "__main__":
    main()
