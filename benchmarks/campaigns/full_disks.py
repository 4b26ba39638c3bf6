"""Commands whose disk is full at some moment, or whose system refuses a call; then there is space, and they complete.

A command that fails says so in one sentence, leaves the outputs that were there before, and leaves nothing else but the
files from which ``--resume`` goes on. One that ends with exit code 0 has completed its outputs. As root, the outputs
are on a file system in memory that has room for a part of them; the call that the system refuses is one of the Python
process.
"""

from __future__ import annotations

import errno
import mmap
import os
import subprocess
from collections.abc import Callable, Iterator, MutableSequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.campaigns.campaign import Tally, Trial
from benchmarks.campaigns.jobs import LONG_S, Job, Jobs
from benchmarks.campaigns.processes import Process, empty

TRIALS = 1000
MOST_CALLS = 150
PAGE = 4096
RESUMABLE = (".partial", ".journal")
CALLS = ("open", "write", "pwrite", "fsync", "link", "replace", "mkdir", "truncate", "ftruncate", "posix_fallocate")
ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO)


@contextmanager
def prepare(folder: Path) -> Iterator[Trial]:
    jobs = Jobs(folder)
    yield lambda random, tally: _trial(jobs, random, tally)


def _trial(jobs: Jobs, random: Random, tally: Tally) -> None:
    if is_root() and random.random() < 0.5:
        job = jobs.choose(random)
        usual = jobs.usual(job)
        empty(jobs.case)
        with file_system(jobs.case, "-t", "tmpfs", "-o", "size=256m", "tmpfs"):
            jobs.begin(job)
            used = sum(path.stat().st_blocks * 512 for path in jobs.case.rglob("*"))
            free = PAGE * random.randint(1, 1 + int(2.2 * usual.nbytes) // PAGE)
            _mount("-o", f"remount,size={used + free}", jobs.case)
            process = jobs.start(job.command)
            process.wait(LONG_S)
            _mount("-o", "remount,size=256m", jobs.case)
            _judge(jobs, job, process, "a full disk", tally)
    else:
        job = jobs.choose(random, without="train")  # its files are written by another process
        jobs.usual(job)
        jobs.begin(job)
        refused = mmap.mmap(-1, 1)  # which the process of the command shares
        number, error = int(MOST_CALLS ** random.random()), random.choice(ERRORS)
        process = jobs.start(job.command, first=lambda: fail_call(number, error, jobs.case, refused))
        process.wait(LONG_S)
        _judge(jobs, job, process, "a refused call", tally, is_refused=bool(refused[0]))


def _judge(jobs: Jobs, job: Job, process: Process, cause: str, tally: Tally, *, is_refused: bool = False) -> None:
    code, printed = process.code, process.printed
    process.kill()
    errors = [line for line in printed.splitlines() if line.startswith("Error: ")]
    problem = process.left() or jobs.seen(job, code)
    if problem is None and (code not in (0, 1, 2) or len(errors) != (code != 0) or "Traceback" in printed):
        problem = f"exit code {code}"
    if problem is None and any("Unexpected" in line or "--traceback" in line for line in errors):
        problem = "an unexpected error"
    if problem is None and code:
        hidden = [path.name for path in jobs.case.rglob(".*")]
        others = [name for name in hidden if not (job.resumes_blocks and name.endswith(RESUMABLE))]
        problem = f"left: {others}" if others else None
    problem = problem or jobs.complete(job)
    if problem is None:
        how = "failed and completed" if code else "refused, and went on" if is_refused else "not reached"
        tally.add(f"{job.name}, {cause}: {how}")
    else:
        tally.problem(f"{job.name}, {cause}", f"{problem}: {code}: {printed[:1500]}")


def fail_call(number: int, error: int, folder: Path, refused: MutableSequence[int]) -> None:
    """Let the system refuse one of the calls of this process that write into a folder: the one of a number.

    ``refused[0]`` becomes 1 when it does.
    """
    left = iter(range(number - 1, -1, -1))

    def refusing(call: Callable[..., Any]) -> Callable[..., Any]:
        def refuse(*arguments: Any, **named: Any) -> Any:
            writes = call.__name__ != "open" or arguments[1] & (os.O_WRONLY | os.O_RDWR)
            if writes and _within(folder, arguments) and next(left, None) == 0:
                refused[0] = 1
                raise OSError(error, os.strerror(error))
            return call(*arguments, **named)

        refuse.__name__ = call.__name__
        return refuse

    for name in CALLS:
        setattr(os, name, refusing(getattr(os, name)))


def _within(folder: Path, arguments: tuple[Any, ...]) -> bool:
    """Whether a file or a descriptor among the first two arguments is in a folder."""
    for each in arguments[:2]:
        try:
            path = os.readlink(f"/proc/self/fd/{each}") if isinstance(each, int) else os.fspath(each)
        except (TypeError, OSError):
            continue
        if os.fsdecode(path).startswith(str(folder)):
            return True
    return False


def is_root() -> bool:
    """Whether this process may mount file systems."""
    return hasattr(os, "geteuid") and os.geteuid() == 0


@contextmanager
def file_system(place: Path, *options: str) -> Iterator[None]:
    """Mount a file system at a folder."""
    _mount(*options, place)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def _mount(*options: str | Path) -> None:
    subprocess.run(["mount", *map(str, options)], check=True)
