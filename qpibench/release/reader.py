"""Reads releases."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from qpibench.errors import InvalidDataError, UsageError
from qpibench.families import Family, get_family
from qpibench.grid import Grid
from qpibench.parsing import shown
from qpibench.release import datasets, layout, virtual
from qpibench.release.hdf5 import open_hdf5, structure
from qpibench.release.remote import Place, Url, as_place
from qpibench.release.rows import stored_rows
from qpibench.release.shards import Shards
from qpibench.release.soundness import check_arrays
from qpibench.specs import ImportedSpec, ReleaseSpec, spec_from_json
from qpibench.specs.columns import family_name, scatterer_capacity
from qpibench.specs.species import pair_columns, species_count
from qpibench.synthesis.contract import Kernels, Observations

TEST_ROLE = "test"


def open_release(path: str | Path) -> Release:
    """Open a release for reading.

    The layout is checked and, for a virtual release, the presence of all its shards. The values are not checked;
    :meth:`Release.check` does that for the arrays that are used, :func:`qpibench.release.verify_release` for all.

    Parameters
    ----------
    path
        The release file, or its URL, such as ``"https://..."`` or ``"s3://..."``. At a URL coordinates, kernels, splits
        and columns with one number per observation are read whole at their first use, and of other arrays the rows that
        are asked for.

    Raises
    ------
    UsageError
        If there is no such file, or its server does not serve parts of files.
    InvalidDataError
        If the file is not a release, is incomplete, has a newer format, or one of its shards is missing or replaced.
    UnavailableError
        If a URL needs a package of ``qpibench[remote]`` that is not installed.
    QpibenchError
        If the file may not be read, or the network fails.

    Examples
    --------
    >>> with open_release("mini.h5") as release:  # doctest: +SKIP
    ...     rows = release.split("id", "test")
    ...     images = release.image(rows)
    """
    return Release(as_place(path))


class Release:
    """A release file, opened for reading.

    Values are read when they are requested. A release can be pickled; the process that unpickles it opens the file
    itself. :meth:`close`, or the end of a ``with`` block, closes the file; a later read opens it again.

    Attributes
    ----------
    path
        The file, or its URL.
    nbytes
        Size of the file in bytes, without shards.
    name, spec, grid
        Name, spec and pixel grid of the release.
    content_sha256
        Content hash of the release, as stored in the file.
    format_version, package_version
        Version of the file format, and version of the package that wrote the file.
    arrays
        Descriptions of all arrays of the release, by name.
    shards
        The shards that contain the observations of a virtual release; None for other releases.
    """

    def __init__(self, path: Place) -> None:
        self.path = path
        self._handles: dict[str, Any] = {}
        self._file: h5py.File | None = None
        self.shards: Shards | None = None
        self._sound: set[str] = set()
        with structure(path) as file:
            self.nbytes = int(file.id.get_filesize())
            attributes = datasets.attributes(file)
            self.format_version = _check_version(path, attributes)
            self.name, self.spec = _read_spec(path, attributes)
            self.grid: Grid = self.spec.grid
            sources = virtual.listed_sources(file)
            if sources is not None and isinstance(self.spec, ReleaseSpec):
                self.arrays = virtual.locate(file, self.spec)
            else:
                self.arrays = datasets.locate(file, self.spec)
        if sources is not None and isinstance(self.spec, ReleaseSpec):
            self.shards = virtual.open_sources(path, self.spec, sources)
        self.content_sha256 = str(attributes["content_sha256"])
        self.package_version = str(attributes.get("package_version", ""))
        self._check_sizes()

    @property
    def observation_count(self) -> int:
        """Number of observations."""
        return self.arrays["observations/image"].shape[0]

    @property
    def max_scatterers(self) -> int:
        """Length of the scatterer axis: the largest number of scatterers that an observation can have."""
        return self.arrays["observations/position_nm"].shape[1]

    @cached_property
    def kernels(self) -> Kernels:
        """All kernels; read at the first use and kept in memory."""
        columns = {array.field: self.read(name) for name, array in self.arrays.items() if array.group == "kernels"}
        pairs = {column.name: columns.pop(column.name) for column in pair_columns(self.spec) if column.name in columns}
        return Kernels(image=columns.pop("image"), family=columns.pop("family"), parameters=columns, pairs=pairs)

    @property
    def family(self) -> Family:
        """The kernel family that declares the columns of the kernels."""
        return get_family(family_name(self.spec))

    @cached_property
    def stratum(self) -> NDArray[np.int32]:
        """Stratum of every kernel, (kernel,) int32: the column by which kernels are split, such as the fold."""
        stratum: NDArray[np.int32] = self.kernels.parameters[self.family.STRATUM]
        return stratum

    @cached_property
    def observation_kernel(self) -> NDArray[np.int32]:
        """Row of the kernel table for every observation, (observation,) int32; read at the first use.

        With two species (observation, species), the row of each.
        """
        return self.read("observations/kernel")

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks that have a test role, sorted."""
        return tuple(sorted(task for task, roles in self._splits.items() if TEST_ROLE in roles))

    def split(self, task: str, role: str) -> NDArray[np.int32]:
        """Rows of the observations of a role in a task, (n,) int32; :meth:`check` is called first.

        Raises
        ------
        UsageError
            If the release has no such task or role.
        InvalidDataError
            As :meth:`check`.
        """
        for kind, asked, known in (("task", task, self._splits), ("role", role, self._splits.get(task, ()))):
            if asked not in known:
                where = f"Task '{task}' of release '{self.name}'" if kind == "role" else f"Release '{self.name}'"
                raise UsageError(f"{where} has no {kind} '{asked}'; it has {', '.join(sorted(known)) or 'none'}.")
        self.check()
        return self.read(f"splits/{task}/{role}")

    def image(self, indices: ArrayLike) -> NDArray[np.float32]:
        """Read images of observations, (n, y, x) float32.

        Parameters
        ----------
        indices
            (n,) rows of observations, integers in any order; repetitions are allowed.

        Raises
        ------
        IndexError
            If an index is negative or too large.
        """
        return self.take("image", indices)

    def observations(self, indices: ArrayLike) -> Observations:
        """Read observations with all their columns; `indices` as in :meth:`image`."""
        held = [array.field for array in self.arrays.values() if array.group == "observations"]
        return Observations.of_columns({name: self.take(name, indices) for name in held})

    def told_position_nm(self, indices: ArrayLike) -> NDArray[np.float64]:
        """Read the positions that a model is told, (n, scatterer, xy) in nm; `indices` as in :meth:`image`.

        Places without a scatterer are NaN.
        """
        return self.take(self.told_field, indices)

    def take(self, field: str, indices: ArrayLike) -> NDArray[Any]:
        """Read one column of observations, such as ``"position_nm"``; `indices` as in :meth:`image`."""
        name = f"observations/{field}"
        rows = self._checked(indices)
        if self.arrays[name].offset is not None:
            return self._get(name, rows)
        # HDF5 accepts only increasing indices.
        increasing, inverse = np.unique(rows, return_inverse=True)
        return self._get(name, increasing)[inverse]

    def read(self, name: str) -> NDArray[Any]:
        """Read a whole array, by its name in the file, into memory."""
        return np.array(self._get(name, ...))

    @property
    def told_field(self) -> str:
        """Name of the column of the observations that says where a model is told that scatterers are."""
        return "told_position_nm" if "observations/told_position_nm" in self.arrays else "position_nm"

    def check(self, *fields: str) -> None:
        """Check that arrays are those that were written, and make sense; each is checked once.

        Parameters
        ----------
        fields
            Columns of the observations, such as ``"image"``, each of which is read whole. Coordinates, kernels, splits,
            and the kernel and number of scatterers of every observation are small, and always checked.

        Raises
        ------
        InvalidDataError
            As :func:`qpibench.release.soundness.check_arrays`.
        """
        wanted = {"kernel", "n_scatterers", *fields}
        names = {name for name, array in self.arrays.items() if array.group != "observations" or array.field in wanted}
        if not names <= self._sound:
            check_arrays(self, names - self._sound)
            self._sound |= names

    def close(self) -> None:
        """Close the file; a later read opens it again."""
        self._handles.clear()
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        # Handles and cached values are left out. The process that unpickles may have another working directory.
        read = ("kernels", "stratum", "observation_kernel")
        state = {name: value for name, value in vars(self).items() if name not in read}
        path = self.path.absolute() if isinstance(self.path, Path) else self.path
        return {**state, "path": path, "_handles": {}, "_file": None}

    def __repr__(self) -> str:
        return f"<Release '{self.name}': {self.observation_count} observations, {self.content_sha256[:12]}>"

    @cached_property
    def _splits(self) -> dict[str, set[str]]:
        splits: dict[str, set[str]] = {}
        for name in self.arrays:
            if name.startswith("splits/"):
                _, task, role = name.split("/")
                splits.setdefault(task, set()).add(role)
        return splits

    def stored(self, name: str) -> Any:
        """An array without reading it: mapped into memory, or an HDF5 dataset if it is compressed or empty.

        At a URL the small arrays are read (see :func:`open_release`).

        It is indexed like a NumPy array, by the index of the first axis or by a tuple.
        """
        if name not in self._handles:
            array = self.arrays[name]
            if array.offset is not None:
                self._handles[name] = stored_rows(self.path, array)
            elif self.shards is not None and array.group == "observations":
                self._handles[name] = virtual.Joined(self.shards, name)
            else:
                if self._file is None:
                    self._file = open_hdf5(self.path)
                try:
                    self._handles[name] = self._file[name]
                except (KeyError, RuntimeError) as error:
                    raise self._damaged(name, error) from None
            if isinstance(self.path, Url) and (array.group != "observations" or len(array.shape) == 1):
                self._handles[name] = self._handles[name][...]
        return self._handles[name]

    def _get(self, name: str, key: Any) -> NDArray[Any]:
        try:
            return np.asarray(self.stored(name)[key])
        except OSError as error:
            raise self._damaged(name, error) from None

    def _damaged(self, name: str, error: Exception) -> InvalidDataError:
        return InvalidDataError(f"'{self.path}' is damaged: {name} cannot be read ({error}).")

    def _checked(self, indices: ArrayLike) -> NDArray[np.intp]:
        rows = np.asarray(indices)
        if rows.ndim != 1 or (rows.size and not np.issubdtype(rows.dtype, np.integer)):
            found = shown(indices) if rows.ndim == 0 else f"{rows.dtype} of shape {rows.shape}"
            raise IndexError(f"Indices of observations must be a list of rows, such as [0], found {found}.")
        if rows.size and (rows.min() < 0 or rows.max() >= self.observation_count):
            wrong = rows[(rows < 0) | (rows >= self.observation_count)][0]
            raise IndexError(
                f"Release '{self.name}' has no observation {wrong}; it has 0 to {self.observation_count - 1}."
            )
        return rows.astype(np.intp, copy=False)

    def _check_sizes(self) -> None:
        end = max(array.offset + array.nbytes for array in self.arrays.values() if array.offset is not None)
        if self.nbytes < end:
            raise InvalidDataError(f"'{self.path}' is truncated: it has {self.nbytes:,} of {end:,} bytes.")
        if isinstance(self.spec, ReleaseSpec):
            kernels = species_count(self.spec) * self.spec.kernels.count
            wanted = (kernels, self.spec.observation_count, scatterer_capacity(self.spec))
            found = (self.arrays["kernels/family"].shape[0], self.observation_count, self.max_scatterers)
            if wanted != found:
                raise InvalidDataError(
                    f"'{self.path}' has {found[0]} kernels, {found[1]} observations and {found[2]} scatterers at most,"
                    f" but its spec demands {wanted[0]}, {wanted[1]} and {wanted[2]}."
                )


def _check_version(path: Place, attributes: dict[str, str | int]) -> int:
    if "shard_version" in attributes:
        raise InvalidDataError(
            f"'{path}' is one shard of a release ({attributes.get('shard')} of {attributes.get('shards')}); join the"
            f" shards: qpibench merge '{os.path.dirname(path)}' -o FILE."
        )
    version = attributes.get("format_version")
    if not isinstance(version, int) or "spec" not in attributes:
        raise InvalidDataError(f"'{path}' is an HDF5 file but not a qpibench release.")
    if version > layout.FORMAT_VERSION:
        raise InvalidDataError(
            f"'{path}' has format version {version}, and this qpibench reads {layout.FORMAT_VERSION}; upgrade qpibench."
        )
    if "content_sha256" not in attributes:
        raise InvalidDataError(
            f"'{path}' is an interrupted release without content_sha256; generate it again or resume."
        )
    return version


def _read_spec(path: Place, attributes: dict[str, str | int]) -> tuple[str, ReleaseSpec | ImportedSpec]:
    spec = spec_from_json(str(attributes["spec"]), subject=f"The spec in '{path}'")
    if attributes.get("name") != spec.name:
        raise InvalidDataError(f"'{path}' is damaged: its name is not the name in its spec, '{spec.name}'.")
    return spec.name, spec
