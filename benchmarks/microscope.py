"""Measure the way from a microscope's file to a band on synthetic grids: ``python -m benchmarks.microscope``.

Every stack is a map of dI/dV over a surface like Ag(111): a band with a drawn bottom and mass, point scatterers at
drawn places, 40 energies from 30 to 330 meV above the bottom, white noise of 20 dB. It is written as a Nanonis grid,
read back, and extracted as by ``qpibench extract``. The field holds at least 8 periods of the ripples at the energy in
the middle.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import machine, sentence
from benchmarks.nanonis_files import grid_bytes
from qpibench.errors import QpibenchError
from qpibench.extraction.findings import find
from qpibench.extraction.of_maps import extract_maps
from qpibench.extraction.stack import extract_stack
from qpibench.families import get_family
from qpibench.families.surface_state.ranges import electron_wavevector
from qpibench.files import write_whole
from qpibench.grid import Grid
from qpibench.physics.superposition import kernel_image, superpose
from qpibench.readers.maps import read_maps

Values = NDArray[np.float64]

STACKS, ENERGIES, PIXELS, SCATTERERS = 20, 40, 96, 30
SPAN_MEV = 30.0, 330.0
PERIODS = 9.0
"""Periods in the field at the energy in the middle."""

SNR_DB = 20.0
CORE_NM = 0.6
"""Radius that the kernel's relative error leaves out."""

DIRECT_EVERY = 8
"""Every such layer is extracted from the data themselves, too, without a file."""

SIGNAL_A = 1e-12
E0_GOAL_MEV, MASS_GOAL = 5.0, 0.03


def measure(seed: int, method: str, workers: int | None) -> dict[str, Any]:
    """Draw a stack, write it, extract it, and return what was found beside the truth."""
    rng = np.random.default_rng([seed, 15])
    e0_mev, mass = rng.uniform(-75, -55), rng.uniform(0.36, 0.44)
    energies = e0_mev + np.linspace(*SPAN_MEV, ENERGIES)
    size = PERIODS * math.pi / float(electron_wavevector(mass, float(np.mean(SPAN_MEV))))
    grid = Grid(ny=PIXELS, nx=PIXELS, size_y_nm=size, size_x_nm=size)
    positions = rng.uniform(-size / 2, size / 2, (SCATTERERS, 2))
    scattering = {"delta": rng.uniform(0.5, 2.6), "alpha": rng.uniform(0, 1)}
    linewidth = rng.uniform(2, 6)
    family = get_family("surface_state")
    columns = [_columns(energy, e0_mev, mass, linewidth, scattering) for energy in energies]
    clean = np.array([superpose(grid, family, positions, **each) for each in columns])
    noise = clean.std(axis=(1, 2)) * 10 ** (-SNR_DB / 20)
    stack = SIGNAL_A * (clean + noise[:, None, None] * rng.normal(size=clean.shape))
    outer = size * PIXELS / (PIXELS - 1) * 1e-9
    content = grid_bytes(
        {"LI Demod 1 X (A)": stack.astype(np.float32)},
        size_m=(outer, outer),
        sweep=(1e-3 * energies[0], 1e-3 * energies[-1]),
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "grid.3ds"
        path.write_bytes(content)
        started = time.perf_counter()
        maps = read_maps(path)
        read_s = time.perf_counter() - started
        started = time.perf_counter()
        found = extract_maps(maps, positions, method, workers=workers)
        seconds = time.perf_counter() - started
    findings = find(found)
    some = np.arange(0, ENERGIES, DIRECT_EVERY)
    direct = extract_stack(
        stack[some] - stack[some].mean(axis=(1, 2), keepdims=True), positions, size, method, workers=workers
    )
    truth = SIGNAL_A * np.array([kernel_image(grid, family, **columns[place]) for place in some])
    outside = np.hypot(grid.x_nm, grid.y_nm[:, None]) > CORE_NM
    errors = [_error(each, truth, outside) for each in (found.kernels.kernel[some], direct.kernel)]
    waves = [layer.waves for layer in findings.layers]
    true_q = 2 * np.array([each["k"] for each in columns])
    deviations = np.array([abs(one.q - q) / one.q_std for one, q in zip(waves, true_q, strict=True) if one is not None])
    band = findings.band
    return {
        "seed": seed,
        "e0_mev": e0_mev,
        "mass": mass,
        "e0_error_mev": None if band is None else band.e0_mev - e0_mev,
        "mass_error": None if band is None else band.mass / mass - 1,
        "e0_held": band is not None and band.e0_interval[0] <= e0_mev <= band.e0_interval[1],
        "mass_held": band is not None and band.mass_interval[0] <= mass <= band.mass_interval[1],
        "layers_used": 0 if band is None else int(band.used.sum()),
        "q_found": len(deviations),
        "q_within_68": float((deviations <= 1).mean()),
        "q_within_95": float((deviations <= 1.96).mean()),
        "relative_l2_file": errors[0],
        "relative_l2_direct": errors[1],
        "read_s": read_s,
        "extract_s": seconds,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure stacks, print a table, and write the figures; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.microscope", description=__doc__)
    parser.add_argument("--stacks", type=int, default=STACKS)
    parser.add_argument("--first", type=int, default=0, help="seed of the first stack")
    parser.add_argument("--method", default="polar")
    parser.add_argument("--workers", type=int)
    parser.add_argument("-o", "--output", type=Path, help="JSON file of the figures")
    asked = parser.parse_args(arguments)
    rows: list[dict[str, Any]] = []
    try:
        for seed in range(asked.first, asked.first + asked.stacks):
            rows.append(measure(seed, asked.method, asked.workers))
            print(_line(rows[-1]), flush=True)
        summary = summarised(rows)
        print("\n".join(f"{name}: {value}" for name, value in summary.items()))
        print(sentence(machine()))
        if asked.output is not None:
            content = json.dumps({"method": asked.method, "summary": summary, "stacks": rows}, indent=1)
            write_whole(asked.output, f"{content}\n".encode(), what="File of figures")
    except QpibenchError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


def summarised(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The figures of all stacks together."""
    close = [
        row["e0_error_mev"] is not None
        and abs(row["e0_error_mev"]) <= E0_GOAL_MEV
        and abs(row["mass_error"]) <= MASS_GOAL
        for row in rows
    ]
    found = [row for row in rows if row["e0_error_mev"] is not None]
    return {
        "stacks": len(rows),
        "within_goals": sum(close),
        "largest_e0_error_mev": max((abs(row["e0_error_mev"]) for row in found), default=None),
        "largest_mass_error": max((abs(row["mass_error"]) for row in found), default=None),
        "e0_intervals_hold": sum(row["e0_held"] for row in rows),
        "mass_intervals_hold": sum(row["mass_held"] for row in rows),
        "q_within_68": float(np.mean([row["q_within_68"] for row in rows])),
        "q_within_95": float(np.mean([row["q_within_95"] for row in rows])),
        "relative_l2_file": float(np.mean([row["relative_l2_file"] for row in rows])),
        "relative_l2_ratio": float(np.max([row["relative_l2_file"] / row["relative_l2_direct"] for row in rows])),
        "extract_s": float(np.median([row["extract_s"] for row in rows])),
    }


def _columns(
    energy: float, e0_mev: float, mass: float, linewidth: float, scattering: dict[str, float]
) -> dict[str, float]:
    k = float(electron_wavevector(mass, energy - e0_mev))
    return {
        "energy": energy,
        "k": k,
        "damping": linewidth * k / (2 * (energy - e0_mev)),
        "tip_fwhm": 0.5,
        "mass_ratio": 1.0,
        "axis": 0.0,
        "share_2": 0.0,
        "k_2": 1.0,
        "damping_2": 0.0,
        "delta_2": 0.0,
        "unit": 0.04,
        **scattering,
    }


def _error(kernel: Values, truth: Values, outside: NDArray[np.bool_]) -> float:
    """Relative L2 error outside the core, the mean of the kernels."""
    left, whole = (np.linalg.norm(each[:, outside], axis=1) for each in (kernel - truth, truth))
    return float((left / whole).mean())


def _line(row: dict[str, Any]) -> str:
    e0 = "no band" if row["e0_error_mev"] is None else f"E0 {row['e0_error_mev']:+.2f} meV"
    mass = "" if row["mass_error"] is None else f", m* {row['mass_error']:+.2%}"
    return (
        f"{row['seed']:3d}  {e0}{mass}, {row['layers_used']} layers, kernel {row['relative_l2_file']:.4f}"
        f" (direct {row['relative_l2_direct']:.4f}), {row['extract_s']:.0f} s"
    )


if __name__ == "__main__":
    sys.exit(main())
