"""Jumps within the steps of a week of training, and to the last steps that a stream has.

At each step, the batch is the same when it is made again, image by image, and by a stream that was moved there; no
image has been there before; and the memory of the process stays within 1 GiB beside the tables of kernels that it
keeps.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import numpy as np
import psutil

from benchmarks.campaigns.campaign import Tally, Trial
from benchmarks.campaigns.commands import LIMIT_BYTES
from qpibench.synthesis.stream import IMAGES, FreshBatches, fresh_batches
from qpibench.synthesis.tables import KEPT_BYTES
from qpibench.synthesis.torch_stream import Stream, stream

TRIALS = 2000
SPECS = ("mini", "mini_species", "ag111_64")
IMAGES_PER_BATCH = 4
STEPS_PER_S = 1000
WEEK = 7 * 24 * 3600 * STEPS_PER_S
"""Steps of a week in which training takes a thousand batches a second."""

MOST_BYTES = LIMIT_BYTES + 3 * len(SPECS) * KEPT_BYTES
"""Largest memory of the process. Each spec has three sources of batches, which keep tables for themselves."""


@contextmanager
def prepare(folder: Path) -> Iterator[Trial]:
    made: dict[str, tuple[FreshBatches, FreshBatches, Stream]] = {}
    seen: dict[bytes, tuple[str, int]] = {}

    def of_spec(name: str) -> tuple[FreshBatches, FreshBatches, Stream]:
        if name not in made:
            batches = fresh_batches(name, batch_size=IMAGES_PER_BATCH)
            one = fresh_batches(name, batch_size=1)
            made[name] = batches, one, stream(name, batch_size=IMAGES_PER_BATCH, threads=1)
        return made[name]

    yield lambda random, tally: _trial(*of_spec(random.choice(SPECS)), seen, random, tally)
    for *_, moved in made.values():
        moved.close()


def _trial(
    batches: FreshBatches,
    one: FreshBatches,
    moved: Stream,
    seen: dict[bytes, tuple[str, int]],
    random: Random,
    tally: Tally,
) -> None:
    last = IMAGES // IMAGES_PER_BATCH - 2
    step = random.randrange(WEEK) if random.random() < 0.9 else last - random.randrange(1000)
    batch = {name: np.asarray(values) for name, values in batches(step).items()}
    images = [hashlib.sha256(image.tobytes()).digest() for image in batch["image"]]
    problem = None
    for place in range(IMAGES_PER_BATCH):
        alone = one(step * IMAGES_PER_BATCH + place)
        for name, values in batch.items():
            if np.asarray(alone[name])[0].tobytes() != values[place].tobytes():
                problem = f"{name} of image {place} is another one when it is made alone"
    moved.seek(step)
    there = next(moved)
    for name, values in batch.items():
        if there[name].numpy().tobytes() != values.tobytes():
            problem = f"{name} is another one in a stream that was moved there"
    if moved.step != step + 1:
        problem = f"the stream says that it is at step {moved.step}"
    if not np.isfinite(batch["image"]).all():
        problem = "an image is not finite"
    here = batches.spec.name, step  # which may be drawn twice
    if len(set(images)) < len(images) or any(seen.setdefault(image, here) != here for image in images):
        problem = "an image has been there before"
    memory_bytes = psutil.Process().memory_info().rss
    if problem is None and memory_bytes > MOST_BYTES:
        problem = f"{memory_bytes:,} bytes of memory"
    where = "in a week" if step < WEEK else "at the last steps"
    if problem is None:
        tally.add(f"jump {where}", memory_mib=memory_bytes / 2**20)
    else:
        tally.problem(f"jump {where}", f"{batches.spec.name}, step {step}: {problem}")
