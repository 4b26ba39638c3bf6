"""Measure the way from a microscope's file to a band: ``python -m benchmarks.microscope -o FILE.json``.

Every stack is a map of dI/dV over a surface like Ag(111) with a drawn band and drawn scatterers, written as a Nanonis
grid, read back, and extracted as by ``qpibench extract`` (:mod:`benchmarks.drawn_stacks`). All methods get the same
stacks. The file of figures is written after every stack, and the same command continues an interrupted run: it keeps
the stacks that the same code has measured, and the figures of other methods.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.drawn_stacks import Stack, StackSpec, draw_stack
from benchmarks.machine import machine, sentence
from benchmarks.microscope_figures import (
    Goals,
    MethodFigures,
    StackFound,
    Summary,
    continued,
    library_sha256,
    summarised,
    write_figures,
)
from qpibench.cli.table import aligned
from qpibench.counting import counted
from qpibench.errors import InvalidDataError, QpibenchError, UsageError
from qpibench.evaluation.entries import Entry, find_entry
from qpibench.evaluation.entry_code import code_sha256
from qpibench.extraction.findings import Findings, find
from qpibench.extraction.of_maps import extract_maps
from qpibench.extraction.stack import extract_stack
from qpibench.files import check_file
from qpibench.pages.notation import number
from qpibench.readers.maps import read_maps

Values = NDArray[np.float64]

STACKS = 20
METHODS = ("polar", "refine", "tikhonov", "wiener", "multi_atom", "positive")


def measure(stack: Stack, spec: StackSpec, method: str, workers: int | None) -> StackFound:
    """Extract a stack from its file, and return what was found beside the truth."""
    size = stack.grid.size_x_nm
    truth: dict[str, Any] = {"stack": stack.number, "e0_mev": stack.e0_mev, "mass": stack.mass, "field_nm": size}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "grid.3ds"
        path.write_bytes(stack.file)
        maps = read_maps(path)
    started = time.perf_counter()
    try:
        content = extract_maps(maps, stack.positions_nm, method, workers=workers)
        seconds = time.perf_counter() - started
        layers = stack.values[stack.some]
        layers = layers - layers.mean(axis=(1, 2), keepdims=True)
        direct = extract_stack(layers, stack.positions_nm, size, method, workers=workers)
    except InvalidDataError as error:
        return StackFound(**truth, failure=str(error))
    findings = find(content)
    outside = np.hypot(stack.grid.x_nm, stack.grid.y_nm[:, None]) > spec.core_nm
    compared = content.kernels.kernel[stack.some], direct.kernel
    errors = np.array([_errors(each, stack.kernels, outside) for each in compared])
    errors = errors[:, np.isfinite(errors).all(axis=0)]
    found: dict[str, Any] = {
        "states_std": bool(np.isfinite(content.kernels.std).any()),
        "layers": content.kernels.failures.count(""),
        "relative_l2_file": float(errors[0].mean()) if errors.size else None,
        "relative_l2_direct": float(errors[1].mean()) if errors.size else None,
        "seconds": seconds,
    }
    found |= _of_waves(findings, stack) | _of_band(findings, stack)
    return StackFound(**truth, **{name: _short(value) for name, value in found.items()})


def _errors(kernels: Values, truth: Values, outside: NDArray[np.bool_]) -> Values:
    """Relative L2 error of every kernel outside the core."""
    left, whole = (np.linalg.norm(each[:, outside], axis=1) for each in (kernels - truth, truth))
    return np.asarray(left / whole)


def _of_waves(findings: Findings, stack: Stack) -> dict[str, float]:
    waves = [(layer.waves, q) for layer, q in zip(findings.layers, stack.q, strict=True)]
    pairs = [(one.q - q, one.q_std, q) for one, q in waves if one is not None]
    if not pairs:
        return {}
    error, std, q = np.abs(np.array(pairs)).T
    return {
        "layers_with_q": len(pairs),
        "q_error": float(np.median(error / q)),
        "q_within_68": float((error <= std).mean()),
        "q_within_95": float((error <= 1.96 * std).mean()),
    }


def _of_band(findings: Findings, stack: Stack) -> dict[str, Any]:
    band = findings.band
    if band is None:
        return {"failure": findings.no_band}
    (e0_low, e0_high), (mass_low, mass_high) = band.e0_interval, band.mass_interval
    return {
        "layers_used": int(band.used.sum()),
        "e0_error_mev": band.e0_mev - stack.e0_mev,
        "mass_error": band.mass / stack.mass - 1,
        "e0_wide_mev": (e0_high - e0_low) / 2,
        "mass_wide": (mass_high - mass_low) / 2 / stack.mass,
        "e0_held": e0_low <= stack.e0_mev <= e0_high,
        "mass_held": mass_low <= stack.mass <= mass_high,
    }


def _short(value: Any) -> Any:
    return float(f"{value:.5g}") if isinstance(value, float) else value


def run(
    methods: Sequence[str], spec: StackSpec, *, stacks: int, workers: int | None = None, output: Path | None = None
) -> Iterator[tuple[str, StackFound]]:
    """Measure methods one after the other, and write all figures after every stack; yield names and stacks.

    Raises
    ------
    UsageError
        If a method cannot be used, or the file has figures of other stacks.
    QpibenchError
        If the file cannot be read or written, or a process was killed.
    """
    if output is not None:
        check_file(output)
    entries = {find_entry(method).name: method for method in methods}
    if len(entries) < len(methods):
        raise UsageError("Two of the methods have one name; measure one at a time, each into a file of its own.")
    figures = continued(output, spec)
    for name, method in entries.items():
        measured = _begun(figures.methods.get(name), find_entry(method))
        kept = {row.stack: row for row in measured.stacks}
        for each in range(stacks):
            if each not in kept:
                kept[each] = measure(draw_stack(spec, each), spec, method, workers)
            rows = tuple(kept[place] for place in sorted(kept))
            measured = measured.model_copy(update={"stacks": rows})
            figures = figures.model_copy(update={"methods": figures.methods | {name: measured}})
            if output is not None:
                write_figures(figures, output)
            yield name, kept[each]


def _begun(known: MethodFigures | None, entry: Entry) -> MethodFigures:
    """The figures of a method so far: those of the same code, or none."""
    fresh = MethodFigures(
        code_sha256=code_sha256(entry.path),
        weights_sha256=entry.weights_sha256(),
        library_sha256=library_sha256(),
        machine=machine(),
    )
    if known is None or known.model_copy(update={"stacks": ()}) == fresh:
        return known or fresh
    old = counted(len(known.stacks), "stack")
    print(f"{entry.name}: {old} of other code or another machine will be measured again.", file=sys.stderr)
    return fresh


HEADS = ("method", "stacks", "in goals", "E0 meV", "largest", "m* %", "largest", "E0 held", "m* held", "kernel", "s")


def row(name: str, summary: Summary) -> list[str]:
    """A row of the printed table."""
    return [
        name,
        str(summary.count),
        str(summary.within),
        *(_text(value) for value in (summary.e0_error_mev, summary.largest_e0_error_mev)),
        *(_text(value, 100) for value in (summary.mass_error, summary.largest_mass_error)),
        str(summary.e0_held),
        str(summary.mass_held),
        _text(summary.relative_l2),
        _text(summary.seconds),
    ]


def _text(value: float | None, factor: float = 1) -> str:
    return "" if value is None else number(factor * value)


def _line(name: str, found: StackFound) -> str:
    if found.e0_error_mev is None or found.mass_error is None:
        return f"{name} {found.stack:3d}  no band: {found.failure}"
    return (
        f"{name} {found.stack:3d}  E0 {found.e0_error_mev:+.2f} meV, m* {found.mass_error:+.2%}, {found.layers_used}"
        f" layers, kernel {_text(found.relative_l2_file)} (direct {_text(found.relative_l2_direct)}),"
        f" {found.seconds:.0f} s"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table and write the figures; the exit code."""
    spec = StackSpec()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.microscope", description=__doc__)
    parser.add_argument(
        "--method", nargs="+", default=METHODS, metavar="ENTRY", help="entries by name, their files, or run folders"
    )
    parser.add_argument("--stacks", type=int, default=STACKS, help=f"number of stacks ({STACKS})")
    for name in ("energies", "pixels", "scatterers"):
        default = getattr(spec, name)
        parser.add_argument(f"--{name}", type=int, default=default, help=f"of a stack ({default}); for a try")
    parser.add_argument("--seed", type=int, default=spec.seed, help=f"another one draws other stacks ({spec.seed})")
    parser.add_argument("--workers", type=int, help="processes; without it, one for each processor")
    parser.add_argument("-o", "--output", type=Path, help="JSON file of the figures; an existing one is continued")
    asked = parser.parse_args(arguments)
    if asked.seed < 0:
        parser.error(f"--seed must be 0 or more, found {asked.seed}")
    if min(asked.stacks, asked.energies, asked.pixels, asked.scatterers, asked.workers or 1) < 1:
        parser.error("numbers of stacks, energies, pixels, scatterers and workers must be 1 or more")
    spec = StackSpec(seed=asked.seed, energies=asked.energies, pixels=asked.pixels, scatterers=asked.scatterers)
    measured: dict[str, list[StackFound]] = {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # entries that bring an image to their own pixels say so for every layer
            for name, found in run(asked.method, spec, stacks=asked.stacks, workers=asked.workers, output=asked.output):
                measured.setdefault(name, []).append(found)
                print(_line(name, found), flush=True)
    except QpibenchError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        kept = "" if asked.output is None else f"; the stacks above are kept in {asked.output}"
        print(f"Interrupted{kept}.", file=sys.stderr)
        return 128 + signal.SIGINT
    rows = [row(name, summarised(stacks, Goals())) for name, stacks in measured.items()]
    print(aligned([list(HEADS), *rows]))
    print(sentence(machine()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
