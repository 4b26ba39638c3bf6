"""Symmetry loss: a kernel of n-fold symmetry does not change under a rotation by 360/n degrees.

For a kernel A and its reconstruction A^,

    L_SYM = mean over the rotations R of A's fold of d(R A^, A),

where d is a distance (:mod:`learned.distance`) within a centred window, which stays inside the field under every
rotation. The rotated reconstruction is compared with the kernel, not with the reconstruction (arXiv 2506.05325, eq. 3).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from learned.distance import Distance
from qpibench.families.eq7 import Fold


def symmetry_error(
    reconstruction: Tensor,
    kernel: Tensor,
    fold: Tensor,
    *,
    angles: Mapping[Fold, Sequence[float]],
    window: float,
    distance: Distance,
    aspect: float = 1.0,
) -> Tensor:
    """Return the symmetry loss of every reconstruction.

    Parameters
    ----------
    reconstruction, kernel
        (n, y, x).
    fold
        (n,) integers, the folds of the kernels; keys of ``angles``.
    angles
        Rotations in degrees, by fold.
    window
        Sides of the centred window as shares of the field's pixels; 0.7 or less for square fields.
    distance
        Function from two tensors (n, y, x) to (n,).
    aspect
        The field's width over its height.

    Returns
    -------
    Tensor
        (n,).
    """
    turns = tuple((key, tuple(angles[key])) for key in sorted(angles))
    degrees, share = (table[fold] for table in _turns(turns, kernel.dtype, kernel.device))
    most = degrees.shape[1]

    rotated = rotate(reconstruction.repeat_interleave(most, dim=0), degrees.flatten(), aspect=aspect)
    target = kernel.repeat_interleave(most, dim=0)
    apart = distance(_centre(rotated, window), _centre(target, window)).reshape(-1, most)
    # Folds with fewer rotations are padded with rotations by 0 degrees, whose share is 0.
    return (share * apart).sum(dim=1)


@lru_cache(maxsize=8)
def _turns(
    angles: tuple[tuple[int, tuple[float, ...]], ...], dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return rotations in degrees and their shares, (fold, rotation) each.

    They are cached on the device, because a CUDA graph cannot capture a copy from the CPU.
    """
    most = max(len(turns) for _, turns in angles)
    degrees = torch.zeros(max(fold for fold, _ in angles) + 1, most, dtype=dtype)
    share = torch.zeros_like(degrees)
    for fold, turns in angles:
        degrees[fold, : len(turns)] = torch.tensor(turns, dtype=dtype)
        share[fold, : len(turns)] = 1 / len(turns)
    return degrees.to(device), share.to(device)


def rotate(image: Tensor, degrees: Tensor, *, aspect: float = 1.0) -> Tensor:
    """Rotate images about the centre of the field by bilinear interpolation; beyond the field the edge is repeated.

    Parameters
    ----------
    image
        (n, y, x) on a grid that includes its edges.
    degrees
        (n,) angles.
    aspect
        The field's width over its height; angles are measured in the field, not in pixels.

    Returns
    -------
    Tensor
        (n, y, x), at least float32.
    """
    precision = torch.promote_types(image.dtype, torch.float32)
    # Under autocast the coordinates would be bf16, with errors up to a tenth of a pixel.
    with torch.autocast(image.device.type, enabled=False):
        return _rotate(image.to(precision), degrees.to(precision), aspect)


def _rotate(image: Tensor, degrees: Tensor, aspect: float) -> Tensor:
    angle = torch.deg2rad(degrees)
    cos, sin = torch.cos(angle), torch.sin(angle)
    zero = torch.zeros_like(cos)
    rows = torch.stack([cos, -sin / aspect, zero], dim=-1), torch.stack([sin * aspect, cos, zero], dim=-1)
    # With align_corners the coordinates -1 and 1 are the centres of the outermost pixels.
    places = functional.affine_grid(torch.stack(rows, dim=1), [len(image), 1, *image.shape[1:]], align_corners=True)
    turned = functional.grid_sample(image[:, None], places, padding_mode="border", align_corners=True)
    return turned[:, 0]


def _centre(image: Tensor, window: float) -> Tensor:
    ny, nx = (round(window * n) for n in image.shape[1:])
    top, left = (image.shape[1] - ny) // 2, (image.shape[2] - nx) // 2
    return image[:, top : top + ny, left : left + nx]
