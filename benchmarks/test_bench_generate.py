"""Benchmarks of `generate`: time to a synced, hashed file, and memory."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest

from benchmarks import references
from qpibench.release import write_release
from qpibench.release.identity import BLOCK_ROWS
from qpibench.release.parallel import as_completed

THREADS = 2


def compute_and_hash(spec, backend):
    """Do the work of `generate` without the file: make all observations and hash them."""
    kernels = backend.kernels(spec)

    def block(start):
        observations = backend.observations(spec, kernels, start, min(start + BLOCK_ROWS, spec.observation_count))
        for column in observations.columns().values():
            hashlib.sha256(column).digest()

    for _ in as_completed(block, range(0, spec.observation_count, BLOCK_ROWS), threads=THREADS):
        pass


def test_generate_paper(alternate, report, paper, backend, tmp_path):
    target, plain = tmp_path / "paper.h5", tmp_path / "plain"
    write_release(paper, target, backend=backend, threads=THREADS)
    size = target.stat().st_size
    buffer = memoryview(np.random.default_rng(0).bytes(1 << 26))

    def clean():
        for path in (target, plain):
            path.unlink(missing_ok=True)
        os.sync()

    rounds = alternate(
        lambda: write_release(paper, target, backend=backend, threads=THREADS),
        {
            "write": lambda: references.write_and_sync(plain, size, buffer),
            "compute": lambda: compute_and_hash(paper, backend),
        },
        rounds=5,
        warmup_rounds=0,
        prepare=clean,
    )
    clean()

    write, compute = rounds.reference["write"], rounds.reference["compute"]
    bound = np.maximum(write, compute)
    what = "`generate paper` to a synced, hashed file, two threads"
    both = "the larger of writing the bytes and computing them"
    report("generate.over_bound", f"{what}, over {both}", "x", rounds.seconds / bound, at_most=1.3)
    report("generate.seconds", what, "s", rounds.seconds)
    report("generate.rate", what, "bytes/s", size / rounds.seconds)
    report("generate.write", f"writing and syncing the same {size / 1e6:.0f} MB", "s", write)
    report("generate.compute", "computing and hashing the same in memory, two threads", "s", compute)
    report("generate.of_disk", "`generate paper`, share of the rate of writing and syncing", "", write / rounds.seconds)


# The measured program is the child of a small one: the peak that the system states for a child includes the
# memory of the parent that it was forked from.
_LAUNCH = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (1 if sys.platform == "darwin" else 1024))
"""


def peak_bytes(*command):
    return int(subprocess.run([sys.executable, "-c", _LAUNCH, *command], check=True, stdout=subprocess.PIPE).stdout)


@pytest.mark.parametrize("images", [50_000, 200_000])
def test_memory_of_generate(benchmark, report, backend, tmp_path, images):
    target = tmp_path / "large.h5"
    per_kernel = f"observations_per_kernel={images // 100}"
    command = [sys.executable, "-m", "qpibench.cli.main", "generate", "paper", "--set", per_kernel, "-o", str(target)]
    peak = benchmark.pedantic(peak_bytes, command, rounds=1)
    written = target.stat().st_size
    target.unlink()
    bare = peak_bytes(sys.executable, "-c", "import numpy, numba")
    above = "above an interpreter with NumPy and Numba"
    what = f"peak memory of `generate`, {images:,} images ({written / 1e6:,.0f} MB), {above}"
    report(f"generate.memory_{images}", what, "MB", (peak - bare) / 1e6, at_most=400)
    report(
        f"generate.memory_{images}_bare", f"peak memory of that interpreter, beside {images:,} images", "MB", bare / 1e6
    )
