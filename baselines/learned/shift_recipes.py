"""The two recipes of the shift-VAE; every number can be set by its name, as in ``--set content=2``.

Ours are the numbers that have no counterpart where one network is trained on patches of one image;
``docs/shift_vae.md`` tells which they are and what is different.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from learned.recipes import Count, OptionalCount, OptionalRate, Range, Rate, Weight
from qpibench.physics.activation import MapMode


class ShiftRecipe(BaseModel):
    """How a shift-VAE is trained; text ``"none"`` switches off what may be None.

    Attributes
    ----------
    name
        ``published``, or ``smooth``, which differs by its ``smoothness`` only.
    content
        Entries of the latent content.
    shift_prior
        Standard deviation of the latent shift, in units of half the patch.
    rotation_prior
        Standard deviation of the latent rotation in rad; 0 for none.
    kl_weight
        Weight of the divergence of the content from its prior (beta).
    smoothness
        Weight of the squared distance of a patch's content from the mean content of its observation. This is minus the
        logarithm of a normal prior of the distance, with the standard deviation ``(2 smoothness)^(-1/2)``.
    batch_size, patches, pixels
        Observations in a step, patches of each, and pixels of a patch at which the likelihood is taken.
    epochs
        How often every training image is seen.
    learning_rate, clip_norm, patience
        Of Adam; largest norm of all gradients together; validations without improvement that end the training.
    map_mode
        How scatterers are rasterised, ``paper`` or ``exact``.
    noise_snr_db
        White noise added to every training image before it is scaled, at an SNR drawn uniformly from this range in dB;
        None for none.
    samples
        At inference, how many latents are drawn to state a standard deviation for every pixel; 0 for none.
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
    # A standard deviation of 0.32 within an observation, beside that of 1 among all.
    "smooth": ShiftRecipe(name="smooth", smoothness=5.0),
}
DEFAULT_RECIPE = "published"
