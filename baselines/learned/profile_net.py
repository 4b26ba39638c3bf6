"""Autoencoder of radial profiles: the first step of the polar two-step method."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from shared.radial import RadialBasis
from torch import Tensor, nn
from torch.func import jacfwd, vmap

from learned.source import Batch

PRESETS = {"compact": 192, "tiny": 16}
"""Widths of the three hidden layers of encoder and decoder."""

DEFAULT_PRESET = "compact"
BANK = 1000
"""Latents of training profiles that are kept as starts of a descent."""

_PROJECTION_STEPS = 6


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

        The latents are those of the closest decoded profiles, found by Gauss-Newton steps from the encoded ones.
        """
        latent = self._project(profile)
        lacking = (profile - self.decode(latent)).double()
        values, vectors = torch.linalg.eigh(lacking.T @ lacking / len(lacking))
        self.residual.copy_(vectors * values.clamp(min=0).sqrt())
        self.bank.copy_(latent[torch.arange(BANK) % len(latent)])

    def _project(self, profile: Tensor) -> Tensor:
        latent = self.encode(profile)
        error = (self.decode(latent) - profile).square().sum(dim=1)
        damping = torch.full_like(error, 1e-3)
        slopes = vmap(jacfwd(lambda one: self.decode(one[None])[0]))
        for _ in range(_PROJECTION_STEPS):
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
    layers = [layer for a, b in zip(sizes, sizes[1:], strict=False) for layer in (nn.Linear(a, b), nn.SiLU())]
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
        self._low, self._high = (float(np.log(end)) for end in noise)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        profile, net = batch["profile"], self.net
        noise = torch.exp(torch.empty_like(profile[:, :1]).uniform_(self._low, self._high))
        shrinkage = net.spread**2 / (net.spread**2 + noise**2)
        estimate = shrinkage * (profile + noise * torch.randn_like(profile))
        error = (net.decode(net.encode(estimate)) - profile).square().sum(dim=1)
        trust = 1 / (noise[:, 0] ** 2 + 1e-3)
        return {"loss": (error * trust).sum() / trust.sum(), "clean": error[noise[:, 0].argmin()]}

    def score(self, batch: Batch) -> Tensor:
        """Distance (n,) of auto-encoded profiles without noise."""
        profile = batch["profile"]
        return (self.net.decode(self.net.encode(profile)) - profile).square().sum(dim=1).sqrt()


@dataclass(frozen=True)
class _Layer:
    weight: NDArray[np.float64]
    bias: NDArray[np.float64]


class LearnedProfiles:
    """The profiles of a trained network, as :class:`shared.profiles.ProfileModel` in NumPy.

    A shape is a latent, followed by the coefficients of what the decoder lacks.
    """

    def __init__(self, net: ProfileNet) -> None:
        self.basis = RadialBasis(float(net.spacing_nm), _array(net.splines))
        self.spread = _array(net.spread)
        self._net = net
        self._layers = [_Layer(_array(m.weight), _array(m.bias)) for m in net.decoder if isinstance(m, nn.Linear)]
        bank = _array(net.bank)
        self.latents = bank.shape[1]
        functions = len(self.spread)
        self.mean = np.concatenate([bank.mean(axis=0), np.zeros(functions)])
        self.precision = np.zeros((len(self.mean), len(self.mean)))
        self.precision[: self.latents, : self.latents] = _inverse(np.atleast_2d(np.cov(bank.T)))
        root = _array(net.residual)
        self.precision[self.latents :, self.latents :] = _inverse(root @ root.T)
        self._bank = bank, self._values(bank)

    def starts(self, coefficient: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Shapes (n, shape) and coefficients (n, function) for a descent: encoded from an estimate, and the bank's."""
        with torch.inference_mode():
            given = torch.from_numpy(coefficient[None, 1:].astype(np.float32))
            latent = _array(self._net.encode(given.to(self._net.spread.device)))
        latents = np.concatenate([latent, self._bank[0]])
        decoded = np.concatenate([self._values(latent), self._bank[1]])
        shapes = np.pad(latents, ((0, 0), (0, len(self.spread))))
        return shapes, np.column_stack([np.ones(len(decoded)), decoded])

    def coefficient(self, shape: NDArray[np.float64]) -> NDArray[np.float64]:
        decoded = self._values(shape[None, : self.latents])[0]
        return np.concatenate([[1.0], decoded + shape[self.latents :]])

    def tangent(self, shape: NDArray[np.float64]) -> NDArray[np.float64]:
        functions = len(self.spread)
        tangent = np.zeros((functions + 1, len(shape)))
        tangent[1:, : self.latents] = self._slopes(shape[: self.latents])
        tangent[1:, self.latents :] = np.eye(functions)
        return tangent

    def _values(self, latent: NDArray[np.float64]) -> NDArray[np.float64]:
        """Decoded profiles (n, function) of latents (n, latent)."""
        *hidden, last = self._layers
        value = latent
        for layer in hidden:
            value = value @ layer.weight.T + layer.bias
            value = value * _logistic(value)  # SiLU
        return value @ last.weight.T + last.bias

    def _slopes(self, latent: NDArray[np.float64]) -> NDArray[np.float64]:
        """Derivatives (function, latent) of a decoded profile."""
        *hidden, last = self._layers
        value, slope = latent, np.eye(len(latent))
        for layer in hidden:
            value, slope = layer.weight @ value + layer.bias, layer.weight @ slope
            gate = _logistic(value)
            slope = (gate * (1 + value * (1 - gate)))[:, None] * slope
            value = value * gate
        return last.weight @ slope


def _logistic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return 0.5 * (1 + np.tanh(0.5 * x))


def _inverse(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inverse of a covariance that may be singular; its smallest eigenvalues are raised."""
    ridge = 1e-9 * float(np.trace(covariance)) / len(covariance) + 1e-15
    inverse: NDArray[np.float64] = np.linalg.inv(covariance + ridge * np.eye(len(covariance)))
    return inverse


def _array(tensor: Tensor) -> NDArray[np.float64]:
    return tensor.detach().cpu().double().numpy()
