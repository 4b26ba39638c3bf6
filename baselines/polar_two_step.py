"""Polar two-step method: latents of radial profiles, aligned with the image by a descent from a linear estimate.

A kernel is a radial profile times an angular factor of known form,

    K(r, theta) = f(r) (1 - cos(n theta + phase)) / 2,    n = 2, 3, 4, 6,    or f(r) alone.

The first step trains an autoencoder of profiles f on draws of the family, without any image. The second step needs no
training. A Bayesian linear model of the image gives the fold n, the phase and a first profile; the encoder gives its
latent. Levenberg-Marquardt steps then change the latent, the phase and a small correction of what the decoder cannot
express, until the decoded kernel explains the image best. Where the scatterers are marks in a raster, their positions
are refined together with the kernel. ``docs/polar_two_step.md`` has the equations and what was tried.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from learned.extractor import load_weights, shipped_weights
from learned.loop import Stage, fit
from learned.profile_basis import ProfileBasis, make_basis
from learned.profile_net import DEFAULT_PRESET, PRESETS, LearnedProfiles, ProfileLoss, ProfileNet
from learned.profile_source import ProfileSource, open_profiles
from learned.recipes import Count, OptionalCount, OptionalRate, Rate, choose_recipe
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from shared.extraction import extract
from shared.scatterers import Scatterers, scatterers_of

from qpibench import Batch, Prediction
from qpibench.errors import UsageError
from qpibench.evaluation.run_record import RunFolder, load_run
from qpibench.grid import Grid
from qpibench.training import TrainingRun

needs = "raster"
knows = ["kernels are a radial profile times (1 - cos(n theta + phase))/2", "n is 0, 2, 3, 4 or 6"]

FOLDS = (2, 3, 4, 6)


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
    latent: Annotated[int, Field(ge=1, le=64)] = 6
    functions: Annotated[int, Field(ge=1, le=256)] = 64
    noise: tuple[Rate, Rate] = (1e-4, 0.3)
    batch_size: Count = 256
    steps: Count = 30_000
    learning_rate: Rate = 2e-3
    decay_steps: Count = 1000
    decay_factor: Rate = 0.84
    clip_norm: OptionalRate = 1.0
    patience: OptionalCount = None


class Model:
    """Predicts with a trained autoencoder, loaded from a run folder or from the weights shipped beside this file."""

    def __init__(self, run_folder: Path | None = None) -> None:
        folder = run_folder or shipped_weights(__file__)
        record = load_run(folder)
        if record.entry != "polar_two_step":
            raise UsageError(f"'{folder}' holds a run of {record.entry}, expected one of polar_two_step.")
        kind = "training role of the release" if record.source.kind == "release" else "stream of the spec"
        self.trained_on = f"{kind} {record.source.name}"
        config = record.config
        recipe = Recipe.model_validate(config["recipe"])
        net = ProfileNet(
            width=PRESETS[config["preset"]],
            latent=recipe.latent,
            functions=config["functions"],
            splines=config["splines"],
        )
        load_weights(net, RunFolder(folder).weights)
        self.profiles = LearnedProfiles(net.eval())

    def predict(self, batch: Batch) -> Prediction:
        """Extract the kernels of observations.

        Raises
        ------
        ValueError
            If the view has no scatterers, or a pixel is not finite.
        """
        found = [
            extract(image, batch.grid, scatterers_of(batch, i), self.profiles, FOLDS)
            for i, image in enumerate(batch.image)
        ]
        pairs = [one.image_and_std(batch.kernel_grid) for one in found]
        return Prediction(
            kernel=_stack([value for value, _ in pairs], batch.kernel_grid),
            std=_stack([std for _, std in pairs], batch.kernel_grid),
            kernel_full=_stack([one.image(batch.grid.offsets) for one in found], batch.grid.offsets),
            latent=np.array([one.kernel.shape[: self.profiles.latents] for one in found], np.float32).reshape(
                len(found), self.profiles.latents
            ),
        )


def _stack(images: Sequence[NDArray[np.float64]], grid: Grid) -> NDArray[np.float32]:
    return np.array(images, dtype=np.float32).reshape(len(images), *grid.shape)


def train(run: TrainingRun) -> None:
    """Train the autoencoder of profiles in a single stage."""
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
