"""Input of the encoder of observations: the scaled image and the activation map."""

from __future__ import annotations

import torch
from torch import Tensor

from learned.draws import normal_like, uniform
from learned.scaling import min_max


def observation_channels(image: Tensor, activation_map: Tensor) -> Tensor:
    """Stack min-max scaled images (n, y, x) and unscaled activation maps (n, y, x) to channels (n, 2, y, x)."""
    return torch.stack([min_max(image), activation_map], dim=1)


def add_white_noise(image: Tensor, snr_db: tuple[float, float] | None) -> Tensor:
    """Add white noise to images (n, y, x), each at an SNR drawn uniformly from a range in dB; no noise if it is None.

    SNR = 10 log10(variance of the image / variance of the noise). The random numbers are torch's.
    """
    if snr_db is None:
        return image
    low, high = snr_db
    snr = low + (high - low) * uniform((len(image), 1, 1), image.device)
    sigma = image.std(dim=(1, 2), correction=0, keepdim=True) * 10 ** (-snr / 20)
    return image + sigma * normal_like(image)
