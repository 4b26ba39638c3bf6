"""Training of the polar two-step method: an autoencoder of the radial profiles of a family."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field

from learned.loop import Stage, fit
from learned.profile_basis import ProfileBasis, make_basis
from learned.profile_net import DEFAULT_PRESET, PRESETS, ProfileLoss, ProfileNet
from learned.profile_source import ProfileSource, open_profiles
from learned.recipes import Count, OptionalCount, OptionalRate, Rate, choose_recipe
from qpibench.errors import UsageError
from qpibench.training import TrainingRun


class Recipe(BaseModel):
    """Numbers of the training.

    Attributes
    ----------
    name
        ``radial``, the only recipe.
    latent
        Numbers of a latent. Profiles of eq. 7 have three parameters.
    functions
        Largest number of principal radial functions that express a profile.
    noise
        Range of the noise in the encoder's input, see :class:`learned.profile_net.ProfileLoss`.
    batch_size, steps
        Profiles of a step, and number of steps.
    learning_rate, decay_steps, decay_factor
        Learning rate of Adam; every ``decay_steps`` steps it is multiplied by ``decay_factor``.
    clip_norm, patience
        Largest norm of all gradients together, or None; number of validations without improvement after which training
        ends, or None.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["radial"] = "radial"
    latent: Annotated[int, Field(ge=1, le=64)] = 4
    functions: Annotated[int, Field(ge=1, le=256)] = 64
    noise: tuple[Rate, Rate] = (1e-4, 0.3)
    batch_size: Count = 256
    steps: Count = 60_000
    learning_rate: Rate = 2e-3
    decay_steps: Count = 2000
    decay_factor: Rate = 0.84
    clip_norm: OptionalRate = 1.0
    patience: OptionalCount = None


def train(run: TrainingRun) -> None:
    """Train the autoencoder of profiles in a single stage.

    Raises
    ------
    UsageError
        If the request does not fit the entry.
    """
    recipe = choose_recipe({"radial": Recipe()}, replace(run, recipe=run.recipe or "radial"))
    preset = run.preset or DEFAULT_PRESET
    if preset not in PRESETS:
        raise UsageError(f"There is no preset '{preset}' of polar_two_step; choose one of {', '.join(PRESETS)}.")
    if run.precision == "auto":  # a small network, whose errors bf16 would dominate
        run = replace(run, precision="no")
    if run.pretrained is not None:
        raise UsageError("Entry polar_two_step has no pretrained weights to start from; leave --pretrained out.")
    draws = open_profiles(run, batch_size=recipe.batch_size)
    made = make_basis(draws, functions=recipe.functions)
    source = ProfileSource(draws, made.r_nm, made.offset, made.matrix)
    functions, splines = len(made.spread), len(made.basis.splines)
    torch.manual_seed(run.seed)
    net = ProfileNet(width=PRESETS[preset], latent=recipe.latent, functions=functions, splines=splines)
    _describe(net, made)

    def stage() -> Stage:
        loss = ProfileLoss(net, recipe.noise)
        return Stage(
            name="profiles",
            module=loss,
            score=loss.score,
            source=source,
            steps=recipe.steps,
            budget=min(run.steps or recipe.steps, recipe.steps),
            learning_rate=recipe.learning_rate,
            decay=(recipe.decay_steps, recipe.decay_factor),
            clip_norm=recipe.clip_norm,
            patience=recipe.patience,
        )

    def export() -> dict[str, torch.Tensor]:
        device = net.spread.device
        net.measure(torch.cat([source.batch(step)["profile"] for step in range(8)]).to(device))
        return net.state_dict()

    fit(
        run,
        config={
            "recipe": recipe.model_dump(mode="json"),
            "preset": preset,
            "grid": source.grid.model_dump(mode="json"),
            "functions": functions,
            "splines": splines,
        },
        net=net,
        stages=[stage],
        source_record=source.record,
        steps_stated=recipe.steps,
        export=export,
        half=False,
    )


def _describe(net: ProfileNet, made: ProfileBasis) -> None:
    net.splines.copy_(torch.from_numpy(made.basis.splines))
    net.spacing_nm.fill_(made.basis.spacing_nm)
    net.spread.copy_(torch.from_numpy(made.spread))
