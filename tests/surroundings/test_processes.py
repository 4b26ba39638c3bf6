"""A release is written and read by processes of every start method."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest

from qpibench.release import open_release, write_release
from qpibench.specs import load_spec
from qpibench.synthesis import get_backend

pytestmark = pytest.mark.slow  # every process imports the package


def generate(path):
    return write_release(load_spec("mini"), path, backend=get_backend("cpu")[0], threads=2)


def images(release, start):
    return release.image(range(start, start + 5))


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_processes_write_a_release_and_read_one_that_is_open(tmp_path, method):
    digest = generate(tmp_path / "mini.h5")  # the functions are compiled and the threads have run before a fork
    with open_release(tmp_path / "mini.h5") as release:
        whole = release.image(range(100))
        with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as pool:
            assert pool.submit(generate, tmp_path / "again.h5").result() == digest
            read = pool.map(images, [release] * 20, range(0, 100, 5))
            np.testing.assert_array_equal(np.concatenate(list(read)), whole)
