"""Kernels as the CPU makes images of them: by a formula, or from tables."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from qpibench.arithmetic.superposition import Axes, Formulas, Scatterers
from qpibench.arithmetic.tables import Table, superpose_table
from qpibench.families import ClosedForm, Parameters, Scattering, Tabulated, get_family, is_tabulated
from qpibench.specs import ReleaseSpec
from qpibench.specs.lattice import lattices
from qpibench.specs.scattering import reach_nm
from qpibench.synthesis.tables import TableMaker, kept


class ShownKernels(Protocol):
    """Some kernels of a spec. Several threads may call it at once."""

    def __len__(self) -> int:
        """How many kernels."""

    def images(self, axes: Axes) -> NDArray[np.float32]:
        """Images (kernel, y, x) of a single scatterer at the origin."""

    def superpose(self, axes: Axes, row: NDArray[np.int64], scatterers: Scatterers, image: NDArray[np.float32]) -> None:
        """Fill images (observation, y, x) with superpositions; ``row`` (observation, species) has their kernels."""


def shown_kernels(spec: ReleaseSpec, parameters: Parameters) -> ShownKernels:
    """The kernels with these parameters, (kernel,) each."""
    family = get_family(spec.kernels.family)
    if not is_tabulated(family):
        return _Evaluated(cast(ClosedForm, family), parameters)
    if spec.scatterers.superposition == "multiple":
        return _Scattering(spec, cast(Scattering, family), parameters)
    return SampledKernels(spec, family, parameters)


class _Evaluated:
    def __init__(self, family: ClosedForm, parameters: Parameters) -> None:
        self.family = family
        self.formulas = Formulas(parameters[family.STRATUM], family.coefficients(parameters))

    def __len__(self) -> int:
        return len(self.formulas.table)

    def images(self, axes: Axes) -> NDArray[np.float32]:
        image = np.empty((len(self), len(axes.y), len(axes.x)), np.float32)
        self.family.kernel_images(axes, self.formulas, image)
        return image

    def superpose(self, axes: Axes, row: NDArray[np.int64], scatterers: Scatterers, image: NDArray[np.float32]) -> None:
        self.family.superpose(axes, row, self.formulas, scatterers, image)


class SampledKernels:
    """Kernels with tables."""

    def __init__(self, spec: ReleaseSpec, family: Tabulated, parameters: Parameters) -> None:
        self.spec, self.family, self.parameters = spec, family, parameters
        self.maker = TableMaker(family, spec.kernels, *lattices(spec))

    def __len__(self) -> int:
        return len(self.parameters[self.family.STRATUM])

    def images(self, axes: Axes) -> NDArray[np.float32]:
        image = np.empty((len(self), len(axes.y), len(axes.x)), np.float32)
        for kernel in range(len(self)):
            (image[kernel],) = self.family.samples(self.spec.kernels, self._kernel(kernel), axes.x, axes.y)
        reach = self.family.reach_nm(self.spec.kernels)
        image[:, np.abs(axes.y) > reach] = 0
        image[:, :, np.abs(axes.x) > reach] = 0
        image += np.float32(0)  # no negative zero
        return image

    def superpose(self, axes: Axes, row: NDArray[np.int64], scatterers: Scatterers, image: NDArray[np.float32]) -> None:
        check_offsets(self.spec, axes, scatterers.position)
        edges = [0, *(np.flatnonzero(np.diff(row[:, 0])) + 1).tolist(), len(row)]
        for start, stop in itertools.pairwise(edges):
            run = slice(start, stop)
            places = (values[run] for values in scatterers)
            tables = self.table(int(row[start, 0])), self.table(int(row[start, -1]))
            superpose_table(axes, tables, *places, image[run])

    def table(self, kernel: int) -> Table:
        """The table of a kernel."""
        return self.maker.table(self._kernel(kernel))

    def _kernel(self, kernel: int) -> Parameters:
        return {name: values[kernel : kernel + 1] for name, values in self.parameters.items()}


class _Scattering(SampledKernels):
    """Kernels of scatterers between which waves are scattered; the image of a single one is the same."""

    family: Scattering

    def superpose(self, axes: Axes, row: NDArray[np.int64], scatterers: Scatterers, image: NDArray[np.float32]) -> None:
        check_offsets(self.spec, axes, scatterers.position)
        exact = np.empty(image.shape[1:])
        reach = reach_nm(self.spec)
        for number, kernel in enumerate(row[:, 0].tolist()):
            parameters = self._kernel(kernel)
            shared = kept(
                (self.spec.kernels.model_dump_json(), reach),
                parameters,
                partial(self.family.scattering, self.spec.kernels, parameters, reach),
            )
            count = scatterers.number[number]
            places = scatterers.position[number, :count], scatterers.amplitude[number, :count]
            self.family.scatter(self.spec.kernels, parameters, shared, axes, *places, exact)
            image[number] = exact
        image += np.float32(0)  # no negative zero


def check_offsets(spec: ReleaseSpec, axes: Axes, position_nm: NDArray[np.float64]) -> None:
    """Raise ValueError if a table of a spec lacks offsets of scatterers, unless the kernel is 0 there."""
    family = get_family(spec.kernels.family)
    if not is_tabulated(family):
        return
    reach = family.reach_nm(spec.kernels)
    for axis, lattice, at in zip((0, 1), lattices(spec), axes, strict=True):
        farthest = np.fmax.reduce(np.abs(position_nm[..., axis]), axis=None, initial=0.0) + at[-1]
        if farthest > lattice.reach_nm and lattice.reach_nm < reach:
            raise ValueError(
                f"release '{spec.name}': a corruption places scatterers {farthest - lattice.reach_nm:.3g} nm too far"
                " outside the field, and does not define outside_nm"
            )
