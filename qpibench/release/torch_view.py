"""A release as a PyTorch data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from qpibench.errors import UsageError
from qpibench.physics.activation import activation_map, check_map_mode
from qpibench.release.reader import open_release

FIELDS = (
    "image",
    "kernel",
    "activation_map",
    "position_nm",
    "n_scatterers",
    "snr_db",
    "noise_sigma",
    "kernel_index",
    "index",
)
"""What a sample may contain; see :class:`ReleaseDataset`."""


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
        - ``activation_map`` (y, x) float32: where its scatterers are,
        - ``position_nm`` (scatterer, 2) float64: x and y, padded with NaN,
        - ``snr_db`` float64, ``noise_sigma`` float32: the white noise in the image, its signal-to-noise ratio in dB and
          its standard deviation; infinity and 0 where the release has none,
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
        unknown = [field for field in fields if field not in FIELDS]
        if unknown:
            raise UsageError(f"A sample has no field '{unknown[0]}'; choose among {', '.join(FIELDS)}.")
        check_map_mode(map_mode, fields)
        self.release = open_release(path)
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
                return activation_map(release.grid, release.take("position_nm", index), mode=self.map_mode or "")
            case "n_scatterers":
                return release.take("n_scatterers", index).astype(np.int64)
            case "snr_db" | "noise_sigma" if f"observations/{field}" not in release.arrays:
                return np.full(len(index), np.inf) if field == "snr_db" else np.zeros(len(index), np.float32)
            case _:
                return release.take(field, index)
