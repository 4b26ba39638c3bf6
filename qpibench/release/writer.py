"""Writes releases and shards on several threads; a file gets its name only when it is complete."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from qpibench.errors import InvalidDataError
from qpibench.files import check_folder, make_folder
from qpibench.release import datasets, identity
from qpibench.release.blocks import Progress, Work, write_blocks
from qpibench.release.contents import Outline
from qpibench.release.filling import Compression, check_memory, check_request, explained, fill, prepare
from qpibench.release.partial import Partial
from qpibench.release.reader import open_release
from qpibench.release.shards import Shard, ShardFile, open_shard
from qpibench.release.soundness import Plausibility
from qpibench.specs import ImportedSpec, ReleaseSpec
from qpibench.synthesis.contract import Backend, Kernels, Observations


def write_release(
    spec: ReleaseSpec,
    path: str | Path,
    *,
    backend: Backend,
    threads: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    compression: Compression | None = None,
    progress: Progress | None = None,
) -> str:
    """Generate a release and write it to a file.

    A run that was interrupted, even by a power failure, leaves ``.NAME.partial`` and ``.NAME.journal`` beside the
    target. A later run with `resume` completes them; without `resume` it starts from the beginning. An existing target
    is not changed until the new file is complete.

    Parameters
    ----------
    spec
        Spec of the release.
    path
        The file to write.
    backend
        Computes the images; all backends give the same bits.
    threads
        Number of threads; one per available processor if None.
    resume
        Complete an interrupted run. If there is none, start from the beginning; if the target is complete, do nothing.
    overwrite
        Allow to replace an existing target. With `resume`, complete an interrupted run that would have replaced it.
    compression
        ``"gzip"`` compresses images and positions; such a file cannot be memory-mapped. Writing it needs twice the disk
        space of the uncompressed file.
    progress
        Called with the number of observations that are complete and their total number.

    Returns
    -------
    str
        `content_sha256` of the release.

    Raises
    ------
    UsageError
        If the target exists (without `resume` or `overwrite`) or its folder does not.
    InvalidDataError
        If the interrupted run or the complete target has another spec.
    QpibenchError
        If another process is writing the same file, or the disk is full or fails.
    """
    target = Path(path)
    if resume and not overwrite and target.exists():
        return _finished(target, spec)
    check_request(target, overwrite=overwrite, compression=compression)
    check_memory(spec, target)
    with Partial(target, overwrite=overwrite) as partial, explained(partial, resumable=True):
        kernels = backend.kernels(spec)
        return fill(
            Outline.generated(spec, kernels),
            partial,
            lambda start, stop: backend.observations(spec, kernels, start, stop),
            Work(threads=threads, progress=progress),
            resume=resume,
            compression=compression,
        )


def write_imported(
    spec: ImportedSpec,
    path: str | Path,
    kernels: Kernels,
    observations: Observations,
    *,
    overwrite: bool = False,
    compression: Compression | None = None,
    progress: Progress | None = None,
) -> str:
    """Write a release from arrays in memory.

    Observations may show the kernels in any order. Unknown parameters of a kernel have the absent value of their
    column, such as NaN, or -1 for the fold.

    Parameters
    ----------
    spec
        Spec that records the sources of the arrays.
    path
        The file to write.
    kernels, observations
        All kernels and all observations, on the spec's grid.
    overwrite, compression, progress
        As in :func:`write_release`.

    Returns
    -------
    str
        `content_sha256` of the release.

    Raises
    ------
    InvalidDataError
        If there are no observations, an observation refers to a missing kernel, shapes differ, an image or a kernel
        is not finite, or an observation has not as many positions as scatterers.
    UsageError, QpibenchError
        As in :func:`write_release`.
    """
    target = Path(path)
    check_request(target, overwrite=overwrite, compression=compression)
    if not len(observations):
        raise InvalidDataError(f"Release '{spec.name}' has no observations.")
    if observations.kernel.min() < 0 or observations.kernel.max() >= len(kernels):
        raise InvalidDataError(f"Release '{spec.name}': an observation shows a kernel outside 0 to {len(kernels) - 1}.")

    outline = Outline(
        spec=spec,
        kernels=kernels,
        observation_kernel=observations.kernel,
        max_scatterers=observations.position_nm.shape[1],
    )
    columns = observations.columns()
    if not np.isfinite(kernels.image).all():
        raise InvalidDataError(f"Release '{spec.name}': kernels/image has a pixel that is NaN or infinite.")
    plausibility = Plausibility(
        kernel_count=len(kernels),
        max_scatterers=outline.max_scatterers,
        n_scatterers=observations.n_scatterers,
    )

    def take(start: int, stop: int) -> Observations:
        rows = {name: identity.canonical(values[start:stop]) for name, values in columns.items()}
        for name, values in rows.items():
            for _, problem in plausibility.problems(name, start, values):
                raise InvalidDataError(f"Release '{spec.name}': {problem}.")
        return Observations.of_columns(rows)

    with Partial(target, overwrite=overwrite) as partial, explained(partial, resumable=False):
        return fill(outline, partial, take, Work(progress=progress), compression=compression)


def write_shard(
    spec: ReleaseSpec,
    folder: str | Path,
    shard: Shard,
    *,
    backend: Backend,
    kernels: Kernels | None = None,
    threads: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> ShardFile:
    """Generate one shard of a release; :func:`qpibench.release.merge_shards` merges all shards.

    Shards may be made in any order, on different machines and at the same time.

    Parameters
    ----------
    spec
        Spec of the release.
    folder
        Folder of the shards; it is created if it does not exist. The file name follows from the shard's number.
    shard
        Number of the shard.
    kernels
        All kernels of the release, if the caller has them, as it may for several shards.
    backend, threads, resume, overwrite, progress
        As in :func:`write_release`, for the file of this shard.

    Returns
    -------
    ShardFile
        The complete shard.

    Raises
    ------
    UsageError, InvalidDataError, QpibenchError
        As in :func:`write_release`.
    """
    target = _shard_path(Path(folder), shard)
    if resume and not overwrite and target.exists():
        finished = open_shard(target)
        if (finished.spec, finished.shard) != (spec, shard):
            raise _of_another_spec(target, finished.spec)
        return finished
    check_request(target, overwrite=overwrite)
    with Partial(target, overwrite=overwrite) as partial, explained(partial, resumable=True):
        drawn = backend.kernels(spec) if kernels is None else kernels
        title = shard.title(spec)
        located, done = prepare(partial, shard.arrays(spec), shard.attributes(spec), title=title, resume=resume)
        partial.open_journal(title, append=bool(done))
        block_digests = write_blocks(
            partial,
            list(shard.in_release(spec, located).values()),
            lambda start, stop: backend.observations(spec, drawn, start, stop),
            done,
            blocks=shard.blocks(spec),
            work=Work(threads=threads, progress=progress),
        )
        partial.write_rows(located["block_digests"], 0, block_digests)
        datasets.sign(partial.path, {}, shard_sha256=shard.digest(spec, block_digests))
        partial.commit(partial.path)
    return open_shard(target)


def _shard_path(folder: Path, shard: Shard) -> Path:
    check_folder(folder, with_parents=False)
    make_folder(folder)
    return folder / shard.file_name


def _finished(target: Path, spec: ReleaseSpec) -> str:
    with open_release(target) as release:
        if release.spec != spec:
            raise _of_another_spec(target, release.spec)
        return release.content_sha256


def _of_another_spec(target: Path, spec: ReleaseSpec | ImportedSpec) -> InvalidDataError:
    return InvalidDataError(
        f"'{target}' is complete but has another spec ('{spec.name}'); choose another file or overwrite it."
    )
