"""One release, one hash: whatever the threads, the batches or the instruction set."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from qpibench.release import open_release, write_release
from qpibench.specs import load_spec
from qpibench.synthesis import get_backend

NOISY = "mini+corruptions.white_noise.snr_db=[10.0,10.0]"
LATTICE = "hexagonal_64+kernels.count=3+observations_per_kernel=4"
# Round and elliptic surface states: a few kernels of the shipped spec.
SURFACE = "cu111_64+kernels.count=5+observations_per_kernel=4"
ELLIPTIC = f"{SURFACE}+kernels.mass_ratio=[1.0,1.5]"
QUICK = ["mini", NOISY, LATTICE, SURFACE, ELLIPTIC]
CONTENT_SHA256 = {
    "mini": "cac8e6a9a535120e2714564e912b33969187784abca4ed21b523929aeb3b0d39",
    "paper": "82c79372885f218582918703541efe1a6c8e33c1ad9a1375089da3d0bedea67a",
    NOISY: "56833fdda9f753434c300fd0bb445bec948d3c19091ffea67246c93261ef6bca",
    LATTICE: "2f69d4ed9afb10e8260467fe71c1f06e39a85f8e7d45a9df6188330628db8caf",
    SURFACE: "72dfb16962b346044729ec80359fc31bfa620f3f0ae1f0b9159ba3b857d4349d",
    ELLIPTIC: "52a20cb9a4418740b99f952ec6c1b5221ae8aadcb6d530892976eb042d70a21c",
}


def named_spec(name):
    """The spec of a name: a shipped one, or one with the override that its name tells."""
    shipped, *overrides = name.split("+")
    return load_spec(shipped, overrides=overrides)


GENERATE = """
import sys
from qpibench.release import write_release
from qpibench.specs import load_spec
from qpibench.synthesis import get_backend
folder, *names = sys.argv[1:]
for name in names:
    shipped, *overrides = name.split("+")
    spec = load_spec(shipped, overrides=overrides)
    print(name, write_release(spec, f"{folder}/{name}.h5", backend=get_backend("cpu")[0]))
"""


@pytest.mark.parametrize(
    ("name", "threads"),
    [
        ("mini", 1),
        ("mini", 2),
        (SURFACE, 1),
        (SURFACE, 2),
        (ELLIPTIC, 2),
        (NOISY, 1),
        (NOISY, 2),
        (LATTICE, 1),
        (LATTICE, 2),
        pytest.param("paper", 1, marks=pytest.mark.slow),
    ],
)
def test_a_release_has_its_hash_for_any_number_of_threads(tmp_path, name, threads):
    backend, _ = get_backend("cpu")
    digest = write_release(named_spec(name), tmp_path / "release.h5", backend=backend, threads=threads)
    assert digest == CONTENT_SHA256[name]


def test_paper_has_its_hash(paper_path):
    with open_release(paper_path) as release:
        assert release.content_sha256 == CONTENT_SHA256["paper"]


@pytest.mark.parametrize(
    ("processor", "names"),
    [
        pytest.param("haswell", QUICK, id="AVX2"),
        pytest.param("haswell", ["paper"], marks=pytest.mark.slow, id="AVX2, the whole of paper"),
        pytest.param("generic", QUICK, marks=pytest.mark.slow, id="no fused multiply-add in hardware"),
    ],
)
def test_a_release_has_its_hash_on_other_instruction_sets(tmp_path, processor, names):
    # Without features of its own, Numba would add the host's to the named processor.
    # The cache lies where benchmarks/numba_cache.py deletes it when sources change.
    environment = os.environ | {
        "NUMBA_CPU_NAME": processor,
        "NUMBA_CPU_FEATURES": "",
        "NUMBA_CACHE_DIR": str(Path(__file__).parent / "__pycache__" / processor),
    }
    command = [sys.executable, "-c", GENERATE, str(tmp_path), *names]
    child = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert child.stdout.splitlines() == [f"{name} {CONTENT_SHA256[name]}" for name in names]
