"""What training continues from, as one safetensors file that appears whole or not at all."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from qpibench.errors import InvalidDataError
from qpibench.pages.whole_file import write_whole
from qpibench.parsing import parse_json

_REMEDY = "train anew in another folder"


@dataclass(frozen=True, kw_only=True)
class Position:
    """How far a run is.

    Attributes
    ----------
    stage
        Place of the current stage; behind the last one if the run is complete.
    step
        Steps of that stage that are done.
    steps_before
        Steps of the stages before.
    all_reached
        Whether the stages before reached their stated length or were ended by validation, not by the budget.
    stopped_early
        Whether one of them was ended by validation.
    best_step, best_score
        Where the validation error of the stage was least, or None before the first validation.
    stale
        Validations since.
    validation_due
        Whether the validation that belongs to ``step`` is still to be done.
    seconds
        Time of training so far.
    log_bytes
        Length of the log.
    """

    stage: int = 0
    step: int = 0
    steps_before: int = 0
    all_reached: bool = True
    stopped_early: bool = False
    best_step: int | None = None
    best_score: float | None = None
    stale: int = 0
    validation_due: bool = False
    seconds: float = 0.0
    log_bytes: int = 0

    @property
    def steps_done(self) -> int:
        """Steps of all stages."""
        return self.steps_before + self.step


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A position, the state of the network and of the optimizer there, and what is best by validation.

    ``optimizer`` has the tensors of :func:`optimizer_tensors`, ``best`` those entries of the network's state that the
    stage changes, or none before the first validation.
    """

    position: Position
    net: Mapping[str, Tensor]
    optimizer: Mapping[str, Tensor]
    best: Mapping[str, Tensor]


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Replace a checkpoint, all at once or not at all.

    Raises
    ------
    QpibenchError
        If writing fails, as on a full disk; the older checkpoint stays.
    """
    groups = {"net": checkpoint.net, "optimizer": checkpoint.optimizer, "best": checkpoint.best}
    tensors = {f"{group}/{name}": tensor for group, held in groups.items() for name, tensor in held.items()}
    stored = _on_cpu(tensors)
    metadata = {"position": json.dumps(vars(checkpoint.position)), "crc32": str(_crc32(stored))}
    write_whole(path, save(stored, metadata), what="Checkpoint")


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint and check that it is as it was written.

    Raises
    ------
    InvalidDataError
        If it is corrupt, or no checkpoint.
    """
    groups: dict[str, dict[str, Tensor]] = {"net": {}, "optimizer": {}, "best": {}}
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is no mapping)
            metadata = file.metadata() or {}
        position = Position(**parse_json(metadata["position"], "Its position"))
        for name, tensor in tensors.items():
            group, _, rest = name.partition("/")
            groups[group][rest] = tensor
        expected = int(metadata["crc32"])
    except (SafetensorError, OSError, KeyError, ValueError, TypeError, InvalidDataError) as error:
        raise InvalidDataError(f"Checkpoint '{path}' is corrupt ({str(error).rstrip('.')}); {_REMEDY}.") from None
    if _crc32(tensors) != expected:
        raise InvalidDataError(
            f"Checkpoint '{path}' is corrupt: its values are not those that were written; {_REMEDY}."
        )
    return Checkpoint(position=position, **groups)


def load_net(net: nn.Module, checkpoint: Checkpoint, path: Path) -> None:
    """Give a network the state that a checkpoint has.

    Raises
    ------
    InvalidDataError
        If the checkpoint is of another architecture.
    """
    wanted = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in checkpoint.net.items()}
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            raise InvalidDataError(
                f"Checkpoint '{path}' is of another architecture: its {name} {_described(found.get(name))}, where the"
                f" network's {_described(wanted.get(name))}; use the preset and options that it was trained with."
            )
    net.load_state_dict(checkpoint.net)


def write_weights(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write the weights of a model, floating-point numbers in float16.

    Raises
    ------
    QpibenchError
        If writing fails, as on a full disk; the older file stays.
    """
    halved = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    write_whole(path, save(_on_cpu(halved), dict(metadata)), what="Weights")


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The state of Adam: its tensors, named by the place of their parameter and what they are."""
    return {
        f"{place}/{name}": tensor
        for place, held in optimizer.state_dict()["state"].items()
        for name, tensor in held.items()
    }


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Give Adam the state that :func:`optimizer_tensors` took."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        place, name = key.split("/")
        state.setdefault(int(place), {})[name] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def _on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors as safetensors wants them: contiguous, and none in the memory of another."""
    stored, places = {}, set()
    for name, tensor in sorted(tensors.items()):
        tensor = tensor.detach().cpu().contiguous()
        if tensor.untyped_storage().data_ptr() in places:
            tensor = tensor.clone()
        places.add(tensor.untyped_storage().data_ptr())
        stored[name] = tensor
    return stored


def _crc32(tensors: Mapping[str, Tensor]) -> int:
    crc = 0
    for name, tensor in sorted(tensors.items()):
        crc = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, zlib.crc32(name.encode(), crc))
    return crc


def _described(shape: tuple[int, ...] | None) -> str:
    return "is missing" if shape is None else f"has the shape {shape}"
