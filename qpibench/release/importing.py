"""Makes a release of foreign files; see :mod:`qpibench.readers`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from qpibench.errors import InvalidDataError, UsageError
from qpibench.readers import Maps, Progress, get_reader
from qpibench.release.writer import write_imported
from qpibench.specs import ImportedSpec
from qpibench.specs.columns import kernel_columns
from qpibench.specs.load import explain
from qpibench.synthesis.contract import Kernels, Observations


def import_release(
    files: Sequence[str | Path],
    path: str | Path,
    *,
    reader: str = "csv",
    name: str | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> tuple[str, Maps]:
    """Write a release from foreign files that tell kernels and positions.

    Parameters
    ----------
    files
        The files.
    path
        The release file to write.
    reader
        Name of the reader.
    name
        Name of the release; that of the file, without its suffix, if not given.
    overwrite
        Allow to replace an existing release.
    progress
        Called with the number of files that are read and their total.

    Returns
    -------
    content_sha256 : str
        Identity of the release.
    maps : Maps
        What was read.

    Raises
    ------
    UsageError, InvalidDataError, QpibenchError
        As the reader and :func:`qpibench.release.writer.write_imported`; or if the name is not valid, there is no
        file, or the files do not tell kernels and positions.
    """
    name = Path(path).stem if name is None else name
    spec, kernels, observations, maps = import_arrays(files, reader=reader, name=name, progress=progress)
    return write_imported(spec, path, kernels, observations, overwrite=overwrite), maps


def import_arrays(
    files: Sequence[str | Path], *, reader: str = "csv", name: str = "imported", progress: Progress | None = None
) -> tuple[ImportedSpec, Kernels, Observations, Maps]:
    """Read foreign files into the arrays of one release; parameters and errors as :func:`import_release`."""
    if not files:
        raise UsageError("There is no file to import; name at least one.")
    maps = get_reader(reader).read(files, progress=progress)
    if maps.kernel is None or maps.kernel_image is None or maps.position_nm is None:
        lacking = "the positions of scatterers" if maps.position_nm is None else "the kernels"
        raise InvalidDataError(f"'{files[0]}' does not tell {lacking}, without which no model can be scored.")
    try:
        spec = ImportedSpec.model_validate(
            {
                "name": name,
                "source": reader,
                "files_sha256": maps.files_sha256,
                "axis_order": maps.axis_order,
                "grid": maps.grid,
            }
        )
    except ValidationError as error:
        raise UsageError(f"The release cannot be named {name!r}: {explain(error, ImportedSpec)}.") from None
    count = len(maps.kernel_image)
    kernels = Kernels(
        image=maps.kernel_image,
        family=np.full(count, b"unknown", dtype="S16"),
        parameters={column.name: column.empty(count) for column in kernel_columns(spec)},
    )
    observations = Observations(
        image=maps.image,
        kernel=maps.kernel,
        n_scatterers=(~np.isnan(maps.position_nm[..., 0])).sum(axis=1, dtype=np.int32),
        position_nm=maps.position_nm,
    )
    return spec, kernels, observations, maps
