"""Generates a release on the workers of a cluster: its shards are the tasks, and this process merges them."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from qpibench.cluster import tasks
from qpibench.cluster.client import ASSUMED_SLOTS, Place, connected
from qpibench.cluster.folder import ShardFolder, folder_of
from qpibench.errors import InvalidDataError, QpibenchError, UsageError
from qpibench.kernel_files import remember, remembered
from qpibench.release import Shard, layout, merge_shards, write_release, write_shard
from qpibench.release.blocks import Progress
from qpibench.release.filling import check_memory, check_request
from qpibench.release.identity import BLOCK_ROWS
from qpibench.release.lock import BusyError
from qpibench.release.partial import Partial
from qpibench.release.shards import DamagedShardError
from qpibench.specs import ReleaseSpec, spec_from_json
from qpibench.synthesis import Backend, Kernels, get_backend

SHARDS_PER_SLOT = 8
"""So many shards for each task that runs at the same time: a slow worker holds the others up by an eighth at most."""

SHARD_BYTES = 2**30
"""A shard is not larger, unless it has one block: it takes a minute at most, so progress is seen and little is lost."""

BUSY_S = 180
"""Time in s for a file to become free that another worker writes. That worker was given up, but may not know it."""

Show = Callable[[str], AbstractContextManager[Progress | None]]
"""Shows the progress of an activity, of which it is given the name."""


@contextmanager
def _silent(_: str) -> Iterator[None]:
    yield


def generate_release(
    spec: ReleaseSpec,
    path: str | Path,
    *,
    place: Place,
    backend: str = "cpu",
    devices: int = 0,
    threads: int = 1,
    resume: bool = False,
    overwrite: bool = False,
    show: Show = _silent,
) -> str:
    """Generate a release on dask workers, and write it to a file.

    The shards are written into the folder ``NAME.shards`` beside the target, which all workers must see under the same
    path, and are then merged and removed. An interrupted run leaves the folder, and the target unchanged; a later run
    with `resume` makes what is missing, on any workers. Shards that are whole are kept, and of one that was begun, the
    blocks that are complete.

    Parameters
    ----------
    spec, path
        As in :func:`qpibench.release.write_release`.
    place
        Where the workers are.
    backend
        Name of the backend of the workers, see :func:`qpibench.synthesis.get_backend`.
    devices
        Number of CUDA devices of this machine that local workers use, one each; 0 if they use none.
    threads
        Number of threads of each task. A worker runs as many tasks at the same time as dask gives it threads.
    resume
        Complete an interrupted run. If there is none, start from the beginning; if the target is complete, do nothing.
    overwrite
        Allow to replace an existing target. Without `resume`, also remove the shards of an interrupted run.
    show
        Shows the progress of generating, and then of merging, in observations.

    Returns
    -------
    str
        `content_sha256` of the release, which is that of :func:`qpibench.release.write_release`.

    Raises
    ------
    UsageError
        If the target or shards of an interrupted run exist (without `resume` or `overwrite`), or a worker does not see
        the folder.
    InvalidDataError
        If the interrupted run or the complete target has another spec, or a shard is damaged, which is then removed.
    UnavailableError
        If dask or the backend is not available, or no scheduler answers.
    QpibenchError
        If the scheduler is lost, a task ends its workers, another process is writing the same file, or the disk is too
        small or fails.
    """
    target, own = Path(path), get_backend("cpu")[0]
    if resume and not overwrite and target.exists():
        content = write_release(spec, target, backend=own, resume=True)
        if folder_of(target).is_dir():
            _tidy(spec, target)
        return content
    check_request(target, overwrite=overwrite)
    check_memory(spec, target)
    with ShardFolder(target) as folder:
        with Partial(target, overwrite=overwrite):  # so that no other process writes the target meanwhile
            count = folder.count()
            if count and not resume and not overwrite:
                raise UsageError(
                    f"'{folder.path}' has shards of an interrupted run; add --resume to complete it, or --overwrite to"
                    " begin again."
                )
            missing = folder.missing(spec, count) if count and resume else None
            _check_space(spec, target, folder)
            if not resume:
                folder.clear()
            if missing != []:  # else no worker is needed
                task = ShardTask(
                    spec=spec.canonical_json(),
                    folder=str(folder.path),
                    token=str(folder.token),
                    backend=backend,
                    threads=threads,
                )
                with show("Generating") as progress, connected(place, devices=devices) as connection:
                    missing = missing or folder.missing(spec, shard_count(spec, connection.slots))
                    _make(spec, missing, task, connection.client, progress)
        with show("Merging") as progress, _damage_removed():
            content = merge_shards(folder.path, target, backend=own, overwrite=overwrite, progress=progress)
        folder.clear()
    return content


@contextmanager
def _damage_removed() -> Iterator[None]:
    """Remove a shard that is found damaged, so that a later run makes it again."""
    try:
        yield
    except DamagedShardError as error:
        Path(error.path).unlink()
        raise InvalidDataError(
            f"{error.damage}; it has been removed, and the same command with --resume makes it again."
        ) from None


def _check_space(spec: ReleaseSpec, target: Path, folder: ShardFolder) -> None:
    """Refuse a release whose images do not fit on the disk twice, in shards and merged."""
    needed = max(0, 2 * _observed_bytes(spec) - folder.nbytes())
    free = shutil.disk_usage(folder.path).free
    if needed > free:
        raise QpibenchError(
            f"'{target}' does not fit: its shards and the release that is merged from them need {needed:,} more bytes,"
            f" and {free:,} are available."
        )


def _observed_bytes(spec: ReleaseSpec) -> int:
    return sum(array.nbytes for array in layout.observation_arrays(spec).values())


def _tidy(spec: ReleaseSpec, target: Path) -> None:
    """Remove the shards of a run that was killed after it had merged them; those of another spec stay."""
    with suppress(InvalidDataError), ShardFolder(target) as folder:
        count = folder.count()
        if count and len(folder.missing(spec, count)) < count:
            folder.clear()


def shard_count(spec: ReleaseSpec, slots: int) -> int:
    """Into how many shards a release is divided for so many tasks at the same time (0: unknown)."""
    blocks = -(-spec.observation_count // BLOCK_ROWS)
    return min(blocks, max(SHARDS_PER_SLOT * (slots or ASSUMED_SLOTS), -(-_observed_bytes(spec) // SHARD_BYTES)))


def _make(spec: ReleaseSpec, missing: list[Shard], task: ShardTask, client: Any, progress: Progress | None) -> None:
    total = spec.observation_count
    done = total - sum(_length(spec, shard) for shard in missing)
    tell = progress or (lambda done, total: None)
    tell(done, total)
    for shard, _ in tasks.run(client, task, missing, what="Shard"):
        done += _length(spec, shard)
        tell(done, total)


def _length(spec: ReleaseSpec, shard: Shard) -> int:
    start, stop = shard.rows(spec)
    return stop - start


@dataclass(frozen=True, kw_only=True)
class ShardTask:
    """Makes one shard on a worker; called with the shard.

    Attributes
    ----------
    spec
        The spec of the release, as JSON.
    folder, token
        The folder of the shards, and the file in it that exists as long as the run that wants them.
    backend, threads
        Name of the backend, and number of threads.
    kernel_files
        Where the kernels of the family `file` are, by their SHA-256.
    """

    spec: str
    folder: str
    token: str
    backend: str
    threads: int
    kernel_files: dict[str, tuple[Path, str | None]] = field(default_factory=remembered)

    def __call__(self, shard: Shard) -> None:
        """Make the shard, or complete what an earlier attempt began."""
        if not Path(self.token).exists():
            import socket

            raise UsageError(
                f"The dask worker on machine '{socket.gethostname()}' does not see folder '{self.folder}' of this"
                " machine; write to a folder that all workers share."
            )
        for sha256, (path, dataset) in self.kernel_files.items():
            remember(sha256, path, dataset)
        spec, backend, kernels = _prepared(self.spec, self.backend)
        deadline = time.monotonic() + BUSY_S
        while True:
            try:
                write_shard(
                    spec,
                    self.folder,
                    shard,
                    backend=backend,
                    kernels=kernels,
                    threads=self.threads,
                    resume=True,
                    progress=self._stop_if_unwanted,
                )
                return
            except BusyError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(1)
                self._stop_if_unwanted(0, 0)

    def _stop_if_unwanted(self, done: int, total: int) -> None:
        if not Path(self.token).exists():
            raise QpibenchError("The run that wanted this shard has ended.")


_preparing = threading.Lock()


def _prepared(spec: str, backend: str) -> tuple[ReleaseSpec, Backend, Kernels]:
    """The spec, the backend and all kernels: the same for all shards that a worker makes, so they are made once."""
    with _preparing:
        return _prepare(spec, backend)


@lru_cache(maxsize=1)
def _prepare(text: str, name: str) -> tuple[ReleaseSpec, Backend, Kernels]:
    spec = spec_from_json(text)
    assert isinstance(spec, ReleaseSpec)
    backend, _ = get_backend(name)
    return spec, backend, backend.kernels(spec)
