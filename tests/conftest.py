"""Settings of the whole suite, and a release that several packages use."""

import fcntl
import gc
import os
import signal
from contextlib import contextmanager

import pytest
from hypothesis import settings

# The same examples on every run: a failure is a change of the code, never of the draw.
settings.register_profile("suite", derandomize=True, deadline=None)
settings.load_profile("suite")

# What a shell starts in the background ignores SIGINT, and so would the processes that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests share the cores: PyTorch and BLAS get one thread, here and in the processes that tests start.
os.environ["OMP_NUM_THREADS"] = "1"


def pytest_collection_finish():
    """Spare the garbage collector all modules and tests, which stay; every run of training calls it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def paper_path(tmp_path_factory):
    """The release `paper`, 0.9 GB, made by two threads once for all processes of a run and deleted by the last."""
    from qpibench.release import write_release
    from qpibench.specs import load_spec
    from qpibench.synthesis import get_backend

    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    path, users = shared / "paper.h5", shared / "paper.users"
    with _count(users, +1):
        if not path.exists():
            write_release(load_spec("paper"), path, backend=get_backend("cpu")[0], threads=2)
    yield path
    with _count(users, -1) as left:
        if not left:
            path.unlink()


@contextmanager
def _count(path, change):
    """Change the number that a file holds, with the file locked for the block, which is given the number."""
    with path.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        number = int(file.read() or 0) + change
        yield number
        file.seek(0)
        file.truncate()
        file.write(str(number))


@pytest.fixture(scope="session")
def nanonis():
    """The module that writes Nanonis files."""
    from benchmarks import nanonis_files

    return nanonis_files
