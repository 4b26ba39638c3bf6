"""The control groups of this process: where Linux keeps the limits of a container or of a batch system's job."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_ROOT = Path("/")


def control_groups(controller: str) -> Iterator[Path]:
    """Return the folders of the control groups that can limit this process, with all groups around them.

    Parameters
    ----------
    controller
        What is limited: ``"cpu"`` or ``"memory"``. Version 2 of control groups has one hierarchy for all controllers,
        version 1 has one for each.

    Returns
    -------
    iterator of Path
        None on other systems than Linux, or where ``/proc`` is not mounted. A folder need not exist.
    """
    for mount, root, version in _mounts(controller):
        group = _group(controller, version)
        if group is None:
            continue
        # A container may see its own group as the root of the mount, or be told a path outside of it.
        within = group.relative_to(root) if group.is_relative_to(root) else PurePosixPath()
        yield mount / within
        yield from (mount / parent for parent in within.parents)


def _mounts(controller: str) -> Iterator[tuple[Path, PurePosixPath, int]]:
    """Where control groups are mounted, the group at the root of the mount, and the version of control groups."""
    for line in _lines("proc/self/mountinfo"):
        before, _, after = line.partition(" - ")
        fields, kinds = before.split(), after.split()
        if len(fields) < 5 or len(kinds) < 3:
            continue
        place = _ROOT / fields[4].lstrip("/")
        if kinds[0] == "cgroup2":
            yield place, PurePosixPath(fields[3]), 2
        elif kinds[0] == "cgroup" and controller in kinds[2].split(","):
            yield place, PurePosixPath(fields[3]), 1


def _group(controller: str, version: int) -> PurePosixPath | None:
    for line in _lines("proc/self/cgroup"):
        number, controllers, path = ([*line.split(":", 2), "", ""])[:3]
        is_unified = number == "0" and not controllers
        if is_unified if version == 2 else controller in controllers.split(","):
            return PurePosixPath(path)
    return None


def _lines(name: str) -> list[str]:
    try:
        return (_ROOT / name).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        return []
