"""Fixtures of all benchmarks: timed rounds that alternate with their references, and the figures made from them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks import machine
from benchmarks.figures import figure
from benchmarks.limit import time_limit
from qpibench.release import write_release
from qpibench.specs import load_spec
from qpibench.synthesis import get_backend
from qpibench.synthesis.cuda import CudaBackend
from qpibench.synthesis.device import NoGpuError
from qpibench.throughput.history import NotMeasured


@dataclass(frozen=True)
class Rounds:
    """Seconds of every round, (round,): of the measured function and of each of its references."""

    seconds: NDArray[np.float64]
    reference: Mapping[str, NDArray[np.float64]]


@pytest.fixture
def wait(request) -> Callable[[], object]:
    """Return a function that waits for the GPU in a benchmark marked `gpu`, and does nothing in others."""
    if request.node.get_closest_marker("gpu") is None:
        return lambda: None
    import cupy

    return cupy.cuda.Device().synchronize


@pytest.fixture
def alternate(benchmark, wait):
    """Time a function and its references in turn, round by round, so that all see the same load of the machine.

    The clock starts once earlier work on the GPU has ended, and stops once the timed work has.
    """

    def run(
        function: Callable[[], object],
        references: Mapping[str, Callable[[], object]],
        *,
        rounds: int,
        warmup_rounds: int = 1,
        prepare: Callable[[], object] = lambda: None,
    ) -> Rounds:
        """Time the rounds; `prepare` is called before each timed call."""
        seconds: dict[str, list[float]] = {name: [] for name in references}

        def setup() -> None:
            for name, reference in references.items():
                prepare()
                wait()
                started = time.perf_counter()
                reference()
                wait()
                seconds[name].append(time.perf_counter() - started)
            prepare()
            wait()

        def measured() -> None:
            function()
            wait()

        benchmark.pedantic(measured, setup=setup, rounds=rounds, warmup_rounds=warmup_rounds)
        counted = {name: np.array(values[warmup_rounds:]) for name, values in seconds.items()}
        return Rounds(np.array(benchmark.stats.stats.data), counted)

    return run


@pytest.fixture
def report(benchmark):
    """Store a figure with the benchmark; the arguments are those of :func:`benchmarks.figures.figure`."""

    def store(*arguments: object, **options: object) -> None:
        stored = benchmark.extra_info.setdefault("figures", [])
        stored.append(figure(*arguments, **options).model_dump())

    return store


@pytest.fixture(scope="session")
def paper():
    """Return the spec `paper` at its full size."""
    return load_spec("paper")


@pytest.fixture(scope="session")
def backend():
    """Return the CPU backend, already compiled."""
    backend, _ = get_backend("cpu")
    spec = load_spec("mini")
    backend.observations(spec, backend.kernels(spec), 0, spec.observation_count)
    return backend


@pytest.fixture(scope="session")
def paper_release(paper, backend, tmp_path_factory) -> Iterator[Path]:
    """Return the path of the release `paper`, whose bytes are in the disk cache."""
    path = tmp_path_factory.mktemp("paper") / "paper.h5"
    write_release(paper, path, backend=backend)
    with path.open("rb", buffering=0) as file:
        while file.read(1 << 24):
            pass
    yield path
    path.unlink()


@pytest.fixture(scope="session")
def gpu() -> CudaBackend:
    """Return the GPU backend, already compiled."""
    try:
        backend = CudaBackend()
    except NoGpuError as error:
        pytest.skip(error.reason)
    spec = load_spec("mini")
    backend.observations(spec, backend.kernels(spec), 0, spec.observation_count)
    return backend


LIMIT_S = 40
"""Time limit in seconds of a GPU benchmark, and of its fixtures."""

ITEMS = pytest.StashKey[list[pytest.Item]]()
REASONS = pytest.StashKey[dict[str, str]]()


def pytest_addoption(parser) -> None:
    group = parser.getgroup("qpibench")
    group.addoption("--keep", type=Path, help="file of what is measured so far, written after every benchmark")
    group.addoption("--beside", type=Path, help="JSON object that is kept beside the figures")


def pytest_configure(config) -> None:
    config.addinivalue_line("markers", "figures(*wanted): what a benchmark measures, where it may have to be skipped")
    config.stash[ITEMS], config.stash[REASONS] = [], {}
    machine.machine()  # now, while the GPU responds


def pytest_collection_finish(session) -> None:
    session.config.stash[ITEMS] = session.items


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item):
    with time_limit(LIMIT_S if item.get_closest_marker("gpu") else None):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    with time_limit(LIMIT_S if item.get_closest_marker("gpu") else None):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Record why a benchmark was skipped or failed: its figures stay empty, with that reason."""
    report = yield
    if report.skipped:
        item.config.stash[REASONS][item.nodeid] = report.longrepr[2].removeprefix("Skipped: ")
    elif report.failed:
        item.config.stash[REASONS][item.nodeid] = f"the benchmark failed with {call.excinfo.typename}"
    return report


def pytest_benchmark_generate_machine_info() -> dict[str, Any]:
    return machine.machine().model_dump()


def pytest_benchmark_update_json(config, output_json) -> None:
    for measured in output_json["benchmarks"]:
        del measured["params"]  # some reasons name folders of this machine
    names = [figure["name"] for each in output_json["benchmarks"] for figure in each["extra_info"].get("figures", [])]
    missing = {wanted.name: wanted.model_dump() for wanted in not_measured(config) if wanted.name not in names}
    output_json["not_measured"] = list(missing.values())
    if config.option.beside:
        output_json |= json.loads(config.option.beside.read_text(encoding="utf-8"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Write the figures so far, so that an interrupted run loses one benchmark at most."""
    outcome = yield
    kept = item.config.option.keep
    if kept and not_measured(item.config):
        kept.parent.mkdir(parents=True, exist_ok=True)
        new = kept.with_name(f".{kept.name}")
        new.write_text(json.dumps(content(item.config), indent=1) + "\n", encoding="utf-8")
        new.replace(kept)
    return outcome


def content(config) -> dict[str, Any]:
    """Return the figures so far in the format that pytest-benchmark writes at the end."""
    measured, hook = config._benchmarksession.benchmarks, config.hook
    made: dict[str, Any] = hook.pytest_benchmark_generate_json(
        config=config,
        benchmarks=measured,
        include_data=True,
        machine_info=machine.machine().model_dump(),
        commit_info=hook.pytest_benchmark_generate_commit_info(config=config),
    )
    hook.pytest_benchmark_update_json(config=config, benchmarks=measured, output_json=made)
    return made


def pytest_sessionfinish(session) -> None:
    """Write the reasons even if nothing was measured; pytest-benchmark writes no file then."""
    config, written = session.config, session.config._benchmarksession
    if not written.benchmarks and written.json and not_measured(config) and not config.option.collectonly:
        written.save_json(content(config))


def not_measured(config) -> list[NotMeasured]:
    """Return a missing figure for every figure that the selected benchmarks name in their marks."""
    return [
        NotMeasured(
            **wanted, benchmark=item.name, reason=config.stash[REASONS].get(item.nodeid, "the run ended before it")
        )
        for item in config.stash[ITEMS]
        for marker in item.iter_markers("figures")
        for wanted in marker.args
    ]
