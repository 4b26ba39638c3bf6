"""Checkpoints: the state from which training resumes, in one safetensors file that is replaced as a whole."""

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
from qpibench.files import write_whole
from qpibench.parsing import parse_json

_REMEDY = "start a new run in another folder"


@dataclass(frozen=True, kw_only=True)
class Position:
    """Progress of a run through its stages.

    Attributes
    ----------
    stage
        Index of the current stage; the number of stages if the run is complete.
    step
        Steps done in that stage.
    steps_before
        Steps done in the stages before.
    all_reached
        Whether every stage before reached its stated length or was ended by early stopping, not by the budget.
    stopped_early
        Whether early stopping ended one of them.
    best_step, best_score
        Step and value of the stage's least validation error; None before the first validation.
    stale
        Validations since then.
    validation_due
        Whether the validation after ``step`` was interrupted and has to be done.
    seconds
        Training time so far in s, of all starts together.
    log_bytes
        Length of ``log.jsonl`` in bytes.
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
        """Steps done in all stages together."""
        return self.steps_before + self.step


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """State of a run at a position.

    Attributes
    ----------
    position
        Progress of the run.
    net
        State of the network.
    optimizer
        State of the optimizer, as :func:`optimizer_tensors` returns it.
    best
        Those tensors of the network that the stage trains, at the best validation; empty before the first one.
    """

    position: Position
    net: Mapping[str, Tensor]
    optimizer: Mapping[str, Tensor]
    best: Mapping[str, Tensor]


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint; the old file is replaced only when the new one is complete.

    Raises
    ------
    QpibenchError
        If writing fails, as on a full disk; the old checkpoint is kept.
    """
    groups = {"net": checkpoint.net, "optimizer": checkpoint.optimizer, "best": checkpoint.best}
    tensors = {f"{group}/{name}": tensor for group, held in groups.items() for name, tensor in held.items()}
    stored = _on_cpu(tensors)
    metadata = {"position": json.dumps(vars(checkpoint.position)), "crc32": str(_crc32(stored))}
    write_whole(path, save(stored, metadata), what="Checkpoint")


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint and compare its values with the checksum in the file.

    Raises
    ------
    InvalidDataError
        If the file is corrupt or not a checkpoint.
    """
    groups: dict[str, dict[str, Tensor]] = {"net": {}, "optimizer": {}, "best": {}}
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a mapping)
            metadata = file.metadata() or {}
        position = Position(**parse_json(metadata["position"], "Its position"))
        for name, tensor in tensors.items():
            group, _, rest = name.partition("/")
            groups[group][rest] = tensor
        expected = int(metadata["crc32"])
    except (SafetensorError, OSError, KeyError, ValueError, TypeError, InvalidDataError) as error:
        raise InvalidDataError(f"Checkpoint '{path}' is corrupt ({str(error).rstrip('.')}); {_REMEDY}.") from None
    if _crc32(tensors) != expected:
        raise InvalidDataError(f"Checkpoint '{path}' is corrupt: its values do not match its checksum; {_REMEDY}.")
    return Checkpoint(position=position, **groups)


def load_net(net: nn.Module, checkpoint: Checkpoint, path: Path) -> None:
    """Load the network's state from a checkpoint.

    Raises
    ------
    InvalidDataError
        If the checkpoint belongs to another architecture.
    """
    wanted = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in checkpoint.net.items()}
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            raise InvalidDataError(
                f"Checkpoint '{path}' is of another architecture: its {name} {_described(found.get(name))}, the"
                f" network's {_described(wanted.get(name))}; use the preset and options of the run."
            )
    net.load_state_dict(checkpoint.net)


def write_weights(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], *, half: bool) -> None:
    """Write the weights of a model; with ``half`` its floating-point tensors are stored in float16.

    Raises
    ------
    QpibenchError
        If writing fails, as on a full disk; the old file is kept.
    """
    halved = {
        name: tensor.half() if half and tensor.is_floating_point() else tensor for name, tensor in tensors.items()
    }
    write_whole(path, save(_on_cpu(halved), dict(metadata)), what="Weights")


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the tensors of Adam's state, named ``PARAMETER/NAME`` with the index of the parameter."""
    return {
        f"{place}/{name}": tensor
        for place, held in optimizer.state_dict()["state"].items()
        for name, tensor in held.items()
    }


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Load into Adam the state that :func:`optimizer_tensors` returned."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        place, name = key.split("/")
        state.setdefault(int(place), {})[name] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def _on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copy tensors to the CPU, contiguous and without shared memory, as safetensors requires."""
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
