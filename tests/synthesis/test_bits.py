"""One release, one hash: whatever the threads, the batches or the instruction set."""

import os
import subprocess
import sys

import pytest

from qpibench.release import write_release
from qpibench.specs import load_spec
from qpibench.synthesis import get_backend

CONTENT_SHA256 = {
    "mini": "cac8e6a9a535120e2714564e912b33969187784abca4ed21b523929aeb3b0d39",
    "paper": "82c79372885f218582918703541efe1a6c8e33c1ad9a1375089da3d0bedea67a",
}

GENERATE = """
import sys
from qpibench.release import write_release
from qpibench.specs import load_spec
from qpibench.synthesis import get_backend
folder, *names = sys.argv[1:]
for name in names:
    print(name, write_release(load_spec(name), f"{folder}/{name}.h5", backend=get_backend("cpu")[0]))
"""


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", ["mini", "paper"])
def test_a_release_has_its_hash_for_any_number_of_threads(tmp_path, name, threads):
    backend, _ = get_backend("cpu")
    digest = write_release(load_spec(name), tmp_path / "release.h5", backend=backend, threads=threads)
    assert digest == CONTENT_SHA256[name]


@pytest.mark.parametrize(
    ("processor", "names"),
    [
        pytest.param("haswell", ["mini", "paper"], id="AVX2"),
        pytest.param("generic", ["mini"], marks=pytest.mark.slow, id="no fused multiply-add in hardware"),
    ],
)
def test_a_release_has_its_hash_on_other_instruction_sets(tmp_path, processor, names):
    # Without features of its own, Numba would add the host's to the named processor.
    environment = os.environ | {
        "NUMBA_CPU_NAME": processor,
        "NUMBA_CPU_FEATURES": "",
        "NUMBA_CACHE_DIR": str(tmp_path / "cache"),
    }
    command = [sys.executable, "-c", GENERATE, str(tmp_path), *names]
    child = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert child.stdout.splitlines() == [f"{name} {CONTENT_SHA256[name]}" for name in names]
