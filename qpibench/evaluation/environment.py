"""Description of the machine and the software of a computation, as texts for a record."""

from __future__ import annotations

import platform
from pathlib import Path

import numpy as np

from qpibench import __version__
from qpibench.processors import machine_processors


def environment() -> dict[str, str]:
    """Return versions, platform and processor of this process."""
    return {
        "qpibench": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "platform": platform.platform(),
        "cpu": _processor(),
        "cpu_count": str(machine_processors()),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
