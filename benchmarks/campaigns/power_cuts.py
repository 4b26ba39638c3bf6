"""Commands whose machine loses power at a random moment, or just after they have ended; then they are completed.

The outputs are on an ext4 file system in a file. A cut kills the command and takes a copy of that file, which lacks
whatever was not yet written to the disk; the copy is mounted. The file system is mounted such that it writes as little
as it may: data apart from the names of files, and nothing for 300 s unless a program asks for it. Outputs of a command
that ended with exit code 0 survive the cut. This needs root, who alone may mount file systems.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from benchmarks.campaigns.campaign import Tally, Trial
from benchmarks.campaigns.full_disks import file_system, is_root
from benchmarks.campaigns.jobs import Jobs
from benchmarks.campaigns.processes import empty
from qpibench.errors import UnavailableError

TRIALS = 500
SIZE = "96M"
OPTIONS = ("-o", "loop,data=writeback,noauto_da_alloc,commit=300")


@contextmanager
def prepare(folder: Path) -> Iterator[Trial]:
    if not is_root():
        raise UnavailableError("The campaign power_cuts mounts file systems, which only root may; run it as root.")
    jobs = Jobs(folder)
    fresh = folder / "fresh.img"
    subprocess.run(["truncate", "-s", SIZE, fresh], check=True)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0", fresh], check=True)
    yield lambda random, tally: _trial(jobs, fresh, random, tally)


def _trial(jobs: Jobs, fresh: Path, random: Random, tally: Tally) -> None:
    job = jobs.choose(random)
    usual = jobs.usual(job)
    empty(jobs.case)
    disk, after = fresh.with_name("disk.img"), fresh.with_name("after.img")
    shutil.copyfile(fresh, disk)
    with file_system(jobs.case, *OPTIONS, str(disk)):
        jobs.begin(job)
        subprocess.run(["sync", "-f", jobs.case], check=True)
        process = jobs.start(job.command)
        ended = process.wait(random.uniform(0, 1.3 * usual.seconds))
        process.kill()
        shutil.copyfile(disk, after)
        left = process.left()
    with file_system(jobs.case, *OPTIONS, str(after)):
        shutil.rmtree(jobs.case / "lost+found", ignore_errors=True)
        problem = left or jobs.seen(job, process.code)
        if problem is None and ended and process.code != 0:
            problem = f"exit code {process.code}: {process.printed}"
        problem = problem or jobs.complete(job)
    when = "after its end" if ended else "before its end"
    if problem is None:
        tally.add(f"{job.name}: cut {when}, completed")
    else:
        tally.problem(f"{job.name}: cut {when}", problem)
