"""Options, clock and output folder of ``make gpu-train``."""

from __future__ import annotations

import json
import shutil
import tarfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from benchmarks.arms import Arm, chosen
from benchmarks.exported import choose_runs, exported_files

EVALUATION_S = 40.0
"""Seconds of the budget reserved for the evaluation of the last arm."""

LARGEST_FILE = 16 * 2**20
MOST_WEIGHTS = 6
"""Largest number of weight files; the summary and the results make it eight files."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """The options of the command line."""

    budget: float = 420.0
    spec: str = "paper"
    track: str | None = None
    preset: str = "compact"
    precision: str = "tf32"
    seeds: tuple[int, ...] = (0, 1, 2)
    arms: tuple[str, ...] | None = None
    steps: int | None = None
    limit: int | None = None
    cpu: bool = False
    eager: bool = False
    work: Path = Path("build/gpu-train")
    output: Path = Path("gpu-train")

    @property
    def release(self) -> Path:
        return self.work / f"{self.spec}.h5"

    def folder(self, arm: Arm, seed: int) -> Path:
        return self.work / "runs" / f"{arm.name}-{seed}"

    def result(self, arm: Arm, seed: int) -> Path:
        return self.work / "results" / f"{arm.name}-{seed}.json"


class Clock:
    """Time since the queue began, and the remaining time of its budget."""

    def __init__(self, budget: float, started: float | None = None) -> None:
        self.started = time.time() if started is None else started
        self._budget = budget

    @property
    def seconds(self) -> float:
        return time.time() - self.started

    @property
    def left(self) -> float:
        """Seconds that remain for training."""
        return self._budget - EVALUATION_S - self.seconds

    def say(self, sentence: str) -> None:
        print(f"[{self.seconds:6.1f} s] {sentence}", flush=True)


class Output:
    """The output folder, written again after every change."""

    def __init__(self, request: Request, clock: Clock) -> None:
        self._request, self._clock, self._lock = request, clock, Lock()
        self._arms: dict[str, dict[str, Any]] = {}
        self.notes: list[str] = []
        request.output.mkdir(parents=True, exist_ok=True)

    def note(self, sentence: str) -> None:
        """Print a sentence and add it to the summary."""
        self._clock.say(sentence)
        self.notes.append(sentence)

    def put(self, arm: Arm, **changes: Any) -> None:
        """Record the status of an arm and write the output folder."""
        with self._lock:
            self._arms.setdefault(arm.name, {}).update(changes)
            self._write()

    def write(self) -> None:
        """Write the output folder."""
        with self._lock:
            self._write()

    def _write(self) -> None:
        runs = [run for run in sorted((self._request.work / "runs").glob("*-*/run.json")) if is_readable(run)]
        results = [result for result in sorted((self._request.work / "results").glob("*.json")) if is_readable(result)]
        summary = {
            "device": device_name(self._request),
            "seconds": round(self._clock.seconds, 1),
            "spec": self._request.spec,
            "preset": self._request.preset,
            "precision": self._request.precision,
            "arms": self._arms,
            "runs": {path.parent.name: _progress(read_json(path)) for path in runs},
            "scores": {path.stem: scores(read_json(path)) for path in results},
        }
        files = {"results.tar.gz": results + runs + [run.with_name("log.jsonl") for run in runs]}
        files |= self._weights([run.parent for run in runs], summary)
        summary["notes"] = self.notes + [
            f"{name} would exceed 16 MiB and was left as it was."
            for name, members in files.items()
            if not self._put(name, lambda path, members=members: _tar(path, members, self._request.work))
        ]
        self._put("summary.json", lambda path: path.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8"))

    def _weights(self, runs: Sequence[Path], summary: dict[str, Any]) -> dict[str, list[Path]]:
        """Distribute the weights of the first seed over files; the summary names those that fit into none."""
        order = [f"{arm.name}-{self._request.seeds[0]}" for arm in chosen(None)]
        held = sorted((run for run in runs if run.name in order), key=lambda run: order.index(run.name))
        choice = choose_runs(held)
        summary["weights_left_out"] = choice.left_out
        archives: list[tuple[int, list[Path]]] = []
        for members in map(exported_files, choice.kept):
            size = sum(member.stat().st_size + 2048 for member in members) + 10240
            fitting = next((at for at, (used, _) in enumerate(archives) if used + size <= LARGEST_FILE), len(archives))
            used, others = archives[fitting] if fitting < len(archives) else (0, [])
            archives[fitting : fitting + 1] = [(used + size, [*others, *members])]
        for name in (member.parent.name for _, members in archives[MOST_WEIGHTS:] for member in members):
            choice.left_out[name] = f"The weights of '{name}' are not exported: {MOST_WEIGHTS} files are full."
        return {f"weights-{place}.tar": members for place, (_, members) in enumerate(archives[:MOST_WEIGHTS], 1)}

    def _put(self, name: str, write: Callable[[Path], object]) -> bool:
        """Write a file atomically, so that a killed queue leaves the old one; return whether it is small enough."""
        part = self._request.work / f"{name}.partial"
        write(part)
        small = part.stat().st_size <= LARGEST_FILE
        if small:
            moved = self._request.output / f".{name}.partial"
            shutil.copyfile(part, moved)
            moved.replace(self._request.output / name)
        part.unlink()
        return small


def device_name(request: Request) -> str:
    import torch

    return "CPU" if request.cpu or not torch.cuda.is_available() else torch.cuda.get_device_name()


def _progress(run: dict[str, Any]) -> dict[str, Any]:
    return {name: run.get(name) for name in ("status", "steps_done", "steps_stated", "steps_budget", "seconds", "best")}


def read_json(path: Path) -> dict[str, Any]:
    """Read a run record or a result.

    Raises
    ------
    ValueError
        If the file is corrupt.
    """
    read = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(read, dict):
        raise ValueError(f"'{path}' is not a JSON object.")
    return read


def is_readable(path: Path) -> bool:
    """Return whether a file is there and not corrupt."""
    try:
        read_json(path)
    except (OSError, ValueError):
        return False
    return True


def scores(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the values of a result's metrics, by cell."""
    return {
        cell: {name: metric["value"] for name, metric in found["metrics"].items()}
        for cell, found in result["cells"].items()
    }


def _tar(path: Path, members: Sequence[Path], root: Path) -> None:
    with tarfile.open(path, "w:gz" if ".gz" in path.suffixes else "w") as archive:
        for member in members:
            if member.exists():
                archive.add(member, member.relative_to(root))
