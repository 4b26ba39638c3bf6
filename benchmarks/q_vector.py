"""How well q of the true kernels of each preset is found: ``python -m benchmarks.q_vector``.

It prints the table of docs/scores.md: of the kernels whose formula gives q, the share that is scored, and the median
and the largest error of the scored ones in units of pi/L; of the others, the share of directions with a clear peak.
"""

from __future__ import annotations

import numpy as np

from qpibench.families import get_family
from qpibench.physics.q_vector import direction_wavevectors, ring_wavevector
from qpibench.specs.load import load_spec
from qpibench.synthesis.cpu import CpuBackend

PRESETS = (
    "paper",
    "ag111_64",
    "ag111_128",
    "cu111_64",
    "cu111_128",
    "square_64",
    "square_128",
    "hexagonal_64",
    "hexagonal_128",
    "nematic_64",
    "nematic_128",
)
"""``scatterer64`` has the kernels of ``paper``, and ``mini`` has kernels of the same ranges."""


def measure(name: str) -> tuple[str, str, str, str]:
    """The numbers of a row of the table, a dash where there is no such kernel."""
    spec = load_spec(name)
    kernels, family = CpuBackend().kernels(spec), get_family(spec.kernels.family)
    q, core_nm = family.wavevector(kernels.parameters), family.core_radius_nm(spec.kernels)
    limit = np.pi / min(spec.grid.size_x_nm, spec.grid.size_y_nm)
    known = np.isfinite(q)
    error = np.abs(ring_wavevector(spec.grid, kernels.image[known], core_nm=core_nm) - q[known]) / limit
    scored = error <= 0.5
    clear = direction_wavevectors(spec.grid, kernels.image[~known], core_nm=core_nm).clear
    of_known = (scored.mean(), np.median(error[scored]), error[scored].max()) if scored.any() else (None,) * 3
    values = (*of_known, None if known.all() else clear.mean())
    return tuple("-" if value is None else f"{value:.2f}" for value in values)  # type: ignore[return-value]


if __name__ == "__main__":
    print("| kernels of | scored | median error / (π/L) | largest | clear directions |")
    print("|---|---|---|---|---|")
    for preset in PRESETS:
        print(f"| `{preset}` | {' | '.join(measure(preset))} |", flush=True)
