"""Fixtures of all benchmarks: rounds that alternate with their references, and the figures that come of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks import machine
from benchmarks.figures import figure
from qpibench.release import write_release
from qpibench.specs import load_spec
from qpibench.synthesis import get_backend


@dataclass(frozen=True)
class Rounds:
    """Seconds of every round, (round,), of what is measured and of each of its references."""

    seconds: NDArray[np.float64]
    reference: Mapping[str, NDArray[np.float64]]


@pytest.fixture
def alternate(benchmark):
    """Time a function and its references in turn, round by round, so that all see the same machine."""

    def run(
        function: Callable[[], object],
        references: Mapping[str, Callable[[], object]],
        *,
        rounds: int,
        warmup_rounds: int = 1,
        prepare: Callable[[], object] = lambda: None,
    ) -> Rounds:
        """Run the rounds; `prepare` is called before everything that is timed."""
        seconds: dict[str, list[float]] = {name: [] for name in references}

        def setup() -> None:
            for name, reference in references.items():
                prepare()
                started = time.perf_counter()
                reference()
                seconds[name].append(time.perf_counter() - started)
            prepare()

        benchmark.pedantic(function, setup=setup, rounds=rounds, warmup_rounds=warmup_rounds)
        counted = {name: np.array(values[warmup_rounds:]) for name, values in seconds.items()}
        return Rounds(np.array(benchmark.stats.stats.data), counted)

    return run


@pytest.fixture
def report(benchmark):
    """Store a figure with the benchmark; the arguments are those of :func:`benchmarks.figures.figure`."""

    def store(*arguments: object, **options: object) -> None:
        stored = benchmark.extra_info.setdefault("figures", [])
        stored.append(asdict(figure(*arguments, **options)))

    return store


@pytest.fixture(scope="session")
def paper():
    """The spec of the paper's recipe at its full size."""
    return load_spec("paper")


@pytest.fixture(scope="session")
def backend():
    """The CPU backend, compiled."""
    backend, _ = get_backend("cpu")
    spec = load_spec("mini")
    backend.observations(spec, backend.kernels(spec), 0, spec.observation_count)
    return backend


@pytest.fixture(scope="session")
def paper_release(paper, backend, tmp_path_factory) -> Iterator[Path]:
    """The release `paper`, in the disk cache."""
    path = tmp_path_factory.mktemp("paper") / "paper.h5"
    write_release(paper, path, backend=backend)
    with path.open("rb", buffering=0) as file:
        while file.read(1 << 24):
            pass
    yield path
    path.unlink()


def pytest_benchmark_generate_machine_info() -> dict[str, object]:
    return machine.machine()
