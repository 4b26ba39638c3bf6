"""The machine that was measured, without names of hosts and users."""

from __future__ import annotations

import platform
import tempfile
from importlib import metadata, util
from pathlib import Path

import psutil

from qpibench.evaluation.environment import environment
from qpibench.release.parallel import available_threads

PACKAGES = ("qpibench", "numpy", "numba", "h5py", "scikit-image", "torch")


def machine() -> dict[str, object]:
    """What a figure depends on: processor, cores, memory, file system and versions."""
    return {
        "cpu": environment()["cpu"],
        "cores": available_threads(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "file_system": _file_system(Path(tempfile.gettempdir())),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {
            name: metadata.version(name) for name in PACKAGES if util.find_spec(name.replace("scikit-image", "skimage"))
        },
    }


def sentence(machine: dict[str, object]) -> str:
    """The machine in one line, for below a table."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, files on {machine['file_system']};"
        f" {machine['system']}, Python {machine['python']}, {versions}."
    )


def slug(machine: dict[str, object]) -> str:
    """The machine as a part of a file name."""
    words = "".join(c if c.isalnum() else " " for c in str(machine["cpu"]).replace("(R)", "")).lower().split()
    return "-".join([*words, f"{machine['cores']}-cores"])


def _file_system(folder: Path) -> str:
    mounts = {part.mountpoint: part.fstype for part in psutil.disk_partitions(all=True)}
    folder = folder.resolve()
    return next(mounts[str(f)] for f in (folder, *folder.parents) if str(f) in mounts)
