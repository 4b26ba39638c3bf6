"""The queue of the published methods on a CPU: ``python -m benchmarks.studies --queue``.

The arms of :data:`benchmarks.arms.CPU_QUEUE` are trained one after the other and evaluated as they end. An arm that
fails does not end the queue. After any interruption, ``kill -9`` too, the same command continues: it makes nothing
again, and a training resumes from its last checkpoint, which is about a minute old. The folder of
:mod:`benchmarks.studies` gets three more parts:

    studies/queue.json             state of every run, hours and estimated hours left, written every minute
    studies/weights/ARM-SEED/      run folders of the first seed with nothing but record and weights (float16)
    studies/queue.lock             keeps a second queue out of the folder

A run that ``qpibench train`` began elsewhere is continued if its folder is moved or linked to
``studies/runs/ARM-SEED``.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace

from benchmarks.arms import CPU_QUEUE, EQUAL_HOURS, STUDIES, Arm, Study
from benchmarks.commands import Commands
from benchmarks.estimate import StepTimes, stage_lengths
from benchmarks.exported import export_runs
from benchmarks.studies import (
    Settings,
    check_former_run,
    evaluate_command,
    former_run,
    is_predicted,
    make_folders,
    stream_name,
    summarise,
    train_command,
)
from qpibench.errors import QpibenchError, UsageError
from qpibench.files import write_whole
from qpibench.release import open_release
from qpibench.release.lock import BusyError, FileLock

INTERVAL_S = 60.0
"""Seconds between two writings of the status."""

Pair = tuple[Arm, int]
"""An arm and a seed."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """How far a run of the queue got.

    Attributes
    ----------
    run
        ``ARM-SEED``.
    state
        One of ``complete``, ``training``, ``evaluating``, ``stopped``, ``not begun``, ``partial`` (it has had the hours
        that it gets), ``failed``.
    steps_done, steps_budget
        Steps done, and steps that it is to do: those of the recipe or of ``--steps``; None if not known yet.
    hours, hours_left
        Hours of training so far, and an estimate of the remaining ones; None if no pace or no length is known yet.
    evaluated
        Whether its result is that of its present weights.
    note
        A sentence, or None.
    """

    run: str
    state: str
    steps_done: int
    steps_budget: int | None
    hours: float
    hours_left: float | None
    evaluated: bool
    note: str | None


def run_queue(studies: Sequence[Study], settings: Settings) -> bool:
    """Train and evaluate the arms of the queue, and compare those of its studies; return whether none failed.

    Parameters
    ----------
    studies
        Only their arms are trained; if there are none, all arms of the queue.
    settings
        The folder, the release, the seeds and the length of all runs.

    Raises
    ------
    UsageError
        If the folder holds other runs, or another queue works in it.
    InvalidDataError
        If the release, or what the folder holds, is corrupt.
    """
    arms = arms_of(studies)
    pairs = [(arm, seed) for seed in settings.seeds for arm in arms]
    make_folders(settings)
    with _locked(settings):
        with open_release(settings.release) as release:
            for arm, seed in pairs:
                check_former_run(arm, seed, settings, release)
        if any(arm.stream for arm in arms):
            stream_name(settings.release)
        queue = Queue(pairs, settings)
        queue.write()
        try:
            with ThreadPoolExecutor(1) as pool, Commands(1, threads=settings.threads) as qpibench:
                for pair in pairs:
                    queue.work(pair, pool.submit(queue.run_pair, pair, qpibench))
                queue.show()
                for study in studies or STUDIES.values():
                    if len(study.arms) > 1 and queue.has_evaluated(study):
                        print("\n".join(summarise(study, settings, qpibench)), flush=True)
        finally:
            queue.end()
    return not queue.failed


def arms_of(studies: Sequence[Study]) -> tuple[Arm, ...]:
    """Return the arms of studies, those of the queue first and in its order; without studies all of the queue."""
    if not studies:
        return CPU_QUEUE
    asked = dict.fromkeys(arm for study in studies for arm in study.arms)
    return (*(arm for arm in CPU_QUEUE if arm in asked), *(arm for arm in asked if arm not in CPU_QUEUE))


class Queue:
    """Runs of a queue, and their states.

    Parameters
    ----------
    pairs
        Arms and seeds in their order.
    settings
        The folder, the release and the length of all runs.
    """

    def __init__(self, pairs: Sequence[Pair], settings: Settings) -> None:
        self._pairs, self._settings = pairs, settings
        self.failed: dict[str, str] = {}
        self._doing: tuple[Pair, str] | None = None
        self._notes: dict[str, str] = {}
        self._lengths = stage_lengths(dict.fromkeys(arm for arm, _ in pairs), settings)

    def work(self, pair: Pair, running: Future[None]) -> None:
        """Wait for the end of a run, and write the status meanwhile; an error is recorded and printed."""
        self.show()
        while not wait([running], timeout=INTERVAL_S).done:
            self._update()
        self._doing = None
        try:
            running.result()
        except QpibenchError as error:
            self.failed[_name(pair)] = str(error)
            print(f"{_name(pair)} failed: {error}", file=sys.stderr, flush=True)
        with _printed_errors():
            self._export()
        self._update()

    def end(self) -> None:
        """Write the status in which the queue ends, interrupted or not."""
        self._doing = None
        self._update()

    def run_pair(self, pair: Pair, qpibench: Commands) -> None:
        """Train and evaluate, as far as it has not been done."""
        self._doing = pair, "training"
        if not self._is_trained(pair):
            qpibench(train_command(*pair, replace(self._settings, max_minutes=self._minutes(pair))))
        self._doing = pair, "evaluating"
        if not is_predicted(*pair, self._settings):
            qpibench(evaluate_command(*pair, self._settings))

    def has_evaluated(self, study: Study) -> bool:
        """Return whether all arms of a study are in the queue and evaluated."""
        arms = {arm for arm, _ in self._pairs}
        pairs = [(arm, seed) for arm in study.arms for seed in self._settings.seeds]
        return arms.issuperset(study.arms) and all(self._is_evaluated(pair) for pair in pairs)

    def rows(self) -> list[Row]:
        """Return the states of all runs."""
        pace = StepTimes(self._pairs, self._settings)
        return [self._row(pair, pace) for pair in self._pairs]

    def write(self) -> None:
        """Write queue.json."""
        rows = self.rows()
        status = {
            "updated": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "process": os.getpid(),
            "hours_left": _sum(row.hours_left for row in rows),
            "runs": [asdict(row) for row in rows],
        }
        content = (json.dumps(status, indent=1) + "\n").encode()
        write_whole(self._settings.output / "queue.json", content, what="Status of the queue")

    def show(self) -> None:
        """Write the status and print it as a table."""
        self._update()
        print("\n".join(table(self.rows())), flush=True)

    def _update(self) -> None:
        with _printed_errors():
            self.write()

    def _row(self, pair: Pair, pace: StepTimes) -> Row:
        (arm, seed), name = pair, _name(pair)
        run, lengths = former_run(arm, seed, self._settings), self._lengths.get(arm.name, {})
        state = "not begun" if run is None else "complete" if run.status == "complete" else "stopped"
        if state == "stopped" and self._is_trained(pair):
            state = "partial"
        if name in self.failed:
            state = "failed"
        if self._doing is not None and self._doing[0] == pair:
            state = self._doing[1]
        done, seconds = (0, 0.0) if run is None else (run.steps_done, run.seconds)
        trained = run is not None and self._is_trained(pair)
        # An estimate of 0 for a run that goes on comes from lengths that are not those of this release.
        left = 0.0 if trained else pace.seconds_left(arm, lengths, done) or None
        note = self.failed.get(name) or self._notes.get(name)
        if (other := self._timed_by(pair)) is not None:
            note = note or f"It gets as many hours as {_name(other)}."
            whole = self._row(other, pace)
            if left is not None and whole.hours_left is not None:
                left = min(left, max(0.0, 3600 * (whole.hours + whole.hours_left) - seconds))
        return Row(
            run=name,
            state=state,
            steps_done=done,
            steps_budget=run.steps_budget if run is not None else sum(lengths.values()) or self._settings.steps,
            hours=round(seconds / 3600, 4),
            hours_left=None if left is None else round(left / 3600, 4),
            evaluated=self._is_evaluated(pair),
            note=note,
        )

    def _is_trained(self, pair: Pair) -> bool:
        """Return whether a run is complete, or has had the hours that it gets."""
        run = former_run(*pair, self._settings)
        if run is None:
            return False
        seconds = self._equal_seconds(pair)
        return run.status == "complete" or (seconds is not None and run.seconds >= seconds)

    def _timed_by(self, pair: Pair) -> Pair | None:
        """Return the run whose hours an arm gets; None if it gets all that it needs."""
        name = EQUAL_HOURS.get(pair[0].name)
        return next(((arm, seed) for arm, seed in self._pairs if arm.name == name and seed == pair[1]), None)

    def _equal_seconds(self, pair: Pair) -> float | None:
        """Return the seconds that a run gets because another one took them; None if that one is not complete."""
        other = self._timed_by(pair)
        run = None if other is None else former_run(*other, self._settings)
        return run.seconds if run is not None and run.status == "complete" else None

    def _minutes(self, pair: Pair) -> float | None:
        """Return the time limit of the next start of a run.

        Raises
        ------
        QpibenchError
            If the run whose hours it gets is not complete.
        """
        other = self._timed_by(pair)
        if other is None:
            return self._settings.max_minutes
        seconds, run = self._equal_seconds(pair), former_run(*pair, self._settings)
        if seconds is None:
            raise QpibenchError(f"It gets as many hours as {_name(other)}, which is not complete.")
        left = (seconds - (0.0 if run is None else run.seconds)) / 60
        return left if self._settings.max_minutes is None else min(left, self._settings.max_minutes)

    def _is_evaluated(self, pair: Pair) -> bool:
        if self._doing is not None and self._doing[0] == pair:  # its files are being written
            return False
        return former_run(*pair, self._settings) is not None and is_predicted(*pair, self._settings)

    def _export(self) -> None:
        """Export the weights of the first seed."""
        first = [(arm, seed) for arm, seed in self._pairs if seed == self._settings.seeds[0]]
        trained = [self._settings.run_folder(*pair) for pair in first if self._is_trained(pair)]
        for name, sentence in export_runs(trained, self._settings.output / "weights").left_out.items():
            if self._notes.get(name) != sentence:
                print(sentence, file=sys.stderr, flush=True)
            self._notes[name] = sentence


def table(rows: Sequence[Row]) -> Iterator[str]:
    """Tell the state of every run in a line, and how long the rest takes."""
    width = max(len(row.run) for row in rows)
    for row in rows:
        budget = "" if row.steps_budget is None else f" of {row.steps_budget:,}"
        state = row.state if row.evaluated or row.state != "complete" else "not evaluated"
        line = f"  {row.run:{width}}  {state:13}  {row.steps_done:,}{budget} steps, {row.hours:.2f} h"
        if row.hours_left:
            line += f", {_about(row.hours_left)} left"
        yield line + ("" if row.note is None else f". {row.note}")
    left = _sum(row.hours_left for row in rows)
    yield "  No pace is known yet." if left is None else f"  {_about(left).capitalize()} left in all."


def _about(hours: float) -> str:
    return f"about {hours:.1f} h" if hours >= 0.1 else "less than 0.1 h"


def _sum(hours: Iterator[float | None]) -> float | None:
    known = list(hours)
    return None if any(each is None for each in known) else round(sum(each or 0.0 for each in known), 4)


def _name(pair: Pair) -> str:
    return f"{pair[0].name}-{pair[1]}"


@contextmanager
def _printed_errors() -> Iterator[None]:
    """Print an error instead of raising it: a disk that is full for a while must not end a training of hours."""
    try:
        yield
    except QpibenchError as error:
        print(f"Error: {error}", file=sys.stderr, flush=True)


@contextmanager
def _locked(settings: Settings) -> Iterator[None]:
    try:
        lock = FileLock(settings.output / "queue.lock")
    except BusyError:
        raise UsageError(
            f"Another queue works in '{settings.output}'; its queue.json names the process. Wait for it, or name"
            " another folder by -o."
        ) from None
    except OSError as error:
        raise QpibenchError(f"'{settings.output}' cannot be locked: {error.strerror}.") from None
    try:
        yield
    finally:
        lock.close()
