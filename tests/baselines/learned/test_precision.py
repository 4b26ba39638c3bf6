"""The precision of a run follows from its request and its device, whatever the version of PyTorch."""

import pytest
import torch
from learned import precision
from learned.precision import choose_precision
from tiny_training import Training

from qpibench.errors import UnavailableError
from qpibench.training import TrainingRun, load_run


@pytest.fixture
def asked(tiny_release, tmp_path):
    def make(name):
        return TrainingRun(
            entry="e", entry_path=tmp_path, folder=tmp_path / "run", release_path=tiny_release, precision=name
        )

    return make


@pytest.fixture
def processor(tmp_path, monkeypatch):
    """Let the machine be one without a GPU, whose processor has these flags."""

    def make(flags):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(precision, "PROCESSOR_FLAGS", tmp_path / "cpuinfo")
        (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: fpu sse {flags}\nprocessor\t: 1\n")

    return make


@pytest.mark.parametrize(("flags", "mode"), [("avx512_bf16", "no"), ("amx_tile amx_bf16", "bf16")])
def test_auto_on_a_processor_is_bf16_only_with_amx(asked, processor, flags, mode):
    processor(flags)
    assert choose_precision(asked("auto")).mode == mode


@pytest.mark.parametrize(("capability", "mode"), [((7, 5), "no"), ((8, 0), "bf16"), ((9, 0), "bf16")])
def test_auto_on_a_gpu_goes_by_its_compute_capability(asked, monkeypatch, capability, mode):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    assert choose_precision(asked("auto")).mode == mode


def test_tf32_is_refused_without_a_gpu(asked, processor):
    processor("")
    with pytest.raises(UnavailableError, match="--precision tf32 needs an NVIDIA GPU"):
        choose_precision(asked("tf32"))


def test_a_run_says_how_its_precision_was_chosen_and_is_resumed_in_it(tiny_release, tmp_path, processor):
    training = Training(tiny_release, tmp_path / "run")
    processor("amx_bf16")
    training.fit(precision="auto", max_seconds=1e-9)
    assert load_run(training.folder).numerics["precision_reason"] == "auto: the processor has AMX for bf16"
    processor("")
    training.fit(precision="auto", resume=True)
    record = load_run(training.folder)
    assert (record.config["precision"], record.status) == ("bf16", "complete")
    assert record.numerics["threads"] == str(torch.get_num_threads())
