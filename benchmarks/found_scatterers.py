"""Measure the band with scatterers that are found, not told: ``python -m benchmarks.found_scatterers``.

The stacks are those of the track ``microscope`` (:mod:`benchmarks.drawn_stacks`). Each gets a topography in which every
scatterer is a Gaussian spot, with line offsets and noise. Scatterers are found there as by ``qpibench scatterers``. All
layers are extracted with this list, which nobody has checked by eye.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.drawn_stacks import Stack, StackSpec, draw_stack
from benchmarks.machine import machine, sentence
from benchmarks.microscope import HEADS, measure, row
from benchmarks.microscope_figures import Goals, StackFound, summarised
from qpibench.cli.table import aligned
from qpibench.errors import QpibenchError
from qpibench.maps import Channel, Maps, Source
from qpibench.maps.detection import find_scatterers
from qpibench.maps.preparation import apply

WIDE_NM = 1.2
HIGH_PM = (14.0, 26.0)
LINES_PM = 5.0
NOISE_PM = 3.0


def topography(stack: Stack, seed: int) -> Maps:
    """The topography of a stack, levelled line by line."""
    rng = np.random.default_rng([stack.number, seed, 1])
    x, y = np.meshgrid(stack.grid.x_nm, stack.grid.y_nm)
    z = rng.normal(0, LINES_PM, (stack.grid.ny, 1)) + rng.normal(0, NOISE_PM, x.shape)
    for x_s, y_s in stack.positions_nm:
        z += rng.uniform(*HIGH_PM) * np.exp(-4 * np.log(2) * np.hypot(x - x_s, y - y_s) ** 2 / WIDE_NM**2)
    source = Source(file="Synthetic map", format="synthetic", sha256="0" * 64)
    channel = Channel(name="Z", unit="m", values=1e-12 * z)
    return apply(Maps(grid=stack.grid, channels=(channel,), source=source), "lines")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; the exit code."""
    spec = StackSpec()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.found_scatterers", description=__doc__)
    parser.add_argument("--method", nargs="+", default=["polar", "refine"], metavar="ENTRY")
    parser.add_argument("--stacks", type=int, default=20)
    parser.add_argument("--seed", type=int, default=spec.seed, help=f"another one draws other stacks ({spec.seed})")
    asked = parser.parse_args(arguments)
    spec = spec.model_copy(update={"seed": asked.seed})
    measured: dict[str, list[StackFound]] = {method: [] for method in asked.method}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the scatterers do not explain a map
            for number in range(asked.stacks):
                stack = draw_stack(spec, number)
                found = find_scatterers(topography(stack, spec.seed), "Z").position_nm
                print(f"stack {number}: {len(found)} scatterers found, {_missed(found, stack.positions_nm)} missed")
                for method, rows in measured.items():
                    rows.append(measure(replace(stack, positions_nm=found), spec, method, None))
                    print(f"    {method} {_errors(rows[-1])}", flush=True)
    except QpibenchError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code
    print(aligned([list(HEADS), *(row(name, summarised(rows, Goals())) for name, rows in measured.items())]))
    print(sentence(machine()))
    return 0


def _missed(found: NDArray[np.float64], true: NDArray[np.float64], within_nm: float = 0.6) -> int:
    """Number of true scatterers that have none of those found near them."""
    near = np.linalg.norm(true[:, None] - found, axis=2).min(axis=1)
    return int((near > within_nm).sum())


def _errors(one: StackFound) -> str:
    if one.e0_error_mev is None or one.mass_error is None:
        return one.failure
    held = f"intervals hold: E0 {one.e0_held}, m* {one.mass_held}"
    return f"E0 {one.e0_error_mev:+.3f} meV, m* {one.mass_error:+.3%}; {held}; kernel {one.relative_l2_file}"


if __name__ == "__main__":
    sys.exit(main())
