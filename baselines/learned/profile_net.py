"""Autoencoder of radial profiles: the first step of the polar two-step method.

:mod:`shared.learned_profiles` evaluates a trained network in NumPy.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch.func import jacfwd, vmap

from learned.draws import normal_like, uniform
from learned.source import Batch

PRESETS = {"compact": 192, "tiny": 16}
"""Widths of the three hidden layers of encoder and decoder."""

DEFAULT_PRESET = "compact"
BANK = 1000
"""Latents of training profiles that are kept as starts of a descent."""

FAR = 0.1
"""Distance of a profile from all decoded ones beyond which no training step counts it."""


class ProfileNet(nn.Module):
    """Encoder and decoder of the coefficients of radial profiles, and what is known about the profiles.

    Parameters
    ----------
    width
        Neurons of a hidden layer.
    latent
        Numbers of a latent.
    functions
        Coefficients of a profile.
    splines
        Splines of the radial functions.

    Attributes
    ----------
    splines, spacing_nm, spread
        The basis, see :class:`learned.profile_basis.ProfileBasis`.
    bank
        (n, latent): latents of profiles.
    residual
        (functions, functions): root R of the covariance R R^T of what the decoder cannot express.
    """

    splines: Tensor
    spacing_nm: Tensor
    spread: Tensor
    bank: Tensor
    residual: Tensor

    def __init__(self, *, width: int, latent: int, functions: int, splines: int) -> None:
        super().__init__()
        self.encoder = _perceptron(functions, width, latent)
        self.decoder = _perceptron(latent, width, functions)
        self.register_buffer("splines", torch.zeros(splines, functions + 1))
        self.register_buffer("spacing_nm", torch.ones(()))
        self.register_buffer("spread", torch.ones(functions))
        self.register_buffer("bank", torch.zeros(BANK, latent))
        self.register_buffer("residual", torch.zeros(functions, functions))

    def encode(self, profile: Tensor) -> Tensor:
        """Latents (n, latent) of profiles (n, function), which may be noisy estimates."""
        found: Tensor = self.encoder(profile / (2 * self.spread))
        return found

    def decode(self, latent: Tensor) -> Tensor:
        """Profiles (n, function) of latents."""
        profile: Tensor = self.decoder(latent)
        return profile

    @torch.no_grad()
    def measure(self, profile: Tensor) -> None:
        """Store the latents of profiles (n, function), and the covariance of what the decoder lacks of them.

        The latents are those of :meth:`project`.
        """
        latent = self.project(profile, steps=6)
        lacking = (profile - self.decode(latent)).double()
        values, vectors = torch.linalg.eigh(lacking.T @ lacking / len(lacking))
        self.residual.copy_(vectors * values.clamp(min=0).sqrt())
        self.bank.copy_(latent[torch.arange(BANK) % len(latent)])

    @torch.no_grad()
    def project(self, profile: Tensor, *, steps: int) -> Tensor:
        """Latents of the decoded profiles closest to profiles (n, function), by steps from the encoded ones."""
        latent = self.encode(profile)
        error = (self.decode(latent) - profile).square().sum(dim=1)
        damping = torch.full_like(error, 1e-3)
        slopes = vmap(jacfwd(lambda one: self.decode(one[None])[0]))
        for _ in range(steps):
            slope = slopes(latent)
            matrix = slope.mT @ slope
            matrix = matrix + torch.diag_embed(damping[:, None] * torch.diagonal(matrix, dim1=1, dim2=2) + 1e-9)
            downhill = slope.mT @ (profile - self.decode(latent))[..., None]
            tried = latent + torch.linalg.solve(matrix, downhill)[..., 0]
            now = (self.decode(tried) - profile).square().sum(dim=1)
            better = now < error
            latent, error = torch.where(better[:, None], tried, latent), torch.where(better, now, error)
            damping = torch.where(better, damping / 8, damping * 8).clamp(1e-9, 1e6)
        return latent


def _perceptron(inputs: int, width: int, outputs: int) -> nn.Sequential:
    sizes = [inputs, width, width, width]
    layers = [layer for a, b in itertools.pairwise(sizes) for layer in (nn.Linear(a, b), nn.SiLU())]
    return nn.Sequential(*layers, nn.Linear(width, outputs))


class ProfileLoss(nn.Module):
    """Squared error of profiles that are decoded from the latents of their noisy estimates.

    An estimate is that of a linear method at a noise level drawn for each profile: its coefficients are noisy, and
    shrunk the more, the less they vary among profiles. A profile counts less the stronger its noise is.

    Parameters
    ----------
    net
        The network.
    noise
        Range of the noise's standard deviation in every coefficient, drawn uniformly in its logarithm; the coefficients
        of a profile have a root mean square of 1 together.
    """

    def __init__(self, net: ProfileNet, noise: tuple[float, float]) -> None:
        super().__init__()
        self.net = net
        self._low, self._high = (math.log(end) for end in noise)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        profile, net = batch["profile"], self.net
        drawn = uniform((len(profile), 1), profile.device)
        noise = torch.exp(self._low + (self._high - self._low) * drawn)
        shrinkage = net.spread**2 / (net.spread**2 + noise**2)
        estimate = shrinkage * (profile + noise * normal_like(profile))
        error = (net.decode(net.encode(estimate)) - profile).square().sum(dim=1)
        trust = 1 / (noise[:, 0] ** 2 + 1e-3)
        return {"loss": (error * trust).sum() / trust.sum(), "clean": error.index_select(0, noise.argmin(dim=0))[0]}

    def score(self, batch: Batch) -> Tensor:
        """Distance (n,) of auto-encoded profiles without noise."""
        profile = batch["profile"]
        return (self.net.decode(self.net.encode(profile)) - profile).square().sum(dim=1).sqrt()


class ProjectionLoss(nn.Module):
    """Squared distance of profiles from the closest ones that the decoder can express.

    The encoder's latents are off by its own error, so a decoder that is trained on them alone is blurred. Prediction
    searches for the closest profile, so the decoder is trained on what the search finds.
    """

    capturable = False  # a CUDA graph cannot contain the search's linear solves

    def __init__(self, net: ProfileNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        profile, net = batch["profile"], self.net
        with torch.no_grad():
            encoded, closest = net.encode(profile), net.project(profile, steps=2)
        distance = (net.decode(closest) - profile).square().sum(dim=1)
        distance = distance * (distance.detach() < FAR**2)
        # The encoder stays as it is, and its latents have to remain good starts.
        blurred = (net.decode(encoded) - profile).square().sum(dim=1).clamp(max=FAR**2)
        return {"loss": distance.mean() + 0.1 * blurred.mean(), "closest": distance.mean()}

    def score(self, batch: Batch) -> Tensor:
        """Distance (n,) of profiles from the closest ones."""
        profile = batch["profile"]
        return (self.net.decode(self.net.project(profile, steps=6)) - profile).square().sum(dim=1).sqrt()
