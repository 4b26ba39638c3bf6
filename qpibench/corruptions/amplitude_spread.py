r"""Spread of the scatterers' strengths: the amplitude of each scatterer is log-normal with mean 1.

The amplitude of a scatterer is the factor of its kernel in the image, as the strength of a defect is in the linear
model $Y(\mathbf r) = \sum_s a_s A(\mathbf r - \mathbf r_s)$. It is

$$a = e^{\sigma z - \sigma^2/2}, \qquad \sigma^2 = \ln(1 + s^2),$$

with a normal number $z$, so that $a > 0$, its mean is 1 and its standard deviation is $s$, which is ``relative_std``.
The kernel that a model must find keeps the amplitude 1. The corruption acts after all scatterers are in place: those
that :mod:`qpibench.corruptions.unseen_scatterers` adds have amplitudes too.

A spec with ``scatterers.superposition = "multiple"`` is refused: the factor would multiply the T-matrix, and with a > 1
an elastic scatterer would give out more electrons than it gets.

Stream ``amplitude spread``: draw q has the normal numbers of the scatterers 4q to 4q + 3, two of each pair of words
(:func:`qpibench.arithmetic.normals.normal_pair`). The exponential is float64 and rounded to float32 once.

Source: the log-normal distribution, Johnson, Kotz and Balakrishnan, Continuous Univariate Distributions 1, 1994,
chapter 14.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from qpibench.arithmetic.compiled import compiled
from qpibench.arithmetic.elementary import exp2_f64, ln_f64
from qpibench.arithmetic.ieee import sqrt
from qpibench.arithmetic.normals import normal_pair
from qpibench.arithmetic.philox import words
from qpibench.columns import Column
from qpibench.corruptions import Draft

if TYPE_CHECKING:
    from qpibench.specs.spec import ReleaseSpec

STAGE = "scatterers"
ORDER = 20
EXAMPLE = {"relative_std": 0.3}

MAX_RELATIVE_STD = 2.0

LOG2_E = 1.4426950408889634
_f32 = np.float32


class Settings(BaseModel):
    """Settings of the spread of amplitudes.

    ``relative_std`` is the standard deviation of the amplitudes over their mean, which is 1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    relative_std: Annotated[float, Field(gt=0, le=MAX_RELATIVE_STD, allow_inf_nan=False)] = Field(
        description="standard deviation of the scatterers' amplitudes, which are log-normal with mean 1"
    )


COLUMNS = (
    Column(
        name="amplitude",
        dtype="<f4",
        per="scatterer",
        units="1",
        long_name="factor of the scatterer's kernel in the image",
        absent=1.0,
    ),
)


def check(settings: Settings, spec: ReleaseSpec) -> None:
    """Refuse multiple scattering; see :class:`qpibench.corruptions.Restricted`."""
    if spec.scatterers.superposition == "multiple":
        raise ValueError(
            'corruptions.amplitude_spread needs scatterers.superposition = "linear", found "multiple": scatterers whose'
            " T-matrix is multiplied would give out more electrons than they get; leave out one of them"
        )


def corrupt(settings: Settings, draft: Draft) -> dict[str, NDArray[Any]]:
    """Give the scatterers of a draft amplitudes; see :class:`qpibench.corruptions.Corruption`."""
    amplitude = np.ones_like(draft.amplitude)
    key = draft.key("amplitude spread")
    _draw(key, draft.start, draft.per_kernel, settings.relative_std, draft.n_scatterers, amplitude)
    draft.amplitude *= amplitude
    return {"amplitude": amplitude}


def reference(normals: NDArray[np.floating], relative_std: float) -> NDArray[np.float64]:
    """Log-normal amplitudes with mean 1.

    Parameters
    ----------
    normals
        (...) normal numbers of mean 0 and variance 1.
    relative_std
        Standard deviation of the amplitudes.

    Returns
    -------
    ndarray
        (...) float64, positive.
    """
    variance = np.log1p(relative_std**2)
    amplitude: NDArray[np.float64] = np.exp(np.sqrt(variance) * normals.astype(np.float64) - variance / 2)
    return amplitude


@compiled(nogil=True, error_model="numpy")
def _draw(key, start, per_kernel, relative_std, count, amplitude):  # type: ignore[no-untyped-def]
    """Fill ``amplitude`` (observation, scatterer) float32 for the first ``count`` scatterers of each observation."""
    variance = ln_f64(1.0 + relative_std * relative_std)
    sigma = sqrt(variance)
    for row in range(len(amplitude)):
        kernel, image = divmod(start + row, per_kernel)
        for first in range(0, count[row], 4):
            w0, w1, w2, w3 = words(key, first // 4, image, kernel)
            near = normal_pair(w0, w1)
            far = normal_pair(w2, w3)
            drawn = (near[0], near[1], far[0], far[1])
            for k in range(min(4, count[row] - first)):
                amplitude[row, first + k] = _f32(exp2_f64((sigma * np.float64(drawn[k]) - 0.5 * variance) * LOG2_E))
