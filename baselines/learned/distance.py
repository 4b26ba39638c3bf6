"""Distances between images or between latents, one number per pair."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

Distance = Callable[[Tensor, Tensor], Tensor]
"""Function from two tensors (n, ...) to distances (n,)."""

DistanceName = Literal["norm_over_size", "mean_square"]


def norm(first: Tensor, second: Tensor) -> Tensor:
    """Return the Euclidean norm of the difference; where the two are equal the gradient is 0, not NaN."""
    found: Tensor = torch.linalg.vector_norm((first - second).flatten(1), dim=1)
    return found


def norm_over_size(first: Tensor, second: Tensor) -> Tensor:
    """Return the Euclidean norm of the difference divided by the number of entries (arXiv 2506.05325, eq. 2 and 3)."""
    return norm(first, second) / first[0].numel()


def mean_square(first: Tensor, second: Tensor) -> Tensor:
    """Return the mean of the squared differences."""
    return (first - second).square().flatten(1).mean(dim=1)


DISTANCES: dict[DistanceName, Distance] = {"norm_over_size": norm_over_size, "mean_square": mean_square}
