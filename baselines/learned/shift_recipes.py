"""Recipes of the shift-VAE. Every number can be set on the command line by its name, as in ``--set content=2``.

The published method trains one network on patches of one image. Numbers without a counterpart there are our choice;
``docs/shift_vae.md`` lists them and the other differences.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from learned.recipes import Count, OptionalCount, OptionalRate, Range, Rate, Weight
from qpibench.physics.activation import MapMode


class ShiftRecipe(BaseModel):
    """Numbers of a shift-VAE's training. The text ``"none"`` stands for None.

    Attributes
    ----------
    name
        ``published``, or ``smooth``, which differs only in ``smoothness``.
    content
        Number of entries of the latent content.
    shift_prior
        Standard deviation of the latent shift, in units of half the patch.
    rotation_prior
        Standard deviation of the latent rotation in rad; 0 for no rotation.
    kl_weight
        Weight beta of the Kullback-Leibler divergence of the content from its prior.
    smoothness
        Weight of the squared distance between a patch's content and the mean content of its observation. It corresponds
        to a normal prior of the distance with the standard deviation ``(2 smoothness)^(-1/2)``.
    batch_size, patches, pixels
        Observations per step, patches per observation, and pixels per patch from which the likelihood is estimated.
    epochs
        Number of times that every training image is shown.
    learning_rate, clip_norm, patience
        Learning rate of Adam; largest norm of all gradients together, or None; number of validations without
        improvement after which training ends, or None.
    map_mode
        How scatterers are rasterised, ``paper`` or ``exact``.
    noise_snr_db
        White noise added to every training image before it is scaled, at an SNR drawn uniformly from this range in dB;
        None for none.
    samples
        Number of latents drawn at inference to estimate a standard deviation for every pixel; 0 for none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["published", "smooth"]
    content: Count = 8
    shift_prior: Rate = 0.1  # pyroVED's
    rotation_prior: Weight = 0.0
    kl_weight: Weight = 1.0  # pyroVED's
    smoothness: Weight = 0.0
    batch_size: Count = 16
    patches: Count = 8
    pixels: Count = 128
    epochs: Count = 40
    learning_rate: Rate = 1e-3  # pyroVED's
    clip_norm: OptionalRate = None
    patience: OptionalCount = None
    map_mode: MapMode = "paper"
    noise_snr_db: Range = None
    samples: Annotated[int, Field(ge=0, le=1000)] = 0


SHIFT_VAE = {
    "published": ShiftRecipe(name="published"),
    # Prior standard deviation 0.32 within an observation; among all observations it is 1.
    "smooth": ShiftRecipe(name="smooth", smoothness=5.0),
}
DEFAULT_RECIPE = "published"
