"""On a GPU: the hashes of the releases, the bits of the CPU, and what only a device can show."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import qpibench
from qpibench.errors import UnavailableError
from qpibench.locator import locate
from qpibench.release import write_release
from qpibench.specs import load_spec
from qpibench.synthesis import get_backend
from qpibench.synthesis.cuda import CudaBackend
from qpibench.synthesis.device import NoGpuError
from qpibench.synthesis.fields import stream_fields
from qpibench.synthesis.nvrtc import STRICT, find_nvrtc

pytestmark = pytest.mark.gpu

FOUND, SANITIZER_S = 9, 30
"""Exit code of a sanitizer that finds something, and the longest time in seconds that it is given."""

SANITIZED = """
from qpibench.specs import load_spec
from qpibench.synthesis.cuda import CudaBackend
from qpibench.synthesis.fields import stream_fields
spec = load_spec("mini", overrides=["grid.ny=70", "grid.nx=67", "scatterers.min=30", "scatterers.max=41"])
backend = CudaBackend()
backend.observations(spec, None, 0, 20)
spec = load_spec("mini", overrides=["grid.ny=70", "grid.nx=67", "corruptions.white_noise.snr_db=[0, 20]"])
backend.observations(spec, backend.kernels(spec), 0, 20)
for map_mode in ("exact", "paper"):
    backend.fresh(spec, 0, 20, fields=stream_fields(spec), map_mode=map_mode)
backend._cupy.cuda.Device().synchronize()
"""


@pytest.fixture(scope="module")
def gpu():
    try:
        return CudaBackend()
    except NoGpuError as error:
        pytest.skip(error.reason)


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("name", ["mini", "paper", "mini+corruptions.white_noise.snr_db=[10.0,10.0]"])
def test_a_release_made_on_the_gpu_has_its_hash(gpu, content_sha256, named_spec, tmp_path, name, threads):
    digest = write_release(named_spec(name), tmp_path / "release.h5", backend=gpu, threads=threads)
    assert digest == content_sha256[name]


@pytest.mark.parametrize("map_mode", ["exact", "paper"])
@pytest.mark.parametrize(
    "overrides",
    [
        ["observations_per_kernel=1"],
        ["grid.ny=130", "grid.nx=65", "scatterers.min=150", "scatterers.max=301"],
        [
            "grid.ny=33",
            "grid.nx=33",
            "kernels.wavelength_nm=[2, 3]",
            "kernels.decay_nm=[0.05, 0.3]",
            "scatterers.max=1",
        ],
        ["observations_per_kernel=3", "scatterers.margin_nm=20"],
        ["grid.ny=70", "grid.nx=67", "corruptions.white_noise.snr_db=[-40, 100]"],
    ],
    ids=["one image per kernel", "tiles that are not full", "short decays", "outside the field", "white noise"],
)
def test_batches_made_on_the_gpu_have_the_bits_of_the_cpu(gpu, overrides, map_mode):
    spec = load_spec("mini", overrides=overrides)
    start = 2**33 + 1
    expected = get_backend("cpu")[0].fresh(spec, start, start + 300, fields=stream_fields(spec), map_mode=map_mode)
    found = gpu.fresh(spec, start, start + 300, fields=stream_fields(spec), map_mode=map_mode)
    for name, values in expected.items():
        bits = f"u{values.dtype.itemsize}"
        assert np.array_equal(found[name].get().view(bits), np.ascontiguousarray(values).view(bits)), name


def test_a_stream_keeps_the_order_of_the_consumers_own_work():
    torch = pytest.importorskip("torch")
    try:
        batches = qpibench.stream("mini", device="cuda", batch_size=64)
    except UnavailableError as error:
        pytest.skip(str(error))
    expected, found = qpibench.stream("mini", batch_size=64), []
    with torch.cuda.stream(torch.cuda.Stream()):
        for _ in range(30):
            batch = next(batches)
            # The consumer lags behind: a batch that came too early would be written over one that is still to be read.
            torch.cuda._sleep(5_000_000)
            found.append(batch["image"].clone())
            del batch
    torch.cuda.synchronize()
    for step, image in enumerate(found):
        assert torch.equal(image.cpu(), expected.batch(step)["image"]), step


def test_roots_are_those_of_the_ieee_instruction_for_every_float(gpu):
    import cupy

    nvrtc = find_nvrtc(newest_major=gpu.device.cuda[0])
    options = (*STRICT, f"--include-path={locate('kernels_cuda')}")
    module = cupy.cuda.Module()
    module.load(nvrtc.cubin(Path(__file__).parent / "roots.cu", gpu.device.capability, options=options))
    wrong = cupy.zeros(1, np.uint32)
    module.get_function("roots")((1024,), (256,), (wrong,))
    assert int(wrong.get()[0]) == 0


@pytest.mark.parametrize("tool", ["memcheck", "racecheck", "synccheck", "initcheck"])
def test_compute_sanitizer_finds_nothing(gpu, tool):
    sanitizer = shutil.which("compute-sanitizer", path="/usr/local/cuda/bin") or shutil.which("compute-sanitizer")
    if sanitizer is None:
        pytest.skip("compute-sanitizer is not installed")
    command = [sanitizer, "--tool", tool, "--error-exitcode", str(FOUND), sys.executable, "-c", SANITIZED]
    try:
        child = subprocess.run(command, capture_output=True, text=True, timeout=SANITIZER_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"compute-sanitizer does not run here: {error}")
    output = child.stdout + child.stderr
    # Anything but a verdict is about the machine; if the program itself fails, other tests say so.
    if child.returncode not in (0, FOUND) or "SUMMARY: " not in output or "Internal Sanitizer Error" in output:
        reasons = [line for line in output.splitlines() if "error" in line.lower() and "SUMMARY: " not in line]
        pytest.skip(
            f"compute-sanitizer does not judge here (exit code {child.returncode}): {[*reasons, output[-300:]][0]}"
        )
    assert child.returncode == 0, output[-4000:]
