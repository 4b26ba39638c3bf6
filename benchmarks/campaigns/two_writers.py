"""Two processes that write the same outputs at the same time.

Each of them completes its outputs or fails with one sentence, and one completes at least. The outputs are those of a
command that is alone, and nothing else is left.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from benchmarks.campaigns.campaign import Tally, Trial
from benchmarks.campaigns.jobs import LONG_S, Jobs
from benchmarks.campaigns.processes import Process

TRIALS = 500


@contextmanager
def prepare(folder: Path) -> Iterator[Trial]:
    jobs = Jobs(folder)
    yield lambda random, tally: _trial(jobs, random, tally)


def _trial(jobs: Jobs, random: Random, tally: Tally) -> None:
    job = jobs.choose(random)
    usual = jobs.usual(job)
    jobs.begin(job)
    first = jobs.start(job.command)
    first.wait(usual.seconds * random.random() ** 2)
    second = jobs.start(random.choice([job.command, job.again]))
    both = (first, second)
    for process in both:
        process.wait(LONG_S)
        process.kill()
    problem = next(filter(None, (_problem(process) for process in both)), None)
    if problem is None and all(process.code for process in both):
        problem = "both failed"
    if problem is None and job.state(jobs.case) != usual.after:
        problem = f"the outputs are {job.state(jobs.case)[:1000]}"
    problem = problem or first.left() or second.left() or jobs.complete(job)
    if problem is None:
        tally.add(f"{job.name}: {'one was refused' if first.code or second.code else 'both completed'}")
    else:
        tally.problem(job.name, f"{problem}; {[(process.code, process.printed[:600]) for process in both]}")


def _problem(process: Process) -> str | None:
    errors = [line for line in process.printed.splitlines() if line.startswith("Error: ")]
    if process.code not in (0, 1, 2) or len(errors) != (process.code != 0) or "Traceback" in process.printed:
        return f"exit code {process.code}"
    return "an unexpected error" if any("Unexpected" in line for line in errors) else None
