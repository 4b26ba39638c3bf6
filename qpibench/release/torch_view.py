"""Makes a PyTorch data set from a release."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qpibench.corruptions import corruption_columns
from qpibench.errors import UnavailableError, UsageError
from qpibench.physics.activation import activation_map, check_map_mode
from qpibench.release.reader import Release, open_release

try:
    import torch
    from torch.utils.data import Dataset
except ModuleNotFoundError as error:
    raise UnavailableError(
        f"ReleaseDataset gives tensors and needs PyTorch ({error}): pip install 'qpibench[torch]'."
    ) from None

DEFAULT_FIELDS = ("image", "activation_map", "kernel")
DEFAULT_MAP_MODE = "paper"

_FIELDS = (
    "image",
    "kernel",
    "activation_map",
    "position_nm",
    "told_position_nm",
    "n_scatterers",
    *("kernel_index", "index"),
)


def sample_fields(release: Release) -> tuple[str, ...]:
    """Names of all fields that a sample of a release can contain; see :class:`ReleaseDataset`."""
    of_pairs = [name for name in release.kernels.pairs if name != "species"]
    of_scatterers = [name for name in ("species", "told_species") if f"observations/{name}" in release.arrays]
    return (*_FIELDS, *release.kernels.parameters, *of_pairs, *of_scatterers, *corruption_columns())


class ReleaseDataset(Dataset[dict[str, torch.Tensor]]):
    """Observations of one role of a task, as dictionaries of tensors.

    ``ReleaseDataset("paper.h5")`` is the training role of the release's first task, with the image, the published
    activation map and the kernel of every observation. It contains no test image.

    A `DataLoader` asks for a whole batch at once and gets it in one read. The data set can be pickled; every worker
    process opens the file for itself.

    Parameters
    ----------
    path
        The release file.
    task
        The task, such as ``"id"`` or ``"ood"``; the first of ``Release.tasks`` if None.
    role
        The role in the task: ``"train"``, ``"validation"`` or ``"test"``.
    fields
        The fields of a sample; ``("image", "activation_map", "kernel")`` if None. A choice of

        - ``image`` (y, x) float32: the observation,
        - ``kernel`` (y, x) float32: the kernel that it shows, the target of training,
        - ``activation_map`` (y, x) float32: the scatterers as a raster, at the positions that a model is told,
        - ``position_nm`` (scatterer, 2) float64: x and y of the scatterers in nm, padded with NaN,
        - ``told_position_nm`` (scatterer, 2) float64: the positions that a model is told,
        - the columns of any corruption, such as ``snr_db`` and ``noise_sigma``; where the release has none, their
          absent value (infinity and 0),
        - the columns of the release's kernels, such as ``fold``,
        - ``n_scatterers``, ``kernel_index``, ``index`` (int64): the number of scatterers, the row of the kernel in the
          release, and the row of the observation,
        - with two species: ``kernel`` (species, y, x), the columns of kernels and ``kernel_index`` (species,), and
          ``species`` and ``told_species`` (scatterer,) int32, padded with -1.
    map_mode
        How scatterers are rasterised, ``"exact"`` or ``"paper"``; see
        :func:`qpibench.physics.activation.activation_map`. If `fields` is None it is ``"paper"`` unless given, as in
        the track ``paper``; if `fields` names ``activation_map`` it must be given.

    Raises
    ------
    UsageError
        If there is no such file, task, role, field or mode, or `fields` names a map without its mode.
    InvalidDataError
        If the file is not a release.
    UnavailableError
        If PyTorch is not installed.

    Examples
    --------
    >>> from torch.utils.data import DataLoader  # doctest: +SKIP
    >>> dataset = ReleaseDataset("paper.h5")
    >>> for batch in DataLoader(dataset, batch_size=256, shuffle=True, num_workers=2):
    ...     batch["image"], batch["activation_map"], batch["kernel"]  # (256, y, x) each
    """

    def __init__(
        self,
        path: str | Path,
        *,
        task: str | None = None,
        role: str = "train",
        fields: Sequence[str] | None = None,
        map_mode: str | None = None,
    ) -> None:
        if fields is None:
            fields, map_mode = DEFAULT_FIELDS, map_mode or DEFAULT_MAP_MODE
        self.release = open_release(path)
        if isinstance(fields, str):
            raise UsageError(f"fields must be a list of names, such as ['{fields}'], found {fields!r}.")
        known = sample_fields(self.release)
        unknown = [field for field in fields if field not in known]
        if unknown:
            raise UsageError(f"A sample has no field '{unknown[0]}'; choose among {', '.join(known)}.")
        check_map_mode(map_mode, fields)
        self.task = next(iter(self.release.tasks), "id") if task is None else task
        self.role = role
        self.rows = self.release.split(self.task, role)
        self.fields = tuple(fields)
        self.map_mode = map_mode

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, torch.Tensor]]:
        """Samples of a batch. Their tensors are views of the tensors that :meth:`batch` returns."""
        batch = self.batch(indices)
        columns = [tensor.unbind() for tensor in batch.values()]
        return [dict(zip(batch, sample, strict=True)) for sample in zip(*columns, strict=True)]

    def batch(self, indices: Sequence[int]) -> dict[str, torch.Tensor]:
        """Read several samples at once; every field has a leading batch axis."""
        index = self.rows[np.asarray(indices, dtype=np.intp)]
        return {field: torch.from_numpy(self._read(field, index)) for field in self.fields}

    def _read(self, field: str, index: NDArray[np.int32]) -> NDArray[Any]:
        release = self.release
        match field:
            case "index":
                return index.astype(np.int64)
            case "kernel_index":
                return release.observation_kernel[index].astype(np.int64)
            case "kernel":
                return release.kernels.image[release.observation_kernel[index]]
            case "activation_map":
                return activation_map(release.grid, release.told_position_nm(index), mode=self.map_mode or "")
            case "n_scatterers":
                return release.take("n_scatterers", index).astype(np.int64)
            case "told_position_nm":
                return release.told_position_nm(index)
            case _ if f"observations/{field}" in release.arrays:
                return release.take(field, index)
            case _ if field in release.kernels.columns():
                return release.kernels.columns()[field][release.observation_kernel[index]]
            case _:
                column = corruption_columns()[field]
                shape = (len(index), release.max_scatterers) if column.per == "scatterer" else (len(index),)
                return column.empty(*shape)
