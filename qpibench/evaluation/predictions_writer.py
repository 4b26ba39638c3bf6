"""Writes predictions files; :mod:`qpibench.evaluation.predictions` defines their contents."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from qpibench.evaluation.prediction_record import Record
from qpibench.evaluation.predictions import (
    AUTOENCODED_VERSION,
    FORMAT_VERSION,
    KERNELS,
    SPECIES,
    SPECIES_VERSION,
)
from qpibench.files import WholeFile
from qpibench.grid import Grid


class PredictionsWriter:
    """Writes a predictions file batch by batch; it appears whole when :meth:`finish` is called, or not at all.

    Until then it has no name where the file system allows that, so that the model cannot open it.

    Rows that are never written stay NaN.

    Parameters
    ----------
    path
        The file to write; an existing file is replaced.
    release_sha256
        Content hash of the release.
    index
        Rows of the release to predict, by task.
    grid
        Grid of the kernels.
    n_species
        Number of kernels of every image.

    Raises
    ------
    UsageError
        As :func:`qpibench.files.check_file`.
    QpibenchError
        From any method, if writing fails, as on a full disk.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        release_sha256: str,
        index: Mapping[str, NDArray[np.int32]],
        grid: Grid,
        n_species: int = 1,
    ) -> None:
        self._whole = WholeFile(path, what="Predictions file")
        self._sink = _Sink(self._whole.fd)
        self._file = h5py.File(self._sink, "w", libver=("v108", "v108"))  # knows attributes over 64 kB
        self._file.attrs["format_version"] = FORMAT_VERSION if n_species == 1 else SPECIES_VERSION
        self._file.attrs["release_sha256"] = release_sha256
        for task, rows in index.items():
            self._file.create_group(task)["index"] = rows.astype(np.int32)
            self._dataset(task, "kernel", grid.shape if n_species == 1 else (n_species, *grid.shape))

    def write(self, task: str, start: int, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Write predictions for consecutive images of a task, by the names of the datasets."""
        for name, values in arrays.items():
            self._dataset(task, name, values.shape[1:])[start : start + len(values)] = values
        self._check_sink()

    def write_kernel_latents(self, latents: NDArray[np.float32]) -> None:
        """Write the latents of the release's kernels, (kernel, d)."""
        self._file.require_group(KERNELS)["latent"] = latents
        self._check_sink()

    def write_autoencoded(self, kernels: NDArray[np.float32]) -> None:
        """Write the model's own decoding of the release's encoded kernels, (kernel, ky, kx)."""
        self._file.require_group(KERNELS)["autoencoded"] = kernels
        self._file.attrs["format_version"] = max(AUTOENCODED_VERSION, int(self._file.attrs["format_version"]))
        self._check_sink()

    def finish(self, record: Record) -> None:
        """Write the record and give the file its name."""
        self._file.attrs["record"] = record.as_json()
        self._file.close()
        self._check_sink()
        self._whole.commit()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()
        self._whole.__exit__(kind, error, traceback)

    def _dataset(self, task: str, name: str, shape: tuple[int, ...]) -> h5py.Dataset:
        """Return a dataset of a task, created on first use; ``shape`` is that of one image."""
        group = self._file[task]
        if name not in group:
            kind: tuple[str, float] = ("<i4", -1) if name == SPECIES else ("<f4", np.nan)
            group.create_dataset(name, shape=(len(group["index"]), *shape), dtype=kind[0], fillvalue=kind[1])
        return group[name]

    def _check_sink(self) -> None:
        if self._sink.error is not None:
            raise self._whole.explained(self._sink.error)


class _Sink(io.FileIO):
    """File object that HDF5 writes to. It stores the first error instead of raising it, as HDF5 would crash."""

    def __init__(self, handle: int) -> None:
        super().__init__(handle, "r+", closefd=False)
        self.error: OSError | None = None

    def write(self, content: Any) -> int:
        view = memoryview(content).cast("B")
        try:
            while view and self.error is None:
                view = view[os.write(self.fileno(), view) :]
        except OSError as error:
            self.error = error
        return memoryview(content).nbytes

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self.error = self.error or error
            return self.tell() if size is None else size
