"""Encoders and decoders made of an autoencoder, and the networks of the published methods."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from diffusers.models import AutoencoderKL
from torch import Tensor, nn

from learned.backbone import REDUCTION, build_autoencoder
from learned.draws import normal_like
from qpibench.errors import UsageError
from qpibench.specs import Grid


@dataclass(frozen=True)
class Posterior:
    """Normal distribution of a latent whose entries are independent.

    Attributes
    ----------
    mean, log_variance
        (n, 4, y, x).
    """

    mean: Tensor
    log_variance: Tensor

    def sample(self) -> Tensor:
        """Draw a latent from torch's generator; gradients flow to the mean and the log-variance."""
        return self.mean + torch.exp(self.log_variance / 2) * normal_like(self.mean)

    def divergence(self) -> Tensor:
        """Return the Kullback-Leibler divergence (n,) from the standard normal distribution, per latent entry."""
        entries = self.mean.square() + self.log_variance.exp() - 1 - self.log_variance
        return entries.mean(dim=(1, 2, 3)) / 2


class Encoder(nn.Module):
    """Encoder of an autoencoder: from images (n, channel, y, x) to a distribution of latents."""

    __call__: Callable[..., Posterior]  # the one of nn.Module has no return type

    def __init__(self, autoencoder: AutoencoderKL) -> None:
        super().__init__()
        assert autoencoder.quant_conv is not None  # every preset has it
        self.body = autoencoder.encoder
        self.quant_conv = autoencoder.quant_conv

    def forward(self, images: Tensor) -> Posterior:
        mean, log_variance = self.quant_conv(self.body(images)).float().chunk(2, dim=1)
        return Posterior(mean, log_variance.clamp(-30, 20))


class Decoder(nn.Module):
    """Decoder of an autoencoder: from latents (n, 4, y/8, x/8) to kernels (n, y, x)."""

    __call__: Callable[..., Tensor]

    def __init__(self, autoencoder: AutoencoderKL) -> None:
        super().__init__()
        assert autoencoder.post_quant_conv is not None
        self.post_quant_conv = autoencoder.post_quant_conv
        self.body = autoencoder.decoder

    def forward(self, latent: Tensor) -> Tensor:
        decoded: Tensor = self.body(self.post_quant_conv(latent))
        return decoded.float()[:, 0]


class KernelNet(nn.Module):
    """Network of a learned entry: it encodes an observation with its activation map and decodes a kernel.

    Attributes
    ----------
    encoder
        Function from images and maps (n, 2, y, x) to a distribution of latents; its input is made by
        :func:`learned.observation.observation_channels`.
    decoder
        Function from latents to kernels (n, y, x) on the scale 0..1.
    """

    encoder: Callable[[Tensor], Posterior]
    decoder: Callable[[Tensor], Tensor]


class OneStepNet(KernelNet):
    """Network of the one-step method: one autoencoder, from an observation to a kernel."""

    encoder: Encoder
    decoder: Decoder

    def __init__(self, preset: str, *, pretrained: str | None = None) -> None:
        super().__init__()
        autoencoder = build_autoencoder(preset, in_channels=2, pretrained=pretrained)
        self.encoder, self.decoder = Encoder(autoencoder), Decoder(autoencoder)


class TwoStepNet(KernelNet):
    """Network of the two-step method: an autoencoder of kernels, and an encoder of observations to its latents."""

    encoder: Encoder
    decoder: Decoder

    def __init__(self, preset: str, *, pretrained: str | None = None) -> None:
        super().__init__()
        kernels = build_autoencoder(preset, in_channels=1, pretrained=pretrained)
        self.kernel_encoder, self.decoder = Encoder(kernels), Decoder(kernels)
        self.encoder = Encoder(build_autoencoder(preset, in_channels=2, pretrained=pretrained))


def check_grid(grid: Grid) -> None:
    """Check that the autoencoder can halve a grid three times.

    Raises
    ------
    UsageError
        If a side of the grid is not a multiple of 8 pixels.
    """
    if grid.ny % REDUCTION or grid.nx % REDUCTION:
        raise UsageError(
            f"The autoencoder needs images whose sides are multiples of {REDUCTION} pixels, found {grid.ny} x"
            f" {grid.nx}."
        )
