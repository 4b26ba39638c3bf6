"""A folder of releases, in which missing ones are generated."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path

from qpibench.errors import InvalidDataError, UsageError
from qpibench.files import make_folder
from qpibench.notices import note
from qpibench.release.blocks import Progress
from qpibench.release.identity import BLOCK_ROWS
from qpibench.release.lock import LockedError
from qpibench.release.parallel import as_completed
from qpibench.release.reader import Release, open_release
from qpibench.release.writer import write_release
from qpibench.specs import ReleaseSpec
from qpibench.synthesis.contract import Backend

_NAME_LENGTH = 80  # of the file's name, without the hash: file systems take 255 bytes
_HASH_LENGTH = 8
_PATIENCE_S = 0.5  # between two attempts to write a release that another process is writing


def place_of(spec: ReleaseSpec, folder: str | Path) -> Path:
    """Return the file of a spec's release in a folder: the spec's name and the first digits of its hash."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", spec.name).strip("._")[:_NAME_LENGTH]
    return Path(folder) / f"{name}-{spec.sha256[:_HASH_LENGTH]}.h5"


def stored_under(spec_sha256: str, folder: str | Path) -> list[Path]:
    """Return the files in a folder that are named after a spec with this hash."""
    return sorted(Path(folder).glob(f"*-{spec_sha256[:_HASH_LENGTH]}.h5"))


def stored_releases(
    specs: Sequence[ReleaseSpec],
    folder: str | Path,
    *,
    backend: Backend,
    threads: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Release]:
    """Open the releases of specs in a folder; generate those that it lacks.

    Several processes may do so at the same time: each waits for releases that another one is writing. An interrupted
    generation is completed by the next call.

    Parameters
    ----------
    specs
        The specs.
    folder
        The folder, which is made if it does not exist.
    backend, threads
        As in :func:`qpibench.release.write_release`.
    progress
        Called with the number of images that are complete, of all missing releases together, and their total.

    Returns
    -------
    dict
        Open releases by the hash of their spec.

    Raises
    ------
    UsageError
        If the folder cannot be made.
    InvalidDataError
        If a file in the folder is damaged or has another spec.
    QpibenchError
        If the disk is full or fails, or if another process is writing the same release on a file system without locks.
    """
    missing = [spec for spec in specs if not place_of(spec, folder).exists()]
    if missing:
        try:
            make_folder(Path(folder))
        except UsageError as error:
            file = place_of(missing[0], folder).name
            raise UsageError(f"Release '{file}' is missing and cannot be generated: {error}") from None
    _generate(missing, Path(folder), backend=backend, threads=threads, progress=progress or (lambda done, total: None))
    releases = {}
    for spec in specs:
        release = open_release(place_of(spec, folder))
        if release.spec.sha256 != spec.sha256:
            raise InvalidDataError(
                f"'{release.path}' is a release of another spec than '{spec.name}', whose place it has; remove it."
            )
        releases[spec.sha256] = release
    return releases


def _generate(
    specs: Sequence[ReleaseSpec], folder: Path, *, backend: Backend, threads: int | None, progress: Progress
) -> None:
    """Generate releases: large ones one after the other, small ones side by side.

    A release of a single block has no work for a second thread.
    """
    done, total = 0, sum(spec.observation_count for spec in specs)
    locked: list[ReleaseSpec] = []

    def write(spec: ReleaseSpec, *, threads: int | None, progress: Progress | None = None) -> None:
        try:
            write_release(
                spec, place_of(spec, folder), backend=backend, resume=True, threads=threads, progress=progress
            )
        except LockedError:
            locked.append(spec)

    small = [spec for spec in specs if spec.observation_count <= BLOCK_ROWS]
    for spec in (spec for spec in specs if spec.observation_count > BLOCK_ROWS):

        def tell(count: int, _: int, start: int = done) -> None:
            progress(start + count, total)

        write(spec, threads=threads, progress=tell)
        done += spec.observation_count
    for spec, _ in as_completed(lambda spec: write(spec, threads=1), small, threads=threads):
        done += spec.observation_count
        progress(done, total)
    while locked:
        waiting, locked = locked, []
        for spec in waiting:
            write(spec, threads=threads)
        if locked:
            note(f"Waiting for another process that writes '{place_of(locked[0], folder)}'.")
            time.sleep(_PATIENCE_S)
