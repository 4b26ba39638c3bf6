"""Autoencoder of both published methods: AutoencoderKL of diffusers, in three sizes.

The encoder halves an image (ny, nx) three times. Its latent has the shape (4, ny/8, nx/8).
"""

from __future__ import annotations

import hashlib
import logging
import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from diffusers.models import AutoencoderKL
from huggingface_hub.constants import HF_HUB_OFFLINE
from huggingface_hub.utils import logging as hub_logging
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from qpibench.errors import InvalidDataError, UnavailableError, UsageError

PRESETS: dict[str, dict[str, object]] = {
    # The published backbone, madebyollin/sdxl-vae-fp16-fix: 83.65 M parameters.
    "sdxl": {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, "norm_num_groups": 32},
    # 3.88 M parameters, for a processor.
    "compact": {"block_out_channels": (32, 64, 128, 128), "layers_per_block": 1, "norm_num_groups": 32},
    # 0.98 M parameters, for tests.
    "tiny": {"block_out_channels": (16, 32, 64, 64), "layers_per_block": 1, "norm_num_groups": 16},
}
DEFAULT_PRESET = "compact"

REDUCTION = 8
"""Ratio of the side of an image to the side of its latent, in pixels."""


def build_autoencoder(preset: str, *, in_channels: int, pretrained: str | None = None) -> AutoencoderKL:
    """Make an autoencoder that takes images of some channels and returns images of one channel.

    Parameters
    ----------
    preset
        One of :data:`PRESETS`.
    in_channels
        1 for a kernel, 2 for an observation and its activation map.
    pretrained
        Weights to start from: a name on the Hugging Face Hub, a folder that diffusers saved, or a safetensors file with
        the names that diffusers gives; random weights if None. See :func:`adapt_channels` for the outermost layers.

    Raises
    ------
    UsageError
        If there is no such preset or path.
    UnavailableError
        If the weights are not in the cache and the Hugging Face Hub cannot be reached.
    InvalidDataError
        If the weights cannot be read or belong to another architecture.
    """
    if preset not in PRESETS:
        raise UsageError(f"There is no preset '{preset}'; choose one of {', '.join(PRESETS)}.")
    autoencoder: AutoencoderKL = AutoencoderKL(
        in_channels=in_channels,
        out_channels=1,
        latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        act_fn="silu",
        **PRESETS[preset],
    )
    if pretrained is not None:
        _load(autoencoder, adapt_channels(_pretrained_weights(pretrained), in_channels), preset, pretrained)
    return autoencoder


def adapt_channels(weights: Mapping[str, Tensor], in_channels: int) -> dict[str, Tensor]:
    """Adapt the weights of an autoencoder of colour images to other numbers of channels.

    The weights of the first layer are averaged over the three colours and multiplied by 3 / ``in_channels``. A grey
    image repeated in every channel then gives the output that it gave in colour. The weights of the last layer are
    averaged over the three colours. Random first and last layers around pretrained ones made the loss NaN in the first
    epoch.
    """
    adapted = dict(weights)
    for name in adapted.keys() & {"encoder.conv_in.weight"}:
        mean = adapted[name].mean(dim=1, keepdim=True) * (adapted[name].shape[1] / in_channels)
        adapted[name] = mean.repeat(1, in_channels, 1, 1)
    for name in adapted.keys() & {"decoder.conv_out.weight", "decoder.conv_out.bias"}:
        adapted[name] = adapted[name].mean(dim=0, keepdim=True)
    return adapted


def pretrained_identity(pretrained: str) -> str:
    """Return the name of pretrained weights for a run's record: the Hub name, or the file name and its hash.

    A record never holds a local path.
    """
    path = Path(pretrained)
    if not path.exists():
        return pretrained
    file = path if path.is_file() else next(iter(sorted(path.glob("*.safetensors"))), None)
    if file is None:
        raise InvalidDataError(f"Folder '{pretrained}' holds no weights: it has no .safetensors file.")
    with file.open("rb") as opened:
        return f"{file.name} sha256:{hashlib.file_digest(opened, 'sha256').hexdigest()}"


def _pretrained_weights(pretrained: str) -> dict[str, Tensor]:
    path = Path(pretrained)
    if path.is_file():
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise InvalidDataError(f"'{pretrained}' is not a safetensors file of weights: {error}.") from None
    if not path.is_dir() and not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", pretrained):
        raise UsageError(f"There is no file or folder '{pretrained}' of pretrained weights.")
    try:
        with _quiet_hub():
            return _saved_weights(pretrained)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        if path.is_dir():
            raise InvalidDataError(f"Folder '{pretrained}' is not an autoencoder saved by diffusers: {error}") from None
        raise UnavailableError(
            f"The pretrained weights '{pretrained}' are not in the local cache and cannot be had from the Hugging Face"
            f" Hub: on a machine with a connection run `hf download {pretrained} --local-dir FOLDER`, copy the folder"
            " here, and give --pretrained FOLDER."
        ) from None


def _saved_weights(pretrained: str) -> dict[str, Tensor]:
    """Load weights from a folder or from the cache of the Hugging Face Hub; download them if they are in neither."""
    try:
        saved = AutoencoderKL.from_pretrained(pretrained, low_cpu_mem_usage=False, local_files_only=True)
    except OSError:
        if HF_HUB_OFFLINE or Path(pretrained).is_dir():
            raise
        print(f"The weights '{pretrained}' are not in the cache; asking the Hugging Face Hub.", file=sys.stderr)
        saved = AutoencoderKL.from_pretrained(pretrained, low_cpu_mem_usage=False)
    weights: dict[str, Tensor] = saved.state_dict()
    return weights


@contextmanager
def _quiet_hub() -> Iterator[None]:
    """Hide the warnings of the Hub's client about tokens, retries and its own deprecated options."""
    level = hub_logging.get_verbosity()
    hub_logging.set_verbosity(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        hub_logging.set_verbosity(level)


def _load(autoencoder: AutoencoderKL, weights: Mapping[str, Tensor], preset: str, pretrained: str) -> None:
    own = autoencoder.state_dict()
    wrong = [name for name in own if name not in weights or weights[name].shape != own[name].shape]
    unknown = [name for name in weights if name not in own]
    if wrong or unknown:
        raise InvalidDataError(
            f"The pretrained weights '{pretrained}' are not those of the preset '{preset}': {len(wrong)} of {len(own)}"
            f" tensors are missing or of another shape, {len(unknown)} are unknown, such as '{[*wrong, *unknown][0]}'."
        )
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(weights[name])
