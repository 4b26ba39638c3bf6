"""When the GPU cannot be used: reason, remedy and exit code; and a GPU that is lost in the middle of a run."""

import sys
import types
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec

import pytest

from qpibench.errors import QpibenchError
from qpibench.release import write_release
from qpibench.specs import load_spec
from qpibench.synthesis import get_backend
from qpibench.synthesis.device import NoGpuError, find_device


def _cupy(*, driver=13000, built_for=13000, devices=1, answers=True):
    """A CuPy that says these things of the driver and the devices."""

    def count():
        if isinstance(devices, Exception):
            raise devices
        return devices

    def device(_):
        if not answers:
            raise RuntimeError("cudaErrorDevicesUnavailable: all CUDA-capable devices are busy")
        return types.SimpleNamespace(mem_info=(1, 2))

    module = types.ModuleType("cupy")
    module.cuda = types.SimpleNamespace(
        Device=device,
        runtime=types.SimpleNamespace(
            driverGetVersion=lambda: driver,
            runtimeGetVersion=lambda: built_for,
            getDeviceCount=count,
            getDeviceProperties=lambda _: {"name": b"GPU", "major": 9, "minor": 0},
        ),
    )
    return {"cupy": module}


def _message(call):
    with pytest.raises(NoGpuError) as caught:
        call()
    assert caught.value.exit_code == 4
    text = str(caught.value)
    assert text.startswith("The GPU cannot be used: ")
    assert text.endswith(", or leave --gpu away to use the CPU (same bits).")
    return text


def test_without_cupy_the_message_says_what_to_install(install_cupy):
    message = _message(find_device)
    assert "CuPy is not installed; pip install 'qpibench[gpu-cuda12]' or pip install 'qpibench[gpu-cuda13]'" in message


def test_two_wheels_of_cupy_are_named_and_to_be_removed(install_cupy):
    install_cupy(_cupy(), "cupy-cuda12x 13.6.0", "cupy-cuda13x 14.0.0")
    message = _message(find_device)
    assert "cupy-cuda12x 13.6.0 and cupy-cuda13x 14.0.0 are installed and overwrite each other" in message
    assert "pip uninstall cupy-cuda12x cupy-cuda13x, then pip install" in message


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (
            PermissionError(13, "Permission denied", "/home/me/.cupy"),
            "set CUPY_CACHE_DIR to a folder that can be written",
        ),
        (ImportError("libcublas.so.13: cannot open\n\n shared object file"), "pip install 'qpibench[gpu-cuda12]'"),
    ],
)
def test_a_cupy_that_cannot_be_imported_says_why(install_cupy, monkeypatch, error, remedy):
    class Broken(MetaPathFinder, Loader):
        def find_spec(self, name, path, target=None):
            return ModuleSpec(name, self) if name == "cupy" else None

        def exec_module(self, module):
            raise error

    install_cupy({}, "cupy-cuda13x 13.6.0")
    monkeypatch.setattr("sys.meta_path", [Broken(), *sys.meta_path])
    message = _message(find_device)
    assert f"CuPy cannot be imported ({type(error).__name__}: {' '.join(str(error).split())})" in message
    assert remedy in message


@pytest.mark.parametrize(
    ("cupy", "reason", "remedy"),
    [
        (_cupy(driver=0), "no NVIDIA driver is installed", "install the driver"),
        (
            _cupy(driver=12040),
            "CuPy is built for CUDA 13, and the driver supports CUDA 12.4",
            "update the driver, or pip uninstall the present CuPy and pip install 'qpibench[gpu-cuda12]'",
        ),
        (_cupy(driver=11080), "the driver supports CUDA 11.8", "update the driver, or leave"),
        (_cupy(devices=0), "the driver finds no device", "see whether nvidia-smi lists it"),
        (
            _cupy(devices=RuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")),
            "it does not respond (RuntimeError: cudaErrorNoDevice: no CUDA-capable device is detected)",
            "see whether nvidia-smi lists it",
        ),
        (_cupy(answers=False), "all CUDA-capable devices are busy", "see whether nvidia-smi lists it"),
    ],
    ids=["no driver", "wrong wheel", "driver too old", "no device", "no device, by an error", "busy device"],
)
def test_a_driver_or_device_that_does_not_work_is_explained(install_cupy, monkeypatch, cupy, reason, remedy):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    install_cupy(cupy, "cupy-cuda13x 13.6.0")
    message = _message(find_device)
    assert reason in message
    assert remedy in message


def test_a_choice_of_devices_is_part_of_the_advice(install_cupy, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    install_cupy(_cupy(devices=0), "cupy-cuda13x 13.6.0")
    assert "nvidia-smi lists the one that CUDA_VISIBLE_DEVICES='7' names" in _message(find_device)


def test_a_wheel_older_than_the_driver_is_fine(install_cupy):
    install_cupy(_cupy(driver=13000, built_for=12090), "cupy-cuda12x 13.6.0")
    device = find_device()
    assert (device.name, device.capability, device.cuda) == ("GPU", 90, (13, 0))


def test_a_gpu_asked_for_is_never_replaced_and_auto_says_why_it_took_the_cpu(install_cupy):
    install_cupy(_cupy(driver=0), "cupy-cuda13x 13.6.0")
    _message(lambda: get_backend("cuda"))
    backend, sentence = get_backend("auto")
    assert (backend.name, sentence) == ("cpu", "CPU backend, because no NVIDIA driver is installed.")


def test_a_device_that_the_compiler_does_not_know_is_explained(cupy_on_host, monkeypatch):
    properties = {"name": b"GPU", "major": 17, "minor": 1}
    monkeypatch.setattr(cupy_on_host.cuda.runtime, "getDeviceProperties", lambda _: properties)
    message = _message(lambda: get_backend("cuda"))
    assert "does not compile for compute capability 17.1; pip install --upgrade nvidia-cuda-nvrtc" in message


def test_code_that_the_driver_refuses_is_explained(cupy_on_host, monkeypatch):
    def refuse(_module, _cubin):
        raise RuntimeError("CUDA_ERROR_NO_BINARY_FOR_GPU")

    monkeypatch.setattr(cupy_on_host.cuda.Module, "load", refuse)
    assert "(CUDA_ERROR_NO_BINARY_FOR_GPU); update the driver" in _message(lambda: get_backend("cuda"))


@pytest.mark.parametrize("place", ["device", "host"])
def test_too_little_memory_is_explained(cupy_on_host, monkeypatch, tmp_path, place):
    error = {
        "device": MemoryError("Out of memory allocating 4,096 bytes"),
        "host": RuntimeError("cudaErrorMemoryAllocation: out of memory"),
    }[place]

    def allocate(*_):
        raise error

    module, name = {"device": (cupy_on_host, "empty"), "host": (sys.modules["cupyx"], "empty_pinned")}[place]
    monkeypatch.setattr(module, name, allocate)
    backend, _ = get_backend("cuda")
    message = _message(lambda: write_release(load_spec("mini"), tmp_path / "mini.h5", backend=backend))
    assert f"({error}); end what else uses" in message
    assert not (tmp_path / "mini.h5").exists()


def test_a_release_goes_on_after_the_device_was_lost(cupy_on_host, monkeypatch, tmp_path):
    # Three blocks of observations, of which the first two are written when the device is lost.
    overrides = ["observations_per_kernel=60", "grid.ny=8", "grid.nx=8", "kernels.wavelength_nm=[4, 5]"]
    spec = load_spec("mini", overrides=overrides)
    backend, _ = get_backend("cuda")
    stream = cupy_on_host.cuda.Stream
    synchronize, times = stream.synchronize, iter([True] * 2)

    def lose(this):
        if not next(times, False):
            raise RuntimeError("cudaErrorIllegalAddress: an illegal memory access was encountered")
        synchronize(this)

    monkeypatch.setattr(stream, "synchronize", lose)
    path = tmp_path / "release.h5"
    with pytest.raises(QpibenchError, match=r"failed in the middle of the run \(cudaErrorIllegal.*--resume") as caught:
        write_release(spec, path, backend=backend, threads=1)
    assert caught.value.exit_code == 1
    assert not path.exists()
    cpu, _ = get_backend("cpu")
    assert write_release(spec, path, backend=cpu, resume=True) == write_release(
        spec, tmp_path / "whole.h5", backend=cpu
    )
