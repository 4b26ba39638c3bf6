"""Benchmark of streaming fresh training batches: images per second, every field of a batch as tensors."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import references
from qpibench.release.parallel import as_completed
from qpibench.specs import load_spec

pytest.importorskip("torch")

import torch

import qpibench

THREADS = 2
CPU_BATCH, CPU_BATCHES = 256, 48
GPU_BATCH, GPU_BATCHES = 1024, 100

TENSORS = {
    "name": "stream.gpu",
    "what": "`qpibench.stream` of `paper` on the GPU, batches of 1,024, all fields, tensors ready on the device",
    "unit": "images/s",
    "at_least": 1.5e6,
}
TENSORS_COPY = {
    "name": "stream.gpu_of_copy",
    "what": "`qpibench.stream` on the GPU, bytes of the tensors, share of the rate of copying them on the device",
    "unit": "",
}


def consume(batches, count):
    """Take batches and discard them, like a training loop without cost."""
    for _ in range(count):
        next(batches)


def operations(spec, images):
    """Return the floating-point operations that superpose the first images of a stream."""
    with_counts = qpibench.stream(spec, batch_size=images, fields=("fold", "n_scatterers"), threads=1).batch(0)
    flops = sum(
        references.FLOPS[fold] * count
        for fold, count in zip(with_counts["fold"].tolist(), with_counts["n_scatterers"].tolist(), strict=True)
    )
    return flops * spec.grid.nx * spec.grid.ny


@pytest.mark.parametrize(("most", "target"), [(100, 30_000), (20, None)])
def test_stream_on_two_cores(alternate, report, most, target):
    spec = load_spec("paper", overrides=[] if most == 100 else [f"scatterers.max={most}"])
    batches = qpibench.stream(spec, batch_size=CPU_BATCH, map_mode="exact", threads=THREADS)
    images_alone = qpibench.stream(spec, batch_size=CPU_BATCH, fields=("image",), threads=THREADS)
    chains = [np.ones((references.CHAINS, 128), np.float32) for _ in range(THREADS)]
    passes = 40_000

    def multiply_and_add():
        for _ in as_completed(lambda each: references.fused_multiply_adds(each, passes), chains, threads=THREADS):
            pass

    def end_what_is_made_ahead():
        batches.close()
        images_alone.close()

    rounds = alternate(
        lambda: consume(batches, CPU_BATCHES),
        {"images alone": lambda: consume(images_alone, CPU_BATCHES), "FMA": multiply_and_add},
        rounds=10,
        prepare=end_what_is_made_ahead,
    )
    end_what_is_made_ahead()

    images = CPU_BATCH * CPU_BATCHES
    key = f"stream.{most}"
    what = f"`qpibench.stream` of `paper`, 1 to {most} scatterers, batches of {CPU_BATCH}, all fields, two threads"
    report(key, what, "images/s", images / rounds.seconds, at_least=target)
    share = rounds.reference["images alone"] / rounds.seconds
    report(f"{key}.of_images", f"{what}, share of the rate of a stream of the images alone", "", share)
    peak = sum(2 * references.DEPTH * each.size * passes for each in chains) / rounds.reference["FMA"]
    share = operations(spec, images) / rounds.seconds / peak
    report(f"{key}.of_fma_peak", f"{what}, superposition alone, share of the rate of fused multiply-adds", "", share)


@pytest.mark.gpu
@pytest.mark.figures(TENSORS, TENSORS_COPY)
@pytest.mark.usefixtures("gpu")
def test_stream_on_the_gpu(alternate, report):
    if not torch.cuda.is_available():
        pytest.skip(f"PyTorch {torch.__version__} has no CUDA device")
    batches = qpibench.stream("paper", device="cuda", batch_size=GPU_BATCH, map_mode="exact")
    source = next(batches)
    assert all(tensor.is_cuda and len(tensor) == GPU_BATCH for tensor in source.values())
    size = sum(tensor.nbytes for tensor in source.values())
    target = {field: torch.empty_like(tensor) for field, tensor in source.items()}

    def copy():
        for _ in range(GPU_BATCHES):
            for field, tensor in source.items():
                target[field].copy_(tensor)

    rounds = alternate(lambda: consume(batches, GPU_BATCHES), {"copy": copy}, rounds=20, warmup_rounds=2)
    report(**TENSORS, values=GPU_BATCH * GPU_BATCHES / rounds.seconds)
    report(**TENSORS_COPY, values=rounds.reference["copy"] / rounds.seconds)
    # A copy reads and writes every byte; a batch is only written.
    what = "copying the tensors of a batch on the device, bytes that are copied"
    report("stream.gpu_copy", what, "bytes/s", size * GPU_BATCHES / rounds.reference["copy"])
