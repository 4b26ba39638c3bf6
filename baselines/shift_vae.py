"""Shift-VAE, the unsupervised entry: an autoencoder of the patches around scatterers.

The network encodes each patch as a shift, a rotation and a content latent. Training uses images and activation maps,
and no kernels. To predict a kernel, the content latents of an image's patches are averaged and decoded; a least-squares
fit to the image gives gain and offset. See ``docs/shift_vae.md``.

Ziatdinov, Wong and Kalinin, Mach. Learn.: Sci. Technol. 4, 045033 (2023), arXiv 2106.12472.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from learned.extractor import KernelExtractor
from learned.loop import Stage, fit
from learned.recipes import choose_recipe
from learned.shift_loss import ShiftLoss
from learned.shift_net import DEFAULT_PRESET, PRESETS, ShiftVAE
from learned.shift_recipes import DEFAULT_RECIPE, SHIFT_VAE, ShiftRecipe
from learned.source import open_source
from shared.weights import shipped_weights

from qpibench.errors import UsageError
from qpibench.evaluation.run_record import load_run
from qpibench.specs import Grid
from qpibench.training import TrainingRun

needs = "raster"


class Model(KernelExtractor):
    """Predicts with a trained network, loaded from a run folder or from the weights shipped beside this file."""

    def __init__(self, run_folder: Path | None = None) -> None:
        folder = run_folder or shipped_weights(__file__)

        def build(preset: str) -> ShiftVAE:
            config = load_run(folder).config
            return _build(preset, ShiftRecipe.model_validate(config["recipe"]), Grid.model_validate(config["grid"]))

        super().__init__(folder, "shift_vae", build)
        self.trained_on += ", images and activation maps only"


def train(run: TrainingRun) -> None:
    """Train the network in a single stage."""
    recipe = choose_recipe(SHIFT_VAE, replace(run, recipe=run.recipe or DEFAULT_RECIPE))
    preset = run.preset or DEFAULT_PRESET
    if preset not in PRESETS:
        raise UsageError(f"There is no preset '{preset}' of shift_vae; choose one of {', '.join(PRESETS)}.")
    if run.pretrained is not None:
        raise UsageError("Entry shift_vae has no pretrained weights to start from; leave --pretrained out.")
    source = open_source(
        run, fields=("image", "activation_map"), batch_size=recipe.batch_size, map_mode=recipe.map_mode
    )
    torch.manual_seed(run.seed)
    net = _build(preset, recipe, source.grid)
    steps = recipe.epochs * source.steps_per_epoch

    def stage() -> Stage:
        loss = ShiftLoss(net, recipe)
        return Stage(
            name="patches",
            module=loss,
            score=loss.score,
            source=source,
            steps=steps,
            budget=min(run.steps or steps, steps),
            learning_rate=recipe.learning_rate,
            clip_norm=recipe.clip_norm,
            patience=recipe.patience,
            score_cost=2.0,
        )

    fit(
        run,
        config={
            "recipe": recipe.model_dump(mode="json"),
            "preset": preset,
            "grid": source.grid.model_dump(mode="json"),
        },
        net=net,
        stages=[stage],
        source_record=source.record,
        steps_stated=steps,
        export=net.state_dict,
    )


def _build(preset: str, recipe: ShiftRecipe, grid: Grid) -> ShiftVAE:
    return ShiftVAE(
        PRESETS[preset],
        grid,
        content=recipe.content,
        shift_prior=recipe.shift_prior,
        rotation_prior=recipe.rotation_prior,
    )
