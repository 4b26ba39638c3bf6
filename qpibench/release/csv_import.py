"""Makes a release of scatterer CSV files; see :mod:`qpibench.release.csv_layout`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from qpibench.errors import InvalidDataError, UsageError
from qpibench.release.csv_axes import forward_residuals
from qpibench.release.csv_file import CsvFile, read_csv
from qpibench.release.csv_layout import AxisOrder
from qpibench.release.writer import write_imported
from qpibench.specs import ImportedSpec
from qpibench.specs.load import explain
from qpibench.synthesis.contract import Kernels, Observations


@dataclass(frozen=True, kw_only=True)
class CsvImport:
    """What a release is written from, and how the axis order was decided.

    Attributes
    ----------
    spec, kernels, observations
        Arguments of :func:`qpibench.release.writer.write_imported`.
    residual
        Relative residual of superposing the kernels, in either axis order; the smaller one decided.
    """

    spec: ImportedSpec
    kernels: Kernels
    observations: Observations
    residual: dict[AxisOrder, float]


def import_release(
    files: Sequence[str | Path],
    path: str | Path,
    *,
    name: str | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[str, CsvImport]:
    """Write a release from scatterer CSV files.

    Parameters
    ----------
    files, progress
        See :func:`import_csv`.
    path
        The release file to write.
    name
        Name of the release; that of the file, without its suffix, if not given.
    overwrite
        Allow to replace an existing release.

    Returns
    -------
    content_sha256 : str
        Identity of the release.
    imported : CsvImport
        What was written, and how the axis order was decided.

    Raises
    ------
    UsageError, InvalidDataError, QpibenchError
        As :func:`import_csv` and :func:`qpibench.release.writer.write_imported`.
    """
    imported = import_csv(files, name=Path(path).stem if name is None else name, progress=progress)
    content = write_imported(imported.spec, path, imported.kernels, imported.observations, overwrite=overwrite)
    return content, imported


def import_csv(
    files: Sequence[str | Path], *, name: str = "imported", progress: Callable[[int, int], None] | None = None
) -> CsvImport:
    """Read scatterer CSV files, one for each kernel, into the arrays of one release.

    The files do not say which of x and y runs slowest in the pixels. That order is taken in which the kernels,
    superposed at the scatterers, resemble the images more.

    Parameters
    ----------
    files
        The files; their order is the order of the kernels.
    name
        Name of the release.
    progress
        Called with the number of files that are read and their total.

    Raises
    ------
    UsageError
        If a file is missing or given twice, there is none, or the name is not valid.
    InvalidDataError
        If a file is not of the layout; row and column are named. Or if the files are of different grids.
    QpibenchError
        If a file cannot be read.
    """
    if not files:
        raise UsageError("There is no CSV file to import; name at least one.")
    parts: list[CsvFile] = []
    for path in files:
        parts.append(read_csv(path))
        _check_fits(parts)
        if progress is not None:
            progress(len(parts), len(files))
    residual = forward_residuals(parts)
    axis_order: AxisOrder = "y_first" if residual["y_first"] < residual["x_first"] else "x_first"
    try:
        spec = ImportedSpec(
            name=name, files_sha256=tuple(p.sha256 for p in parts), axis_order=axis_order, grid=parts[0].grid
        )
    except ValidationError as error:
        raise UsageError(f"The release cannot be named {name!r}: {explain(error, ImportedSpec)}.") from None
    return CsvImport(
        spec=spec,
        kernels=_kernels(parts, axis_order),
        observations=_observations(parts, axis_order),
        residual=residual,
    )


def _check_fits(parts: list[CsvFile]) -> None:
    first, last = parts[0], parts[-1]
    if last.grid != first.grid:
        raise InvalidDataError(
            f"'{last.path}' has {last.grid.nx} pixels on {last.grid.size_x_nm:g} nm, but '{first.path}' has"
            f" {first.grid.nx} on {first.grid.size_x_nm:g} nm; import them into different releases."
        )
    for other in parts[:-1]:
        if other.sha256 == last.sha256:
            raise UsageError(f"'{last.path}' and '{other.path}' are the same; every kernel must be given once.")


def _images(stored: NDArray[np.float32], axis_order: AxisOrder) -> NDArray[np.float32]:
    """Images (..., y, x) from images in the file's order."""
    return stored.swapaxes(-2, -1) if axis_order == "x_first" else stored


def _kernels(parts: list[CsvFile], axis_order: AxisOrder) -> Kernels:
    unknown = np.full(len(parts), np.nan)
    return Kernels(
        image=np.ascontiguousarray(_images(np.stack([part.kernel for part in parts]), axis_order)),
        family=np.full(len(parts), b"unknown", dtype="S16"),
        fold=np.full(len(parts), -1, dtype=np.int32),
        phi1=unknown,
        B=unknown,
        phi2=unknown,
        C=unknown,
    )


def _observations(parts: list[CsvFile], axis_order: AxisOrder) -> Observations:
    counts = [len(part.image) for part in parts]
    positions = [position for part in parts for position in part.position_nm]
    position_nm = np.full((len(positions), max(part.max_scatterers for part in parts), 2), np.nan)
    for padded, position in zip(position_nm, positions, strict=True):
        padded[: len(position)] = position
    image = np.empty((sum(counts), *parts[0].grid.shape), dtype=np.float32)
    np.concatenate([_images(part.image, axis_order) for part in parts], out=image)
    return Observations(
        image=image,
        kernel=np.repeat(np.arange(len(parts), dtype=np.int32), counts),
        n_scatterers=np.array([len(position) for position in positions], dtype=np.int32),
        position_nm=position_nm,
    )
