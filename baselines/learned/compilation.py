"""Compilation of a stage's loss by torch.compile, which a run may ask for on a CPU."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from learned.resumed import resumed_config
from qpibench.training import TrainingRun

TOLERANCE = 0.2
"""Largest relative difference of a parameter's compiled gradient; rounding makes 0.053 in bf16, a lost gradient 1."""

NEGLIGIBLE = 1e-3
"""Share of the largest gradient; differences of gradients are relative to at least that."""


def is_compiled(run: TrainingRun) -> bool:
    """Return whether a run asks for compiled losses; a resumed run keeps the setting of its record."""
    return run.compile or bool((resumed_config(run) or {}).get("compile"))


def compile_loss(module: nn.Module, gradients: Callable[[], Sequence[Tensor]]) -> str | None:
    """Compile a loss in place, if that works and leaves its gradients the same.

    The random numbers stay those of PyTorch's generator, so the losses are those of the uncompiled module, up to
    rounding.

    Parameters
    ----------
    module
        The loss of a stage.
    gradients
        Returns the gradients of all parameters for one batch and always the same random numbers.

    Returns
    -------
    str or None
        Why the module is not compiled.
    """
    expected = gradients()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # PyTorch 2.13 loses the gradient of some interpolations on a CPU, with layout_optimization of more of them.
            module.compile(dynamic=False, options={"fallback_random": True, "layout_optimization": False})
            difference = _largest_difference(gradients(), expected)
    except Exception as error:  # of a compiler or of PyTorch; an error of the loss itself comes again without them
        reason = _first_line(error)
    else:
        if difference <= TOLERANCE:
            return None
        reason = f"gradients of the compiled loss differ by {difference:.2g} of their norm"
    module._compiled_call_impl = None
    return reason


def _largest_difference(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    if len(found) != len(expected):
        return math.inf
    norm = torch.stack([each.norm() for each in expected])
    difference = torch.stack([(one - other).norm() for one, other in zip(found, expected, strict=True)])
    return float((difference / norm.clamp(min=NEGLIGIBLE * norm.max())).nan_to_num(torch.inf).max())


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).rstrip(".:")
