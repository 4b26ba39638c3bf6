"""Training steps and validation of one stage."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from learned.checkpoint import load_optimizer, optimizer_tensors
from learned.compilation import compile_loss
from learned.device import is_out_of_memory
from learned.source import Batch
from learned.stage import Stage
from qpibench.errors import QpibenchError

_REMEDY = (
    "the last checkpoint, in which all parameters are finite, is kept. Train anew in another folder with a smaller"
    " learning rate, with --precision no, or with another seed."
)

_JOINED = 256
"""Number of validation images that a GPU scores at once if a CUDA graph captures the steps."""


class Steps:
    """Does the steps and validations of a stage.

    Parameters
    ----------
    accelerator
        The device, the precision and the other processes.
    stage
        The stage; its modules are on the device.
    net
        Network that contains all trained parameters.
    seed
        Seed of all random numbers of the stage, together with the number of the step.
    graphed
        Whether a CUDA graph may capture the steps; the learning rate is then a tensor on the device.

    Attributes
    ----------
    best
        Those tensors of ``net`` that the stage trains, at the best validation; empty before the first one.
    rate
        Learning rate, a 0-dimensional tensor on the device; None unless ``graphed``.
    """

    best: Mapping[str, Tensor]
    rate: Tensor | None

    def __init__(
        self, accelerator: Accelerator, stage: Stage, net: nn.Module, *, seed: str, graphed: bool = False
    ) -> None:
        self._accelerator, self._stage, self._net = accelerator, stage, net
        self._seed, self.best = seed, {}
        self._held_out: Sequence[Batch] | None = None
        self._parameters = [each for each in stage.module.parameters() if each.requires_grad]
        trained = {id(each) for each in (*self._parameters, *stage.module.buffers())}
        held = [*net.named_parameters(remove_duplicate=False), *net.named_buffers(remove_duplicate=False)]
        self._names = frozenset(name for name, tensor in held if id(tensor) in trained) & net.state_dict().keys()
        if {id(each) for each in self._parameters} - {id(tensor) for _, tensor in held}:
            raise ValueError(f"Stage '{stage.name}' trains parameters that net does not contain.")
        device = accelerator.device
        self.rate = torch.tensor(stage.learning_rate, device=device) if graphed else None
        self._optimizer = torch.optim.Adam(
            self._parameters,
            stage.learning_rate if self.rate is None else self.rate,
            fused=True,
            capturable=graphed and device.type == "cuda",
        )
        self._module = accelerator.prepare(stage.module)
        net.eval()
        self._module.train()

    def load(self, optimizer: Mapping[str, Tensor], best: Mapping[str, Tensor]) -> None:
        """Load the optimizer's state and the best tensors of a checkpoint."""
        load_optimizer(self._optimizer, optimizer)
        if self.rate is not None:  # loading has replaced it by a copy
            for group in self._optimizer.param_groups:
                group["lr"] = self.rate
        self.best = {name: tensor.to(self._accelerator.device) for name, tensor in best.items()}

    def compile(self) -> str | None:
        """Compile the loss, and return why that failed, or None."""
        batch = self._on_device(self._stage.source.batch(0))

        def gradients() -> list[Tensor]:
            self._optimizer.zero_grad(set_to_none=True)
            torch.manual_seed(self.number(0))
            self._accelerator.backward(self._module(batch)["loss"])
            return [each.grad for each in self._parameters if each.grad is not None]

        failure = compile_loss(self._accelerator.unwrap_model(self._module), gradients)
        self._optimizer.zero_grad(set_to_none=True)
        return failure

    def optimizer_tensors(self) -> dict[str, Tensor]:
        """Return the optimizer's state for a checkpoint."""
        return optimizer_tensors(self._optimizer)

    def require_finite_parameters(self, step: int) -> None:
        """Check that all parameters are finite; the loss would show it only one step later.

        Raises
        ------
        QpibenchError
            If a parameter is not finite.
        """
        if not all(each.isfinite().all() for each in self._parameters):
            raise QpibenchError(
                f"The parameters of stage '{self._stage.name}' are not finite after step {step}; {_REMEDY}"
            )

    def keep_as_best(self) -> None:
        """Keep the present parameters as those of the best validation."""
        state = self._net.state_dict()
        self.best = {name: state[name].clone() for name in sorted(self._names)}

    def take(self, step: int, batch: Batch) -> dict[str, Tensor]:
        """Do a step and return its scalars, on the device.

        Raises
        ------
        QpibenchError
            If the memory is exhausted; the message names a batch size that fits.
        """
        try:
            return self._take(step, batch)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        # Outside of the except clause, whose exception keeps the memory of the step in use.
        raise QpibenchError(self.advice(step, batch))

    def validate(self, step: int, *, interrupted: Callable[[], bool] = bool) -> float | None:
        """Return the mean error of all validation images, which are divided among the processes.

        If the memory is exhausted, the images are scored again in smaller parts.

        Parameters
        ----------
        step
            Steps done in the stage, for the message.
        interrupted
            Called after every part; if it returns True in one of the processes, the validation ends.

        Returns
        -------
        float or None
            None if the validation was interrupted.

        Raises
        ------
        QpibenchError
            If the memory is too small for one image.
        """
        while (summed := self._summed_error(interrupted)) is None:
            if self._part_size() == 1:
                raise QpibenchError(
                    f"Stage '{self._stage.name}' ran out of memory in the validation after step {step}, though it takes"
                    " one image at a time; set a batch_size below"
                    f" {self._stage.source.batch_size}, or use a smaller preset or a larger device, and train in"
                    " another folder."
                )
            self._halve_parts()
        of_all: Tensor = self._accelerator.reduce(summed, reduction="sum")
        error, count, stopped = of_all.tolist()
        return None if stopped else float(error / count)

    def _summed_error(self, interrupted: Callable[[], bool]) -> Tensor | None:
        """Return the sum of the errors of this process's validation images, their number, and 1 if it was interrupted.

        Return None if the memory is exhausted; the memory of the failed part is free afterwards.
        """
        self._net.eval()
        summed = torch.zeros(3, dtype=torch.float64, device=self._accelerator.device)
        torch.manual_seed(_number(f"{self._seed}/validation"))
        try:
            with torch.no_grad(), self._accelerator.autocast():
                for batch in self._validation():
                    score = self._stage.score(self._on_device(batch)).double()
                    summed[0] += score.sum()
                    summed[1] += len(score)
                    if interrupted():
                        summed[2] += 1
                        break
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return None
        finally:
            self._module.train()
        return summed

    def close(self) -> None:
        """End the stage: load the best state into ``net`` and remove Accelerate's wrappers from the module."""
        self._optimizer.zero_grad(set_to_none=True)
        self._net.load_state_dict(self.best, strict=False)
        self._accelerator.unwrap_model(self._module, keep_fp32_wrapper=False)
        self._accelerator.free_memory()

    def _validation(self) -> Sequence[Batch]:
        """Return the validation batches of this process; with CUDA graphs they stay on the device, in larger parts."""
        if self._held_out is None:
            accelerator = self._accelerator
            held_out = self._stage.validation_batches[accelerator.process_index :: accelerator.num_processes]
            if self.rate is not None and accelerator.device.type == "cuda":
                joined = {field: torch.cat([batch[field] for batch in held_out]) for field in held_out[0]}
                parts = {field: tensor.to(accelerator.device).split(_JOINED) for field, tensor in joined.items()}
                held_out = [dict(zip(parts, part, strict=True)) for part in zip(*parts.values(), strict=True)]
            self._held_out = held_out
        return self._held_out

    def _part_size(self) -> int:
        return max((len(next(iter(batch.values()))) for batch in self._validation()), default=1)

    def _halve_parts(self) -> None:
        """Split the validation batches for this and all later validations."""
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        half = -(-self._part_size() // 2)
        parts = [{field: tensor.split(half) for field, tensor in batch.items()} for batch in self._validation()]
        self._held_out = [
            dict(zip(part, row, strict=True)) for part in parts for row in zip(*part.values(), strict=True)
        ]

    def number(self, step: int) -> int:
        """Return the seed of this process's random numbers in a step."""
        return _number(f"{self._seed}/{step}/{self._accelerator.process_index}")

    def _take(self, step: int, batch: Batch) -> dict[str, Tensor]:
        rate = self._stage.learning_rate_at(step)
        for group in self._optimizer.param_groups:
            group["lr"] = rate if self.rate is None else self.rate.fill_(rate)
        torch.manual_seed(self.number(step))
        values = self.descend(self._on_device(batch))
        self._optimizer.zero_grad(set_to_none=True)
        return values

    def descend(self, batch: Batch) -> dict[str, Tensor]:
        """Do a step with a batch on the device, at the current learning rate and state of the random numbers."""
        self._optimizer.zero_grad(set_to_none=True)
        values: Mapping[str, Tensor] = self._module(batch)
        self._accelerator.backward(values["loss"])
        if self._stage.clip_norm is not None:
            self._accelerator.clip_grad_norm_(self._parameters, self._stage.clip_norm)
        self._optimizer.step()
        return {name: value.detach() for name, value in values.items()}

    def _on_device(self, batch: Batch) -> Batch:
        """Copy a batch to the device; from pinned memory the copy is asynchronous."""
        return {field: tensor.to(self._accelerator.device, non_blocking=True) for field, tensor in batch.items()}

    def advice(self, step: int, batch: Batch) -> str:
        """Return the message of a step that exhausted the memory, after trying half of the batch, a quarter..."""
        processes = self._accelerator.num_processes
        rows = len(next(iter(batch.values())))
        found = f"Stage '{self._stage.name}' ran out of memory at step {step + 1} with a batch of {rows * processes}"
        while rows > 1 and processes == 1:
            rows //= 2
            self._optimizer.zero_grad(set_to_none=True)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            try:
                self._take(step, {field: tensor[:rows] for field, tensor in batch.items()})
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            else:
                return f"{found}; a batch of {rows} fits: set batch_size={rows} and train in another folder."
        return f"{found}, and no smaller batch was found that fits; use a smaller preset or a larger device."


def require_finite(stage: str, step: int, numbers: Mapping[str, float]) -> None:
    """Check that the numbers of a step are finite.

    Raises
    ------
    QpibenchError
        If one is not; the message names the number and the step.
    """
    for name, number in numbers.items():
        if not math.isfinite(number):
            raise QpibenchError(f"The {name} of stage '{stage}' is {number} at step {step}; {_REMEDY}")


def _number(text: str) -> int:
    """Return a seed for torch, made from a text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
