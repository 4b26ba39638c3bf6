r"""Corrugation: the atomic lattice of the sample in an image.

Maps with atomic resolution show the lattice, and their Fourier transforms its Bragg peaks. An image becomes

$$I(\mathbf r) = c(\mathbf r) + \sigma \sqrt{\frac{2}{m}}\, \sum_{w=1}^{m}
\cos(\mathbf G_w \cdot \mathbf r + \varphi_w), \qquad \sigma = s\, \mathrm{std}(c).$$

With the lattice constant $a$ and the angle $\alpha$ of a lattice vector with x, a square lattice has $m = 2$ waves of
$|\mathbf G| = 2\pi/a$ in the directions $\alpha$ and $\alpha + 90°$; a hexagonal one has $m = 3$ of $|\mathbf G| =
4\pi/(\sqrt 3\, a)$ in the directions $\alpha + 30°$, $\alpha + 150°$ and $\alpha + 270°$. The origin of the lattice is
uniform in its cell: $\varphi_1$ and $\varphi_2$ are uniform, and $\varphi_3 = -\varphi_1 - \varphi_2$. So $\sigma$ is
the standard deviation of the corrugation. Strength $s$ and angle are uniform in their ranges for each image; the
standard deviation of the clean image is that of :class:`qpibench.corruptions.Draft`.

The stream ``corrugation`` has one draw: the words of strength, angle and the two phases. ``docs/arithmetic.md`` defines
the bits, and ``kernels_cuda/corrugation.cu`` states the same operations.

Source: lowest harmonics of the lattice; cf. Lawler et al., Nature 466, 347 (2010), doi:10.1038/nature09169, where
measured topographs are compared with such waves.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field

from qpibench.arithmetic.compiled import compiled
from qpibench.arithmetic.elementary import sincospi_f64
from qpibench.arithmetic.ieee import fma
from qpibench.arithmetic.philox import unit, words
from qpibench.arithmetic.sums import deviation
from qpibench.columns import Column, sigma_column
from qpibench.corruptions import Draft
from qpibench.grid import Grid
from qpibench.ranges import RISING, UNSIGNED_ZERO, Strengths, one_or_two

if TYPE_CHECKING:
    from qpibench.specs.spec import ReleaseSpec

STAGE = "image"
ORDER = 50
EXAMPLE = {"lattice": "hexagonal", "lattice_constant_nm": 0.5, "strength": [0.2, 1.0]}

PI = math.pi
PIXELS_PER_PERIOD = 2.0

Angle = Annotated[float, Field(ge=-2 * PI, le=2 * PI, allow_inf_nan=False), UNSIGNED_ZERO]


class Settings(BaseModel):
    """Settings of the corrugation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    lattice: Literal["square", "hexagonal"] = Field(description="lattice of the sample")
    lattice_constant_nm: Annotated[float, Field(ge=1e-3, le=1e6, allow_inf_nan=False)] = Field(
        description="distance of neighbouring lattice points; lattice planes must be at least two pixels apart"
    )
    angle_rad: Annotated[tuple[Angle, Angle], RISING, one_or_two("an angle", Angle)] = Field(
        default=(0.0, PI), description="angle of a lattice vector with x"
    )
    strength: Strengths = Field(
        description="standard deviation of the corrugation, in standard deviations of the clean image"
    )


COLUMNS = (
    sigma_column("corrugation_sigma", "the lattice's corrugation"),
    Column(
        name="lattice_angle",
        dtype="<f8",
        per="observation",
        units="rad",
        long_name="angle of a vector of the corrugation's lattice with x",
        absent=math.nan,
    ),
)

_PLANES_PER_CONSTANT = {"square": 1.0, "hexagonal": 1.1547005383792515}  # 2 / sqrt(3)
_SQUARE = 0.0, 0.5, 0.0
_HEXAGONAL = 1 / 6, 5 / 6, 3 / 2
_ROOT_TWO_THIRDS = 0.816496580927726
_f32 = np.float32


def check(settings: Settings, spec: ReleaseSpec) -> None:
    """Refuse lattices that would alias; see :class:`qpibench.corruptions.Restricted`."""
    pitch_nm = max(spec.grid.pitch_x_nm, spec.grid.pitch_y_nm)
    least_nm = PIXELS_PER_PERIOD * pitch_nm * _PLANES_PER_CONSTANT[settings.lattice]
    if settings.lattice_constant_nm < least_nm:
        raise ValueError(
            f"corruptions.corrugation.lattice_constant_nm = {settings.lattice_constant_nm:g} would alias: pixels are"
            f" {pitch_nm:.4g} nm apart, so a {settings.lattice} lattice needs at least {least_nm:.4g} nm"
        )


def numbers(settings: Settings, key: Callable[[str], np.uint64], grid: Grid) -> tuple[np.generic, ...]:
    """Key, waves, waves per nm; lower ends and lengths of the ranges of strength and angle / pi; half pitches."""
    (low, high), (first, last) = settings.strength, settings.angle_rad
    per_nm = _PLANES_PER_CONSTANT[settings.lattice] / settings.lattice_constant_nm
    ranges = low, high - low, first / PI, (last - first) / PI
    halves = grid.pitch_x_nm / 2, grid.pitch_y_nm / 2
    waves = np.int32(2 if settings.lattice == "square" else 3)
    return key("corrugation"), waves, *map(np.float64, (per_nm, *ranges, *halves))


def corrupt(settings: Settings, draft: Draft) -> dict[str, NDArray[Any]]:
    """Add the lattice to the images of a draft; see :class:`qpibench.corruptions.Corruption`."""
    sigma, angle = np.empty(len(draft), np.float32), np.empty(len(draft), np.float64)
    drawn_by = numbers(settings, draft.key, draft.grid)
    _corrugate(draft.start, draft.per_kernel, *drawn_by, draft.variance, draft.image, sigma, angle)
    return {"corrugation_sigma": sigma, "lattice_angle": angle}


def reference(
    grid: Grid, lattice: str, *, lattice_constant_nm: float, angle_rad: float, phases: ArrayLike
) -> NDArray[np.float64]:
    """The corrugation of standard deviation 1.

    Parameters
    ----------
    grid
        Grid of the image.
    lattice
        ``"square"`` or ``"hexagonal"``.
    lattice_constant_nm, angle_rad
        Lattice constant, and the angle of a lattice vector with x.
    phases
        Two phases in rad; see the equation of the module.

    Returns
    -------
    ndarray
        (y, x) float64.
    """
    first, second = np.asarray(phases, np.float64)
    x, y = grid.x_nm, grid.y_nm[:, None]
    if lattice == "square":
        length, waves = 2 * PI / lattice_constant_nm, [(0, first), (90, second)]
    else:
        length = 4 * PI / (np.sqrt(3) * lattice_constant_nm)
        waves = [(30, first), (150, second), (270, -first - second)]
    total = np.zeros(grid.shape)
    for degrees, phase in waves:
        direction = angle_rad + np.deg2rad(degrees)
        total += np.cos(length * (x * np.cos(direction) + y * np.sin(direction)) + phase)
    scaled: NDArray[np.float64] = np.sqrt(2 / len(waves)) * total
    return scaled


@compiled(nogil=True, error_model="numpy")
def _corrugate(  # type: ignore[no-untyped-def]
    start,
    per_kernel,
    key,
    waves,
    per_nm,
    low,
    span,
    low_angle,
    span_angle,
    half_x,
    half_y,
    variance,
    image,
    sigma,
    angle,
):
    """Add the lattice to ``image`` (observation, y, x) float32; fill ``sigma`` and ``angle`` (observation,)."""
    ny, nx = image.shape[1:]
    cosine, sine = np.empty((3, nx), np.float64), np.empty((3, nx), np.float64)
    total = np.empty(nx, np.float64)
    turns, phase, along_y = np.empty(3), np.empty(3), np.empty(3)
    for row in range(len(image)):
        kernel, index = divmod(start + row, per_kernel)
        drawn = words(key, 0, index, kernel)
        sigma[row] = deviation(variance[row], low + unit(drawn[0]) * span)
        half_turns = low_angle + unit(drawn[1]) * span_angle
        angle[row] = PI * half_turns
        phase[0], phase[1] = unit(drawn[2]), unit(drawn[3])
        phase[2] = -(phase[0] + phase[1])
        for wave in range(waves):
            turns[wave] = half_turns + (_SQUARE[wave] if waves == 2 else _HEXAGONAL[wave])
            sin_w, cos_w = sincospi_f64(turns[wave])
            along_x = per_nm * cos_w * half_x
            along_y[wave] = per_nm * sin_w * half_y
            for ix in range(nx):
                t = fma(along_x, np.float64(2 * ix - (nx - 1)), phase[wave])
                sine[wave, ix], cosine[wave, ix] = sincospi_f64(2.0 * t)
        factor = sigma[row] if waves == 2 else sigma[row] * _f32(_ROOT_TWO_THIRDS)
        for iy in range(ny):
            total[:] = 0.0
            for wave in range(waves):
                sin_y, cos_y = sincospi_f64(2.0 * (along_y[wave] * np.float64(2 * iy - (ny - 1))))
                for ix in range(nx):
                    total[ix] += fma(cosine[wave, ix], cos_y, -(sine[wave, ix] * sin_y))
            for ix in range(nx):
                image[row, iy, ix] = fma(factor, _f32(total[ix]), image[row, iy, ix]) + _f32(0)
