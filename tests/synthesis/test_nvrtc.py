"""The CUDA sources through NVIDIA's compilers, without a device: strict options, cache, and errors."""

import re
import shutil
import subprocess

import pytest

from qpibench.corruptions import corruption_names
from qpibench.errors import QpibenchError
from qpibench.locator import locate
from qpibench.synthesis import nvrtc as compiler
from qpibench.synthesis.cuda_functions import OF_ALL
from qpibench.synthesis.device import NoGpuError
from qpibench.synthesis.nvrtc import STRICT, cache_folder, cached_cubin, find_nvrtc

SOURCES = sorted(locate("kernels_cuda").glob("*.cu"))
NAMES = [source.stem for source in SOURCES]
CAPABILITIES = [pytest.param(80, marks=pytest.mark.slow), 90]  # PTX of both is searched for the same

# What rounds may be fused by the assembler unless it says how to round; cvt, min and so on say all there is to say.
FUSIBLE = re.compile(r"\b(add|sub|mul|mad|fma)\.(?!rn\.)\S*f(32|64)\b")
APPROXIMATE = re.compile(r"\b\w+\.approx\S*")
FUSED = re.compile(r"\bfma\.\S+")


@pytest.fixture(scope="module")
def nvrtc():
    try:
        return find_nvrtc()
    except NoGpuError as error:
        pytest.skip(error.reason)


@pytest.fixture(scope="module", params=["nvrtc", pytest.param("nvcc", marks=pytest.mark.slow)])
def ptx(request, tmp_path_factory):
    """PTX of a source by either compiler, with the strict options or others."""
    if request.param == "nvrtc":
        return request.getfixturevalue("nvrtc").ptx
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("no nvcc is installed")

    def ptx(source, capability, *, options=STRICT):
        target = tmp_path_factory.mktemp("ptx") / "out.ptx"
        command = [nvcc, "-ptx", f"-arch=compute_{capability}", *options, str(source), "-o", str(target)]
        subprocess.run(command, check=True, capture_output=True)
        return target.read_text()

    return ptx


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(compiler, "_in_memory", {})
    monkeypatch.setenv("QPIBENCH_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def counted(nvrtc, monkeypatch):
    """NVRTC with a list of what it compiled."""
    compiled = []
    cubin = nvrtc.cubin
    monkeypatch.setattr(
        nvrtc, "cubin", lambda source, *rest, **options: (compiled.append(source), cubin(source, *rest, **options))[1]
    )
    nvrtc.compiled = compiled
    return nvrtc


def _without_asked_fusion(folder):
    """A copy of the sources that asks for no fused operation."""
    shutil.copytree(SOURCES[0].parent, folder)
    header = folder / "elementary.cuh"
    text, replaced = re.subn(r"__fmaf?_rn\(a, b, c\)", "a * b + c", header.read_text())
    assert replaced == 2
    header.write_text(text)
    return [folder / source.name for source in SOURCES]


def test_every_source_is_one_of_the_backend_or_of_a_corruption():
    of_families = {"draw_parameters", "superpose", "superpose_species", "kernel_images"}
    assert set(NAMES) <= {*of_families, *OF_ALL, *corruption_names()}


@pytest.mark.parametrize("capability", [pytest.param(80, marks=pytest.mark.slow), 90])
@pytest.mark.parametrize("source", SOURCES, ids=NAMES)
def test_every_kernel_compiles_to_machine_code(nvrtc, source, capability):
    assert nvrtc.cubin(source, capability)[:4] == b"\x7fELF"


@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("source", SOURCES, ids=NAMES)
def test_nothing_is_flushed_approximated_or_left_for_the_assembler_to_fuse(ptx, source, capability):
    text = ptx(source, capability)
    assert f".entry {source.stem}" in text
    asked_for = {"rsqrt.approx.ftz.f32"} if source.stem in ("superpose", "superpose_species") else set()
    assert set(APPROXIMATE.findall(text)) == asked_for
    assert all(".approx" in word for word in re.findall(r"\S*\.ftz\S*", text))
    assert not FUSIBLE.search(text)
    assert not re.search(r"\b(div|rcp|sqrt)\.(?!rn\.|u|s)\S*", text)


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_nothing_is_fused_that_the_source_does_not_ask_for(ptx, tmp_path, capability):
    for source in _without_asked_fusion(tmp_path / "sources"):
        assert not FUSED.search(ptx(source, capability)), source.name


def test_the_searches_find_what_lax_options_do(ptx, tmp_path):
    sources = {source.stem: source for source in _without_asked_fusion(tmp_path / "sources")}
    lax = ("--std=c++17", "--ftz=true", "--fmad=true", "--prec-div=false", "--prec-sqrt=false")
    text = ptx(sources["superpose"], 90, options=lax)
    assert FUSED.search(text)
    assert FUSIBLE.search(text)
    assert "sqrt.rn.ftz.f32" in text


def test_the_second_process_reads_what_the_first_compiled(counted, cache, monkeypatch):
    first = cached_cubin(counted, SOURCES[0], 90)
    monkeypatch.setattr(compiler, "_in_memory", {})  # as in a new process
    assert cached_cubin(counted, SOURCES[0], 90) == first
    assert len(counted.compiled) == 1
    assert [path.suffix for path in cache.iterdir()] == [".cubin"]


def test_another_device_another_header_and_other_options_compile_anew(counted, cache, tmp_path, monkeypatch):
    folder = tmp_path / "sources"
    shutil.copytree(SOURCES[0].parent, folder)
    source = folder / "draw_scatterers.cu"
    cached_cubin(counted, source, 90)
    cached_cubin(counted, source, 80)
    (folder / "philox.cuh").write_text((folder / "philox.cuh").read_text() + "\n")
    cached_cubin(counted, source, 90)
    monkeypatch.setattr(compiler, "STRICT", (*STRICT, "--device-debug"))
    cached_cubin(counted, source, 90)
    assert len(counted.compiled) == 4
    assert len(list(cache.iterdir())) == 4


def test_a_damaged_cache_is_compiled_anew(counted, cache, monkeypatch):
    first = cached_cubin(counted, SOURCES[0], 90)
    (path,) = cache.iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    monkeypatch.setattr(compiler, "_in_memory", {})
    assert cached_cubin(counted, SOURCES[0], 90) == first
    assert len(counted.compiled) == 2


def test_without_a_writable_cache_code_is_kept_in_memory(counted, cache):
    cache.write_text("a file where the folder would be")
    assert cached_cubin(counted, SOURCES[0], 90) == cached_cubin(counted, SOURCES[0], 90)
    assert len(counted.compiled) == 1


def test_the_cache_lies_in_the_users_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("QPIBENCH_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "qpibench"


@pytest.mark.parametrize("broken", ["broken.cu", "inner.cuh"])
def test_an_error_names_the_real_file_and_line(nvrtc, tmp_path, broken):
    (tmp_path / "inner.cuh").write_text("\n\nint x;\n")
    (tmp_path / "broken.cu").write_text('#include "inner.cuh"\n\nint y;\n')
    (tmp_path / broken).write_text((tmp_path / broken).read_text().replace("int", "integer"))
    with pytest.raises(QpibenchError, match=re.escape(f"{tmp_path / broken}(3): error")):
        nvrtc.cubin(tmp_path / "broken.cu", 90)


def test_a_compiler_newer_than_the_driver_is_passed_over(nvrtc):
    with pytest.raises(NoGpuError, match=r"is of CUDA 1\d, the driver of CUDA 11.*pip install nvidia-cuda-nvrtc"):
        find_nvrtc(newest_major=11)


def test_without_a_compiler_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setattr(compiler, "_candidates", lambda: iter(()))
    with pytest.raises(NoGpuError, match=r"neither in a wheel, nor under CUDA_PATH.*pip install nvidia-cuda-nvrtc"):
        find_nvrtc()


def test_a_library_that_cannot_be_loaded_is_named(monkeypatch, tmp_path):
    library = tmp_path / "lib64" / "libnvrtc.so.13"
    library.parent.mkdir()
    library.write_text("no library")
    monkeypatch.setattr("sys.path", [])
    monkeypatch.setenv("CUDA_PATH", str(tmp_path))
    monkeypatch.setattr("ctypes.util.find_library", lambda _: None)
    monkeypatch.setattr("pathlib.Path.glob", lambda folder, _: [library] if folder == tmp_path else [])
    with pytest.raises(NoGpuError, match=re.escape(f"'{library}' cannot be loaded")):
        find_nvrtc()
