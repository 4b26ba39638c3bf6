"""Validations of a stage take at most 3 % of its time, for the costs that the stage states."""

import importlib
import math

import pytest
import torch
from learned.loop import plan_of
from learned.stage import Stage
from torch import nn

from qpibench.locator import locate
from qpibench.training import TrainingRun


class Images:
    """A source of validation images only."""

    batch_size = 8

    def __init__(self, count):
        self.count = count

    def validation(self):
        return [{"image": part} for part in torch.zeros(self.count, 1, 1).split(32)]


def made(*, budget, count=512, **options):
    fixed = {"name": "first", "module": nn.Identity(), "score": len, "learning_rate": 1.0, "steps": budget}
    return Stage(**fixed, source=Images(count), budget=budget, **options)


def images(stage):
    return sum(len(batch["image"]) for batch in stage.validation_batches)


@pytest.mark.parametrize("cost", [0.5, 2.0])
@pytest.mark.parametrize("count", [80, 512])
@pytest.mark.parametrize("budget", [600, 1000, 3000, 20_000, 144_000])
def test_validations_take_three_percent_of_the_steps_at_most(budget, count, cost):
    stage = made(budget=budget, count=count, score_cost=cost)
    validations = math.ceil(budget / stage.validation_interval)
    assert validations * images(stage) * cost <= 0.03 * budget * stage.source.batch_size
    assert images(stage) >= 64


def test_a_long_stage_scores_all_images_after_every_fiftieth_of_its_steps():
    stage = made(budget=125_000, score_cost=0.5)
    assert (images(stage), stage.validation_interval) == (512, 2500)


def test_a_stage_of_a_run_without_that_limit_validates_as_it_did():
    stage = made(budget=3000, validation_share=None)
    assert (images(stage), stage.validation_interval) == (512, 100)


@pytest.mark.parametrize(("entry", "stages"), [("one_step", 1), ("two_step", 2), ("shift_vae", 1)])
def test_every_stage_can_end_when_validation_has_lost_patience(entry, stages, tiny_spec):
    train = importlib.import_module(entry).train
    spec = tiny_spec.model_copy(update={"grid": tiny_spec.grid.model_copy(update={"ny": 16, "nx": 16})})
    where = {"entry": entry, "entry_path": locate("baselines") / f"{entry}.py", "folder": locate("baselines")}
    options = {"patience": 3, "symmetry_weight": 0} if entry == "two_step" else {"patience": 3}
    plan = plan_of(train, TrainingRun(**where, spec=spec, options=options))
    assert [stage().patience for stage in plan.stages] == [3] * stages
