"""Commands that are killed at random moments, once or several times, and then completed.

After every kill, no output under its final name is half written, and no process of the command lives on. Completed,
the outputs are those of a command that was not killed, and no other file is left. A command that ends with exit code 0
before it is killed has completed its outputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from benchmarks.campaigns.campaign import Tally, Trial
from benchmarks.campaigns.jobs import Jobs

TRIALS = 1000
MOST_KILLS = 3


@contextmanager
def prepare(folder: Path) -> Iterator[Trial]:
    jobs = Jobs(folder)
    yield lambda random, tally: _trial(jobs, random, tally)


def _trial(jobs: Jobs, random: Random, tally: Tally) -> None:
    job = jobs.choose(random)
    usual = jobs.usual(job)
    jobs.begin(job)
    words = job.command
    for number in range(random.randint(1, MOST_KILLS)):
        process = jobs.start(words)
        ended = process.wait(random.uniform(0, usual.seconds))
        process.kill()
        problem = process.left() or jobs.seen(job, process.code)
        if problem is None and ended and process.code != 0:
            problem = f"exit code {process.code}: {process.printed}"
        if problem is not None:
            tally.problem(f"{job.name}: after a kill", f"kill {number}: {problem}")
            return
        tally.add(f"{job.name}: {'ended before it was killed' if ended else 'killed'}")
        words = job.again
    problem = jobs.complete(job)
    if problem is None:
        tally.add(f"{job.name}: completed", seconds=usual.seconds)
    else:
        tally.problem(f"{job.name}: completed otherwise", problem)
