"""Compile CUDA sources by NVRTC, called through ctypes, with options for strict IEEE arithmetic.

CuPy would append ``-ftz=true``, which changes bits. The sources are therefore compiled here, and CuPy only loads the
result. NVRTC needs neither a driver nor a device.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import hashlib
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from qpibench.errors import QpibenchError
from qpibench.home import home
from qpibench.synthesis.device import NoGpuError

STRICT = ("--std=c++17", "--ftz=false", "--prec-sqrt=true", "--prec-div=true", "--fmad=false")
"""IEEE float32 with denormals, and no fused operation that the source does not state."""

_INSTALL = "pip install nvidia-cuda-nvrtc-cu12 (for CuPy of CUDA 12) or nvidia-cuda-nvrtc (for CUDA 13)"
_in_memory: dict[str, bytes] = {}


class Nvrtc:
    """A loaded NVRTC library.

    Parameters
    ----------
    path
        The shared library.

    Raises
    ------
    OSError
        If it cannot be loaded.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._library = ctypes.CDLL(str(path))
        self._library.nvrtcGetErrorString.restype = ctypes.c_char_p
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._call("nvrtcVersion", ctypes.byref(major), ctypes.byref(minor))
        self.version = major.value, minor.value

    def architectures(self) -> tuple[int, ...]:
        """Supported compute capabilities, such as 80 and 90."""
        count = ctypes.c_int()
        self._call("nvrtcGetNumSupportedArchs", ctypes.byref(count))
        found = (ctypes.c_int * count.value)()
        self._call("nvrtcGetSupportedArchs", found)
        return tuple(found)

    def cubin(self, source: Path, capability: int, *, options: tuple[str, ...] = STRICT) -> bytes:
        """Machine code of a source file for devices of a compute capability.

        Raises
        ------
        QpibenchError
            If the source does not compile; the message contains the compiler's, with file and line.
        """
        return self._compile(source, (f"--gpu-architecture=sm_{capability}", *options), "CUBIN")

    def ptx(self, source: Path, capability: int, *, options: tuple[str, ...] = STRICT) -> str:
        """Intermediate code of a source file, which tests read; raises what :meth:`cubin` raises."""
        text = self._compile(source, (f"--gpu-architecture=compute_{capability}", *options), "PTX")
        return text.rstrip(b"\0").decode()

    def _compile(self, source: Path, options: tuple[str, ...], kind: str) -> bytes:
        program = ctypes.c_void_p()
        # With the real paths of source and headers, messages of the compiler point at the real file and line.
        self._call(
            "nvrtcCreateProgram",
            ctypes.byref(program),
            ctypes.c_char_p(source.read_bytes()),
            ctypes.c_char_p(os.fsencode(source)),
            0,
            None,
            None,
        )
        try:
            arguments = [option.encode() for option in options] + [b"--include-path=" + os.fsencode(source.parent)]
            code = self._library.nvrtcCompileProgram(
                program, len(arguments), (ctypes.c_char_p * len(arguments))(*arguments)
            )
            if code:
                log = self._output("nvrtcGetProgramLog", program).rstrip(b"\0").decode(errors="replace").strip()
                raise QpibenchError(f"NVRTC {self._name()} cannot compile '{source}': {log or self._reason(code)}")
            return self._output(f"nvrtcGet{kind}", program)
        finally:
            self._library.nvrtcDestroyProgram(ctypes.byref(program))

    def _output(self, getter: str, program: ctypes.c_void_p) -> bytes:
        size = ctypes.c_size_t()
        self._call(f"{getter}Size", program, ctypes.byref(size))
        text = ctypes.create_string_buffer(size.value)
        self._call(getter, program, text)
        return text.raw

    def _call(self, function: str, *arguments: object) -> None:
        code = self._library[function](*arguments)
        if code:
            raise QpibenchError(f"{function} of '{self.path}' failed: {self._reason(code)}.")

    def _reason(self, code: int) -> str:
        text: bytes = self._library.nvrtcGetErrorString(code)
        return text.decode()

    def _name(self) -> str:
        return ".".join(map(str, self.version))


def find_nvrtc(*, newest_major: int | None = None) -> Nvrtc:
    """Find NVRTC in NVIDIA's wheel, in ``CUDA_PATH`` or ``CUDA_HOME``, or in the system.

    Parameters
    ----------
    newest_major
        Major version of CUDA that the driver supports; it does not load code of a newer compiler.

    Raises
    ------
    NoGpuError
        If there is none, or all are too new.
    """
    passed_over = []
    for path in _candidates():
        try:
            nvrtc = Nvrtc(path)
        except (OSError, AttributeError, QpibenchError) as error:
            passed_over.append(f"'{path}' cannot be loaded ({error})")
            continue
        if newest_major is None or nvrtc.version[0] <= newest_major:
            return nvrtc
        passed_over.append(f"'{path}' is of CUDA {nvrtc.version[0]}, the driver of CUDA {newest_major}")
    found = ", ".join(passed_over) or "it is neither in a wheel, nor under CUDA_PATH, nor among the system's libraries"
    raise NoGpuError(f"NVRTC, the CUDA compiler library, was not found ({found})", _INSTALL)


def _candidates() -> Iterator[str | Path]:
    patterns = ("nvidia/cu*/lib/libnvrtc.so.*", "nvidia/cuda_nvrtc/lib/libnvrtc.so.*")
    for folder in filter(None, sys.path):
        for pattern in patterns:
            yield from sorted(Path(folder).glob(pattern), reverse=True)
    for variable in ("CUDA_PATH", "CUDA_HOME"):
        if root := os.environ.get(variable):
            yield from sorted(Path(root).glob("lib*/libnvrtc.so*"), reverse=True)
    if name := ctypes.util.find_library("nvrtc"):
        yield name
    yield from sorted(Path("/usr/local/cuda/lib64").glob("libnvrtc.so*"), reverse=True)


def cached_cubin(nvrtc: Nvrtc, source: Path, capability: int, *, family: str = "eq7") -> bytes:
    """Machine code of a source file, from the user's cache if it was compiled before.

    The cache distinguishes device generations and versions of compiler and sources. A source that serves all kernel
    families is compiled for ``family``. If the cache cannot be written, the code is kept in memory, and the next
    process compiles again.

    Raises
    ------
    QpibenchError
        If the source does not compile.
    """
    name = f"{source.stem}-{family}-sm_{capability}-{_fingerprint(nvrtc, source)}.cubin"
    if name in _in_memory:
        return _in_memory[name]
    folder = cache_folder()
    cubin = _read(folder / name) if folder else None
    if cubin is None:
        chosen = f'--define-macro=FAMILY="families/{family}.cuh"'
        cubin = nvrtc.cubin(source, capability, options=(*STRICT, chosen))
        if folder:
            with suppress(OSError):
                _write(folder / name, cubin)
    _in_memory[name] = cubin
    return cubin


def cache_folder() -> Path | None:
    """Folder of compiled code: ``QPIBENCH_CACHE_DIR``, or the folder qpibench in the user's cache folder, if any."""
    if chosen := os.environ.get("QPIBENCH_CACHE_DIR"):
        return Path(chosen)
    if root := os.environ.get("XDG_CACHE_HOME"):
        return Path(root) / "qpibench"
    found = home()
    return found / ".cache" / "qpibench" if found else None


def _fingerprint(nvrtc: Nvrtc, source: Path) -> str:
    digest = hashlib.sha256(repr((nvrtc.version, STRICT)).encode())
    for path in [source, *sorted(source.parent.rglob("*.cuh"))]:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:32]


def _read(path: Path) -> bytes | None:
    """Cached code, or None if it is missing or does not match the digest at its beginning."""
    try:
        digest, cubin = (content := path.read_bytes())[:32], content[32:]
    except OSError:
        return None
    return cubin if hashlib.sha256(cubin).digest() == digest else None


def _write(path: Path, cubin: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(descriptor, "wb") as file:
            file.write(hashlib.sha256(cubin).digest() + cubin)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
