"""The halves of an autoencoder, and the distribution between them."""

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
    """A normal distribution of latents with independent entries.

    Attributes
    ----------
    mean, log_variance
        (n, 4, y, x).
    """

    mean: Tensor
    log_variance: Tensor

    def sample(self) -> Tensor:
        """Draw a latent from torch's generator, differentiably."""
        return self.mean + torch.exp(self.log_variance / 2) * normal_like(self.mean)

    def divergence(self) -> Tensor:
        """Kullback-Leibler divergence from the standard normal distribution, per latent entry: (n,)."""
        entries = self.mean.square() + self.log_variance.exp() - 1 - self.log_variance
        return entries.mean(dim=(1, 2, 3)) / 2


class Encoder(nn.Module):
    """From images (n, channel, y, x) to a distribution of latents."""

    __call__: Callable[..., Posterior]  # that of nn.Module does not say what is returned

    def __init__(self, autoencoder: AutoencoderKL) -> None:
        super().__init__()
        assert autoencoder.quant_conv is not None  # every preset has it
        self.body = autoencoder.encoder
        self.quant_conv = autoencoder.quant_conv

    def forward(self, images: Tensor) -> Posterior:
        mean, log_variance = self.quant_conv(self.body(images)).float().chunk(2, dim=1)
        return Posterior(mean, log_variance.clamp(-30, 20))


class Decoder(nn.Module):
    """From latents (n, 4, y/8, x/8) to kernels (n, y, x)."""

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
    """The network of a learned entry, from an observation with its activation map through a latent to a kernel.

    Attributes
    ----------
    encoder
        From images and maps (n, 2, y, x), see :func:`learned.observation.observation_channels`, to a distribution of
        latents.
    decoder
        From latents to kernels (n, y, x) on the scale 0..1.
    """

    encoder: Callable[[Tensor], Posterior]
    decoder: Callable[[Tensor], Tensor]


class OneStepNet(KernelNet):
    """One autoencoder."""

    encoder: Encoder
    decoder: Decoder

    def __init__(self, preset: str, *, pretrained: str | None = None) -> None:
        super().__init__()
        autoencoder = build_autoencoder(preset, in_channels=2, pretrained=pretrained)
        self.encoder, self.decoder = Encoder(autoencoder), Decoder(autoencoder)


class TwoStepNet(KernelNet):
    """An autoencoder of kernels, and a second encoder that finds the kernel's latent in an observation."""

    encoder: Encoder
    decoder: Decoder

    def __init__(self, preset: str, *, pretrained: str | None = None) -> None:
        super().__init__()
        kernels = build_autoencoder(preset, in_channels=1, pretrained=pretrained)
        self.kernel_encoder, self.decoder = Encoder(kernels), Decoder(kernels)
        self.encoder = Encoder(build_autoencoder(preset, in_channels=2, pretrained=pretrained))


def check_grid(grid: Grid) -> None:
    """Check that a latent of whole pixels belongs to a grid.

    Raises
    ------
    UsageError
        If the autoencoder cannot halve it three times.
    """
    if grid.ny % REDUCTION or grid.nx % REDUCTION:
        raise UsageError(
            f"The autoencoder needs images whose sides are multiples of {REDUCTION} pixels, found {grid.ny} x"
            f" {grid.nx}."
        )
