"""Makes a release from foreign files, which are read by :mod:`qpibench.readers.images`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from qpibench.errors import InvalidDataError, UsageError
from qpibench.physics.residual import forward_residual
from qpibench.readers.images import Images, Progress, get_reader
from qpibench.release.writer import write_imported
from qpibench.specs import ImportedSpec
from qpibench.specs.columns import kernel_columns
from qpibench.specs.load import explain
from qpibench.synthesis.contract import Kernels, Observations

WARN_RESIDUAL = 0.1
"""Forward residual above which an import warns."""

MAX_RESIDUAL = 0.5
"""Forward residual above which an import refuses the files unless told otherwise."""


def import_release(
    files: Sequence[str | Path],
    path: str | Path,
    *,
    reader: str = "csv",
    name: str | None = None,
    overwrite: bool = False,
    max_residual: float = MAX_RESIDUAL,
    progress: Progress | None = None,
) -> tuple[str, Images]:
    """Write a release from foreign files that contain kernels and positions.

    Parameters
    ----------
    files
        The files.
    path
        The release file to write.
    reader
        Name of the reader; :func:`qpibench.readers.images.reader_names` lists them.
    name
        Name of the release; the file name of `path` without its suffix if None.
    overwrite
        Allow to replace an existing release.
    max_residual
        Refuse the files if the forward residual of an image is larger; see
        :func:`qpibench.physics.residual.forward_residual`. Above 0.1 there is a warning.
    progress
        Called with the number of files that have been read and their total number.

    Returns
    -------
    content_sha256 : str
        Content hash of the release.
    maps : Images
        The maps that were read; `warnings` and `details` tell how well the images agree with their kernels.

    Raises
    ------
    UsageError, InvalidDataError, QpibenchError
        As the reader and :func:`qpibench.release.writer.write_imported`; or if the name is not valid, there is no
        file, the files do not contain kernels and positions, or a residual is too large.
    """
    name = Path(path).stem if name is None else name
    spec, kernels, observations, maps = import_arrays(
        files, reader=reader, name=name, max_residual=max_residual, progress=progress
    )
    return write_imported(spec, path, kernels, observations, overwrite=overwrite), maps


def import_arrays(
    files: Sequence[str | Path],
    *,
    reader: str = "csv",
    name: str = "imported",
    max_residual: float = MAX_RESIDUAL,
    progress: Progress | None = None,
) -> tuple[ImportedSpec, Kernels, Observations, Images]:
    """Read foreign files into the arrays of one release; parameters and errors as :func:`import_release`."""
    if not files:
        raise UsageError("There is no file to import; name at least one.")
    maps = get_reader(reader).read(files, progress=progress)
    if maps.kernel is None or maps.kernel_image is None or maps.position_nm is None:
        lacking = "the positions of scatterers" if maps.position_nm is None else "the kernels"
        raise InvalidDataError(f"'{files[0]}' does not contain {lacking}, without which no model can be scored.")
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
    return spec, kernels, observations, _compared(maps, kernels, observations, max_residual)


def _compared(maps: Images, kernels: Kernels, observations: Observations, max_residual: float) -> Images:
    """Add the forward residuals of all images to the remarks on the maps.

    Raises
    ------
    InvalidDataError
        If a residual is larger than `max_residual`.
    """
    residual = np.empty(len(observations.image))
    for kernel, image in enumerate(kernels.image):
        rows = observations.kernel == kernel
        residual[rows] = forward_residual(maps.grid, image, observations.image[rows], observations.position_nm[rows])
    worst = int(np.argmax(residual))
    place = maps.places[worst] if maps.places else f"image {worst}"
    largest, median = float(residual[worst]), float(np.median(residual))

    def differing(limit: float) -> str:
        above = np.count_nonzero(residual > limit)
        return f"{above:,} of {len(residual):,} images have a forward residual above {limit:g}"

    if not largest <= max_residual:
        raise InvalidDataError(
            f"{differing(max_residual)}, the largest is {largest:.3g} ({place}): the image is not the sum of its kernel"
            " at the stated positions; check that kernel and positions belong to the images, or raise --max-residual"
            " if noise, a truncated kernel or multiple scattering explains it."
        )
    warnings = maps.warnings
    if largest > WARN_RESIDUAL:
        warnings += (
            f"{differing(WARN_RESIDUAL)}, the largest is {largest:.3g} ({place}): an image differs from the sum of its"
            " kernel at the stated positions by noise, a truncated kernel, multiple scattering, or a kernel or position"
            " that is wrong.",
        )
    found = {"median": median, "largest": largest} if np.isfinite(largest) else {"median": None, "largest": None}
    return replace(
        maps,
        remark=", ".join(filter(None, [maps.remark, f"median forward residual {median:.3g}, largest {largest:.3g}"])),
        details={**maps.details, "forward_residual": found},
        warnings=warnings,
    )
