r"""The kernel family of arXiv 2506.05325, eq. 7.

The scattering kernel is the image of a single scatterer at the origin. In polar coordinates $r$ and $\theta$,

$$A(r, \theta) = \sin^2\left(\frac{n \theta}{2} + \varphi_1\right) \sin^2(B r + \varphi_2)\, e^{-C r^2},$$

where the fold $n$ is 2, 3, 4 or 6, or 0 for total symmetry. Total symmetry has $\varphi_1 = \pi/2$ and hence an angular
factor of 1. (The article writes $A_n$ for $n/2$.) At $r = 0$ the angle is not defined, and the angular factor is its
angular mean. The ripples have the wavevector $q = 2 B$.

The compiled functions compute, for each pixel with the offsets $x$ and $y$ from the scatterer,

$$\sin^2\left(\frac{n \theta}{2} + \varphi_1\right) = \frac{1 - T_n(u)}{2}, \qquad
u = \frac{x \cos a - y \sin a}{r} = \cos(\theta + a), \qquad a = \frac{2 \varphi_1}{n},$$

with the Chebyshev polynomial $T_n$, and $\sin^2(B r + \varphi_2) = \sin^2(\pi t)$ with $t = B r/\pi + \varphi_2/\pi$.

Source: arXiv 2506.05325, equation 7.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import numba as nb
import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, model_validator

from qpibench.arithmetic.compiled import compiled
from qpibench.arithmetic.elementary import exp2_f64, reciprocal_f32, sin2pi_f32, sin2pi_f64, sincospi_f64
from qpibench.arithmetic.ieee import fma, sqrt
from qpibench.arithmetic.superposition import LOG2_E, image_of_kernel, superpose_tiles
from qpibench.columns import FOLD, fold_label, parameter_column
from qpibench.families import KernelSpec, Parameters
from qpibench.ranges import INTEGER_KEYS, RISING, between

PI = math.pi

Fold = Literal[0, 2, 3, 4, 6]

FOLDS: tuple[Fold, ...] = (0, 2, 3, 4, 6)
"""Rotational symmetries, 0 for total symmetry."""

Length = Annotated[float, Field(ge=1e-3, le=1e6, allow_inf_nan=False)]

_f32 = np.float32


class Ranges(KernelSpec):
    """Ranges of the parameters of equation 7.

    ``folds`` get equal shares of ``count``, and the first ones get the remainder; ``fold_counts`` states counts
    instead. ``wavelength_nm`` is the range of pi/B and ``decay_nm`` that of 1/sqrt(C). Both phases are uniform in
    [0, pi).
    """

    family: Literal["eq7"] = Field(default="eq7", description="name of the formula")
    folds: tuple[Fold, ...] = Field(
        default=FOLDS, description="rotational symmetries, which have equal shares of count; 0 is total symmetry"
    )
    fold_counts: Annotated[dict[Fold, Annotated[int, Field(ge=0)]] | None, INTEGER_KEYS] = Field(
        default=None, description="number of kernels of each fold, such as {2 = 30, 4 = 70}, instead of equal shares"
    )
    wavelength_nm: Annotated[tuple[Length, Length], RISING] = Field(
        description="range of pi/B, the period of the radial oscillation"
    )
    decay_nm: Annotated[tuple[Length, Length], RISING] = Field(
        description="range of 1/sqrt(C), the radius at which the envelope has fallen to 1/e"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.folds or len(set(self.folds)) != len(self.folds):
            raise ValueError("folds must be a list of different folds out of 0, 2, 3, 4, 6")
        if self.fold_counts is not None and sum(self.fold_counts.values()) != self.count:
            raise ValueError(f"fold_counts add up to {sum(self.fold_counts.values())}, but count is {self.count}")
        return self

    def fold_shares(self) -> dict[int, int]:
        """Number of kernels of each fold."""
        if self.fold_counts is not None:
            return {fold: self.fold_counts[fold] for fold in FOLDS if fold in self.fold_counts}
        each, left = divmod(self.count, len(self.folds))
        return {fold: each + (place < left) for place, fold in enumerate(self.folds)}


COLUMNS = (
    FOLD,
    parameter_column("phi1", "rad", "angular phase of eq. 7"),
    parameter_column("B", "rad/nm", "radial wavevector of eq. 7, 2 pi included"),
    parameter_column("phi2", "rad", "radial phase of eq. 7"),
    parameter_column("C", "1/nm^2", "Gaussian decay of eq. 7"),
)

STRATUM = FOLD.name
stratum_label = fold_label
UNIFORMS = 4
EXAMPLE = {"wavelength_nm": [0.6, 3.0], "decay_nm": [1.0, 5.0]}


def shortest_period_nm(ranges: Ranges) -> float:
    """The shortest wavelength pi/B."""
    return ranges.wavelength_nm[0]


def core_radius_nm(ranges: Ranges) -> float:
    """No core: the kernel has its scale everywhere."""
    return 0.0


def strata(ranges: Ranges, start: int, stop: int) -> NDArray[np.int32]:
    """Folds of the kernels ``start`` to ``stop``; after the last kernel of the release the sequence repeats."""
    period = _fold_period(tuple(ranges.fold_shares().items()))
    fold: NDArray[np.int32] = period[np.arange(start, stop) % len(period)]
    return fold


@functools.lru_cache(maxsize=4)
def _fold_period(shares: tuple[tuple[int, int], ...]) -> NDArray[np.int32]:
    """Return the fold of each kernel. The folds alternate until each has its number of kernels."""
    fold, share = np.array(shares).T
    turn = np.concatenate([np.arange(count) for count in share])
    return np.repeat(fold, share)[np.argsort(turn, kind="stable")].astype(np.int32)


def parameters(
    ranges: Ranges, stratum: NDArray[np.int32], uniform: NDArray[np.float64]
) -> dict[str, NDArray[np.float64] | NDArray[np.int32]]:
    """Fold, phi1 (rad), B (rad/nm), phi2 (rad) and C (1/nm^2) of kernels, (kernel,) each."""
    wavelength = between(ranges.wavelength_nm, uniform[:, 0])
    decay = between(ranges.decay_nm, uniform[:, 1])
    return {
        "fold": stratum,
        "phi1": np.where(stratum == 0, PI / 2, PI * uniform[:, 2]),
        "B": PI / wavelength,
        "phi2": PI * uniform[:, 3],
        "C": 1.0 / (decay * decay),
    }


def wavevector(parameters: Parameters) -> NDArray[np.float64]:
    """Wavevectors q = 2 B in rad/nm of sin^2(B r + phi2)."""
    q: NDArray[np.float64] = 2 * parameters["B"]
    return q


def describe(parameters: Mapping[str, Any]) -> tuple[str, ...]:
    """Symmetry, wavelength and decay length of a kernel."""
    B, C = float(parameters["B"]), float(parameters["C"])
    symmetry = stratum_label(int(parameters["fold"]))
    if math.isnan(B + C):
        return (symmetry,)
    return symmetry, f"wavelength {PI / B:.3g} nm", f"decay {1 / math.sqrt(C):.3g} nm"


def check_direction(ranges: Ranges) -> None:
    """Refuse total symmetry; see :class:`qpibench.families.Rotatable`."""
    if ranges.fold_shares().get(0):
        raise ValueError(
            "species.second = 'rotated' needs kernels with a direction, and fold 0 has none; leave 0 out of"
            " kernels.folds"
        )


def rotated(columns: Parameters, angle_rad: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
    """The columns of rotated kernels: phi1 - n angle/2, modulo pi."""
    phi1 = columns["phi1"] - columns["fold"] * angle_rad / 2
    # A number just below 0 may be rounded to pi.
    turned = phi1 - PI * np.floor(phi1 / PI)
    return {**columns, "phi1": np.where(turned < PI, turned, 0.0)}


def gpu_ranges(ranges: Ranges) -> tuple[float, float, float, float]:
    """Lower end and length of the ranges of wavelength and decay length, in nm."""
    (wavelength, longest), (decay, widest) = ranges.wavelength_nm, ranges.decay_nm
    return wavelength, longest - wavelength, decay, widest - decay


def reference(
    dx: ArrayLike, dy: ArrayLike, *, fold: int, phi1: float, B: float, phi2: float, C: float
) -> NDArray[np.float64]:
    """Evaluate eq. 7 at offsets from the scatterer.

    Parameters
    ----------
    dx, dy
        Offsets in nm; they broadcast against each other.
    fold
        Rotational symmetry 2, 3, 4 or 6; 0 for total symmetry.
    phi1
        Angular phase in rad; pi/2 for total symmetry.
    B
        Radial frequency in rad/nm; the wavelength is pi/B.
    phi2
        Radial phase in rad.
    C
        Envelope in 1/nm^2; the decay length is 1/sqrt(C).

    Returns
    -------
    ndarray
        float64 of the broadcast shape, between 0 and 1.
    """
    r = np.hypot(dx, dy)
    theta = np.arctan2(dy, dx)
    angular_mean = 0.5 if fold else np.sin(phi1) ** 2
    angular = np.where(r == 0, angular_mean, np.sin(fold / 2 * theta + phi1) ** 2)
    radial = np.sin(B * r + phi2) ** 2 * np.exp(-C * r**2)
    result: NDArray[np.float64] = angular * radial
    return result


def coefficients(parameters: Parameters) -> NDArray[np.float64]:
    """The table of the formulas, (kernel, 5): cos a, sin a, B/pi, phi2/pi, -C log2(e)."""
    turn = 2.0 * parameters["phi1"] / (PI * np.maximum(parameters["fold"], 1))
    own = (parameters["B"] / PI, parameters["phi2"] / PI, -parameters["C"] * LOG2_E)
    return np.column_stack([_cos_and_sin_pi(turn), *own])


@compiled()
def _cos_and_sin_pi(turn):  # type: ignore[no-untyped-def]
    table = np.empty((len(turn), 2))
    for k in range(len(turn)):
        table[k, 1], table[k, 0] = sincospi_f64(turn[k])
    return table


# The pixel after one more scatterer, for each fold. kernels_cuda/families/eq7.cuh states the same operations.


@nb.njit(inline="always")
def _ring(pixel, r2, weight, freq, phase):  # type: ignore[no-untyped-def]
    return fma(weight, sin2pi_f32(fma(freq, sqrt(r2), phase)), pixel)


@nb.njit(inline="always")
def _add_0(pixel, r2, c, s, weight, freq, phase):  # type: ignore[no-untyped-def]
    return _ring(pixel, r2, weight, freq, phase)


@nb.njit(inline="always")
def _angular_2(r2, c, s):  # type: ignore[no-untyped-def]
    return _f32(1) - c * c * reciprocal_f32(r2)


@nb.njit(inline="always")
def _angular_3(r2, c, s):  # type: ignore[no-untyped-def]
    u = c * reciprocal_f32(sqrt(r2))
    return fma(-u, fma(_f32(2), u * u, _f32(-1.5)), _f32(0.5))


@nb.njit(inline="always")
def _angular_4(r2, c, s):  # type: ignore[no-untyped-def]
    """A quarter of the angular factor; the gain of fold 4 is 4."""
    v = c * c * reciprocal_f32(r2)
    return fma(-v, v, v)


@nb.njit(inline="always")
def _angular_6(r2, c, s):  # type: ignore[no-untyped-def]
    # T_6 amplifies rounding ninefold where u^2 is near 1, so the smaller of the two components is used.
    c2 = c * c
    s2 = s * s
    steep = s2 < c2
    v = (s2 if steep else c2) * reciprocal_f32(r2)
    w = fma(_f32(-4), v, _f32(3))
    value = v * w * w
    return value if steep else _f32(1) - value


@nb.njit(inline="always")
def _add_2(pixel, r2, c, s, weight, freq, phase):  # type: ignore[no-untyped-def]
    return _ring(pixel, r2, weight * _angular_2(r2, c, s), freq, phase)


@nb.njit(inline="always")
def _add_3(pixel, r2, c, s, weight, freq, phase):  # type: ignore[no-untyped-def]
    return _ring(pixel, r2, weight * _angular_3(r2, c, s), freq, phase)


@nb.njit(inline="always")
def _add_4(pixel, r2, c, s, weight, freq, phase):  # type: ignore[no-untyped-def]
    return _ring(pixel, r2, weight * _angular_4(r2, c, s), freq, phase)


@nb.njit(inline="always")
def _add_6(pixel, r2, c, s, weight, freq, phase):  # type: ignore[no-untyped-def]
    return _ring(pixel, r2, weight * _angular_6(r2, c, s), freq, phase)


# At r = 0 the angular factor is its mean, 1/2. For fold 4, a quarter of it is 1/8.


@nb.njit(inline="always")
def _centre_2(pixel, r2, c, s, weight, freq, phase):  # type: ignore[no-untyped-def]
    return _ring(pixel, r2, weight * (_f32(0.5) if r2 == _f32(0) else _angular_2(r2, c, s)), freq, phase)


@nb.njit(inline="always")
def _centre_3(pixel, r2, c, s, weight, freq, phase):  # type: ignore[no-untyped-def]
    return _ring(pixel, r2, weight * (_f32(0.5) if r2 == _f32(0) else _angular_3(r2, c, s)), freq, phase)


@nb.njit(inline="always")
def _centre_4(pixel, r2, c, s, weight, freq, phase):  # type: ignore[no-untyped-def]
    return _ring(pixel, r2, weight * (_f32(0.125) if r2 == _f32(0) else _angular_4(r2, c, s)), freq, phase)


@nb.njit(inline="always")
def _centre_6(pixel, r2, c, s, weight, freq, phase):  # type: ignore[no-untyped-def]
    return _ring(pixel, r2, weight * (_f32(0.5) if r2 == _f32(0) else _angular_6(r2, c, s)), freq, phase)


# One compiled function per fold: the pixel loop vectorises if the formula is constant.


@compiled(nogil=True, error_model="numpy")
def _superpose_0(axes, position, amplitude, species, count, numbers, image):  # type: ignore[no-untyped-def]
    superpose_tiles(_add_0, _add_0, 0, _f32(1), axes, position, amplitude, species, count, numbers, image)


@compiled(nogil=True, error_model="numpy")
def _superpose_2(axes, position, amplitude, species, count, numbers, image):  # type: ignore[no-untyped-def]
    superpose_tiles(_add_2, _centre_2, 1, _f32(1), axes, position, amplitude, species, count, numbers, image)


@compiled(nogil=True, error_model="numpy")
def _superpose_3(axes, position, amplitude, species, count, numbers, image):  # type: ignore[no-untyped-def]
    superpose_tiles(_add_3, _centre_3, 1, _f32(1), axes, position, amplitude, species, count, numbers, image)


@compiled(nogil=True, error_model="numpy")
def _superpose_4(axes, position, amplitude, species, count, numbers, image):  # type: ignore[no-untyped-def]
    superpose_tiles(_add_4, _centre_4, 1, _f32(4), axes, position, amplitude, species, count, numbers, image)


@compiled(nogil=True, error_model="numpy")
def _superpose_6(axes, position, amplitude, species, count, numbers, image):  # type: ignore[no-untyped-def]
    superpose_tiles(_add_6, _centre_6, 2, _f32(1), axes, position, amplitude, species, count, numbers, image)


@compiled(nogil=True, error_model="numpy")
def superpose(axes, row, formulas, scatterers, image):  # type: ignore[no-untyped-def]
    """Fill ``image`` (observation, y, x) float32 with superpositions; see :class:`qpibench.families.Family`."""
    for k in range(len(image)):
        fold = formulas.stratum[row[k, 0]]
        numbers = formulas.table[row[k]]
        count = scatterers.number[k]
        position = scatterers.position[k]
        amplitude = scatterers.amplitude[k]
        species = scatterers.species[k]
        if fold == 0:
            _superpose_0(axes, position, amplitude, species, count, numbers, image[k])
        elif fold == 2:
            _superpose_2(axes, position, amplitude, species, count, numbers, image[k])
        elif fold == 3:
            _superpose_3(axes, position, amplitude, species, count, numbers, image[k])
        elif fold == 4:
            _superpose_4(axes, position, amplitude, species, count, numbers, image[k])
        else:
            _superpose_6(axes, position, amplitude, species, count, numbers, image[k])


@nb.njit(inline="always")
def _value(n, x, y, r2, r, numbers):  # type: ignore[no-untyped-def]
    """Eq. 7 in float64."""
    c = x * numbers[0] - y * numbers[1]
    angular = 0.5
    if n == 0:
        angular = 1.0
    elif r2 > 0.0 and n == 3:
        u = c / r
        angular = 0.5 - u * (2.0 * (u * u) - 1.5)
    elif r2 > 0.0:
        v = c * c / r2
        if n == 2:
            angular = 1.0 - v
        elif n == 4:
            angular = 4.0 * (v - v * v)
        else:
            w = 4.0 * v - 3.0
            angular = 1.0 - v * (w * w)
    return exp2_f64(numbers[4] * r2) * angular * sin2pi_f64(fma(numbers[2], r, numbers[3]))


@compiled(nogil=True, error_model="numpy")
def kernel_images(axes, formulas, image):  # type: ignore[no-untyped-def]
    """Fill ``image`` (kernel, y, x) float32 with single scatterers; see :class:`qpibench.families.Family`."""
    for k in range(len(image)):
        image_of_kernel(_value, axes, formulas.stratum[k], formulas.table[k], image[k])
