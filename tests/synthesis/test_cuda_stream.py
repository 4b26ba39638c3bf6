"""Streams on the GPU backend: in the order of PyTorch's own work, and refused where PyTorch cannot take the tensors."""

import itertools
import types

import pytest

torch = pytest.importorskip("torch")

import qpibench  # noqa: E402
from qpibench.errors import UnavailableError, UsageError  # noqa: E402
from qpibench.specs import load_spec  # noqa: E402
from qpibench.synthesis.fields import stream_fields  # noqa: E402

POINTER = 0xC0DE


@pytest.fixture
def torch_with_cuda(monkeypatch):
    """A PyTorch that has a device, and works on a stream of its own."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: types.SimpleNamespace(cuda_stream=POINTER))


@pytest.mark.usefixtures("torch_with_cuda")
def test_batches_are_made_in_the_order_of_pytorchs_current_stream(cupy_on_host):
    batches = qpibench.stream("mini", device="cuda", batch_size=7, map_mode="exact")
    found = [*itertools.islice(batches, 2), batches.batch(2)]
    assert batches.step == 2
    assert list(cupy_on_host.cuda.Stream.foreign) == [POINTER]
    expected = qpibench.stream("mini", batch_size=7, map_mode="exact")
    assert not torch.equal(found[0]["image"], expected.batch(0)["image"])  # nothing has run so far
    cupy_on_host.cuda.Stream.foreign[POINTER].synchronize()
    for step, batch in enumerate(found):
        for field in stream_fields(load_spec("mini")):
            torch.testing.assert_close(batch[field], expected.batch(step)[field], rtol=0, atol=0, equal_nan=True)


@pytest.mark.usefixtures("torch_with_cuda", "cupy_on_host")
@pytest.mark.parametrize("device", ["cuda", "cuda:0", "auto", torch.device("cuda"), torch.device("cuda", 0)], ids=str)
def test_the_gpu_has_the_names_that_pytorch_gives_it(device):
    assert qpibench.stream("mini", device=device).batches.backend.name == "cuda"


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu")], ids=repr)
def test_the_cpu_has_the_names_that_pytorch_gives_it(device):
    assert qpibench.stream("mini", device=device).batches.backend.name == "cpu"


def test_another_gpu_than_the_first_is_refused_with_the_way_to_choose_one():
    with pytest.raises(UsageError, match=r"'cuda:1'.*CUDA_VISIBLE_DEVICES"):
        qpibench.stream("mini", device=torch.device("cuda", 1))


@pytest.mark.usefixtures("cupy_on_host")
def test_without_cuda_in_pytorch_the_gpu_is_refused_and_auto_is_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UnavailableError, match=r"PyTorch .* finds no CUDA device.*install PyTorch with CUDA"):
        qpibench.stream("mini", device="cuda")
    assert qpibench.stream("mini", device="auto").batches.backend.name == "cpu"
