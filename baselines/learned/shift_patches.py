"""Patches of an observation, each centred at a scatterer.

A patch has about the size of the field, 2 (ny // 2) + 1 by 2 (nx // 2) + 1 pixels, and its centre is a marked pixel of
the activation map. Beyond the field it is 0 and masked. A scatterer near the edge thus contributes the part of its
surroundings that is in the image; all scatterers together cover the whole window.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


class Patches(NamedTuple):
    """Patches of observations.

    Attributes
    ----------
    value
        (patch, y, x) image around each centre, 0 beyond the field.
    seen
        (patch, y, x) mask: 1 within the field, 0 beyond it.
    weight
        (patch,) value of the activation map at each centre.
    """

    value: Tensor
    seen: Tensor
    weight: Tensor


def patch_shape(shape: tuple[int, int]) -> tuple[int, int]:
    """Return the numbers of rows and columns of the patches of an image (ny, nx)."""
    return 2 * (shape[0] // 2) + 1, 2 * (shape[1] // 2) + 1


def patches_at(image: Tensor, activation_map: Tensor, quantile: Tensor) -> Patches:
    """Cut the same number of patches from every observation that has a mark.

    Parameters
    ----------
    image, activation_map
        (n, y, x) each.
    quantile
        (n, count) numbers from 0 to below 1 that select marks by the cumulative sum of the map in the order of the
        pixels. Uniformly distributed numbers select marks in proportion to their weight.

    Returns
    -------
    Patches
        ``count`` consecutive patches per observation; none for an observation without marks.
    """
    # In float32 a product could round up to the whole sum, beyond the last mark.
    share = activation_map.flatten(1).double().cumsum(dim=1)
    marked = share[:, -1] > 0
    place = torch.searchsorted(share[marked], quantile[marked] * share[marked, -1:], right=True)
    observation = marked.nonzero().expand(-1, quantile.shape[1])
    return _cut(image, activation_map, observation.flatten(), place.flatten())


def all_patches(image: Tensor, activation_map: Tensor) -> Patches:
    """Cut a patch around every mark of the observations (n, y, x)."""
    return _cut(image, activation_map, *activation_map.flatten(1).nonzero(as_tuple=True))


def _cut(image: Tensor, activation_map: Tensor, observation: Tensor, pixel: Tensor) -> Patches:
    ny, nx = image.shape[1:]
    row, column = pixel // nx, pixel % nx
    height, width = patch_shape((ny, nx))

    def around(field: Tensor, index: Tensor) -> Tensor:
        padded = functional.pad(field, (width // 2, width // 2, height // 2, height // 2))
        return padded.unfold(1, height, 1).unfold(2, width, 1)[index, row, column]

    return Patches(
        value=around(image, observation),
        seen=around(torch.ones_like(image[:1]), torch.zeros_like(observation)),
        weight=activation_map[observation, row, column],
    )
