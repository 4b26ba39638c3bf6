"""One-step baseline of arXiv 2506.05325: one autoencoder maps an observation and its activation map to the kernel.

The training target is the true kernel, scaled to its minimum and maximum. ``docs/methods.md`` compares the article,
its authors' code and this file.
"""

from __future__ import annotations

from pathlib import Path

import torch
from learned.autoencoder import OneStepNet, check_grid
from learned.distance import DISTANCES
from learned.extractor import KernelExtractor
from learned.loop import Stage, fit
from learned.observation import add_white_noise, observation_channels
from learned.recipes import ONE_STEP, OneStepRecipe, choose_recipe, resolve_config
from learned.scaling import min_max
from learned.source import Batch, open_source
from learned.validation import scaled_error
from shared.weights import shipped_weights
from torch import Tensor, nn

from qpibench.training import TrainingRun

needs = "raster"


class Model(KernelExtractor):
    """Predicts with a trained network, loaded from a run folder or from the weights shipped beside this file."""

    def __init__(self, run_folder: Path | None = None) -> None:
        super().__init__(run_folder or shipped_weights(__file__), "one_step", OneStepNet)


def train(run: TrainingRun) -> None:
    """Train the network in a single stage."""
    recipe = choose_recipe(ONE_STEP, run)
    source = open_source(
        run,
        fields=("image", "activation_map", "kernel"),
        batch_size=recipe.batch_size,
        map_mode=recipe.map_mode,
        images_per_kernel=recipe.images_per_kernel,
    )
    check_grid(source.grid)
    config = resolve_config(recipe, run, source.grid)
    torch.manual_seed(run.seed)
    net = OneStepNet(config["preset"], pretrained=run.pretrained)
    epoch = source.steps_per_epoch
    stated = recipe.epochs * epoch

    def stage() -> Stage:
        return Stage(
            name="kernels",
            module=KernelLoss(net, recipe),
            score=lambda batch: scaled_error(net, batch),
            source=source,
            steps=stated,
            budget=min(run.steps or stated, stated),
            learning_rate=recipe.learning_rate,
            decay=(recipe.decay_epochs * epoch, recipe.decay_factor) if recipe.decay_epochs else None,
            clip_norm=recipe.clip_norm,
            patience=recipe.patience,
            score_cost=0.5,
        )

    fit(
        run,
        config=config,
        net=net,
        stages=[stage],
        source_record=source.record,
        steps_stated=stated,
        export=net.state_dict,
    )


class KernelLoss(nn.Module):
    """Return the training loss: distance between decoded and true kernel, plus the latent's KL divergence."""

    def __init__(self, net: OneStepNet, recipe: OneStepRecipe) -> None:
        super().__init__()
        self.encoder, self.decoder, self.recipe = net.encoder, net.decoder, recipe

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        image = add_white_noise(batch["image"], self.recipe.noise_snr_db)
        posterior = self.encoder(observation_channels(image, batch["activation_map"]))
        kernel = self.decoder(posterior.sample())
        distance = DISTANCES[self.recipe.distance](kernel, min_max(batch["kernel"])).mean()
        divergence = posterior.divergence().mean()
        loss = distance + self.recipe.kl_weight * divergence
        return {"loss": loss, "kernel": distance, "divergence": divergence}
