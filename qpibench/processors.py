"""The number of processors that this process may use."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

_ROOT = Path("/")


def processors() -> int:
    """Return how many processors this process may use.

    The number is the least of three: the processors of the process's affinity (where the system has none, all of the
    machine), the CPU quota of its control groups rounded up (containers, batch systems), and ``NUMBA_NUM_THREADS``
    where that variable is set. All pools of threads, and the numbers of threads given to other processes, start
    from it.
    """
    asked = os.environ.get("NUMBA_NUM_THREADS", "")
    limits = [_of_affinity(), *map(math.ceil, _quotas())]
    if asked.isdecimal() and int(asked):
        limits.append(int(asked))
    return min(limits)


def machine_processors() -> int:
    """Return how many processors the machine has, usable by this process or not; 1 if the system does not say."""
    return os.cpu_count() or 1


def thread_variables(*, processes: int = 1) -> dict[str, str]:
    """Return the environment variables that limit the threads of new processes: of BLAS, PyTorch and this package.

    Those libraries follow the affinity by themselves, but know of no quota. So nothing is returned for one process
    without a quota.

    Parameters
    ----------
    processes
        How many processes share the processors.
    """
    count = processors()
    if processes == 1 and count == _of_affinity():
        return {}
    threads = str(max(1, count // processes))
    names = ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"]
    if processes > 1:
        names.append("NUMBA_NUM_THREADS")  # its share in processors() of the new process
    return dict.fromkeys(names, threads)


def _of_affinity() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        return machine_processors()


def _quotas() -> Iterator[float]:
    """CPU quotas of the process's control groups, of both versions, as numbers of processors."""
    for folder in _control_groups():
        # The files of version 2 and of version 1; a folder has those of one version at most.
        with suppress(OSError, ValueError, ZeroDivisionError):
            quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
            yield int(quota) / int(period)
        with suppress(OSError, ValueError, ZeroDivisionError):
            quota, period = (
                (folder / f"cpu.cfs_{name}_us").read_text(encoding="ascii") for name in ("quota", "period")
            )
            if int(quota) > 0:
                yield int(quota) / int(period)


def _control_groups() -> Iterator[Path]:
    """Folders of the process's control groups that can limit processors, with all groups around them."""
    for mount, root, version in _mounts():
        group = _group(version)
        if group is None:
            continue
        # A container may see its own group as the root of the mount, or be told a path outside of it.
        within = group.relative_to(root) if group.is_relative_to(root) else PurePosixPath()
        yield mount / within
        yield from (mount / parent for parent in within.parents)


def _mounts() -> Iterator[tuple[Path, PurePosixPath, int]]:
    """Where control groups are mounted, the group at the root of the mount, and the version of control groups."""
    for line in _lines("proc/self/mountinfo"):
        before, _, after = line.partition(" - ")
        fields, kinds = before.split(), after.split()
        if len(fields) < 5 or len(kinds) < 3:
            continue
        place = _ROOT / fields[4].lstrip("/")
        if kinds[0] == "cgroup2":
            yield place, PurePosixPath(fields[3]), 2
        elif kinds[0] == "cgroup" and "cpu" in kinds[2].split(","):
            yield place, PurePosixPath(fields[3]), 1


def _group(version: int) -> PurePosixPath | None:
    for line in _lines("proc/self/cgroup"):
        number, controllers, path = ([*line.split(":", 2), "", ""])[:3]
        if (version == 2 and number == "0" and not controllers) or (version == 1 and "cpu" in controllers.split(",")):
            return PurePosixPath(path)
    return None


def _lines(name: str) -> list[str]:
    try:
        return (_ROOT / name).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        return []
