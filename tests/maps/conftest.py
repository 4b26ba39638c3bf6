"""Files of a microscope, written by the tests and read through the public function."""

import numpy as np
import pytest

from qpibench.readers.maps import read_maps


@pytest.fixture
def read_bytes(tmp_path):
    """Writes bytes to a file and reads its maps."""

    def read(content, name):
        (tmp_path / name).write_bytes(content)
        return read_maps(tmp_path / name)

    return read


@pytest.fixture
def numbers():
    """Returns different numbers of the size of currents, in a shape that is asked for."""
    draws = np.random.default_rng(7)
    return lambda *shape: (1e-10 * (1 + draws.random(shape))).astype(np.float32)
