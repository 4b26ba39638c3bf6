"""Compare one dask worker on this machine with two: ``python -m benchmarks.cluster``.

``generate`` makes 52,000 images with the ranges of the spec `paper`; ``evaluate`` predicts 512 of them with the entry
`tikhonov`. One and two workers take turns, and the ratio is the median over the rounds of that of a round. The start of
the workers is not in the times: that of ``generate`` runs from the connection to the last shard, that of ``merge`` from
its beginning to the synced release, that of ``evaluate`` from the loaded model to the last prediction, with loading the
model on the second worker. Merging is done by the command alone, so it limits a run of many workers.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.machine import machine, sentence
from qpibench.cluster.client import Place
from qpibench.cluster.evaluation import model_on_workers
from qpibench.cluster.generation import generate_release
from qpibench.evaluation.entries import find_entry
from qpibench.evaluation.execution import Execution
from qpibench.evaluation.predict import Request, predict
from qpibench.release import open_release
from qpibench.release.blocks import Progress
from qpibench.specs import load_spec

SPEC = load_spec("paper", overrides=["observations_per_kernel=520"])
ENTRY, IMAGES = "tikhonov", 512
WORKERS = (1, 2)


def generated_per_s(path: Path, workers: int) -> dict[str, float]:
    """Images per second that workers generate, and that the command merges; the release is written to a file."""
    begun: dict[str, float] = {}
    times: list[float] = []

    @contextmanager
    def show(what: str) -> Iterator[Progress]:
        begun[what] = time.perf_counter()
        yield (lambda done, total: times.append(time.perf_counter())) if what == "Generating" else (lambda *_: None)

    generate_release(SPEC, path, place=Place(kind="local", workers=workers), overwrite=True, show=show)
    merging_s, generating_s = time.perf_counter() - begun["Merging"], times[-1] - times[0]
    return {"generate": SPEC.observation_count / generating_s, "merge": SPEC.observation_count / merging_s}


def predicted_per_s(release_path: Path, workers: int) -> dict[str, float]:
    """Images per second that workers predict."""
    request, execution = Request(tasks=("ood",), map_mode="exact", limit=IMAGES), Execution()
    with open_release(release_path) as release:
        release.check("image", release.told_field)  # else it is read within the time
        asked, place = (request, release), Place(kind="local", workers=workers)
        with model_on_workers(find_entry(ENTRY), [asked], execution, place=place) as model:
            started = time.perf_counter()
            path = release_path.with_name("predictions.h5")
            outcome = predict(ENTRY, release, path, request, execution, answers=model.answers(asked))
            return {"evaluate": outcome.n_images / (time.perf_counter() - started)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure in turn, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="default: 5")
    rounds = parser.parse_args(arguments).rounds
    print("| command | images/s, 1 worker | 2 workers | ratio |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.h5"
        for measure in (generated_per_s, predicted_per_s):
            rates = [[measure(path, workers) for workers in WORKERS] for _ in range(rounds)]
            for name in rates[0][0]:
                pairs = [(first[name], second[name]) for first, second in rates]
                one, two = (statistics.median(column) for column in zip(*pairs, strict=True))
                ratio = statistics.median(second / first for first, second in pairs)
                print(f"| `{name}` | {one:,.0f} | {two:,.0f} | {ratio:.2f} |", flush=True)
    print(f"\n{rounds} rounds. {sentence(machine())}")


if __name__ == "__main__":
    main()
