"""Training of the polar two-step method: an autoencoder of the radial profiles of a family."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field

from learned.loop import Stage, fit, split_budget
from learned.profile_basis import ProfileBasis, make_basis
from learned.profile_net import DEFAULT_PRESET, PRESETS, ProfileLoss, ProfileNet, ProjectionLoss
from learned.profile_source import ProfileSource, open_profiles
from learned.recipes import Count, OptionalCount, OptionalRate, Rate, choose_recipe
from qpibench.errors import UsageError
from qpibench.ranges import RISING
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
    batch_size
        Profiles of a step.
    steps, learning_rate, clip_norm
        Number of steps of the first stage, in which encoder and decoder learn together; learning rate of Adam; largest
        norm of all gradients together, or None.
    decoder_steps, decoder_learning_rate, decoder_clip_norm
        The same for the second stage, in which the decoder learns the profiles at the latents that a search finds.
    decays, decay_factor
        How many times, at equal intervals, the learning rate of a stage is multiplied by ``decay_factor``.
    patience
        Number of validations without improvement after which a stage ends, or None.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["radial"] = "radial"
    latent: Annotated[int, Field(ge=1, le=64)] = 4
    functions: Annotated[int, Field(ge=1, le=256)] = 64
    noise: Annotated[tuple[Rate, Rate], RISING] = (1e-4, 0.3)
    batch_size: Count = 256
    steps: Count = 60_000
    learning_rate: Rate = 2e-3
    clip_norm: OptionalRate = 1.0
    decoder_steps: Count = 10_000
    decoder_learning_rate: Rate = 1e-4
    decoder_clip_norm: OptionalRate = 0.02
    decays: Count = 30
    decay_factor: Rate = 0.84
    patience: OptionalCount = None


RECIPES = {"radial": Recipe()}
DEFAULT_RECIPE = "radial"


def train(run: TrainingRun) -> None:
    """Train the autoencoder of profiles, and then its decoder alone.

    Raises
    ------
    UsageError
        If the request does not fit the entry.
    """
    recipe = choose_recipe(RECIPES, replace(run, recipe=run.recipe or DEFAULT_RECIPE))
    preset = run.preset or DEFAULT_PRESET
    if preset not in PRESETS:
        raise UsageError(f"There is no preset '{preset}' of polar_two_step; choose one of {', '.join(PRESETS)}.")
    if run.precision == "auto":  # a small network, whose errors bf16 would dominate
        run = replace(run, precision="no")
    if run.pretrained is not None:
        raise UsageError("Entry polar_two_step has no pretrained weights to start from; leave --pretrained out.")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError("Entry polar_two_step trains a small network in one process; leave --processes out.")
    draws = open_profiles(run, batch_size=recipe.batch_size)
    made = make_basis(draws, functions=recipe.functions)
    source = ProfileSource(draws, made.r_nm, made.offset, made.matrix)
    functions, splines = len(made.spread), len(made.basis.splines)
    torch.manual_seed(run.seed)
    net = ProfileNet(width=PRESETS[preset], latent=recipe.latent, functions=functions, splines=splines)
    _describe(net, made)

    steps = recipe.steps, recipe.decoder_steps
    budget = split_budget(run, steps)

    def autoencoder() -> Stage:
        loss = ProfileLoss(net, recipe.noise)
        return Stage(
            name="profiles",
            module=loss,
            score=loss.score,
            source=source,
            steps=steps[0],
            budget=budget[0],
            learning_rate=recipe.learning_rate,
            decay=(-(-steps[0] // recipe.decays), recipe.decay_factor),
            clip_norm=recipe.clip_norm,
            patience=recipe.patience,
        )

    def decoder() -> Stage:
        net.encoder.requires_grad_(False)
        loss = ProjectionLoss(net)
        return Stage(
            name="decoder",
            module=loss,
            score=loss.score,
            source=source,
            steps=steps[1],
            budget=budget[1],
            learning_rate=recipe.decoder_learning_rate,
            decay=(-(-steps[1] // recipe.decays), recipe.decay_factor),
            clip_norm=recipe.decoder_clip_norm,
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
        stages=[autoencoder, decoder],
        source_record=source.record,
        steps_stated=sum(steps),
        export=export,
        half=False,
    )


def _describe(net: ProfileNet, made: ProfileBasis) -> None:
    net.splines.copy_(torch.from_numpy(made.basis.splines))
    net.spacing_nm.fill_(made.basis.spacing_nm)
    net.spread.copy_(torch.from_numpy(made.spread))
