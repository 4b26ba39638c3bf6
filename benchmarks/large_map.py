"""Time the extraction of a large map: ``python -m benchmarks.large_map``.

The map is a Nanonis grid of 256 x 256 points and 40 energies over a surface like Ag(111), with 300 scatterers and 20 dB
of noise. Reading its file is timed in this process. Then ``qpibench extract`` runs as a command of its own: its time is
that of the whole command, on all processors, and its memory is the largest sum over its processes.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

from benchmarks.machine import machine, sentence
from benchmarks.nanonis_files import grid_bytes
from qpibench.families import get_family
from qpibench.families.surface_state.ranges import electron_wavevector
from qpibench.grid import Grid
from qpibench.physics.superposition import superpose
from qpibench.readers.maps import read_maps

PIXELS, SCATTERERS, SIZE_NM = 256, 300, 60.0
E0_MEV, MASS, WIDTH_MEV = -65.0, 0.4, 4.0
ENERGIES_MEV = E0_MEV + np.linspace(30, 330, 40)
NOISE = 0.1
"""Standard deviation of the noise over that of a layer."""

ALWAYS = {"delta": 1.3, "alpha": 0.6, "tip_fwhm": 0.5, "mass_ratio": 1.0, "axis": 0.0, "unit": 0.04}
ALWAYS |= {"share_2": 0.0, "k_2": 1.0, "damping_2": 0.0, "delta_2": 0.0}
EVERY_S = 0.1


def write(folder: Path) -> tuple[Path, Path]:
    """Write the map and the places of its scatterers."""
    rng = np.random.default_rng(7)
    grid = Grid(ny=PIXELS, nx=PIXELS, size_y_nm=SIZE_NM, size_x_nm=SIZE_NM)
    positions = rng.uniform(-SIZE_NM / 2, SIZE_NM / 2, (SCATTERERS, 2))
    family = get_family("surface_state")
    layers = []
    for energy in ENERGIES_MEV:
        above = energy - E0_MEV
        k = float(electron_wavevector(MASS, above))
        clean = superpose(grid, family, positions, energy=energy, k=k, damping=WIDTH_MEV * k / (2 * above), **ALWAYS)
        layers.append(1e-12 * (clean + NOISE * clean.std() * rng.normal(size=clean.shape)))
    side = 1e-9 * SIZE_NM * PIXELS / (PIXELS - 1)
    content = grid_bytes(
        {"LI Demod 1 X (A)": np.array(layers, dtype=np.float32)},
        size_m=(side, side),
        sweep=(1e-3 * ENERGIES_MEV[0], 1e-3 * ENERGIES_MEV[-1]),
    )
    path, csv = folder / "large.3ds", folder / "scatterers.csv"
    path.write_bytes(content)
    np.savetxt(csv, positions, delimiter=",", header="x_nm,y_nm", comments="")
    return path, csv


def extracted(path: Path, csv: Path, output: Path) -> tuple[float, float]:
    """Seconds and largest memory in GB of ``qpibench extract``; what it says is printed."""
    command = [sys.executable, "-m", "qpibench.cli.main", "extract", str(path)]
    started = time.perf_counter()
    process = psutil.Popen(
        [*command, "--positions", str(csv), "--channel", "LI Demod 1 X", "-o", str(output)], stderr=subprocess.DEVNULL
    )
    most = 0
    while process.poll() is None:
        most = max(most, _memory(process))
        time.sleep(EVERY_S)
    if process.returncode:
        raise SystemExit(process.returncode)
    return time.perf_counter() - started, most / 1e9


def _memory(process: psutil.Process) -> int:
    """Memory of a process and all that it has started, shared libraries counted in each."""
    total = 0
    try:
        for each in (process, *process.children(recursive=True)):
            total += each.memory_info().rss
    except psutil.NoSuchProcess:
        pass
    return total


def main() -> None:
    """Write the map, read it, extract it, and print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        path, csv = write(Path(folder))
        started = time.perf_counter()
        read_maps(path)
        read_s = time.perf_counter() - started
        seconds, memory = extracted(path, csv, Path(folder) / "kernel.h5")
    print(f"read in {read_s:.2f} s, extracted in {seconds:.0f} s with at most {memory:.2f} GB")
    print(sentence(machine()))


if __name__ == "__main__":
    main()
