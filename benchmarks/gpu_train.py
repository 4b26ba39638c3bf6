"""Train the published methods on a GPU within a stated time: ``make gpu-train``.

    python -m benchmarks.gpu_train --budget 420
    python -m benchmarks.gpu_train --cpu --preset tiny --spec mini --track FILE.toml --steps 4 --limit 2 --budget 120

The release is made from its spec. Then the arms of :mod:`benchmarks.arms` are trained one after the other, all
seeds of an arm together (``learned.lanes``). Each arm is evaluated while the next one trains. An arm that would exceed
the remaining time is not begun. An interrupted arm stays partial, and the same command continues it. After every run,
the output folder is written again:

    summary.json       status of every arm
    results.tar.gz     results, run records and logs of all runs
    weights-N.tar      run record and weights (float16) of the first seed, as run folders

The output folder is ``$OUT`` if that is set, else ``gpu-train/``; it holds at most 8 files of at most 16 MiB. The
folder of ``--work`` holds everything that a later call needs to continue.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

NEEDED = (
    *("torch", "diffusers", "accelerate", "safetensors", "tensorboard"),
    *("numpy", "numba", "h5py", "scipy", "skimage", "pydantic", "psutil", "click"),
)


def main() -> int:
    """Run the queue if all packages are there; the exit code is 4 if one is missing."""
    if missing := [module for module in NEEDED if find_spec(module) is None]:
        print(f"Error: {sys.executable} lacks {', '.join(missing)}; install what is missing.", file=sys.stderr)
        return 4
    from benchmarks import gpu_run

    return gpu_run.main()


if __name__ == "__main__":
    sys.exit(main())
