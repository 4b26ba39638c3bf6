"""As much of CuPy as the GPU backend uses, on the host: launches run the kernels that the host compiler made.

What is given to a stream happens when the stream is awaited, not before; so whatever is read too early, or overwritten
too early, shows. Arguments are checked against the parameters in the source, which a driver would not do.
"""

import ctypes
import re
import threading
import types

import numpy as np

C_TYPES = {
    "int": np.int32,
    "u32": np.uint32,
    "u64": np.uint64,
    "long long": np.int64,
    "float": np.float32,
    "double": np.float64,
}


current = threading.local()


class Stream:
    foreign = None  # by address, those that are not ours

    def __init__(self, *, non_blocking):
        self.pending = []

    @classmethod
    def from_external(cls, other):
        _, pointer = other.__cuda_stream__()
        return cls.foreign.setdefault(pointer, cls(non_blocking=True))

    def __enter__(self):
        current.stream = self
        return self

    def __exit__(self, *_):
        current.stream = None

    def synchronize(self):
        while self.pending:
            self.pending.pop(0)()


def enqueue(work, stream=None):
    stream = stream or getattr(current, "stream", None)
    if stream is None:
        work()
    else:
        stream.pending.append(work)


class Array:
    """An array of the device: filled with a pattern, so that nothing works because of zeros."""

    def __init__(self, host):
        self.host = host
        self.dtype, self.shape, self.nbytes = host.dtype, host.shape, host.nbytes
        self.data = self

    def __getitem__(self, index):
        return Array(self.host[index])

    def reshape(self, *shape):
        return Array(self.host.reshape(shape))

    def __dlpack__(self, **options):
        return self.host.__dlpack__()

    def __dlpack_device__(self):
        return self.host.__dlpack_device__()

    def copy_to_host_async(self, address, nbytes, stream):
        enqueue(lambda: ctypes.memmove(address, self.host.ctypes.data, nbytes), stream)


def _empty(shape, dtype):
    array = np.empty(shape, dtype)
    array.view(np.uint8).reshape(-1)[:] = 0xA5
    return array


class Module:
    library = None
    sources = None
    order = 0

    def load(self, cubin):
        assert cubin[:4] == b"\x7fELF"

    def get_function(self, name):
        source = (self.sources / f"{name}.cu").read_text()
        text = re.search(rf"{name}\(([^)]*)\)\s*{{", source).group(1)
        declared = [re.fullmatch(r"(?:const )?(.+?)(\*?) (\w+)", " ".join(part.split())) for part in text.split(",")]
        parameters = [(C_TYPES[kind], bool(pointer)) for kind, pointer, _ in (match.groups() for match in declared)]

        def launch(grid, block, arguments):
            assert len(arguments) == len(parameters)
            values = []
            for argument, (kind, is_pointer) in zip(arguments, parameters, strict=True):
                assert isinstance(argument, Array) == is_pointer
                assert argument.dtype == kind
                values.append(np.array([argument.host.ctypes.data], np.uint64) if is_pointer else np.array([argument]))
            pointers = (ctypes.c_void_p * len(values))(*(value.ctypes.data for value in values))
            run = getattr(self.library, f"launch_{name}")
            enqueue(lambda: (run(*grid, *block, self.order, pointers), values, arguments))

        return launch


class Device:
    mem_info = (1 << 30, 1 << 31)

    def __init__(self, number):
        assert number == 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


def modules(library, sources, *, capability=(9, 0)):
    """Modules `cupy` and `cupyx` whose device is the host."""
    Module.library, Module.sources = library, sources
    Stream.foreign = {}
    runtime = types.SimpleNamespace(
        driverGetVersion=lambda: 13000,
        runtimeGetVersion=lambda: 13000,
        getDeviceCount=lambda: 1,
        getDeviceProperties=lambda _: {"name": b"Host", "major": capability[0], "minor": capability[1]},
    )
    cupy, cupyx = types.ModuleType("cupy"), types.ModuleType("cupyx")
    cupy.empty = lambda shape, dtype: Array(_empty(shape, dtype))
    cupy.asarray = lambda host: Array(host.copy())
    cupy.cuda = types.SimpleNamespace(
        runtime=runtime,
        Device=Device,
        Stream=Stream,
        Module=Module,
    )
    cupyx.empty_pinned = _empty
    return {"cupy": cupy, "cupyx": cupyx}
