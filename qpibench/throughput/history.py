"""Reads runs of the benchmarks: their figures, machine and time.

A run is one JSON file of pytest-benchmark. These parts are read: ``machine_info`` (:class:`Machine`), ``datetime``, the
commit, ``extra_info.figures`` of every benchmark (:class:`Figure`), and ``not_measured`` (:class:`NotMeasured`).
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from qpibench.errors import InvalidDataError, UsageError
from qpibench.parsing import parse_json
from qpibench.specs.load import explain

Finite = Annotated[float, Field(allow_inf_nan=False)]
Text = Annotated[str, Field(min_length=1)]
Positive = Annotated[int, Field(ge=1)]

_LESS_IS_BETTER = frozenset({"s", "ms", "MB", "of peak"})
_RATIOS = frozenset({"x", ""})


class _Closed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Wanted(_Closed):
    """Name, unit, direction and target of a figure, stated before it is measured."""

    name: Text = Field(description="Key that stays the same from version to version, such as superposition.rate.")
    what: Text = Field(description="The figure in words; program text is between backticks.")
    unit: str = Field(description="x: the ratio to a reference of the same rounds; empty: a share of what is possible.")
    at_least: Finite | None = Field(default=None, description="Target of a figure of which more is better.")
    at_most: Finite | None = Field(default=None, description="Target of a figure of which less is better.")
    better: Literal["higher", "lower"] | None = Field(
        default=None, description="Which is better, where neither a target nor the unit says it."
    )

    @property
    def higher_is_better(self) -> bool:
        """Whether larger is better: as stated, as the target implies, or as is usual for the unit."""
        if self.better is not None:
            return self.better == "higher"
        if self.at_least is not None or self.at_most is not None:
            return self.at_least is not None
        return self.unit not in _LESS_IS_BETTER

    @property
    def is_ratio(self) -> bool:
        """Whether the figure is dimensionless, and so comparable between machines."""
        return self.unit in _RATIOS

    @property
    def is_rate(self) -> bool:
        """Whether the unit is a rate, something per second."""
        return self.unit.endswith("/s")


class Figure(Wanted):
    """One measured number of a benchmark."""

    value: Finite = Field(description="Median over the rounds.")
    low: Finite = Field(description="Lower quartile over the rounds.")
    high: Finite = Field(description="Upper quartile over the rounds.")
    rounds: Positive = Field(description="How many rounds there were.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.low <= self.value <= self.high:
            raise ValueError(f"low <= value <= high is expected, found {self.low!r}, {self.value!r}, {self.high!r}")
        return self

    @property
    def is_met(self) -> bool | None:
        """Whether the target is reached; None without one."""
        if self.at_least is not None:
            return self.value >= self.at_least
        if self.at_most is not None:
            return self.value <= self.at_most
        return None


class NotMeasured(Wanted):
    """A figure that a run could not measure."""

    benchmark: Text = Field(description="The benchmark that would have measured it.")
    reason: Text = Field(description="Why it did not.")


class Gpu(_Closed):
    """A GPU and its driver."""

    name: Text = Field(description="What its maker calls it.")
    capability: Positive = Field(description="Compute capability, such as 90.")
    memory_gib: Positive = Field(description="Its memory in GiB.")
    cuda: Text = Field(description="The newest version of CUDA that its driver supports.")
    driver: Text | None = Field(description="Version of its driver; null where the system does not say.")


class Machine(_Closed):
    """The machine that a run was measured on."""

    cpu: Text = Field(description="The processor.")
    cores: Positive = Field(description="Cores that the process may use.")
    memory_gib: Positive = Field(description="Memory in GiB.")
    file_system: Text = Field(description="Where the temporary files were.")
    gpu: Gpu | None = Field(default=None, description="The GPU; null without one.")
    system: Text = Field(description="Operating system and architecture.")
    python: Text = Field(description="Version of Python.")
    versions: dict[Text, Text] = Field(description="Versions of packages.")

    @property
    def name(self) -> str:
        """The properties that identify the machine; runs that agree in them share one history."""
        gpu = f", {self.gpu.name}" if self.gpu else ""
        return f"{self.cpu}, {self.cores} cores{gpu}, files on {self.file_system}"


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of the benchmarks.

    Attributes
    ----------
    path
        The file of the run.
    measured
        Time of the measurement.
    commit
        The measured commit, followed by ``+`` if the checkout had uncommitted changes; None if unknown.
    machine
        The machine of the run.
    figures
        The measured figures, by name.
    benchmark
        The benchmark that measured each figure, by the figure's name.
    not_measured
        Figures that the run could not measure, with the reasons.
    """

    path: Path
    measured: datetime
    commit: str | None
    machine: Machine
    figures: Mapping[str, Figure]
    benchmark: Mapping[str, str]
    not_measured: tuple[NotMeasured, ...]


class _ExtraInfo(BaseModel):
    figures: tuple[Figure, ...] = ()


class _Benchmark(BaseModel):
    name: Text
    extra_info: _ExtraInfo


class _File(BaseModel):
    datetime: AwareDatetime
    commit_info: dict[str, Any] = {}
    machine_info: Machine
    benchmarks: tuple[_Benchmark, ...]
    not_measured: tuple[NotMeasured, ...] = ()


def load_run(path: str | Path) -> Run:
    """Read a run.

    Raises
    ------
    UsageError
        If there is no such file or it cannot be read.
    InvalidDataError
        If it is no run of the benchmarks.
    """
    path = Path(path)
    try:
        text = path.read_bytes()
    except OSError as error:
        raise UsageError(f"Benchmark run '{path}' cannot be read: {error.strerror}.") from None
    content = parse_json(text, f"'{path}' is not a benchmark run: it")
    if not isinstance(content, dict) or not {"machine_info", "benchmarks"} <= content.keys():
        raise InvalidDataError(
            f"'{path}' is not a benchmark run: it has no machine_info and benchmarks; 'make bench' writes one."
        )
    try:
        file = _File.model_validate(content)
    except ValidationError as error:
        raise InvalidDataError(f"Benchmark run '{path}' is not valid: {explain(error, _File)}.") from None
    figures = [(figure, benchmark.name) for benchmark in file.benchmarks for figure in benchmark.extra_info.figures]
    names = [figure.name for figure, _ in figures] + [wanted.name for wanted in file.not_measured]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InvalidDataError(f"Benchmark run '{path}' is not valid: it has the figure '{twice[0]}' twice.")
    if not names:
        raise InvalidDataError(f"'{path}' is not a benchmark run: none of its benchmarks has figures.")
    return Run(
        path=path,
        measured=file.datetime,
        commit=_commit(file.commit_info),
        machine=file.machine_info,
        figures={figure.name: figure for figure, _ in figures},
        benchmark={figure.name: name for figure, name in figures},
        not_measured=file.not_measured,
    )


def load_history(folder: str | Path) -> dict[str, tuple[Run, ...]]:
    """Read every run of a folder (``*.json``), grouped by the machine's name and sorted by time.

    Raises
    ------
    UsageError
        If there is no such folder, or no run in it.
    InvalidDataError
        If a file is no run of the benchmarks.
    """
    folder = Path(folder)
    if not os.path.isdir(folder):
        raise UsageError(f"There is no folder '{folder}'; give the one that holds the runs of the benchmarks.")
    paths = sorted(path for path in folder.glob("*.json") if path.is_file() and not path.name.startswith("."))
    if not paths:
        raise UsageError(f"Folder '{folder}' holds no benchmark run (*.json); 'make bench' makes one.")
    history = defaultdict(list)
    for run in map(load_run, paths):
        history[run.machine.name].append(run)
    return {name: tuple(sorted(runs, key=lambda run: run.measured)) for name, runs in sorted(history.items())}


def _commit(info: Mapping[str, Any]) -> str | None:
    commit = info.get("id")
    if not isinstance(commit, str) or commit == "unversioned":
        return None
    return commit[:7] + ("+" if info.get("dirty") else "")
