"""Validation error of both published methods: half of the MAE in the published tables."""

from __future__ import annotations

from torch import Tensor

from learned.autoencoder import OneStepNet, TwoStepNet
from learned.observation import observation_channels
from learned.scaling import min_max
from learned.source import Batch


def scaled_error(net: OneStepNet | TwoStepNet, batch: Batch) -> Tensor:
    """Return the mean absolute error (n,) of the kernels decoded from observations, on the scale 0..1."""
    channels = observation_channels(batch["image"], batch["activation_map"])
    return _error(net.decoder(net.encoder(channels).mean), batch["kernel"])


def scaled_kernel_error(net: TwoStepNet, batch: Batch) -> Tensor:
    """Return the mean absolute error (n,) of the autoencoder's reconstructed kernels, on the scale 0..1."""
    kernel = batch["kernel"]
    return _error(net.decoder(net.kernel_encoder(min_max(kernel)[:, None]).mean), kernel)


def _error(scaled: Tensor, kernel: Tensor) -> Tensor:
    return (scaled - min_max(kernel)).abs().mean(dim=(1, 2))
