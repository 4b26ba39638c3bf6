"""Streams: the same images however they are asked for, resumable anywhere, and none of them test data."""

import itertools
import pickle
import subprocess
import sys
import weakref

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.utils.data import DataLoader  # noqa: E402

import qpibench  # noqa: E402
from qpibench.errors import UnavailableError, UsageError  # noqa: E402
from qpibench.physics.activation import MAP_MODES, activation_map  # noqa: E402
from qpibench.specs import ImportedSpec, load_spec  # noqa: E402
from qpibench.synthesis import get_backend  # noqa: E402
from qpibench.synthesis.fields import stream_fields  # noqa: E402
from qpibench.synthesis.stream import ahead, fresh_batches  # noqa: E402

SMALL = ["grid.ny=6", "grid.nx=8", "kernels.wavelength_nm=[4, 6]", "scatterers.max=9", "scatterers.margin_nm=1.5"]
FAR = 2**40


@pytest.fixture(scope="module")
def spec():
    return load_spec("mini", overrides=SMALL)


def take(stream, images):
    """The next images of a stream, whatever its batch size."""
    batches = []
    while sum(len(batch["index"]) for batch in batches) < images:
        batches.append(next(stream))
    return {field: torch.cat([batch[field] for batch in batches])[:images] for field in batches[0]}


def assert_equal(batch, expected):
    assert batch.keys() == expected.keys()
    for field in batch:
        np.testing.assert_array_equal(batch[field], expected[field], err_msg=field)


def test_a_batch_has_the_shapes_and_types_it_states(spec):
    with_map = {"image": (5, 6, 8), "kernel": (5, 6, 8), "activation_map": (5, 6, 8)}
    fields = stream_fields(spec)
    shapes = dict.fromkeys(fields, (5,)) | with_map | {"position_nm": (5, 9, 2)}
    whole = ("n_scatterers", "fold", "kernel_index", "index")
    types = (
        dict.fromkeys(fields, torch.float64)
        | dict.fromkeys(with_map, torch.float32)
        | dict.fromkeys(whole, torch.int64)
    )
    batch = next(qpibench.stream(spec, batch_size=5, map_mode="exact"))
    assert tuple(batch) == fields
    assert {field: tuple(tensor.shape) for field, tensor in batch.items()} == shapes
    assert {field: tensor.dtype for field, tensor in batch.items()} == types
    assert batch["image"].device.type == "cpu"
    assert tuple(next(qpibench.stream(spec, batch_size=5))) == tuple(f for f in fields if f != "activation_map")


@pytest.mark.parametrize("images_per_kernel", [1, 5])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_images_do_not_depend_on_the_batch_size_or_the_threads(spec, batch_size, threads, images_per_kernel):
    options = {"images_per_kernel": images_per_kernel, "map_mode": "exact"}
    whole = qpibench.stream(spec, batch_size=60, **options).batch(0)
    parts = take(qpibench.stream(spec, batch_size=batch_size, threads=threads, **options), 60)
    assert_equal(parts, whole)


def test_a_stream_resumes_at_any_step(spec):
    first = qpibench.stream(spec, batch_size=4, map_mode="exact")
    batches = list(itertools.islice(first, 6))
    assert first.step == 6
    again = qpibench.stream(spec, batch_size=4, map_mode="exact", start=3)
    assert_equal(next(again), batches[3])
    assert_equal(next(first.seek(2)), batches[2])
    assert_equal(next(first), batches[3])
    assert_equal(first.batch(5), batches[5])
    assert first.step == 4
    first.close()
    assert_equal(next(first), batches[4])


@pytest.mark.parametrize("per_kernel", [1, 3])
def test_a_stream_begins_with_a_release_drawn_in_the_training_domain(per_kernel):
    spec = load_spec("mini", overrides=[f"observations_per_kernel={per_kernel}", "kernels.count=11"])
    backend, _ = get_backend("cpu")
    kernels = backend.kernels(spec, domain="training")
    count = spec.observation_count
    observations = backend.observations(spec, kernels, 0, count, domain="training")
    batch = qpibench.stream(spec, batch_size=count, map_mode="exact", images_per_kernel=per_kernel).batch(0)
    assert_equal(
        batch,
        {
            "image": observations.image,
            "kernel": kernels.image[observations.kernel],
            "activation_map": activation_map(spec.grid, observations.position_nm, mode="exact"),
            "position_nm": observations.position_nm,
            "n_scatterers": observations.n_scatterers,
            **{name: values[observations.kernel] for name, values in kernels.parameters.items()},
            "kernel_index": observations.kernel,
            "index": np.arange(count),
        },
    )


def test_a_noisy_stream_begins_with_a_noisy_release_drawn_in_the_training_domain():
    spec = load_spec("mini", overrides=[*SMALL, "corruptions.white_noise.snr_db=[5, 15]"])
    backend, _ = get_backend("cpu")
    count = spec.observation_count
    observations = backend.observations(spec, backend.kernels(spec, domain="training"), 0, count, domain="training")
    batch = qpibench.stream(
        spec, batch_size=count, map_mode="exact", images_per_kernel=spec.observations_per_kernel
    ).batch(0)
    for field in ("image", "snr_db", "noise_sigma"):
        np.testing.assert_array_equal(batch[field], observations.columns()[field], err_msg=field)


def test_the_clean_images_of_a_noisy_stream_are_those_of_the_spec_without_corruptions(spec):
    noisy = load_spec("mini", overrides=[*SMALL, "corruptions.white_noise.snr_db=[5, 15]"])
    clean = qpibench.stream(spec, batch_size=7, map_mode="exact").batch(3)
    batch = qpibench.stream(noisy, batch_size=7, map_mode="exact").batch(3)
    assert ((batch["image"] != clean["image"]).flatten(1).sum(1) > 40).all()
    told = ("image", "snr_db", "noise_sigma")
    assert_equal(*({field: made[field] for field in clean if field not in told} for made in (batch, clean)))


def test_a_stream_without_noise_says_so_when_it_is_asked(spec):
    batch = qpibench.stream(
        spec, batch_size=3, fields=("snr_db", "noise_sigma", "told_position_nm", "position_nm")
    ).batch(0)
    assert batch["snr_db"].tolist() == [np.inf] * 3
    assert batch["noise_sigma"].tolist() == [0.0] * 3
    np.testing.assert_array_equal(batch["told_position_nm"], batch["position_nm"])


def test_behind_the_kernels_of_the_release_the_folds_repeat_and_nothing_else(spec):
    shares = load_spec("mini", overrides=[*SMALL, "kernels.fold_counts={0=1, 2=3, 3=2, 4=0, 6=4}"])
    batch = qpibench.stream(shares, batch_size=30, map_mode="exact").batch(0)
    expected = [0, 2, 3, 6, 2, 3, 6, 2, 6, 6] * 3
    assert batch["fold"].tolist() == expected
    assert len(np.unique(batch["B"])) == 30
    far = qpibench.stream(shares, batch_size=30, map_mode="exact").batch(FAR)
    offset = 30 * FAR % 10
    assert far["fold"].tolist() == (expected + expected)[offset : offset + 30]


@pytest.mark.parametrize("images_per_kernel", [1, 3])
def test_images_beyond_two_to_the_32_do_not_come_again(spec, images_per_kernel):
    stream = qpibench.stream(spec, batch_size=6, map_mode="exact", images_per_kernel=images_per_kernel)
    begin = stream.batch(0)
    for kernel in (2**32, FAR, 2**61):
        step = kernel * images_per_kernel // 6
        batch = next(stream.seek(step))
        assert batch["index"].tolist() == list(range(6 * step, 6 * step + 6))
        assert batch["kernel_index"].tolist() == [i // images_per_kernel for i in batch["index"].tolist()]
        assert not np.intersect1d(batch["B"], begin["B"]).size
        assert not np.intersect1d(batch["position_nm"][:, 0], begin["position_nm"][:, 0]).size
        split = qpibench.stream(spec, batch_size=3, map_mode="exact", images_per_kernel=images_per_kernel).batch(
            2 * step + 1
        )
        assert_equal(split, {field: tensor[3:] for field, tensor in batch.items()})


def test_behind_the_last_image_there_is_none(spec):
    stream = qpibench.stream(spec, batch_size=4, map_mode="exact")
    last = 2**63 // 4 - 2
    assert next(stream.seek(last))["index"].tolist() == list(range(4 * last, 4 * last + 4))
    with pytest.raises(UsageError, match=f"step must be a whole number from 0 to {last}, found {last + 1}"):
        next(stream)


def test_a_stream_shares_no_draw_with_the_benchmark(spec):
    backend, _ = get_backend("cpu")
    kernels = backend.kernels(spec)
    official = backend.observations(spec, kernels, 0, spec.observation_count)
    batch = qpibench.stream(
        spec, batch_size=100, map_mode="exact", images_per_kernel=spec.observations_per_kernel
    ).batch(0)
    assert not np.intersect1d(batch["B"], kernels.parameters["B"]).size
    assert not np.intersect1d(batch["position_nm"][:, 0], official.position_nm[:, 0]).size


@pytest.mark.parametrize("mode", MAP_MODES)
@pytest.mark.parametrize("overrides", [SMALL, ["scatterers.margin_nm=-2", "scatterers.max=300"], ["grid.nx=2"]])
def test_activation_maps_are_those_of_the_reference(mode, overrides):
    wide = ["kernels.wavelength_nm=[25, 30]"] if overrides == ["grid.nx=2"] else []
    spec = load_spec("mini", overrides=[*overrides, *wide])
    batch = qpibench.stream(spec, batch_size=50, map_mode=mode, fields=("activation_map", "position_nm")).batch(0)
    expected = activation_map(spec.grid, batch["position_nm"].numpy(), mode=mode)
    np.testing.assert_array_equal(batch["activation_map"], expected)
    assert expected.any()


@pytest.mark.parametrize("fields", [("kernel", "fold"), ("activation_map",), ("n_scatterers", "image")])
def test_a_batch_contains_what_was_asked_for(spec, fields):
    everything = qpibench.stream(spec, batch_size=8, map_mode="exact").batch(3)
    batch = qpibench.stream(spec, batch_size=8, map_mode="exact", fields=fields).batch(3)
    assert tuple(batch) == fields
    assert_equal(batch, {field: everything[field] for field in fields})


def test_tensors_lie_in_the_memory_that_the_backend_filled(spec, monkeypatch):
    made = []
    backend = get_backend("cpu")[0]
    fresh = type(backend).fresh
    monkeypatch.setattr(type(backend), "fresh", lambda *a, **k: made.append(fresh(*a, **k)) or made[-1])
    batch = qpibench.stream(spec, batch_size=4, map_mode="exact").batch(0)
    assert {field: tensor.data_ptr() for field, tensor in batch.items()} == {
        field: array.ctypes.data for field, array in made[0].items()
    }


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_loader_gives_every_batch_once_and_in_order(spec, workers):
    stream = qpibench.stream(spec, batch_size=4, map_mode="exact", start=5)
    next(stream)  # its threads must not trouble the workers
    loader = DataLoader(stream, batch_size=None, num_workers=workers)
    batches = list(itertools.islice(loader, 7))
    stream.close()
    assert_equal(
        {field: torch.cat([batch[field] for batch in batches]) for field in stream_fields(spec)},
        take(qpibench.stream(spec, batch_size=4, map_mode="exact", start=6), 28),
    )


def test_a_stream_goes_through_pickle_with_its_step(spec):
    stream = qpibench.stream(spec, batch_size=4, map_mode="exact")
    next(stream)
    copy = pickle.loads(pickle.dumps(stream))
    assert copy.step == 1
    assert_equal(next(copy), next(stream))


@pytest.mark.parametrize("threads", [1, 3])
def test_batches_made_ahead_are_few_and_freed_with_their_consumer(threads):
    class Answer:
        def __init__(self, step):
            self.step = step
            made.append(weakref.ref(self))

    made = []
    answers = ahead(Answer, itertools.count(), threads=threads)
    for step in range(50):
        answer = next(answers)
        assert answer.step == step
        assert len(made) <= step + threads + 2
        del answer
    answers.close()
    assert not any(reference() for reference in made)


def test_an_error_in_a_thread_reaches_the_consumer_and_the_stream_goes_on(spec, monkeypatch):
    stream = qpibench.stream(spec, batch_size=4, map_mode="exact")
    batch = next(stream)
    stream.seek(0)
    with monkeypatch.context() as broken:
        broken.setattr(type(stream.batches.backend), "fresh", lambda *a, **k: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            next(stream)
    assert stream.step == 0
    assert_equal(next(stream), batch)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size must be a whole number from 1 to .*, found 0"),
        ({"batch_size": 2.5}, "batch_size must be .*, found 2.5"),
        ({"batch_size": True}, "batch_size must be .*, found True"),
        ({"images_per_kernel": -1}, "images_per_kernel must be .*, found -1"),
        ({"threads": 0}, "threads must be .*, found 0"),
        ({"start": -1}, "step must be a whole number from 0 to .*, found -1"),
        ({"start": 2**63 // 256}, "step must be"),
        ({"fields": ("images",)}, "no field 'images'; choose among image,"),
        ({"fields": ()}, "at least one field; choose among image,"),
        ({"fields": "image"}, r"fields must be a list of names, such as \['image', 'kernel'\], found 'image'"),
        ({"fields": 3}, "fields must be a list of names, .* found 3"),
        ({"fields": ("image", "activation_map")}, "field 'activation_map' needs map_mode, 'paper' or 'exact'"),
        ({"map_mode": "sharp"}, "no activation map mode 'sharp'; choose one of paper, exact"),
        ({"device": "tpu"}, "no backend 'tpu'; known backends: auto, cpu, cuda"),
    ],
)
def test_what_cannot_be_granted_is_refused(spec, options, message):
    with pytest.raises(UsageError, match=message):
        qpibench.stream(spec, **options)


def test_a_stream_needs_a_spec_that_can_be_generated(spec):
    with pytest.raises(UsageError, match="no spec and no file 'papre'; did you mean 'paper'"):
        qpibench.stream("papre")
    imported = ImportedSpec(name="theirs", files_sha256=("0" * 64,), axis_order="x_first", grid=spec.grid)
    with pytest.raises(UsageError, match="a ReleaseSpec, not ImportedSpec"):
        qpibench.stream(imported)


def test_without_a_gpu_cuda_is_refused_with_the_backends_reason_and_auto_is_the_cpu(spec):
    try:
        get_backend("cuda")
    except UnavailableError as error:
        reason = str(error)
    else:
        pytest.skip("there is a GPU")
    with pytest.raises(UnavailableError) as refusal:
        qpibench.stream(spec, device="cuda")
    assert str(refusal.value) == reason
    assert fresh_batches(spec, device="auto").backend.name == "cpu"


def test_without_torch_a_stream_says_what_to_install():
    code = "import sys; sys.modules['torch'] = None; import qpibench; qpibench.stream"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert child.returncode == 1
    assert "UnavailableError" in child.stderr
    assert "pip install 'qpibench[torch]'" in child.stderr


def test_importing_the_package_imports_no_torch():
    code = "import sys, qpibench; assert not {'torch', 'numba', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
