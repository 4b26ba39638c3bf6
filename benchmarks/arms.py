"""The arms of the learned entries: their studies, and the order in which the queues train them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from qpibench.tasks.track import find_cells


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way of training one entry, and the track that asks it: what `qpibench train` and `evaluate` are told.

    Attributes
    ----------
    name
        Name of the arm; its run folders are ``NAME-SEED``.
    entry, recipe, preset, settings, pretrained
        Arguments of ``qpibench train``.
    stream
        Whether it is trained on fresh draws of the release's spec instead of the release.
    track
        Track on which it is evaluated.
    """

    name: str
    entry: str
    recipe: str
    preset: str = "compact"
    settings: tuple[str, ...] = ()
    pretrained: str | None = None
    stream: bool = False
    track: str = "paper"

    @property
    def cells(self) -> tuple[str, ...]:
        """Names of the cells of its track."""
        return find_cells(self.track)[1]


@dataclass(frozen=True, kw_only=True)
class Study:
    """A comparison of arms; every other arm is compared with the first."""

    question: str
    arms: tuple[Arm, ...]


EXACT = Path(__file__).parent / "tracks" / "paper-exact.toml"
HUB_NAME = "madebyollin/sdxl-vae-fp16-fix"

TWO_STEP = Arm(name="two_step-article", entry="two_step", recipe="article")
ONE_STEP = Arm(name="one_step-article", entry="one_step", recipe="article")
TWO_STEP_CODE = Arm(name="two_step-code", entry="two_step", recipe="code")
ONE_STEP_CODE = Arm(name="one_step-code", entry="one_step", recipe="code")

# The first step has 30,000 steps instead of the recipe's 3,000; the learning rate falls by the same factor in all.
LONG = Arm(
    name="two_step-code-long",
    entry="two_step",
    recipe="code",
    settings=("kernel_epochs=3000", "kernel_decay_epochs=200"),
)
LONG_STREAM = replace(LONG, name="two_step-code-long-stream", stream=True)

POLAR = Arm(name="polar_two_step-stream", entry="polar_two_step", recipe="radial", stream=True)

STUDIES = {
    "two_steps": Study(
        question="Do two steps beat one, with the same number of steps? (recipe article)", arms=(TWO_STEP, ONE_STEP)
    ),
    "two_steps_code": Study(
        question="Do two steps beat one, with the same number of steps? (recipe code)",
        arms=(TWO_STEP_CODE, ONE_STEP_CODE),
    ),
    "long_first_step": Study(
        question="Does a longer first step help? (30,000 steps instead of 3,000)", arms=(TWO_STEP_CODE, LONG)
    ),
    "fresh_kernels": Study(
        question="How much of the error is due to the number of training kernels? (80, or fresh ones in every step)",
        arms=(LONG, LONG_STREAM),
    ),
    "polar": Study(
        question="How much of polar_two_step's error is due to the number of training kernels? (fresh ones, or 80)",
        arms=(POLAR, replace(POLAR, name="polar_two_step-paper", stream=False)),
    ),
    "shift_vae": Study(
        question="How far does one get without any kernel to learn from?",
        arms=(Arm(name="shift_vae-published", entry="shift_vae", recipe="published"),),
    ),
    "symmetry": Study(
        question="Does the symmetry loss help?",
        arms=(
            TWO_STEP,
            Arm(
                name="two_step-article-asymmetric",
                entry="two_step",
                recipe="article",
                settings=("symmetry_weight=0.0",),
            ),
        ),
    ),
    "noise": Study(
        question="Does noise on the training images help? (white noise at 0 to 30 dB)",
        arms=(
            TWO_STEP,
            Arm(
                name="two_step-article-noise",
                entry="two_step",
                recipe="article",
                settings=("noise_snr_db=[0.0,30.0]",),
            ),
        ),
    ),
    "map": Study(
        question="Does it matter how the scatterers are rasterised? (published raster, or exact)",
        arms=(
            TWO_STEP,
            Arm(
                name="two_step-article-exact",
                entry="two_step",
                recipe="article",
                settings=('map_mode="exact"',),
                track=str(EXACT),
            ),
        ),
    ),
    "pretraining": Study(
        question="Does a backbone that was trained on photographs help? (needs the weights, and a GPU)",
        arms=(
            Arm(name="two_step-article-sdxl", entry="two_step", recipe="article", preset="sdxl"),
            Arm(
                name="two_step-article-sdxl-pretrained",
                entry="two_step",
                recipe="article",
                preset="sdxl",
                pretrained=HUB_NAME,
            ),
        ),
    ),
}

QUEUE = (
    *(TWO_STEP_CODE, TWO_STEP, LONG, LONG_STREAM, ONE_STEP, ONE_STEP_CODE),
    *(STUDIES[name].arms[1] for name in ("symmetry", "noise", "map")),
)
"""The arms of the published methods, most important first. A GPU trains all of them."""

CPU_QUEUE = QUEUE[:6]
"""The arms that a CPU trains; one with a name in :data:`EQUAL_HOURS` gets as many hours as another one took."""

EQUAL_HOURS = {ONE_STEP.name: TWO_STEP.name, ONE_STEP_CODE.name: TWO_STEP_CODE.name}


def chosen(names: Sequence[str] | None) -> tuple[Arm, ...]:
    """Return the arms with these names in the order of the queue; all arms if None."""
    return tuple(arm for arm in QUEUE if names is None or arm.name in names)
