"""One release, one hash: whatever the threads, the batches or the instruction set."""

import os
import subprocess
import sys

import pytest

from qpibench.release import write_release
from qpibench.specs import load_spec
from qpibench.synthesis import get_backend

CONTENT_SHA256 = {
    "mini": "6daefef5ded0858998fd38d61b770a673439cf362304ea80d64f7d27682cdd00",
    "paper": "b224bfaa9072043809111af24e569cf348218739d520d4b6d57d9ed2730ccd41",
}

GENERATE = """
import sys
from qpibench.release import write_release
from qpibench.specs import load_spec
from qpibench.synthesis import get_backend
name, path = sys.argv[1:]
print(write_release(load_spec(name), path, backend=get_backend("cpu")[0]))
"""


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", ["mini", "paper"])
def test_a_release_has_its_hash_for_any_number_of_threads(tmp_path, name, threads):
    backend, _ = get_backend("cpu")
    digest = write_release(load_spec(name), tmp_path / "release.h5", backend=backend, threads=threads)
    assert digest == CONTENT_SHA256[name]


@pytest.mark.parametrize(
    "processor", ["haswell", pytest.param("generic", marks=pytest.mark.slow, id="generic, without hardware FMA")]
)
@pytest.mark.parametrize("name", ["mini"])
def test_a_release_has_its_hash_on_other_instruction_sets(tmp_path, name, processor):
    # Without features of its own, Numba would add the host's to the named processor.
    environment = os.environ | {
        "NUMBA_CPU_NAME": processor,
        "NUMBA_CPU_FEATURES": "",
        "NUMBA_CACHE_DIR": str(tmp_path / "cache"),
    }
    command = [sys.executable, "-c", GENERATE, name, str(tmp_path / "release.h5")]
    child = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert child.stdout.strip() == CONTENT_SHA256[name]
