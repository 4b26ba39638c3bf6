"""Description of the measured machine, without names of hosts and users."""

from __future__ import annotations

import functools
import platform
import shutil
import subprocess
import tempfile
from importlib import metadata
from pathlib import Path

import psutil

from qpibench import __version__
from qpibench.evaluation.environment import environment
from qpibench.processors import processors
from qpibench.synthesis.device import NoGpuError, find_device
from qpibench.throughput.history import Gpu, Machine

PACKAGES = ("numpy", "numba", "h5py", "scikit-image", "torch", "cupy-cuda12x", "cupy-cuda13x")


@functools.cache
def machine() -> Machine:
    """Return what a figure depends on: processor, cores, memory, file system, GPU and versions."""
    return Machine(
        cpu=environment()["cpu"],
        cores=processors(),
        memory_gib=round(psutil.virtual_memory().total / 2**30),
        file_system=_file_system(Path(tempfile.gettempdir())),
        gpu=_gpu(),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        versions={"qpibench": __version__} | {name: version for name in PACKAGES if (version := _version(name))},
    )


def sentence(machine: Machine) -> str:
    """Describe the machine in one line, for the text below a table."""
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    gpu = ""
    if machine.gpu:
        gpu = f" {machine.gpu.name} ({machine.gpu.memory_gib} GiB, driver {machine.gpu.driver or 'unknown'}),"
    return (
        f"{machine.cpu}, {machine.cores} cores, {machine.memory_gib} GiB,{gpu} files on {machine.file_system};"
        f" {machine.system}, Python {machine.python}, {versions}."
    )


def slug(machine: Machine) -> str:
    """Return the machine's name as a part of a file name."""
    gpu = f" {machine.gpu.name}" if machine.gpu else ""
    words = "".join(c if c.isalnum() else " " for c in (machine.cpu + gpu).replace("(R)", "")).lower().split()
    return "-".join([*words, f"{machine.cores}-cores"])


def _gpu() -> Gpu | None:
    try:
        device = find_device()
    except NoGpuError:
        return None
    return Gpu(
        name=device.name,
        capability=device.capability,
        memory_gib=round(device.memory / 2**30),
        cuda=".".join(map(str, device.cuda)),
        driver=_driver(),
    )


def _driver() -> str | None:
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    command = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    asked = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    lines = asked.stdout.splitlines()
    return lines[0].strip() if lines and not asked.returncode else None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _file_system(folder: Path) -> str:
    mounts = {part.mountpoint: part.fstype for part in psutil.disk_partitions(all=True)}
    folder = folder.resolve()
    return next((mounts[str(f)] for f in (folder, *folder.parents) if str(f) in mounts), "unknown")
