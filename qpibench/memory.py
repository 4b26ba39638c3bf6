"""The memory that this process may use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

from qpibench.control_groups import control_groups


class Memory(NamedTuple):
    """Memory of the machine, or of the control group (container, batch job) that has the least.

    Attributes
    ----------
    available
        Bytes that can be allocated; memory that only keeps files to read them again counts as available.
    total
        Bytes in all.
    """

    available: int
    total: int


def memory() -> Memory | None:
    """Return the memory that this process may use; None if the system does not say, as Linux without ``/proc``."""
    try:
        machine = psutil.virtual_memory()
    except OSError:
        return None
    whole = Memory(int(machine.available), int(machine.total))
    limits = [whole, *_of_control_groups()]
    return Memory(min(limit.available for limit in limits), min(limit.total for limit in limits))


def _of_control_groups() -> Iterator[Memory]:
    """Limits of the process's control groups, of both versions."""
    for folder in control_groups("memory"):
        # The files of version 2 and of version 1; a folder has those of one version at most.
        for limit, usage, prefix in (
            ("memory.max", "memory.current", ""),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
        ):
            with suppress(OSError, ValueError):
                total = _number(folder / limit)
                yield Memory(max(0, total - _number(folder / usage) + _of_files(folder, prefix)), total)


def _number(file: Path) -> int:
    """The number in a file; ValueError for the word ``max``, which stands for no limit."""
    return int(file.read_text(encoding="ascii"))


def _of_files(folder: Path, prefix: str) -> int:
    """Bytes that keep files, which the system takes back when memory is short."""
    lines = (folder / "memory.stat").read_text(encoding="ascii").splitlines()
    names = (f"{prefix}active_file", f"{prefix}inactive_file")
    return sum(int(number) for name, number in map(str.split, lines) if name in names)
