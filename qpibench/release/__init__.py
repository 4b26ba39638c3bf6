"""The release file: written, read, verified, and seen through torch and xarray.

`ReleaseDataset` is in :mod:`qpibench.release.torch_view` and `to_xarray` in :mod:`qpibench.release.xarray_view`, which
import torch and xarray.
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
