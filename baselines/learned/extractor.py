"""Trained model of all learned entries: it encodes observations and decodes kernels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from shared.scatterers import scatterers_of
from shared.weights import require_weights
from torch import Tensor, nn

from learned.autoencoder import KernelNet, Posterior
from learned.observation import observation_channels
from learned.scaling import gain_and_offset
from qpibench import Batch, Prediction
from qpibench.errors import InvalidDataError, UsageError
from qpibench.evaluation.run_record import RunFolder, load_run
from qpibench.physics.activation import activation_map
from qpibench.specs import Grid
from qpibench.specs.load import explain

CHUNK = 32
"""Number of images that go through the network at once; it limits the memory for batches of any size."""

_DRAWS_SEED = 20250606


class _Recipe(BaseModel):
    """Members of a run's recipe that predictions depend on."""

    samples: int
    map_mode: str


class _Config(BaseModel):
    """Members of a run's ``config`` that a trained network needs."""

    recipe: _Recipe
    preset: str
    grid: Grid


class KernelExtractor:
    """Trained network that estimates kernels in native units from observations in native units.

    The kernel is decoded from the mean of the latent's distribution. If the recipe has ``samples``, that many latents
    are drawn too, from the same normal numbers for every image, and the standard deviation of their kernels is part of
    the prediction.

    Parameters
    ----------
    folder
        Folder of the run.
    entry
        Name of the entry; the run must belong to it.
    net
        Function from the name of a preset to the entry's network.

    Raises
    ------
    UsageError
        If the folder holds no run, or a run of another entry.
    InvalidDataError
        If the weights are corrupt or belong to another architecture.
    """

    def __init__(self, folder: Path, entry: str, net: Callable[[str], KernelNet]) -> None:
        record = load_run(folder)
        if record.entry != entry:
            raise UsageError(f"'{folder}' holds a run of {record.entry}, expected one of {entry}.")
        try:
            config = _Config.model_validate(record.config)
            self.net = net(config.preset)
        except ValidationError as error:
            what = f"'{RunFolder(folder).record}' does not describe a training of {entry}"
            raise InvalidDataError(f"{what}: in its config, {explain(error, _Config)}.") from None
        self._map_mode, self.samples = config.recipe.map_mode, config.recipe.samples
        # The network sees pixels on the scale 0..1, whatever their size in nm.
        self.takes_pixels = config.grid.shape
        kind = "training role of the release" if record.source.kind == "release" else "stream of the spec"
        self.trained_on = f"{kind} {record.source.name}"
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        # With TF32 a prediction would depend on the other images of its batch.
        torch.backends.cudnn.allow_tf32 = False
        _load(self.net, RunFolder(folder).weights)
        self.net.eval().to(self.device)

    def predict(self, batch: Batch) -> Prediction:
        """Estimate the kernels of observations.

        Raises
        ------
        ValueError
            If the view has no scatterers.
        """
        maps = batch.activation_map
        if batch.position_nm is not None:
            maps = activation_map(batch.grid, batch.position_nm, mode=self._map_mode)
        scatterers = [scatterers_of(batch, i) for i in range(len(batch))]
        assert maps is not None  # else scatterers_of has raised an error
        scaled, spread, latent = self._scaled_kernels(batch.image, maps)
        fitted = [gain_and_offset(*parts) for parts in zip(scaled, batch.image, scatterers, strict=True)]
        gain, offset = np.array(fitted, dtype=np.float32).reshape(-1, 2, 1, 1).swapaxes(0, 1)
        std = None if spread is None else np.abs(gain) * spread
        return Prediction(kernel=gain * scaled + offset, std=std, latent=latent)

    @torch.inference_mode()
    def _scaled_kernels(
        self, image: NDArray[np.float32], maps: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None, NDArray[np.float32]]:
        """Return kernels on the scale 0..1, their standard deviations if the recipe has samples, and latents (n, d)."""
        kernels, spreads, latents = [], [], []
        for part in observation_channels(torch.from_numpy(image), torch.from_numpy(maps)).split(CHUNK):
            posterior = self.net.encoder(part.to(self.device))
            kernels.append(self.net.decoder(posterior.mean))
            latents.append(posterior.mean.flatten(1))
            if self.samples:
                spreads.append(self._spread(posterior))
        return _array(kernels), _array(spreads) if spreads else None, _array(latents)

    def _spread(self, posterior: Posterior) -> Tensor:
        generator = torch.Generator().manual_seed(_DRAWS_SEED)
        draws = torch.randn((self.samples, *posterior.mean.shape[1:]), generator=generator).to(self.device)
        std = torch.exp(posterior.log_variance / 2)
        drawn = [self.net.decoder(posterior.mean + std * draw) for draw in draws]
        return torch.stack(drawn).std(dim=0, correction=0)


def _load(net: nn.Module, path: Path) -> None:
    require_weights(path)
    try:
        weights = load_file(path)
    except (SafetensorError, OSError) as error:
        raise InvalidDataError(f"'{path}' is not a safetensors file of weights: {error}.") from None
    own = net.state_dict()
    wrong = [name for name in {**own, **weights} if _shape(own.get(name)) != _shape(weights.get(name))]
    if wrong:
        raise InvalidDataError(
            f"The weights in '{path}' are those of another architecture: {len(wrong)} tensors differ, such as"
            f" '{wrong[0]}'."
        )
    net.load_state_dict(weights)


def _array(parts: list[Tensor]) -> NDArray[np.float32]:
    return torch.cat(parts).cpu().numpy()


def _shape(tensor: Tensor | None) -> tuple[int, ...] | None:
    return None if tensor is None else tuple(tensor.shape)
