"""The number of processors that this process may use."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress

from qpibench.control_groups import control_groups


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
    for folder in control_groups("cpu"):
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
