"""Networks of the shift-VAE, which separates the content of a patch from its position in the patch.

The encoder infers a latent vector from a patch: a shift d, optionally a rotation phi, and the content z. The decoder is
a function of position: the pixel at u is f(R(-phi) (u - d), z). A shifted patch therefore has another d and the same z.
Positions are (x, y) with y up, in units of half the longer side of the patch; angles are in rad, counterclockwise.

Ziatdinov, Wong and Kalinin, Mach. Learn.: Sci. Technol. 4, 045033 (2023), arXiv 2106.12472. Their package is pyroVED.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from learned.autoencoder import KernelNet, Posterior
from learned.shift_patches import Patches, all_patches, patch_shape
from qpibench.specs import Grid


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """Sizes of the networks.

    Attributes
    ----------
    channels
        Output channels of the encoder's convolutions, each of which halves the patch; empty for dense layers only.
    hidden
        Units of every dense layer, in encoder and decoder.
    frequencies
        K: the decoder's inputs are each coordinate c and sin(k pi/2 c), cos(k pi/2 c) for k = 1..K. With K = 0 the
        inputs are the coordinates alone, from which dense layers learn short waves slowly.
    """

    channels: tuple[int, ...]
    hidden: int
    frequencies: int


PRESETS = {
    # As in pyroVED: two dense layers of 128 units in encoder and decoder. 1.14 M parameters at 64 x 64 pixels.
    "dense": Architecture(channels=(), hidden=128, frequencies=0),
    # 0.33 M parameters.
    "compact": Architecture(channels=(16, 32, 64, 64), hidden=128, frequencies=16),
    # 0.02 M parameters, for tests.
    "tiny": Architecture(channels=(4, 8, 16, 16), hidden=32, frequencies=4),
}
DEFAULT_PRESET = "compact"


class ShiftVAE(KernelNet):
    """Shift-VAE: an encoder of patches, and a decoder that is a function of position.

    A latent vector is (shift x, shift y, rotation if inferred, content...). Each entry is in units of the standard
    deviation of its prior.

    Parameters
    ----------
    architecture
        Sizes of the networks.
    grid
        Grid of the observations and of the kernels.
    content
        Number of entries of the content.
    shift_prior
        Standard deviation of the shift, in units of half the patch.
    rotation_prior
        Standard deviation of the rotation in rad; 0 for no rotation.
    """

    patch_places: Tensor
    kernel_places: Tensor

    def __init__(
        self, architecture: Architecture, grid: Grid, *, content: int, shift_prior: float, rotation_prior: float
    ) -> None:
        super().__init__()
        self.shift_prior, self.rotation_prior = shift_prior, rotation_prior
        self.placed = 3 if rotation_prior else 2
        shape = patch_shape(grid.shape)
        self.patch_encoder = PatchEncoder(architecture, shape, self.placed + content)
        self.pattern = Pattern(architecture, content)
        pitch = torch.tensor([grid.pitch_x_nm, grid.pitch_y_nm])
        half = torch.tensor([shape[1] // 2, shape[0] // 2])
        unit = (half * pitch).max()
        self.register_buffer("patch_places", _places(shape) * pitch / unit, persistent=False)
        self.register_buffer("kernel_places", _places(grid.shape) * pitch / unit, persistent=False)
        self.kernel_shape = grid.shape

    def infer(self, patches: Patches) -> Posterior:
        """Return the distribution of the latent vector of every patch: mean and log-variance (patch, latent)."""
        mean, log_variance = self.patch_encoder(patches).float().chunk(2, dim=1)
        return Posterior(mean, log_variance.clamp(-30, 20))

    def reconstruct(self, latent: Tensor, place: Tensor) -> Tensor:
        """Return the logits (patch, place) of pixels at positions (place, 2), for latents (patch, latent)."""
        shift = self.shift_prior * latent[:, :2]
        rotation = self.rotation_prior * latent[:, 2] if self.rotation_prior else torch.zeros_like(latent[:, 0])
        return self.pattern(undo(place, shift, rotation), latent[:, self.placed :])

    def encoder(self, channels: Tensor) -> Posterior:
        """Return the distribution of the latent vector that all scatterers of an observation share, (n, latent).

        The scatterers are identical and each is at the centre of its patch, so the distributions of the patches are
        multiplied: the mean is weighted by the inverse variances times the values of the activation map. An observation
        without a mark gets the prior. The shift is shared too, because only the prior determines where the decoder
        puts the centre of the pattern.

        Parameters
        ----------
        channels
            (n, 2, y, x): observations, scaled to 0..1, and their activation maps.
        """
        found = [self._share(all_patches(*observation.split(1))) for observation in channels]
        return Posterior(*(torch.stack(parts) for parts in zip(*found, strict=True)))

    def decoder(self, latent: Tensor) -> Tensor:
        """Return kernels (n, y, x) on the scale 0..1 for the latent vectors of :meth:`encoder`."""
        # One by one, so that no kernel depends on the size of the batch.
        logits = torch.cat([self.reconstruct(one[None], self.kernel_places) for one in latent])
        kernels: Tensor = logits.sigmoid().unflatten(1, self.kernel_shape)
        return kernels

    def _share(self, patches: Patches) -> tuple[Tensor, Tensor]:
        each = self.infer(patches)
        if not len(patches.weight):
            prior = each.mean.sum(dim=0)
            return prior, prior
        precision = patches.weight[:, None] * torch.exp(-each.log_variance)
        total = precision.sum(dim=0)
        return (precision * each.mean).sum(dim=0) / total, -total.log()


class PatchEncoder(nn.Module):
    """Encoder of patches and their masks to ``2 * latent`` numbers: convolutions, then dense layers."""

    __call__: Callable[..., Tensor]

    def __init__(self, architecture: Architecture, shape: tuple[int, int], latent: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels, rows, columns = 2, *shape
        for out in architecture.channels:
            layers += [nn.Conv2d(channels, out, 3, stride=2, padding=1), nn.Tanh()]
            channels, rows, columns = out, (rows + 1) // 2, (columns + 1) // 2
        layers += [nn.Flatten(), *_dense(channels * rows * columns, architecture.hidden)]
        self.layers = nn.Sequential(*layers, nn.Linear(architecture.hidden, 2 * latent))

    def forward(self, patches: Patches) -> Tensor:
        numbers: Tensor = self.layers(torch.stack([patches.value, patches.seen], dim=1))
        return numbers


class Pattern(nn.Module):
    """Decoder from position and content to logits; the first layer adds the two."""

    __call__: Callable[..., Tensor]
    wavenumber: Tensor

    def __init__(self, architecture: Architecture, content: int) -> None:
        super().__init__()
        hidden = architecture.hidden
        self.register_buffer(
            "wavenumber", math.pi / 2 * torch.arange(1, architecture.frequencies + 1), persistent=False
        )
        self.of_place = nn.Linear(2 + 4 * architecture.frequencies, hidden)
        self.of_content = nn.Linear(content, hidden, bias=False)
        self.layers = nn.Sequential(nn.Tanh(), *_dense(hidden, hidden), nn.Linear(hidden, 1))

    def forward(self, place: Tensor, content: Tensor) -> Tensor:
        phase = (place[..., None] * self.wavenumber).flatten(-2)
        waves = torch.cat([place, phase.sin(), phase.cos()], dim=-1)
        logits: Tensor = self.layers(self.of_place(waves) + self.of_content(content)[:, None])
        return logits.float().squeeze(-1)


def undo(place: Tensor, shift: Tensor, rotation: Tensor) -> Tensor:
    """Return positions in the unshifted, unrotated pattern: R(-phi) (u - d).

    Parameters
    ----------
    place
        (place, 2) positions u in the patches.
    shift
        (patch, 2) position d of the pattern's centre in each patch.
    rotation
        (patch,) rotation phi of the pattern about its centre.

    Returns
    -------
    Tensor
        (patch, place, 2).
    """
    x, y = (place - shift[:, None]).unbind(dim=-1)
    cos, sin = rotation.cos()[:, None], rotation.sin()[:, None]
    return torch.stack([cos * x + sin * y, cos * y - sin * x], dim=-1)


def _dense(inputs: int, hidden: int) -> list[nn.Module]:
    return [nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh()]


def _places(shape: tuple[int, int]) -> Tensor:
    """Return the offsets (pixel, 2) of an image's pixels from its centre, (x, y) in pixels."""
    y, x = (torch.arange(n) - (n - 1) / 2 for n in shape)
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).flatten(0, 1)
