"""Distances between images or latents, one number for each pair."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

Distance = Callable[[Tensor, Tensor], Tensor]
"""From two tensors (n, ...) to (n,)."""

DistanceName = Literal["norm_over_size", "mean_square"]


def norm(first: Tensor, second: Tensor) -> Tensor:
    """Euclidean norm of the difference; its gradient is 0, not NaN, where the two are equal."""
    found: Tensor = torch.linalg.vector_norm((first - second).flatten(1), dim=1)
    return found


def norm_over_size(first: Tensor, second: Tensor) -> Tensor:
    """Euclidean norm of the difference, divided by the number of entries: the article's equations 2 and 3."""
    return norm(first, second) / first[0].numel()


def mean_square(first: Tensor, second: Tensor) -> Tensor:
    """Mean of the squared differences."""
    return (first - second).square().flatten(1).mean(dim=1)


DISTANCES: dict[DistanceName, Distance] = {"norm_over_size": norm_over_size, "mean_square": mean_square}
