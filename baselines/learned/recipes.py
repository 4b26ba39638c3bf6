"""Recipes of the published one-step and two-step methods: every number of their training, with its source.

``article`` follows the text of arXiv 2506.05325 (version 1), equations 2 to 6. ``code`` follows the code that its
authors published (github.com/QPI-Dataset/QPI-Dataset-100kernels), which differs from the text. ``docs/methods.md``
compares the two. Every number can be set on the command line by its name here: ``--set symmetry_weight=0``.

In the first step of the two-step method an epoch shows every training kernel once. Elsewhere it shows every training
image once, of those that ``images_per_kernel`` allows.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from learned.backbone import DEFAULT_PRESET, PRESETS, pretrained_identity
from learned.distance import DistanceName
from qpibench.errors import UsageError
from qpibench.families.eq7 import Fold
from qpibench.physics.activation import MapMode
from qpibench.ranges import RISING
from qpibench.specs import Grid
from qpibench.training import TrainingRun


def _none(value: object) -> object:
    return None if value == "none" else value


def _integer_keys(value: object) -> object:
    # Keys are always texts in TOML and JSON.
    if isinstance(value, Mapping):
        return {int(key) if isinstance(key, str) and key.isdigit() else key: angles for key, angles in value.items()}
    return value


Count = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Decibels = Annotated[float, Field(ge=-60, le=120, allow_inf_nan=False)]
OptionalCount = Annotated[Count | None, BeforeValidator(_none)]
OptionalRate = Annotated[Rate | None, BeforeValidator(_none)]
Range = Annotated[tuple[Decibels, Decibels] | None, BeforeValidator(_none), RISING]
Angles = Annotated[dict[Fold, tuple[float, ...]], BeforeValidator(_integer_keys)]


class Recipe(BaseModel):
    """Numbers that the recipes of both methods have in common. The text ``"none"`` stands for None.

    Attributes
    ----------
    name
        ``article`` or ``code``.
    distance
        Distance between a kernel A and its reconstruction A^: ``norm_over_size`` is (1/(H L)) |A^ - A| with the
        Euclidean norm, not squared, as in the article; or ``mean_square``. Both recipes min-max scale kernels and
        images: the article's errors are on that scale, but it does not say how its networks' inputs were scaled.
    kl_weight
        Weight of the latent's Kullback-Leibler divergence from the standard normal distribution, averaged over the
        latent's entries.
    batch_size
        Samples per step.
    clip_norm
        Largest norm of all gradients together; None for no limit.
    images_per_kernel
        Number of training images used per kernel; None for all.
    map_mode
        How scatterers are rasterised, ``paper`` or ``exact``; see :func:`qpibench.physics.activation.activation_map`.
    noise_snr_db
        White noise added to every training image before it is scaled, at an SNR drawn uniformly from this range in dB;
        None for none. The SNR is that of qpibench: the variance of the image over that of the noise.
    patience
        Number of validations without improvement after which a stage ends; None for no early stopping. The weights of
        the best validation are kept in any case; the authors' code keeps the last ones.
    samples
        Number of latents drawn at inference to estimate a standard deviation for every pixel; 0 for none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["article", "code"]
    distance: DistanceName
    kl_weight: Weight
    batch_size: Count = 8  # article and code
    clip_norm: OptionalRate
    images_per_kernel: OptionalCount
    map_mode: MapMode = "paper"  # the code; not in the article
    noise_snr_db: Range = None  # neither in the article's first version nor in the code
    patience: OptionalCount = None
    samples: Annotated[int, Field(ge=0, le=1000)] = 0


class OneStepRecipe(Recipe):
    """Numbers of the one-step method's training.

    Attributes
    ----------
    epochs
        Number of times that every training image is shown.
    learning_rate, decay_epochs, decay_factor
        Learning rate of Adam. It is multiplied by ``decay_factor`` every ``decay_epochs`` epochs, or constant if
        ``decay_epochs`` is None.
    """

    epochs: Count
    learning_rate: Rate
    decay_epochs: OptionalCount
    decay_factor: Rate = 1.0


class TwoStepRecipe(Recipe):
    """Numbers of the two-step method's training: first an autoencoder of kernels, then an encoder of observations.

    Attributes
    ----------
    symmetry_weight
        Weight of the symmetry loss (alpha) in the first step.
    symmetry_window
        Side of the window in which the symmetry loss is computed, as a share of the field.
    symmetry_angles
        Rotations in degrees, by fold; fold 0 is total symmetry.
    symmetry_sum
        ``kernels``: mean over the kernels of the batch. ``folds``: mean over the kernels of each fold, summed over the
        folds in the batch, as in the code.
    kernel_epochs, kernel_learning_rate, kernel_decay_epochs, kernel_decay_factor
        Epochs and learning rate of the first step; see :class:`OneStepRecipe`.
    alignment
        Loss of the second step: ``mean``, the Euclidean norm of the difference of the latents' means, or
        ``mean_and_log_variance``, the mean squared differences of means and of log-variances.
    alignment_epochs, alignment_learning_rate, alignment_decay_epochs, alignment_decay_factor
        Epochs and learning rate of the second step.
    kernel_share
        Share of the steps given by ``--steps`` that the first step gets, but never more than its epochs have.
    """

    symmetry_weight: Weight
    symmetry_window: Annotated[float, Field(gt=0, le=0.7)] = 0.625  # 40 of 64 pixels in the code; not in the article
    symmetry_angles: Angles
    symmetry_sum: Literal["kernels", "folds"]
    kernel_epochs: Count
    kernel_learning_rate: Rate = 1e-4  # article and code
    kernel_decay_epochs: OptionalCount
    kernel_decay_factor: Rate = 1.0
    alignment: Literal["mean", "mean_and_log_variance"]
    alignment_epochs: Count
    alignment_learning_rate: Rate
    alignment_decay_epochs: OptionalCount
    alignment_decay_factor: Rate = 1.0
    kernel_share: Annotated[float, Field(gt=0, lt=1)] = 0.4  # our choice; the published lengths give about 0.02

    @model_validator(mode="after")
    def _check_two_steps(self) -> Self:
        missing = {0, 2, 3, 4, 6} - {fold for fold, angles in self.symmetry_angles.items() if angles}
        if missing:
            raise ValueError(f"symmetry_angles lacks the fold {min(missing)}")
        if self.samples and self.alignment == "mean":
            raise ValueError(
                "samples needs alignment = 'mean_and_log_variance', which trains the spread of the latents"
            )
        return self


TWO_STEP = {
    "article": TwoStepRecipe(
        name="article",
        distance="norm_over_size",  # eq. 2 and 3
        kl_weight=0.0,  # eq. 4 has no such term
        clip_norm=None,  # not in the article
        images_per_kernel=None,  # not in the article
        symmetry_weight=0.75,  # alpha of eq. 4
        # Section on eq. 3. It names no angle for total symmetry; 90 degrees needs no interpolation between pixels.
        symmetry_angles={0: (90,), 2: (180,), 3: (120,), 4: (90,), 6: (60,)},
        symmetry_sum="kernels",
        kernel_epochs=350,  # "up to"
        kernel_decay_epochs=None,  # not in the article
        alignment="mean",  # eq. 6
        alignment_epochs=40,  # "up to"
        alignment_learning_rate=1e-4,
        alignment_decay_epochs=None,  # not in the article
    ),
    "code": TwoStepRecipe(
        name="code",
        distance="mean_square",
        kl_weight=1e-6,
        clip_norm=1.0,
        images_per_kernel=250,
        symmetry_weight=0.7,
        symmetry_angles={0: (90, -90, 180), 2: (180,), 3: (120, -120), 4: (90, -90), 6: (60, -60, 120, -120, 180)},
        symmetry_sum="folds",
        kernel_epochs=300,
        kernel_decay_epochs=20,
        kernel_decay_factor=0.97,
        alignment="mean_and_log_variance",
        alignment_epochs=50,
        alignment_learning_rate=5e-5,
        alignment_decay_epochs=5,
        alignment_decay_factor=0.97,
    ),
}

ONE_STEP = {
    "article": OneStepRecipe(
        name="article",
        distance="norm_over_size",  # eq. 2; the article states no loss of the one-step method
        kl_weight=0.0,
        clip_norm=None,
        images_per_kernel=None,
        epochs=40,  # not in the article; as many as in the two-step method
        learning_rate=1e-4,
        decay_epochs=None,
    ),
    "code": OneStepRecipe(
        name="code",
        distance="mean_square",
        kl_weight=1e-6,
        clip_norm=None,  # the code clips only in the two-step method
        images_per_kernel=250,
        epochs=50,
        learning_rate=5e-5,
        decay_epochs=5,
        decay_factor=0.97,
    ),
}

DEFAULT_RECIPE = "code"

AnyRecipe = TypeVar("AnyRecipe", bound=BaseModel)


def choose_recipe(recipes: Mapping[str, AnyRecipe], run: TrainingRun) -> AnyRecipe:
    """Return the recipe of a run, changed by the run's options.

    Raises
    ------
    UsageError
        If the recipe or an option does not exist, or the value of an option is not allowed.
    """
    name = run.recipe or DEFAULT_RECIPE
    if name not in recipes:
        raise UsageError(f"There is no recipe '{name}'; choose one of {', '.join(recipes)}.")
    recipe = recipes[name]
    known = [field for field in type(recipe).model_fields if field != "name"]
    for option in run.options:
        if option not in known:
            near = difflib.get_close_matches(option, known, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            raise UsageError(f"Entry {run.entry} has no option '{option}'.{hint} Its options: {', '.join(known)}.")
    try:
        return type(recipe).model_validate(recipe.model_dump() | dict(run.options))
    except ValidationError as error:
        first = error.errors()[0]
        message = first["msg"].removeprefix("Value error, ")
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"Option {where}: {message}." if where else f"The options do not fit: {message}.") from None


def resolve_config(recipe: Recipe, run: TrainingRun, grid: Grid) -> dict[str, Any]:
    """Return all settings of the network and its training except the precision, as values of JSON.

    Raises
    ------
    UsageError
        If the preset does not exist.
    InvalidDataError
        If the folder of pretrained weights has no weights.
    """
    preset = run.preset or DEFAULT_PRESET
    if preset not in PRESETS:
        raise UsageError(f"There is no preset '{preset}'; choose one of {', '.join(PRESETS)}.")
    return {
        "recipe": recipe.model_dump(mode="json"),
        "preset": preset,
        "grid": grid.model_dump(mode="json"),
        "pretrained": pretrained_identity(run.pretrained) if run.pretrained else None,
    }
