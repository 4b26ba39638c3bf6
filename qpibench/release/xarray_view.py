"""Makes an xarray data set from a release."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qpibench.errors import UnavailableError
from qpibench.release.layout import Array
from qpibench.release.reader import Release, open_release

try:
    import xarray as xr
    from xarray.backends import BackendArray
    from xarray.core import indexing
except ModuleNotFoundError as error:
    raise UnavailableError(f"to_xarray needs xarray ({error}): pip install 'qpibench[dask]'.") from None


def to_xarray(release: str | Path | Release) -> xr.Dataset:
    """Open a release as one `xarray.Dataset`; values are read when they are used.

    The variables are the columns of observations and kernels under their own names, with these exceptions: the kernel
    of an observation is ``kernel_index`` (``kernel`` is a dimension), the images of the kernels are ``kernel_image``,
    and the index list of a split is ``split_<task>_<role>``. The species of kernels and scatterers are
    ``kernel_species`` and ``scatterer_species`` (``species`` is a dimension). x and y are coordinates in nm.

    Parameters
    ----------
    release
        A release or the path of its file.

    Raises
    ------
    UsageError, InvalidDataError
        As :func:`qpibench.release.open_release`.

    Examples
    --------
    >>> dataset = to_xarray("mini.h5")  # doctest: +SKIP
    >>> dataset.image.isel(observation=0).plot()
    """
    opened = release if isinstance(release, Release) else open_release(release)
    variables = {_variable_name(array): _variable(opened, array) for array in opened.arrays.values()}
    attributes = {
        "name": opened.name,
        "content_sha256": opened.content_sha256,
        "format_version": opened.format_version,
        "spec": opened.spec.canonical_json(),
    }
    dataset = xr.Dataset(variables, attrs=attributes)
    dataset.set_close(opened.close)
    return dataset


_RENAMED = {
    "kernels/image": "kernel_image",
    "kernels/species": "kernel_species",
    "observations/kernel": "kernel_index",
    "observations/species": "scatterer_species",
}


def _variable_name(array: Array) -> str:
    if array.group.startswith("splits/"):
        return f"split_{array.name.removeprefix('splits/').replace('/', '_')}"
    return _RENAMED.get(array.name, array.field)


def _variable(release: Release, array: Array) -> xr.Variable:
    dims = (_variable_name(array),) if array.is_coordinate else array.dims
    values = _Stored(release, array)
    return xr.Variable(dims, indexing.LazilyIndexedArray(values), {"units": array.units, "long_name": array.long_name})


class _Stored(BackendArray):
    """Array of a release for xarray, which reads from it when values are used."""

    def __init__(self, release: Release, array: Array) -> None:
        self.release, self.name = release, array.name
        self.shape, self.dtype = array.shape, np.dtype(array.dtype)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER_1VECTOR, self._rows)

    def _rows(self, key: tuple[Any, ...]) -> NDArray[Any]:
        return np.array(self.release.stored(self.name)[key])
