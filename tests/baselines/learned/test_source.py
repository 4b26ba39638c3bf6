from itertools import islice

import numpy as np
import pytest
import torch
from learned.source import open_source

from qpibench.errors import UsageError
from qpibench.physics.activation import activation_map
from qpibench.release import open_release, write_release
from qpibench.specs import ReleaseSpec, load_spec
from qpibench.synthesis import get_backend
from qpibench.training import TrainingRun

FIELDS = ("image", "activation_map", "kernel", "fold", "kernel_index", "index")


@pytest.fixture
def opened(tiny_release, tiny_spec, tmp_path):
    """Open a source: of the release, or of a stream of its spec."""

    def open_(
        kind="release", *, release=tiny_release, seed=0, fields=FIELDS, batch_size=7, map_mode="paper", **options
    ):
        where = {"release_path": release} if kind == "release" else {"spec": tiny_spec}
        run = TrainingRun(entry="e", entry_path=tmp_path / "e.py", folder=tmp_path, seed=seed, **where)
        return open_source(run, fields=fields, batch_size=batch_size, map_mode=map_mode, **options)

    return open_


@pytest.fixture(params=["release", "stream"])
def kind(request):
    return request.param


def epoch(source):
    """The numbers of the images of an epoch's batches."""
    return torch.cat([source.batch(step)["index"] for step in range(source.steps_per_epoch)]).tolist()


def same(batch, other):
    return batch.keys() == other.keys() and all(torch.equal(batch[field], other[field]) for field in batch)


def test_a_batch_is_a_function_of_the_step_alone(opened, kind):
    first, second = opened(kind), opened(kind)
    second.batch(40)
    assert same(first.batch(3), second.batch(3))
    assert not same(first.batch(3), first.batch(4))


def test_batches_ahead_are_the_batches_of_their_steps(opened, kind):
    source = opened(kind)
    ahead = source.ahead(5)
    assert all(same(batch, source.batch(step)) for step, batch in enumerate(islice(ahead, 20), 5))
    ahead.close()


def test_another_seed_shows_other_batches(opened, kind):
    assert not same(opened(kind).batch(0), opened(kind, seed=1).batch(0))


def test_processes_share_a_batch(opened, kind, monkeypatch):
    whole = opened(kind, batch_size=6).batch(2)
    monkeypatch.setenv("WORLD_SIZE", "2")
    parts = []
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        parts.append(opened(kind, batch_size=6).batch(2))
    assert same(whole, {field: torch.cat([part[field] for part in parts]) for field in FIELDS})
    with pytest.raises(UsageError, match="use a multiple of 2"):
        opened(kind, batch_size=7)


def test_validation_is_the_same_for_all_seeds_and_never_trained_on(opened, kind):
    source, other = opened(kind), opened(kind, seed=3)
    assert all(same(batch, twin) for batch, twin in zip(source.validation(), other.validation(), strict=True))
    held_out = {index for batch in source.validation() for index in batch["index"].tolist()}
    assert held_out
    assert not held_out & {*epoch(source), *epoch(other)}


def test_a_field_that_does_not_exist_is_refused(opened, kind):
    with pytest.raises(UsageError, match="no field 'colour'"):
        opened(kind, fields=("image", "colour"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"map_mode": None}, "field 'activation_map' needs map_mode"),
        ({"map_mode": "blurred"}, "no activation map mode 'blurred'"),
        ({"batch_size": 0}, "batch_size must be 1 or more"),
        ({"images_per_kernel": 0}, "images_per_kernel must be 1 or more"),
    ],
)
def test_an_option_out_of_range_is_refused(opened, kind, options, message):
    with pytest.raises(UsageError, match=message):
        opened(kind, **options)


# --- releases


@pytest.mark.parametrize("map_mode", ["paper", "exact"])
def test_a_batch_has_what_the_release_has(opened, tiny_release, map_mode):
    with open_release(tiny_release) as release:
        batch = opened(map_mode=map_mode).batch(1)
        rows = batch["index"].numpy()
        assert set(rows) <= set(release.split("id", "train"))
        kernel = release.observation_kernel[rows]
        expected = {
            "image": release.image(rows),
            "activation_map": activation_map(release.grid, release.take("position_nm", rows), mode=map_mode),
            "kernel": release.kernels.image[kernel],
            "fold": release.kernels.parameters["fold"][kernel],
            "kernel_index": kernel,
        }
    for field, values in expected.items():
        np.testing.assert_array_equal(batch[field], values)


def test_an_epoch_shows_every_training_image_once_in_an_order_of_its_own(opened, tiny_release):
    source = opened(batch_size=1)
    with open_release(tiny_release) as release:
        train = release.split("id", "train").tolist()
    first = epoch(source)
    second = [source.batch(source.steps_per_epoch + step)["index"].item() for step in range(source.steps_per_epoch)]
    assert sorted(first) == sorted(second) == train
    assert first != second


def test_a_batch_may_reach_from_one_epoch_into_the_next(opened, tiny_release):
    with open_release(tiny_release) as release:
        count = len(release.split("id", "train"))
    alone, together = opened(batch_size=1), opened(batch_size=5)
    places = [alone.batch(place)["index"].item() for place in range(2 * count)]
    assert (
        torch.cat([together.batch(step)["index"] for step in range(2 * count // 5)]).tolist()
        == places[: 2 * count // 5 * 5]
    )


def test_validation_is_the_validation_role_spread_over_the_kernels(opened, tiny_release):
    batches = opened().validation()
    with open_release(tiny_release) as release:
        rows = release.split("id", "validation")
        kernels = np.unique(release.observation_kernel[rows])
    found = torch.cat([batch["index"] for batch in batches])
    assert sorted(found.tolist()) == rows.tolist()
    first = torch.cat([batch["kernel_index"] for batch in batches])[: len(kernels)]
    assert sorted(first.tolist()) == kernels.tolist()


def test_a_limit_of_images_per_kernel_holds_for_every_kernel(opened):
    source = opened(images_per_kernel=2, batch_size=1)
    kernels = [source.batch(step)["kernel_index"].item() for step in range(source.steps_per_epoch)]
    assert set(np.unique(kernels, return_counts=True)[1]) == {2}


def test_kernels_as_the_unit_are_shown_once_an_epoch(opened, tiny_release):
    source = opened(unit="kernel", batch_size=1)
    with open_release(tiny_release) as release:
        trained = np.unique(release.observation_kernel[release.split("id", "train")]).tolist()
    shown = [source.batch(step)["kernel_index"].item() for step in range(source.steps_per_epoch)]
    assert sorted(shown) == trained


@pytest.mark.parametrize(("splits", "role"), [({"validation": 0.0}, "validation"), ({"id_test": 0.0}, "id")])
def test_a_release_without_a_needed_role_is_refused_by_its_name(opened, tiny_spec, tmp_path, splits, role):
    lacking = {**tiny_spec.model_dump(), "name": "lacking", "splits": splits}
    path = tmp_path / "lacking.h5"
    write_release(ReleaseSpec.model_validate(lacking), path, backend=get_backend("cpu")[0])
    with pytest.raises(UsageError, match=f"'lacking'.*{role}"):
        opened(release=path)


# --- streams


def test_a_stream_never_shows_a_kernel_twice(opened):
    source = opened("stream")
    shown = torch.cat([source.batch(step)["kernel_index"] for step in range(30)])
    assert len(shown.unique()) == len(shown)


def test_an_epoch_of_a_stream_is_as_long_as_that_of_a_release(tmp_path):
    paper = load_spec("paper")  # 80 training kernels with 500 images, of which 0.8 x 0.9 are trained on
    run = TrainingRun(entry="e", entry_path=tmp_path / "e.py", folder=tmp_path, spec=paper)
    source = open_source(run, fields=FIELDS, map_mode="paper", batch_size=8)
    assert source.steps_per_epoch == 80 * 360 // 8
    assert (
        open_source(run, fields=FIELDS, map_mode="paper", batch_size=8, images_per_kernel=250).steps_per_epoch
        == 80 * 250 // 8
    )
    assert open_source(run, fields=FIELDS, map_mode="paper", batch_size=8, unit="kernel").steps_per_epoch == 80 // 8


def test_validation_of_a_stream_has_512_images(opened):
    assert sum(len(batch["image"]) for batch in opened("stream").validation()) == 512


def test_a_stream_has_a_limited_seed(opened):
    with pytest.raises(UsageError, match="below 1,048,576"):
        opened("stream", seed=2**20)
