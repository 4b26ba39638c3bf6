"""Radial profiles of a family's kernels, as training batches."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from learned.batches import Batch, batches_ahead
from learned.source import Source, open_source
from qpibench.arithmetic.superposition import Axes, Formulas
from qpibench.errors import UsageError
from qpibench.families import Family, get_family
from qpibench.release import open_release
from qpibench.specs.columns import family_name
from qpibench.training import TrainingRun


@dataclass(frozen=True)
class ProfileDraws:
    """Draws of the profiles of a run's kernels.

    The profile of a kernel is the kernel of total symmetry that has the same radial parameters.

    Attributes
    ----------
    source
        The parameters of kernels: fresh draws of a spec, or the training kernels of a release.
    family
        Their family.
    """

    source: Source
    family: Family

    def parameters(self, step: int) -> Mapping[str, NDArray[Any]]:
        """Columns of the kernels of a step's batch."""
        return {name: tensor.numpy() for name, tensor in self.source.batch(step).items()}

    def profiles(self, columns: Mapping[str, NDArray[Any]], r_nm: NDArray[np.float64]) -> NDArray[np.float32]:
        """Values (kernel, r) of the profiles at ascending distances in nm."""
        count = len(columns["fold"])
        round_ = {**columns, "fold": np.zeros(count, np.int32), "phi1": np.full(count, np.pi / 2)}
        formulas = Formulas(round_[self.family.STRATUM], self.family.coefficients(round_))
        values = np.empty((count, 1, len(r_nm)), np.float32)
        self.family.kernel_images(Axes(r_nm, np.zeros(1)), formulas, values)
        return values[:, 0]


def open_profiles(run: TrainingRun, *, batch_size: int) -> ProfileDraws:
    """Open the kernels of a run.

    Raises
    ------
    UsageError
        If the kernels are not of a family with a fold and an angular phase, or those of a release are not known.
    """
    if run.release_path is None:
        assert run.spec is not None
        family_of, what = family_name(run.spec), f"Spec '{run.spec.name}'"
    else:
        with open_release(run.release_path) as release:
            family_of, what = family_name(release.spec), f"Release '{release.name}'"
            known = {name: release.kernels.parameters[name] for name in release.kernels.parameters}
            complete = all(np.isfinite(values).all() and (values != -1).all() for values in known.values())
        if not complete:
            raise UsageError(f"{what} does not say the parameters of its kernels, from which profiles are made.")
    family = get_family(family_of)
    names = tuple(column.name for column in family.COLUMNS)
    if not {"fold", "phi1"} <= set(names):
        raise UsageError(
            f"{what} has kernels of another family; polar_two_step learns kernels that are a radial profile times an"
            " angular factor, such as eq7."
        )
    return ProfileDraws(open_source(run, fields=names, batch_size=batch_size, unit="kernel"), family)


class ProfileSource:
    """Batches of profiles as vectors of coefficients; see :class:`learned.source.Source`.

    Parameters
    ----------
    draws
        The profiles.
    r_nm
        Distances at which they are computed.
    offset, matrix
        (coefficient,) and (r, coefficient): a profile p has the coefficients ``p @ matrix - offset``.
    """

    def __init__(
        self,
        draws: ProfileDraws,
        r_nm: NDArray[np.float64],
        offset: NDArray[np.float64],
        matrix: NDArray[np.float64],
    ) -> None:
        inner = draws.source
        self.record, self.grid, self.batch_size = inner.record, inner.grid, inner.batch_size
        self.steps_per_epoch = inner.steps_per_epoch
        self._draws, self._r_nm, self._offset, self._matrix = draws, r_nm, offset, matrix

    def batch(self, step: int) -> Batch:
        return self._of(self._draws.source.batch(step))

    def ahead(self, start: int) -> Generator[Batch, None, None]:
        return batches_ahead(self.batch, start)

    def validation(self) -> Sequence[Batch]:
        return [self._of(batch) for batch in self._draws.source.validation()]

    def _of(self, batch: Batch) -> Batch:
        columns = {name: tensor.numpy() for name, tensor in batch.items()}
        coefficient = self._draws.profiles(columns, self._r_nm) @ self._matrix - self._offset
        return {"profile": torch.from_numpy(coefficient.astype(np.float32))}
