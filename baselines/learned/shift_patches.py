"""Patches of an observation, one around each scatterer that is looked at.

A patch is as large as the field, 2 (ny // 2) + 1 by 2 (nx // 2) + 1 pixels, and a marked pixel of the activation map is
its centre. Where it reaches beyond the field it is 0 and noted as not seen: a scatterer near the edge still tells about
that part of its surroundings which the image shows, and all of them together about the whole window.
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
        (patch, y, x) the image around each centre, 0 beyond the field.
    seen
        (patch, y, x) 1 within the field, 0 beyond it.
    weight
        (patch,) the activation map at each centre.
    """

    value: Tensor
    seen: Tensor
    weight: Tensor


def patch_shape(shape: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of the patches of an image (ny, nx)."""
    return 2 * (shape[0] // 2) + 1, 2 * (shape[1] // 2) + 1


def patches_at(image: Tensor, activation_map: Tensor, quantile: Tensor) -> Patches:
    """Cut equally many patches from every observation that has a mark.

    Parameters
    ----------
    image, activation_map
        (n, y, x) each.
    quantile
        (n, count) from 0 to below 1: which marks, by their share of the map's sum in the order of the pixels. Uniformly
        distributed numbers draw marks in proportion to their weight.

    Returns
    -------
    Patches
        ``count`` of each observation, in a row; none of one without marks.
    """
    # Single precision could round up to the whole sum, beyond the last mark.
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
