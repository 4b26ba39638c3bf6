"""The sums of an image that a linear model needs, of a kernel in polar coordinates and of what else the image shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from shared.evidence import LinearModel
from shared.nuisance import Nuisance
from shared.polar import Points
from shared.polar_basis import PolarBasis

Values = NDArray[np.float64]

ROUNDING = {np.float32: 1e-7, np.float64: 1e-12}
"""Variance of a pixel, over that of the image, which sums of either precision lose."""


@dataclass(frozen=True, kw_only=True)
class Sums:
    """Sums of the columns of a basis and of nuisance columns over the pixels of an image.

    A kernel that reaches across the field with a constant value differs little from an offset of the image. Rounding
    hides the difference in the products of their columns, so if an offset is among the nuisance, each column is
    computed without its mean on some pixels, its centre, which is counted with the offset.

    Attributes
    ----------
    centre
        (column,): what is subtracted; 0 without an offset.
    centred
        The linear model of the columns without their centre, and without nuisance.
    crossed
        (column, nuisance): products of these columns with the nuisance columns.
    nuisance
        (nuisance, nuisance): products of the nuisance columns.
    shown
        (nuisance,): products of the nuisance columns with the image.
    variance
        (nuisance,): prior variances of their amplitudes.
    offset
        Number of the nuisance column that is 1 everywhere; None if there is none.
    """

    centre: Values
    centred: LinearModel
    crossed: Values
    nuisance: Values
    shown: Values
    variance: Values
    offset: int | None

    @cached_property
    def model(self) -> LinearModel:
        """The linear model of the columns as they are, without nuisance."""
        if self.offset is None:
            return self.centred
        mixed = np.outer(self.centre, self.crossed[:, self.offset])
        own = self.centred.pixels * np.outer(self.centre, self.centre)
        return replace(
            self.centred,
            gram=self.centred.gram + mixed + mixed.T + own,
            linear=self.centred.linear + self.centre * self.shown[self.offset],
        )

    def without(self, count: int, noise: float) -> tuple[LinearModel, float]:
        """Marginalise over the first nuisance columns, whose amplitudes are normal.

        Parameters
        ----------
        count
            How many of the columns.
        noise
            Variance of the noise of a pixel.

        Returns
        -------
        LinearModel
            What they leave of the sums.
        float
            What they add to the logarithm of the evidence: their Occam factor.
        """
        if not count:
            return self.model, 0.0
        variance = self.variance[:count]
        factor = cho_factor(self.nuisance[:count, :count] + np.diag(noise / variance), lower=True)
        model, crossed, shown = self._before(count, noise)
        of_columns, of_image = cho_solve(factor, crossed.T), cho_solve(factor, shown)
        energy = max(float(model.energy - shown @ of_image), 0.0)
        left = LinearModel(
            model.gram - crossed @ of_columns,
            model.linear - crossed @ of_image,
            energy,
            model.pixels,
            # Rounding is that of the whole image, of which less is left.
            model.rounding * model.energy / max(energy, model.rounding * model.energy),
        )
        occam = np.log(np.diagonal(factor[0])).sum() + 0.5 * np.log(variance / noise).sum()
        return left, -float(occam)

    def _before(self, count: int, noise: float) -> tuple[LinearModel, Values, Values]:
        """The sums of which the first nuisance columns are to be taken: of kernels, mixed, and of the image."""
        shown = self.shown[:count]
        if self.offset is None:
            return self.centred, self.crossed[:, :count], shown
        if self.offset >= count:
            return self.model, (self.crossed + np.outer(self.centre, self.nuisance[self.offset]))[:, :count], shown
        # The amplitude of the offset includes what the kernel has of its centres, about which it has its prior.
        precision = noise / self.variance[self.offset]
        crossed = self.crossed[:, :count].copy()
        crossed[:, self.offset] -= precision * self.centre
        gram = self.centred.gram + precision * np.outer(self.centre, self.centre)
        return replace(self.centred, gram=gram), crossed, shown


def sums(
    image: Values,
    pixels: Points,
    scatterers: Points,
    basis: PolarBasis,
    nuisance: Nuisance,
    *,
    functions: Sequence[Values] | None = None,
    dtype: type[np.floating] = np.float32,
) -> Sums:
    """Compute the sums of an image.

    Parameters
    ----------
    image, pixels, scatterers
        Values (pixel,) and places.
    basis
        Basis of the kernel.
    nuisance
        Other columns.
    functions
        Matrices (spline, function) for every radial function of the basis, whose amplitudes are wanted in place of
        coefficients of splines.
    dtype
        Precision of the products. Those of float32 are good to 1e-7 of the image's energy.
    """
    size = sum(map(len, basis.layout.splines) if functions is None else (own.shape[1] for own in functions))
    gram, linear, crossed = np.zeros((size, size)), np.zeros(size), np.zeros((size, nuisance.size))
    offset = next(iter(np.flatnonzero((nuisance.smooth == 1).all(axis=0)).tolist()), None)
    centre: NDArray[np.floating] | None = None
    for rows, columns in basis.columns(pixels, scatterers, functions, dtype):
        if centre is None:  # those of some pixels do: a constant is the same on all
            centre = columns.mean(axis=0) if offset is not None else np.zeros(size, columns.dtype)
        held = (columns - centre).astype(dtype, copy=False)
        gram += held.T @ held
        linear += held.T @ image[rows].astype(dtype)
        # Nuisance columns can be dependent, as an offset and those of all lines; rounding must not show between them.
        crossed += nuisance.of_pixels(rows).products(held.astype(np.float64, copy=False)).T
    assert centre is not None
    return Sums(
        centre=centre.astype(np.float64),
        centred=LinearModel(gram, linear, float(image @ image), len(image), ROUNDING[dtype]),
        crossed=crossed,
        nuisance=nuisance.own_products,
        shown=nuisance.products(image[:, None])[:, 0],
        variance=nuisance.variance,
        offset=offset,
    )
