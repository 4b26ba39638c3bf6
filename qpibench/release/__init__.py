"""Writes, reads and verifies releases, and gives access to them from PyTorch and xarray.

`ReleaseDataset` is in :mod:`qpibench.release.torch_view` and `to_xarray` in :mod:`qpibench.release.xarray_view`. These
two modules need PyTorch and xarray, so they are not imported here.
"""

from qpibench.release.merge import merge_shards
from qpibench.release.reader import Release, open_release
from qpibench.release.shards import Shard
from qpibench.release.verify import verify_release
from qpibench.release.writer import write_imported, write_release, write_shard

__all__ = [
    "Release",
    "Shard",
    "merge_shards",
    "open_release",
    "verify_release",
    "write_imported",
    "write_release",
    "write_shard",
]
