"""The CUDA kernels on the host, and a CuPy whose device the host is."""

import ctypes
import importlib.util
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
from llvmlite import binding

from qpibench.locator import locate

HERE = Path(__file__).parent


def _module(name):
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def content_sha256():
    """Hashes of releases, by name."""
    return _module("test_bits").CONTENT_SHA256


@pytest.fixture(scope="session")
def named_spec():
    """From such a name to the spec."""
    return _module("test_bits").named_spec


@pytest.fixture(scope="session")
def cuda_on_host(tmp_path_factory):
    """Library of the CUDA kernels, made by the host compiler."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no g++ is installed to compile the CUDA sources for the host")
    library = tmp_path_factory.mktemp("cuda") / "cuda_on_host.so"
    strict = ["-std=c++17", "-O2", "-ffp-contract=off", "-fno-fast-math", "-Wall", "-Werror", "-Wno-unknown-pragmas"]
    if binding.get_host_cpu_features().get("fma"):
        strict.append("-mfma")  # without it, std::fma gives the same numbers, slowly
    sources = ["-I", str(locate("kernels_cuda")), str(HERE / "cuda_on_host.cpp")]
    subprocess.run([compiler, *strict, "-shared", "-fPIC", *sources, "-o", str(library)], check=True)
    # The library has one launch at a time in mind: PyDLL keeps other threads out.
    loaded = ctypes.PyDLL(str(library))
    loaded.wrong_roots.restype = ctypes.c_long
    return loaded


@pytest.fixture
def install_cupy(tmp_path, monkeypatch):
    """Make a CuPy importable, with wheels of these names and versions."""

    def install(modules, *wheels):
        for wheel in wheels:
            name, version = wheel.split()
            folder = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
            folder.mkdir()
            (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        monkeypatch.syspath_prepend(tmp_path)
        for name, module in modules.items():
            monkeypatch.setitem(sys.modules, name, module)

    for distribution in metadata.distributions():
        if (distribution.name or "").startswith("cupy"):
            pytest.skip("a real CuPy is installed")
    return install


@pytest.fixture
def cupy_on_host(cuda_on_host, install_cupy, monkeypatch):
    """The modules `cupy` and `cupyx` of a host device, installed; nothing is compiled for a GPU."""
    modules = _module("cupy_on_host").modules(cuda_on_host, locate("kernels_cuda"))
    install_cupy(modules, "cupy-cuda13x 13.6.0")
    nvrtc = SimpleNamespace(architectures=lambda: (80, 90), version=(13, 0), path="libnvrtc.so")
    monkeypatch.setattr("qpibench.synthesis.cuda.find_nvrtc", lambda **_: nvrtc)
    monkeypatch.setattr("qpibench.synthesis.cuda_functions.cached_cubin", lambda *_, **__: b"\x7fELF")
    return modules["cupy"]
