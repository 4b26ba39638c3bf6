"""A training of a few seconds, for the tests of the loop; as a script it kills itself at a moment that is asked for.

``python tiny_training.py RELEASE FOLDER step N``; with ``replace N`` it dies instead of renaming the N-th file, and
with ``noise N`` it lives.
"""

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from learned.draws import normal_like
from learned.loop import Stage, fit, split_budget
from learned.run_writer import RunWriter
from learned.source import open_source
from torch import nn

from qpibench.locator import locate
from qpibench.training import TrainingRun

STEPS = (24, 16)
STAGE_OPTIONS = {"learning_rate": 1e-2, "validate_every": 5, "decay": (10, 0.5), "clip_norm": 1.0}
SAVE_EVERY = 7


class Net(nn.Module):
    """From an observation and its map to a kernel."""

    def __init__(self, width=6):
        super().__init__()
        self.first = nn.Conv2d(2, width, 3, padding=1)
        self.last = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, batch):
        inputs = torch.stack([batch["image"], batch["activation_map"]], dim=1)
        return self.last(torch.relu(self.first(inputs)))[:, 0]


class Noisy(nn.Module):
    """The net under a loss that draws; `at_step` is called at the beginning of every step with its number."""

    def __init__(self, net, noise, at_step):
        super().__init__()
        self.net, self.noise, self.at_step, self.step = net, noise, at_step, 0

    def forward(self, batch):
        self.step += 1
        self.at_step(self.step, batch)
        target = batch["kernel"] + self.noise * normal_like(batch["kernel"])
        error = self.net(batch) - target
        return {"loss": error.square().mean(), "largest": error.abs().max()}


@dataclass
class Training:
    """A run of two stages; `net` is there after the run.

    `at_step(stage, step of this start, batch)` and `at_validation(stage, batch)` may do harm.
    """

    release: Path
    folder: Path
    at_step: object = lambda stage, step, batch: None
    at_validation: object = lambda stage, batch: None
    config: object = None
    width: int = 6
    noise: float = 0.1
    batch_size: int = 4
    stage_options: object = None
    net: object = None

    def fit(self, **options):
        options = {"precision": "no"} | options
        run = TrainingRun(
            entry="zeros",
            entry_path=locate("baselines") / "zeros.py",
            folder=self.folder,
            release_path=self.release,
            **options,
        )
        fields = ("image", "activation_map", "kernel")
        source = open_source(run, fields=fields, map_mode="paper", batch_size=self.batch_size)
        torch.manual_seed(run.seed)
        self.net = Net(self.width)
        budgets = split_budget(run, STEPS)

        def error(name, batch):
            self.at_validation(name, batch)
            return (self.net(batch) - batch["kernel"]).abs().mean(dim=(1, 2))

        def stage(place):
            name = ("first", "second")[place]
            return Stage(
                name=name,
                module=Noisy(self.net, self.noise, lambda step, batch: self.at_step(name, step, batch)),
                score=lambda batch: error(name, batch),
                source=source,
                steps=STEPS[place],
                budget=budgets[place],
                **(STAGE_OPTIONS | (self.stage_options or {})),
            )

        fit(
            run,
            config=self.config or {"recipe": "tiny"},
            net=self.net,
            stages=[lambda: stage(0), lambda: stage(1)],
            source_record=source.record,
            steps_stated=sum(STEPS),
            export=self.net.state_dict,
        )


def save_often():
    """Let a checkpoint be due every few steps instead of every minute."""
    asked = iter(range(1, 10**9))
    RunWriter.is_due = property(lambda writer: next(asked) % SAVE_EVERY == 0)


def kill_instead_of_renaming(number):
    """Die at the n-th file that is put in its place."""
    replace, left = Path.replace, iter(range(number - 1, -1, -1))

    def replace_or_die(self, target):
        if next(left) == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return replace(self, target)

    Path.replace = replace_or_die


def die_at(number):
    def at_step(stage, step, batch):
        if stage == "first" and step == number:
            os.kill(os.getpid(), signal.SIGKILL)

    return at_step


if __name__ == "__main__":
    release, folder, moment, number = sys.argv[1:]
    training = Training(Path(release), Path(folder))
    save_often()
    if moment == "step":
        training.at_step = die_at(int(number))
    elif moment == "noise":
        training.noise = float(number)
    elif moment == "replace":
        kill_instead_of_renaming(int(number))
    training.fit()
