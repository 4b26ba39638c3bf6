"""Two-step method of arXiv 2506.05325: an autoencoder of kernels, then an encoder of observations into its latents.

The first step trains an autoencoder of kernels; its loss includes a term for rotational symmetry. The second step
trains an encoder that maps an observation and its activation map to the kernel's latent. To predict a kernel, the
second step's encoder is followed by the first step's decoder. ``docs/methods.md`` compares the article, its authors'
code and this file.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from learned.autoencoder import Encoder, Posterior, TwoStepNet, check_grid
from learned.distance import DISTANCES, mean_square, norm
from learned.extractor import CHUNK, KernelExtractor
from learned.loop import Stage, fit
from learned.observation import add_white_noise, observation_channels
from learned.recipes import TWO_STEP, TwoStepRecipe, choose_recipe, resolve_config
from learned.scaling import min_max
from learned.source import Batch, Source, open_source
from learned.symmetry import symmetry_error
from learned.validation import scaled_error, scaled_kernel_error
from numpy.typing import NDArray
from shared.weights import shipped_weights
from torch import Tensor, nn

from qpibench.errors import UsageError
from qpibench.release import open_release
from qpibench.specs.columns import kernel_columns
from qpibench.training import TrainingRun

needs = "raster"


class Model(KernelExtractor):
    """Predicts with trained networks, loaded from a run folder or from the weights shipped beside this file."""

    def __init__(self, run_folder: Path | None = None) -> None:
        super().__init__(run_folder or shipped_weights(__file__), "two_step", TwoStepNet)

    @torch.inference_mode()
    def encode_kernel(self, kernels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the latents (n, d) of kernels (n, y, x): the targets of the second step's encoder."""
        parts = torch.from_numpy(kernels).split(CHUNK)
        means = [self.net.kernel_encoder(min_max(part.to(self.device))[:, None]).mean for part in parts]
        return torch.cat(means).flatten(1).cpu().numpy()

    @torch.inference_mode()
    def autoencode(self, kernels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return kernels (n, y, x) after the first step's encoder and decoder: the error that alignment cannot remove.

        The networks see kernels on the scale 0..1. Their output is brought back to native units by the true kernel's
        own minimum and maximum. Gain and offset are therefore exact, and the error in the published convention is that
        on the scale 0..1.
        """
        low, high = kernels.min(axis=(1, 2), keepdims=True), kernels.max(axis=(1, 2), keepdims=True)
        parts = torch.from_numpy(kernels).split(CHUNK)
        means = (self.net.kernel_encoder(min_max(part.to(self.device))[:, None]).mean for part in parts)
        scaled = torch.cat([self.net.decoder(mean) for mean in means]).cpu().numpy()
        native: NDArray[np.float32] = low + (high - low) * scaled
        return native


def train(run: TrainingRun) -> None:
    """Train the networks in two stages: kernels, then alignment."""
    recipe = choose_recipe(TWO_STEP, run)
    if recipe.symmetry_weight:
        _check_folds(run)
    shown = ("kernel", "fold") if recipe.symmetry_weight else ("kernel",)
    kernels = open_source(run, fields=shown, batch_size=recipe.batch_size, unit="kernel")
    observations = open_source(
        run,
        fields=("image", "activation_map", "kernel", "kernel_index"),
        batch_size=recipe.batch_size,
        map_mode=recipe.map_mode,
        images_per_kernel=recipe.images_per_kernel,
    )
    check_grid(observations.grid)
    config = resolve_config(recipe, run, observations.grid)
    torch.manual_seed(run.seed)
    net = TwoStepNet(config["preset"], pretrained=run.pretrained)
    steps = recipe.kernel_epochs * kernels.steps_per_epoch, recipe.alignment_epochs * observations.steps_per_epoch
    budget = share_budget(steps, run.steps, recipe.kernel_share)

    def kernel_stage() -> Stage:
        return Stage(
            name="kernels",
            module=KernelLoss(net, recipe, aspect=kernels.grid.size_x_nm / kernels.grid.size_y_nm),
            score=lambda batch: scaled_kernel_error(net, batch),
            source=kernels,
            steps=steps[0],
            budget=budget[0],
            learning_rate=recipe.kernel_learning_rate,
            decay=_decay(recipe.kernel_decay_epochs, recipe.kernel_decay_factor, kernels),
            clip_norm=recipe.clip_norm,
            patience=recipe.patience,
            score_cost=0.5,
        )

    def alignment_stage() -> Stage:
        net.kernel_encoder.requires_grad_(False)
        net.decoder.requires_grad_(False)
        latents = None if run.release_path is None else _latents(net.kernel_encoder, run.release_path)
        return Stage(
            name="alignment",
            module=AlignmentLoss(net, recipe, latents),
            score=lambda batch: scaled_error(net, batch),
            source=observations,
            steps=steps[1],
            budget=budget[1],
            learning_rate=recipe.alignment_learning_rate,
            decay=_decay(recipe.alignment_decay_epochs, recipe.alignment_decay_factor, observations),
            clip_norm=recipe.clip_norm,
            patience=recipe.patience,
            score_cost=2.0,  # the decoder is scored too, but not trained
        )

    fit(
        run,
        config=config,
        net=net,
        stages=[kernel_stage, alignment_stage],
        source_record=observations.record,
        steps_stated=sum(steps),
        export=net.state_dict,
    )


class KernelLoss(nn.Module):
    """Loss of the first step: reconstruction error, symmetry error, and the latent's KL divergence."""

    def __init__(self, net: TwoStepNet, recipe: TwoStepRecipe, *, aspect: float) -> None:
        super().__init__()
        self.encoder, self.decoder, self.recipe, self.aspect = net.kernel_encoder, net.decoder, recipe, aspect

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        recipe, kernel = self.recipe, min_max(batch["kernel"])
        posterior = self.encoder(kernel[:, None])
        reconstruction = self.decoder(posterior.sample())
        distance = DISTANCES[recipe.distance](reconstruction, kernel).mean()
        divergence = posterior.divergence().mean()
        parts = {"kernel": distance, "divergence": divergence}
        loss = distance + recipe.kl_weight * divergence
        if recipe.symmetry_weight:
            parts["symmetry"] = self._symmetry(reconstruction, kernel, batch["fold"])
            loss = loss + recipe.symmetry_weight * parts["symmetry"]
        return {"loss": loss, **parts}

    def _symmetry(self, reconstruction: Tensor, kernel: Tensor, fold: Tensor) -> Tensor:
        error = symmetry_error(
            reconstruction,
            kernel,
            fold,
            angles=self.recipe.symmetry_angles,
            window=self.recipe.symmetry_window,
            distance=DISTANCES[self.recipe.distance],
            aspect=self.aspect,
        )
        if self.recipe.symmetry_sum == "kernels":
            return error.mean()
        of_same_fold = (fold[:, None] == fold).sum(dim=1)
        return (error / of_same_fold).sum()


class AlignmentLoss(nn.Module):
    """Loss of the second step: distance between the observation's latent and the fixed latent of its kernel.

    Parameters
    ----------
    net
        The networks; only the encoder of observations is trained.
    recipe
        Settings of the second step.
    latents
        Latents of all kernels of a release, by kernel index; None encodes each observation's kernel anew.
    """

    def __init__(self, net: TwoStepNet, recipe: TwoStepRecipe, latents: Posterior | None) -> None:
        super().__init__()
        self.encoder, self.recipe = net.encoder, recipe
        self.kernel_encoder = net.kernel_encoder if latents is None else None
        self.register_buffer("mean", None if latents is None else latents.mean)
        self.register_buffer("log_variance", None if latents is None else latents.log_variance)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        image = add_white_noise(batch["image"], self.recipe.noise_snr_db)
        found = self.encoder(observation_channels(image, batch["activation_map"]))
        wanted = self._wanted(batch)
        if self.recipe.alignment == "mean":
            return {"loss": norm(found.mean, wanted.mean).mean()}
        mean = mean_square(found.mean, wanted.mean).mean()
        log_variance = mean_square(found.log_variance, wanted.log_variance).mean()
        return {"loss": mean + log_variance, "mean": mean, "log_variance": log_variance}

    def _wanted(self, batch: Batch) -> Posterior:
        if self.kernel_encoder is None:
            return Posterior(self.mean[batch["kernel_index"]], self.log_variance[batch["kernel_index"]])
        with torch.no_grad():
            return self.kernel_encoder(min_max(batch["kernel"])[:, None])


def share_budget(steps: tuple[int, int], allowed: int | None, kernel_share: float) -> tuple[int, int]:
    """Divide the allowed steps between the two stages; neither gets more than the recipe states.

    Raises
    ------
    UsageError
        If there are fewer than two.
    """
    if allowed is None or allowed >= sum(steps):
        return steps
    if allowed < 2:
        raise UsageError(f"Entry two_step trains in two stages and needs --steps 2 or more, found {allowed}.")
    first = max(round(kernel_share * allowed), allowed - steps[1], 1)
    first = min(first, steps[0], allowed - 1)
    return first, allowed - first


def _training_kernels(path: Path) -> NDArray[np.int32]:
    release = open_release(path)
    return np.unique(release.observation_kernel[release.split("id", "train")])


def _check_folds(run: TrainingRun) -> None:
    if run.release_path is None:
        assert run.spec is not None
        source, known = f"Spec '{run.spec.name}'", "fold" in {column.name for column in kernel_columns(run.spec)}
    else:
        release = open_release(run.release_path)
        folds = release.kernels.parameters.get("fold")
        source = f"Release '{release.name}'"
        known = folds is not None and bool((folds[_training_kernels(run.release_path)] >= 0).all())
    if not known:
        raise UsageError(
            f"{source} does not say the folds of its kernels, which the symmetry loss needs; train without it:"
            " --set symmetry_weight=0."
        )


@torch.no_grad()
def _latents(encoder: Encoder, path: Path) -> Posterior:
    """Return the latents of a release's training kernels, in a table of all kernels; rows of other kernels are 0."""
    release, training = open_release(path), _training_kernels(path)
    device = next(encoder.parameters()).device
    kernels = torch.from_numpy(release.kernels.image[training]).to(device)
    parts = [encoder(min_max(part)[:, None]) for part in kernels.split(32)]
    rows = torch.from_numpy(training).long().to(device)

    def table(found: list[Tensor]) -> Tensor:
        latent = torch.cat(found)
        return latent.new_zeros(len(release.kernels), *latent.shape[1:]).index_copy(0, rows, latent)

    return Posterior(table([part.mean for part in parts]), table([part.log_variance for part in parts]))


def _decay(epochs: int | None, factor: float, source: Source) -> tuple[int, float] | None:
    return (epochs * source.steps_per_epoch, factor) if epochs else None
