"""One release, one hash: whatever the threads, the batches or the instruction set."""

import json
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
PAIRS = f"{SURFACE}+scatterers.min=2+species.second=drawn"
TURNED = "mini_species+kernels.folds=[2,3]+species={second='rotated',angle_deg=[20,70]}"
# Multiple scattering.
SCATTERED = "ag111_64_multiple+kernels.count=3+observations_per_kernel=4+kernels.mass_ratio=[1.0,1.5]"
SCATTERED_LATTICE = f"{LATTICE}+scatterers.superposition=multiple"
QUICK = ["mini", NOISY, LATTICE, SURFACE, ELLIPTIC, "corrupted", "mini_species", PAIRS, TURNED]
QUICK += [SCATTERED, SCATTERED_LATTICE]
OVERRIDES = {
    "corrupted": [
        "corruptions.tip_blur.fwhm_nm=[0.2, 0.9]",
        "corruptions.drift={drift_nm=[0, 2], creep_nm=[0, 1]}",
        "corruptions.white_noise.sigma_over_kernel_rms=[0, 1]",
        "corruptions.line_noise.strength=[0, 1]",
        "corruptions.corrugation={lattice='hexagonal', lattice_constant_nm=0.5, strength=[0, 1]}",
        "corruptions.line_offsets.strength=[0, 1]",
        "corruptions.plane_tilt.strength=[0, 3]",
        "corruptions.gain_offset={gain=[0.5, 2], offset=[-1, 1]}",
    ]
}
"""Overrides of `mini` that have a name here."""
CONTENT_SHA256 = {
    "mini": "cac8e6a9a535120e2714564e912b33969187784abca4ed21b523929aeb3b0d39",
    "paper": "82c79372885f218582918703541efe1a6c8e33c1ad9a1375089da3d0bedea67a",
    NOISY: "56833fdda9f753434c300fd0bb445bec948d3c19091ffea67246c93261ef6bca",
    LATTICE: "a0505c5a91269183adb0a829a8a9494f1790acce2cdd0e93de5beaa9f9f11141",
    SURFACE: "8bc685414f2edc5fefcbb5bcc8a37e927ad654fcca6debed37d3106c64d2264a",
    ELLIPTIC: "aad1f702f23874f48801ce98766705b566ea63dc24af33833b773740ad3a49e2",
    "mini_species": "d9edbc435537e85e2745f0c13c7101cb0a293d44079e683c6f309605dbc6575c",
    PAIRS: "5c2895ef3c23644edfc610c1d3f7c8d8a1f7e9803749fbfdd94c634d2bf356e7",
    TURNED: "e28b76878ff3e85a264180fe42982aa305ae94b341ce40b16e3db315d095b2aa",
    SCATTERED: "4cfc397f74266cc2b823eb3c4119adff91fd9309a077b050e73f55e0d44e1a6f",
    SCATTERED_LATTICE: "3888283620f6df0ddbb385b2b2ae7f64040222a104f0d6a3c8413796136bda44",
    "corrupted": "f6e34c45d296d9312cc00011dd6fd6a1662adb06cf7d050c17d4554b99f63ee3",
}


def named_spec(name):
    """The spec of a name: a shipped one, or one with overrides."""
    shipped, *overrides = _parts(name)
    return load_spec(shipped, overrides=overrides)


def _parts(name):
    return ["mini", *OVERRIDES[name]] if name in OVERRIDES else name.split("+")


GENERATE = """
import json, sys
from qpibench.release import write_release
from qpibench.specs import load_spec
from qpibench.synthesis import get_backend
for number, (shipped, *overrides) in enumerate(json.loads(sys.argv[2])):
    spec = load_spec(shipped, overrides=overrides)
    print(write_release(spec, f"{sys.argv[1]}/{number}.h5", backend=get_backend("cpu")[0]))
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
        (SCATTERED, 1),
        (SCATTERED, 2),
        (SCATTERED_LATTICE, 2),
        (LATTICE, 1),
        (LATTICE, 2),
        ("corrupted", 1),
        ("corrupted", 2),
        ("mini_species", 1),
        ("mini_species", 2),
        (PAIRS, 2),
        (TURNED, 2),
        pytest.param("paper", 1, marks=pytest.mark.slow),
    ],
)
def test_a_release_has_its_hash_for_any_number_of_threads(tmp_path, name, threads):
    backend, _ = get_backend("cpu")
    digest = write_release(named_spec(name), tmp_path / "release.h5", backend=backend, threads=threads)
    assert digest == CONTENT_SHA256[name]


@pytest.mark.slow
def test_paper_has_its_hash(paper_path):
    with open_release(paper_path) as release:
        assert release.content_sha256 == CONTENT_SHA256["paper"]


@pytest.mark.parametrize(
    ("processor", "names"),
    [
        pytest.param("haswell", QUICK, marks=pytest.mark.slow, id="AVX2"),
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
    command = [sys.executable, "-c", GENERATE, str(tmp_path), json.dumps([_parts(name) for name in names])]
    child = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert child.stdout.splitlines() == [CONTENT_SHA256[name] for name in names]
