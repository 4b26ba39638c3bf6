"""What `doctor` says of the GPU before anything is run: everything that `--gpu` could stumble over."""

import subprocess
import sys

import pytest

from qpibench import diagnosis
from qpibench.diagnosis import diagnose
from qpibench.synthesis.device import NoGpuError
from qpibench.synthesis.nvrtc import find_nvrtc


@pytest.fixture
def caches(tmp_path, monkeypatch):
    """Where CuPy's and our compiled code would go; neither folder is there yet."""
    folders = {"QPIBENCH_CACHE_DIR": tmp_path / "cache" / "ours", "CUPY_CACHE_DIR": tmp_path / "cache" / "theirs"}
    for variable, folder in folders.items():
        monkeypatch.setenv(variable, str(folder))
    return tmp_path / "cache"


def _findings():
    return {finding.what: finding for finding in diagnose()}


def test_a_gpu_that_works_is_told_with_all_that_it_needs(cupy_on_host, caches):
    found = _findings()
    assert (found["GPU"].found, found["GPU"].advice) == ("Host, 1.0 GiB free of 2.0 GiB", "")
    assert (found["CuPy"].found, found["CuPy"].advice) == ("cupy-cuda13x 13.6.0", "")
    assert found["CuPy cache"].found == str(caches / "theirs")
    assert found["CUDA kernel cache"].found == str(caches / "ours")
    assert not caches.exists()


def test_the_compiler_is_told_with_its_path_or_how_to_get_it(monkeypatch, cupy_on_host):
    try:
        nvrtc = find_nvrtc(newest_major=13)
    except NoGpuError as error:
        pytest.skip(error.reason)
    assert _findings()["NVRTC"].found == f"{nvrtc.version[0]}.{nvrtc.version[1]} at {nvrtc.path}"
    monkeypatch.setattr("qpibench.synthesis.nvrtc._candidates", lambda: iter(()))
    without = _findings()["NVRTC"]
    assert "was not found" in without.found
    assert "pip install nvidia-cuda-nvrtc" in without.advice


@pytest.mark.parametrize(
    ("what", "variable"), [("CUDA kernel cache", "QPIBENCH_CACHE_DIR"), ("CuPy cache", "CUPY_CACHE_DIR")]
)
def test_a_cache_that_cannot_be_written_is_pointed_out(monkeypatch, tmp_path, caches, what, variable):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(variable, str(tmp_path / "file" / "cache"))
    finding = _findings()[what]
    assert finding.found == f"{tmp_path / 'file' / 'cache'}: Not a directory"
    assert f"set {variable} to a folder that can be written to" in finding.advice
    assert not finding.required


def test_two_wheels_of_cupy_are_pointed_out(install_cupy):
    install_cupy({}, "cupy-cuda12x 13.6.0", "cupy-cuda13x 14.0.0")
    found = _findings()
    assert found["CuPy"].found == "cupy-cuda12x 13.6.0, cupy-cuda13x 14.0.0"
    assert "pip uninstall cupy-cuda12x cupy-cuda13x, then pip install" in found["CuPy"].advice
    assert "overwrite each other" in found["GPU"].found


def test_code_that_the_driver_would_refuse_is_told_before_it_is_needed(cupy_on_host, monkeypatch):
    def refuse(_module, _cubin):
        raise RuntimeError("CUDA_ERROR_NO_BINARY_FOR_GPU")

    monkeypatch.setattr(cupy_on_host.cuda.Module, "load", refuse)
    finding = _findings()["GPU"]
    assert finding.found.startswith("cannot be used: the driver does not load the CUDA kernel")
    assert finding.advice == "for --gpu only: update the driver"


def test_a_gpu_whose_memory_is_taken_is_pointed_out(cupy_on_host, monkeypatch):
    device = cupy_on_host.cuda.Device(0)
    device.mem_info = (100 << 20, 80 << 30)
    monkeypatch.setattr(cupy_on_host.cuda, "Device", lambda _: device)
    finding = _findings()["GPU"]
    assert finding.found == "Host, 0.1 GiB free of 80.0 GiB"
    assert "end what else uses it or name another in CUDA_VISIBLE_DEVICES" in finding.advice


def test_a_pytorch_without_cuda_beside_a_gpu_is_pointed_out(cupy_on_host, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "for qpibench.stream on the GPU" in _findings()["torch"].advice


def test_without_a_package_that_all_else_needs_nothing_else_is_looked_at(monkeypatch):
    monkeypatch.setattr(diagnosis, "PACKAGES", ("numpy", "no-such-package"))
    monkeypatch.setattr(diagnosis, "_processor", lambda: 1 / 0)
    findings = diagnose()
    assert findings[-1].what == "no-such-package"
    assert (findings[-1].advice, findings[-1].required) == ("pip install no-such-package", True)


@pytest.mark.slow
def test_where_numba_finds_no_folder_for_its_cache_there_is_advice(tmp_path):
    code = (
        "from numba.core import caching\n"
        "caching.CompileResultCacheImpl._locator_classes = []\n"
        "from qpibench.diagnosis import diagnose\n"
        "(found,) = [finding for finding in diagnose() if finding.what == 'Numba cache']\n"
        "assert 'NUMBA_CACHE_DIR' in found.advice and not found.required, found\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
