"""Loss of the shift-VAE. It uses no kernel: the method is unsupervised."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from learned.autoencoder import Posterior
from learned.observation import add_white_noise
from learned.scaling import min_max
from learned.shift_net import ShiftVAE
from learned.shift_patches import Patches, patches_at
from learned.shift_recipes import ShiftRecipe
from learned.source import Batch

VALIDATION_PIXELS = 256


class ShiftLoss(nn.Module):
    """Negative evidence lower bound of patches, plus the spread of their contents within an observation.

    The likelihood is a Bernoulli likelihood of the pixels within the field; the decoder that maximises it is the
    conditional mean. It is estimated from a few pixels, drawn in every step and the same for all patches. All terms are
    divided by the number of pixels of a patch.
    """

    capturable = False
    """False, because the number of patches depends on values on the GPU, so a CUDA graph cannot capture a step."""

    def __init__(self, net: ShiftVAE, recipe: ShiftRecipe) -> None:
        super().__init__()
        self.net, self.recipe = net, recipe

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        recipe, marks = self.recipe, batch["activation_map"]
        image = min_max(add_white_noise(batch["image"], recipe.noise_snr_db))
        # One patch from each of equal shares of the marks, so that a patch is seldom drawn twice.
        quantile = torch.rand(len(image), recipe.patches, device=image.device)
        patches = patches_at(image, marks, (quantile + _ranks(recipe.patches, image)) / recipe.patches)
        pixel = torch.randint(patches.value[0].numel(), (recipe.pixels,), device=image.device)
        posterior = self.net.infer(patches)
        likelihood = self._unlikeliness(patches, posterior.sample(), pixel).mean()
        divergence = self._divergence(posterior, patches).mean()
        loss, parts = likelihood + divergence, {"likelihood": likelihood, "divergence": divergence}
        if recipe.smoothness:
            content = posterior.mean[:, self.net.placed :].unflatten(0, (-1, recipe.patches))
            parts["roughness"] = (content - content.mean(dim=1, keepdim=True)).square().sum(dim=2).mean()
            loss = loss + recipe.smoothness * parts["roughness"] / patches.value[0].numel()
        return {"loss": loss, **parts}

    def score(self, batch: Batch) -> Tensor:
        """Return the negative bound (n,) of every observation, at the means of its latents; it draws nothing."""
        image, marks, count = min_max(batch["image"]), batch["activation_map"], self.recipe.patches
        quantile = ((_ranks(count, image) + 0.5) / count).expand(len(image), -1)
        patches = patches_at(image, marks, quantile)
        pixel = torch.linspace(0, patches.value[0].numel() - 1, VALIDATION_PIXELS, device=image.device).round().long()
        posterior = self.net.infer(patches)
        bound = self._unlikeliness(patches, posterior.mean, pixel) + self._divergence(posterior, patches)
        of_observation: Tensor = bound.unflatten(0, (-1, count))
        return of_observation.mean(dim=1)

    def _unlikeliness(self, patches: Patches, latent: Tensor, pixel: Tensor) -> Tensor:
        """Return the negative log-likelihood of every patch, estimated from some of its pixels."""
        logits = self.net.reconstruct(latent, self.net.patch_places[pixel])
        value, seen = patches.value.flatten(1)[:, pixel], patches.seen.flatten(1)[:, pixel]
        return (seen * functional.binary_cross_entropy_with_logits(logits, value, reduction="none")).mean(dim=1)

    def _divergence(self, posterior: Posterior, patches: Patches) -> Tensor:
        entry = (posterior.mean.square() + posterior.log_variance.exp() - 1 - posterior.log_variance) / 2
        placement, content = entry[:, : self.net.placed].sum(dim=1), entry[:, self.net.placed :].sum(dim=1)
        return (placement + self.recipe.kl_weight * content) / patches.value[0].numel()


def _ranks(count: int, like: Tensor) -> Tensor:
    return torch.arange(count, device=like.device)
