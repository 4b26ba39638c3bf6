"""The predictions file: a model's predictions for the test images of a release, as HDF5.

::

    /<task>/kernel        (image, ky, kx) float32   rows of NaN where the model failed
    /<task>/index         (image) int32             rows of the release
    /<task>/kernel_full   (image, 2y-1, 2x-1) float32   optional
    /<task>/std           (image, ky, kx) float32   optional
    /<task>/latent        (image, d) float32        optional: latents of the images
    /kernels/latent       (kernel, d) float32       optional: latents of the release's kernels
    /kernels/autoencoded  (kernel, ky, kx) float32  optional: the model's own decoding of the encoded true kernels;
                                                    rows of NaN for kernels of which the file predicts no image
    root attribute        release_sha256            content hash of the release

Images of the release have y x x pixels. Kernels have as many, or if the record has a ``kernel_px``, they are the
central kernel_px x kernel_px of them.

With two species of scatterers each image has two kernels: ``kernel`` and ``std`` are (image, species, ky, kx),
``kernel_full`` is (image, species, 2y-1, 2x-1), and a task may also have

::

    /<task>/species       (image, scatterer) int32  optional: species, 0 or 1, of the scatterer at each told position,
                                                    then -1; all -1 where the model failed

Any program can write such a file. Files written by qpibench have two more root attributes: ``format_version`` and
``record``, the JSON of :class:`~qpibench.evaluation.prediction_record.Record`. A file contains every test image of each
of its tasks or, if its record has a ``limit``, the images that :func:`qpibench.tasks.subset` returns.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import h5py
import numpy as np
from numpy.typing import DTypeLike, NDArray
from pydantic import ValidationError

from qpibench.errors import InvalidDataError, QpibenchError, UsageError
from qpibench.evaluation.prediction_record import Record
from qpibench.evaluation.predictions_identity import content_sha256
from qpibench.grid import Grid
from qpibench.parsing import parse_json
from qpibench.release.hdf5 import open_hdf5, structure
from qpibench.specs.load import explain
from qpibench.tasks import subset
from qpibench.tasks.batch import MAX_LATENT
from qpibench.tasks.patch import kernel_grid
from qpibench.tasks.species import count_of_species

if TYPE_CHECKING:
    from qpibench.release import Release

FORMAT_VERSION = 2
"""Version of the files without auto-encoded kernels.

Format 1 has the same content; only the hash of the predictions is another one, see :meth:`Predictions.sha256`.
"""

AUTOENCODED_VERSION = 3
"""Version of the files with auto-encoded kernels. Older versions of qpibench cannot hash these, and refuse the file."""

SPECIES_VERSION = 4
"""Version of the files with the kernels of two species, which older versions of qpibench do not know."""

DATASETS = ("kernel", "kernel_full", "std", "latent")
"""Datasets that a file can have for the images of a task."""

SPECIES = "species"
"""Another one, of releases with two species of scatterers: the species of the scatterers."""

KERNELS = "kernels"
"""Name of the group with latents and decodings of the release's kernels, which is no task."""

_READ_VERSIONS = (1, FORMAT_VERSION, AUTOENCODED_VERSION, SPECIES_VERSION)
_OF_KERNELS = ("autoencoded", "latent")  # datasets of the group KERNELS
_ROWS_AT_ONCE = 256  # that are read, and hashed or checked

Rows = slice | NDArray[np.integer]


class Predictions:
    """A checked predictions file, open for reading; methods read the arrays from the file.

    Attributes
    ----------
    path
        The file.
    tasks
        Names of its tasks.
    record
        The record of how it was made; None in a file of another program.
    n_species
        Number of kernels of every image, 1 or 2. With two, kernels and standard deviations have the shapes (image,
        species, y, x).
    kernel_grid
        Grid of the predicted kernels.
    """

    def __init__(
        self, path: Path, file: h5py.File, record: Record | None, kernel_grid: Grid, *, n_species: int = 1
    ) -> None:
        self.path, self.record, self.n_species, self._file = path, record, n_species, file
        self.kernel_grid = kernel_grid
        self.tasks: tuple[str, ...] = _tasks(file)

    def index(self, task: str) -> NDArray[np.int32]:
        """Return the rows of the release that the file predicts, (image,) int32."""
        return np.asarray(self._file[task]["index"][:], dtype=np.int32)

    def kernel(self, task: str, rows: Rows = slice(None)) -> NDArray[np.float32]:
        """Return predicted kernels, (image, ky, kx) float32; NaN for failed images. ``rows`` count within the task."""
        return self._read(task, "kernel", rows)

    def kernel_full(self, task: str, rows: Rows = slice(None)) -> NDArray[np.float32] | None:
        """Return kernels on the lattice of offsets, (image, 2y-1, 2x-1) float32; None if the file has none."""
        return self._read(task, "kernel_full", rows) if "kernel_full" in self._file[task] else None

    def std(self, task: str, rows: Rows = slice(None)) -> NDArray[np.float32] | None:
        """Return the stated standard deviations of the pixels, (image, ky, kx) float32; None if there are none."""
        return self._read(task, "std", rows) if "std" in self._file[task] else None

    @property
    def order_is_free(self) -> bool:
        """Whether the predicted kernels of an image may be in any order, as the model was not told the species."""
        return self.n_species > 1 and not (self.record is not None and self.record.told_species)

    def species(self, task: str, rows: Rows = slice(None)) -> NDArray[np.int32] | None:
        """Return the species of the scatterers at told positions, (image, scatterer) int32; None if there are none.

        Values other than 0 and 1 name no species.
        """
        if self.n_species == 1 or SPECIES not in self._file[task]:
            return None
        return self._read(task, SPECIES, rows, np.int32)

    def latent(self, task: str, rows: Rows = slice(None)) -> NDArray[np.float32] | None:
        """Return the latents of the images, (image, d) float32; None if the file has none."""
        return self._read(task, "latent", rows) if "latent" in self._file[task] else None

    def kernel_latent(self) -> NDArray[np.float32] | None:
        """Return the latents of the release's kernels, (kernel, d) float32; None if the file has none."""
        return self._read(KERNELS, "latent", slice(None)) if f"{KERNELS}/latent" in self._file else None

    def autoencoded(self, kernels: Rows) -> NDArray[np.float32] | None:
        """Return the model's own decoding of encoded true kernels, (kernel, ky, kx) float32; None if there is none.

        ``kernels`` are rows of the release's kernels.
        """
        return self._read(KERNELS, "autoencoded", kernels) if f"{KERNELS}/autoencoded" in self._file else None

    def sha256(self) -> str:
        """Return the hash by which results name these predictions, hexadecimal.

        It is :func:`~qpibench.evaluation.predictions_identity.content_sha256`: two runs of a deterministic model give
        one hash. Files of format 1 have the SHA-256 of the file instead.
        """
        if self._file.attrs.get("format_version") == 1:
            return self.file_sha256()
        of_tasks = ("index", *DATASETS, *([SPECIES] if self.n_species > 1 else []))
        names = [f"{task}/{name}" for task in self.tasks for name in of_tasks if name in self._file[task]]
        names += [name for name in (f"{KERNELS}/{each}" for each in _OF_KERNELS) if name in self._file]
        text = _text(self._file.attrs["record"]) if "record" in self._file.attrs else "{}"
        record = parse_json(text, f"The record of predictions file '{self.path}'")
        return content_sha256(
            _text(self._file.attrs["release_sha256"]), record, {name: self._blocks(name) for name in names}
        )

    def file_sha256(self) -> str:
        """SHA-256 of the file, by which results older than format 2 name these predictions."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def _blocks(self, name: str) -> Iterator[NDArray[Any]]:
        """Yield the rows of an array block by block."""
        dataset = self._file[name]
        dtype = "<i4" if name.endswith(("/index", f"/{SPECIES}")) else "<f4"
        for start in range(0, max(1, len(dataset)), _ROWS_AT_ONCE):
            yield as_stored(dataset[start : start + _ROWS_AT_ONCE], dtype)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _read(self, task: str, name: str, rows: Rows, dtype: DTypeLike = np.float32) -> NDArray[Any]:
        dataset = self._file[task][name]
        if isinstance(rows, slice):
            return as_stored(dataset[rows], dtype)
        # HDF5 accepts rows in ascending order only, each of them once.
        once, place = np.unique(rows, return_inverse=True)
        return as_stored(dataset[once], dtype)[place]


def as_stored(values: NDArray[Any], dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """Return predicted values in the type that a predictions file stores."""
    with np.errstate(over="ignore"):  # a value too large for float32 becomes infinity, which is counted
        return values.astype(dtype, copy=False)


def release_of(path: Path, releases: Sequence[Release]) -> Release:
    """Return the release of a predictions file; the first one if none fits, which opening the file then reports."""
    digest = release_sha256_of(path)
    return next((release for release in releases if release.content_sha256 == digest), releases[0])


def release_sha256_of(path: Path) -> str | None:
    """Return the content hash of the release that a predictions file names; None if it cannot be read."""
    try:
        with structure(path) as file:
            return _text(file.attrs.get("release_sha256"))
    except (QpibenchError, OSError):
        return None


def open_predictions(path: str | Path, release: Release) -> Predictions:
    """Open a predictions file and check it against its release.

    Raises
    ------
    UsageError
        If there is no such file.
    InvalidDataError
        If it is not a predictions file, belongs to another release, has missing, additional or repeated rows, arrays
        of a wrong shape or type, or negative standard deviations.
    """
    path = Path(path)
    if not os.path.isfile(path):
        raise UsageError(f"There is no predictions file '{path}'.")
    try:
        file = open_hdf5(path)
    except InvalidDataError:
        raise InvalidDataError(
            f"'{path}' is not a predictions file: it is no HDF5 file, or one that was cut off."
        ) from None
    try:
        record = _check_root(file, path, release)
        grid = _kernel_grid(record, path, release)
        for task in _tasks(file):
            _check_task(file, task, path, release, grid, record.limit if record else None)
        _check_latents(file, path, release)
        _check_autoencoded(file, path, release, grid)
    except (OSError, RuntimeError, KeyError) as error:  # what h5py raises on a damaged file
        file.close()
        raise InvalidDataError(f"Predictions file '{path}' is damaged: {error}.") from None
    except BaseException:
        file.close()
        raise
    return Predictions(path, file, record, grid, n_species=count_of_species(release))


def _check_root(file: h5py.File, path: Path, release: Release) -> Record | None:
    release_sha256 = file.attrs.get("release_sha256")
    if release_sha256 is None or not _tasks(file):
        raise InvalidDataError(
            f"'{path}' is not a predictions file: it must have the root attribute release_sha256 and a group for each"
            " task with the datasets kernel and index."
        )
    if _text(release_sha256) != release.content_sha256:
        raise InvalidDataError(
            f"The predictions in '{path}' are for another release: they belong to the one with the content hash"
            f" {_text(release_sha256)}, but '{release.path}' has {release.content_sha256}."
        )
    version = file.attrs.get("format_version", FORMAT_VERSION)
    if np.ndim(version) or version not in _READ_VERSIONS:
        raise InvalidDataError(
            f"Predictions file '{path}' has format_version {version}, this qpibench reads 1 to {SPECIES_VERSION};"
            " predict again, or use the version of qpibench that wrote it."
        )
    if "record" not in file.attrs:
        return None
    text = _text(file.attrs["record"])
    parse_json(text, f"The record of predictions file '{path}'")
    try:
        return Record.model_validate_json(text)
    except ValidationError as error:
        raise InvalidDataError(
            f"The record of predictions file '{path}' is not valid: {explain(error, Record)}."
        ) from None


def _kernel_grid(record: Record | None, path: Path, release: Release) -> Grid:
    try:
        return kernel_grid(release.grid, None if record is None else record.kernel_px)
    except UsageError as error:
        raise InvalidDataError(f"The record of predictions file '{path}' is not valid: {error}") from None


def _check_task(file: h5py.File, task: str, path: Path, release: Release, grid: Grid, limit: int | None) -> None:
    where = f"Predictions file '{path}', task '{task}'"
    if task not in release.tasks:
        raise InvalidDataError(f"{where}: the release has no such task; it has {', '.join(release.tasks)}.")
    group = file[task]
    for name in ("kernel", "index"):
        if not isinstance(group, h5py.Group) or not isinstance(group.get(name), h5py.Dataset):
            raise InvalidDataError(f"{where}: dataset '{name}' is missing.")
    index = group["index"]
    if index.ndim != 1 or index.dtype.kind not in "iu":
        raise InvalidDataError(
            f"{where}: 'index' must be a list of integers, found shape {index.shape} of {index.dtype}."
        )
    for name, (kind, shape) in _expected(release, grid).items():
        if name not in group:
            continue
        dataset, wanted = group[name], (len(index), *shape)
        if dataset.shape != wanted or dataset.dtype.kind not in kind:
            numbers = "floating point" if kind == "f" else "integers"
            raise InvalidDataError(
                f"{where}: '{name}' must be {numbers} of shape {wanted}, found {dataset.dtype} of shape"
                f" {dataset.shape}."
            )
    asked = release.split(task, "test") if limit is None else subset(release, task, limit)
    if len(index) > len(release.observation_kernel):  # not read, as it may not fit into memory
        raise InvalidDataError(f"{where}: {len(index)} rows of a release of {len(release.observation_kernel)} images.")
    _check_rows(index[:].astype(np.int64), asked.astype(np.int64), where)
    if "std" in group:
        for start in range(0, len(index), _ROWS_AT_ONCE):
            std = group["std"][start : start + _ROWS_AT_ONCE]
            if (std < 0).any():
                raise InvalidDataError(
                    f"{where}: 'std' has the value {np.nanmin(std):.3g}; a standard deviation is 0 or more."
                )


def _expected(release: Release, grid: Grid) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return kind of number and shape of an image's part of each dataset of a task, by name."""
    count = count_of_species(release)
    pair = () if count == 1 else (count,)
    image, full = (*pair, *grid.shape), (*pair, *release.grid.offsets.shape)
    expected: dict[str, tuple[str, tuple[int, ...]]] = {"kernel": ("f", image), "kernel_full": ("f", full)}
    expected["std"] = ("f", image)
    if pair:
        expected[SPECIES] = ("iu", release.arrays[f"observations/{release.told_field}"].shape[1:2])
    return expected


def _check_latents(file: h5py.File, path: Path, release: Release) -> None:
    """Check that the latents of images and of kernels have the same number of dimensions."""
    rows = {task: len(file[task]["index"]) for task in _tasks(file)} | {KERNELS: len(release.kernels)}
    size = None
    for group, count in rows.items():
        if group not in file or ("latent" not in file[group] and (group != KERNELS or "autoencoded" in file[group])):
            continue
        latent = file[group].get("latent") if isinstance(file[group], h5py.Group) else None
        where = f"Predictions file '{path}': '{group}/latent'"
        if not isinstance(latent, h5py.Dataset) or latent.ndim != 2 or latent.dtype.kind != "f":
            raise InvalidDataError(f"{where} must be floating point of shape ({count}, d).")
        size = size or latent.shape[1]
        if latent.shape != (count, size) or not 1 <= size <= MAX_LATENT:
            wanted = size if 1 <= size <= MAX_LATENT else f"d from 1 to {MAX_LATENT}"
            raise InvalidDataError(f"{where} must have the shape ({count}, {wanted}), found {latent.shape}.")


def _check_autoencoded(file: h5py.File, path: Path, release: Release, grid: Grid) -> None:
    name = f"{KERNELS}/autoencoded"
    if name not in file:
        return
    dataset, wanted = file[name], (len(release.kernels), *grid.shape)
    if not isinstance(dataset, h5py.Dataset) or dataset.shape != wanted or dataset.dtype.kind != "f":
        found = f", found {dataset.dtype} of shape {dataset.shape}" if isinstance(dataset, h5py.Dataset) else ""
        raise InvalidDataError(f"Predictions file '{path}': '{name}' must be floating point of shape {wanted}{found}.")


def _check_rows(index: NDArray[np.int64], asked: NDArray[np.int64], where: str) -> None:
    rows, times = np.unique(index, return_counts=True)
    if (times > 1).any():
        raise InvalidDataError(f"{where}: row {rows[times > 1][0]} of the release occurs more than once.")
    foreign = np.setdiff1d(rows, asked)
    if len(foreign):
        raise InvalidDataError(f"{where}: {len(foreign)} rows are not asked for, the first is {foreign[0]}.")
    missing = np.setdiff1d(asked, rows)
    if len(missing):
        raise InvalidDataError(
            f"{where}: {len(missing)} of {len(asked)} rows are missing, the first is {missing[0]};"
            " an image without a prediction is a row of NaN."
        )


def _tasks(file: h5py.File) -> tuple[str, ...]:
    return tuple(name for name in file if name != KERNELS)


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
