"""Benchmarks of the GPU: superposition into its memory, a release to a file, and the first call of a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import references
from qpibench.release import write_release
from qpibench.synthesis.nvrtc import find_nvrtc

pytestmark = pytest.mark.gpu

SUPERPOSITION = {
    "name": "cuda.superposition",
    "what": "superposition of 50,000 images of `paper` into device memory, drawing the scatterers included",
    "unit": "ms",
    "at_most": 15,
}
RATE = {"name": "cuda.rate", "what": "superposition on the GPU, as above", "unit": "evaluations/s"}
SHARE = {
    "name": "cuda.of_fma_peak",
    "what": "superposition on the GPU, share of the rate of fused multiply-adds",
    "unit": "",
}
PEAK = {"name": "cuda.fma_peak", "what": "fused multiply-adds on the GPU", "unit": "flop/s"}
REACH = {
    "name": "cuda.reach",
    "what": "superposition on the GPU of 512 x 512 px, 80 nm, 2,000 scatterers: decay 400-500 nm over 2-3 nm",
    "unit": "x",
}
TO_FILE = {
    "name": "cuda.generate.over_write",
    "what": "`generate paper --gpu` to a synced, hashed file, over writing and syncing the bytes",
    "unit": "x",
    "at_most": 1.0,
}
TO_FILE_RATE = {"name": "cuda.generate.rate", "what": "`generate paper --gpu`", "unit": "bytes/s"}
SECONDS = {"name": "cuda.generate.seconds", "what": "`generate paper --gpu`", "unit": "s"}
WRITE = {"name": "cuda.generate.write", "what": "writing and syncing the bytes", "unit": "s"}
FIRST = {
    "name": "cuda.first_call",
    "what": "first batch of a process on the GPU, compiling included, CuPy imported and the device open",
    "unit": "s",
    "at_most": 5,
}
CACHED = {
    "name": "cuda.first_call_cached",
    "what": "first batch of a process on the GPU, compiled code from the cache, CuPy imported and the device open",
    "unit": "s",
    "at_most": 0.5,
}
OPEN = {"name": "cuda.open", "what": "importing CuPy and opening the device", "unit": "s"}


@pytest.mark.figures(SUPERPOSITION, RATE, SHARE, PEAK)
def test_cuda_superposition(alternate, report, gpu, paper):
    import cupy

    count = paper.observation_count

    def superpose(*fields):
        return gpu.fresh(paper, 0, count, fields=("image", *fields), map_mode="exact")

    module = cupy.cuda.Module()
    source = Path(__file__).parent / "fused_multiply_adds.cu"
    module.load(find_nvrtc(newest_major=gpu.device.cuda[0]).cubin(source, gpu.device.capability))
    multiply_and_add = module.get_function("fused_multiply_adds")
    blocks, threads, passes = 8192, 256, 200
    values = cupy.ones(blocks * threads, cupy.float32)

    rounds = alternate(
        superpose,
        {"FMA": lambda: multiply_and_add((blocks,), (threads,), (values, np.int32(passes)))},
        rounds=30,
        warmup_rounds=3,
    )

    made = superpose("fold", "n_scatterers")
    n_scatterers, fold = made["n_scatterers"].get(), made["fold"].get()
    pixels = paper.grid.nx * paper.grid.ny
    report(**SUPERPOSITION, values=1e3 * rounds.seconds)
    report(**RATE, values=n_scatterers.sum() * pixels / rounds.seconds)
    flops = sum(references.FLOPS[n] * int(n_scatterers[fold == n].sum()) for n in references.FLOPS) * pixels
    peak = 2 * references.CHAINS * references.DEPTH * passes * blocks * threads / rounds.reference["FMA"]
    report(**SHARE, values=flops / rounds.seconds / peak)
    report(**PEAK, values=peak)


@pytest.mark.figures(REACH)
def test_cuda_out_of_reach(alternate, report, gpu):
    near, far = references.reach_specs(images=20)

    def superpose(spec):
        return gpu.fresh(spec, 0, 20, fields=("image",), map_mode="exact")

    rounds = alternate(lambda: superpose(near), {"far": lambda: superpose(far)}, rounds=20, warmup_rounds=3)
    report(**REACH, values=rounds.reference["far"] / rounds.seconds)


@pytest.mark.figures(TO_FILE, TO_FILE_RATE, SECONDS, WRITE)
def test_cuda_generate(alternate, report, gpu, paper, tmp_path):
    target, plain = tmp_path / "paper.h5", tmp_path / "plain"
    write_release(paper, target, backend=gpu)
    size = target.stat().st_size
    buffer = memoryview(np.random.default_rng(0).bytes(1 << 26))

    def clean():
        for path in (target, plain):
            path.unlink(missing_ok=True)
        os.sync()

    rounds = alternate(
        lambda: write_release(paper, target, backend=gpu),
        {"write": lambda: references.write_and_sync(plain, size, buffer)},
        rounds=7,
        warmup_rounds=0,
        prepare=clean,
    )
    clean()
    report(**TO_FILE, values=rounds.seconds / rounds.reference["write"])
    report(**TO_FILE_RATE, values=size / rounds.seconds)
    report(**SECONDS, values=rounds.seconds)
    report(**WRITE, values=rounds.reference["write"])


_FIRST_CALL = """
import json, time
from qpibench.specs import load_spec
from qpibench.synthesis import get_backend
from qpibench.synthesis.fields import stream_fields
spec = load_spec("paper")
started = time.perf_counter()
import cupy
cupy.cuda.Device().synchronize()
cupy.empty(1)
opened = time.perf_counter()
backend, _ = get_backend("cuda")
batch = backend.fresh(spec, 0, 1024, fields=stream_fields(spec), map_mode="exact")
cupy.cuda.Device().synchronize()
print(json.dumps([opened - started, time.perf_counter() - opened]))
"""


@pytest.mark.figures(FIRST, CACHED, OPEN)
@pytest.mark.usefixtures("gpu")
def test_cuda_first_call(benchmark, report, tmp_path):
    def first_call(cache):
        environment = os.environ | {"QPIBENCH_CACHE_DIR": str(tmp_path / cache)}
        command = [sys.executable, "-c", _FIRST_CALL]
        return json.loads(subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE).stdout)

    pairs = benchmark.pedantic(lambda: [(first_call(str(n)), first_call(str(n))) for n in range(5)], rounds=1)
    seconds = np.array(pairs)  # (repetition, compiling or not, opening or calling)
    report(**FIRST, values=seconds[:, 0, 1])
    report(**CACHED, values=seconds[:, 1, 1])
    report(**OPEN, values=seconds[:, :, 0].ravel())
