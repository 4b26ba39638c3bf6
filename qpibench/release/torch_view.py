"""A release as a PyTorch data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from qpibench.columns import Column
from qpibench.corruptions import corruption_names, get_corruption
from qpibench.errors import UsageError
from qpibench.physics.activation import activation_map, check_map_mode
from qpibench.release.reader import Release, open_release

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
    """All that a sample of a release may contain; see :class:`ReleaseDataset`."""
    return (*_FIELDS, *release.kernels.parameters, *_corruption_columns())


def _corruption_columns() -> dict[str, Column]:
    corruptions = map(get_corruption, corruption_names())
    return {column.name: column for corruption in corruptions for column in corruption.COLUMNS}


class ReleaseDataset(Dataset[dict[str, torch.Tensor]]):
    """Observations of one role of a task, as dictionaries of tensors.

    A `DataLoader` asks for a whole batch at once and gets it in one read. The data set can be pickled; every worker
    opens the file for itself.

    Parameters
    ----------
    path
        The release file.
    task, role
        Which split, such as ``"id"`` and ``"train"``.
    fields
        What a sample contains, out of

        - ``image`` (y, x) float32: the observation,
        - ``kernel`` (y, x) float32: the kernel that it shows, the target,
        - ``activation_map`` (y, x) float32: where a model is told that its scatterers are,
        - ``position_nm``, ``told_position_nm`` (scatterer, 2) float64: x and y of the scatterers, and as a model is
          told, padded with NaN,
        - the columns of any corruption, such as ``snr_db`` and ``noise_sigma``; where the release has none, their
          absent value (infinity and 0),
        - the columns of the release's kernels, such as ``fold``,
        - ``n_scatterers``, ``kernel_index``, ``index`` (int64): how many there are, the kernel's row in the release,
          and the observation's.
    map_mode
        How scatterers are rasterised, ``"exact"`` or ``"paper"``; see
        :func:`qpibench.physics.activation.activation_map`. The field ``activation_map`` needs it.

    Raises
    ------
    UsageError
        If there is no such file, task, role, field or mode, or a map is asked for without its mode.
    InvalidDataError
        If the file is not a release.

    Examples
    --------
    >>> from torch.utils.data import DataLoader  # doctest: +SKIP
    >>> fields = ("image", "activation_map", "kernel")
    >>> dataset = ReleaseDataset("paper.h5", task="id", role="train", fields=fields, map_mode="paper")
    >>> for batch in DataLoader(dataset, batch_size=256, shuffle=True, num_workers=2):
    ...     batch["image"]  # (256, y, x)
    """

    def __init__(
        self,
        path: str | Path,
        *,
        task: str,
        role: str,
        fields: Sequence[str] = ("image", "kernel"),
        map_mode: str | None = None,
    ) -> None:
        self.release = open_release(path)
        known = sample_fields(self.release)
        unknown = [field for field in fields if field not in known]
        if unknown:
            raise UsageError(f"A sample has no field '{unknown[0]}'; choose among {', '.join(known)}.")
        check_map_mode(map_mode, fields)
        self.rows = self.release.split(task, role)
        self.fields = tuple(fields)
        self.map_mode = map_mode

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, torch.Tensor]]:
        """Samples of a batch; their tensors are views of the tensors of :meth:`batch`."""
        batch = self.batch(indices)
        columns = [tensor.unbind() for tensor in batch.values()]
        return [dict(zip(batch, sample, strict=True)) for sample in zip(*columns, strict=True)]

    def batch(self, indices: Sequence[int]) -> dict[str, torch.Tensor]:
        """Several samples at once, every field with a leading batch axis."""
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
            case _ if field in release.kernels.parameters:
                return release.kernels.parameters[field][release.observation_kernel[index]]
            case _ if f"observations/{field}" in release.arrays:
                return release.take(field, index)
            case _:
                column = _corruption_columns()[field]
                shape = (len(index), release.max_scatterers) if column.per == "scatterer" else (len(index),)
                return column.empty(*shape)
