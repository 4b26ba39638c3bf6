"""Benchmark of reading shuffled batches of a release in the disk cache through the PyTorch data set."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

pytest.importorskip("torch")

from torch.utils.data import DataLoader

from qpibench.release.torch_view import ReleaseDataset

BATCH = 256
FULL = (
    *("image", "kernel", "activation_map", "position_nm", "n_scatterers"),
    *("snr_db", "noise_sigma", "kernel_index", "index"),
)


def shuffled(length):
    """Yield batches of indices without end."""
    rng = np.random.default_rng(0)
    while True:
        order = rng.permutation(length)
        yield from (order[i : i + BATCH].tolist() for i in range(0, length - BATCH, BATCH))


def endless(loader):
    while True:
        yield from loader


@pytest.mark.parametrize(
    ("what", "fields", "target"),
    [("images alone", ("image",), 2.0), ("the full sample", FULL, None)],
    ids=["images", "full"],
)
def test_shuffled_batch(alternate, report, paper_release, request, what, fields, target):
    dataset = ReleaseDataset(paper_release, task="id", role="train", fields=fields, map_mode="exact")
    batches = shuffled(len(dataset))
    loader = endless(DataLoader(dataset, batch_size=BATCH, shuffle=True, drop_last=True))
    images = dataset.release.stored("observations/image")
    starts = itertools.cycle(
        np.random.default_rng(1).integers(0, dataset.release.observation_count - BATCH, 1000).tolist()
    )

    def copy():
        start = next(starts)
        return images[start : start + BATCH].copy()

    rounds = alternate(
        lambda: dataset.__getitems__(next(batches)),
        {
            "tensors": lambda: dataset.batch(next(batches)),
            "loader": lambda: next(loader),
            "copy": copy,
        },
        rounds=60,
        warmup_rounds=5,
    )

    key = f"read.{request.node.callspec.id}"
    batch = f"shuffled batch of {BATCH} from the disk cache, {what}"
    report(key, f"{batch}, through the PyTorch data set", "ms", 1e3 * rounds.seconds, at_most=target)
    report(f"{key}.tensors", f"{batch}, one tensor a field", "ms", 1e3 * rounds.reference["tensors"])
    report(f"{key}.loader", f"{batch}, from a `DataLoader` that collates", "ms", 1e3 * rounds.reference["loader"])
    size = BATCH * images[0].nbytes
    report(f"{key}.rate", f"{batch}, image bytes", "bytes/s", size / rounds.seconds)
    share = rounds.reference["copy"] / rounds.seconds
    report(f"{key}.of_copy", f"{batch}, share of the rate of copying images unshuffled", "", share)
