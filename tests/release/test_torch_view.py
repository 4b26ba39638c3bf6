import pickle

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.utils.data import DataLoader, Subset  # noqa: E402

from qpibench.errors import UsageError  # noqa: E402
from qpibench.physics.activation import activation_map  # noqa: E402
from qpibench.release import open_release  # noqa: E402
from qpibench.release.torch_view import ReleaseDataset, sample_fields  # noqa: E402


def make_dataset(path, **options):
    return ReleaseDataset(path, task="id", role="train", **options)


def test_a_sample_is_what_the_release_holds(small_release, spec, truth):
    dataset = make_dataset(small_release, fields=sample_fields(open_release(small_release)), map_mode="exact")
    kernels, observations = truth
    row = open_release(small_release).split("id", "train")[17]
    sample = dataset[17]
    assert int(sample["index"]) == row
    assert int(sample["kernel_index"]) == observations.kernel[row]
    assert int(sample["n_scatterers"]) == observations.n_scatterers[row]
    np.testing.assert_array_equal(sample["image"], observations.image[row])
    np.testing.assert_array_equal(sample["kernel"], kernels.image[observations.kernel[row]])
    np.testing.assert_array_equal(sample["position_nm"], observations.position_nm[row])
    expected = activation_map(spec.grid, observations.position_nm[[row]], mode="exact")[0]
    np.testing.assert_array_equal(sample["activation_map"], expected)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_gives_every_sample_once(small_release, workers):
    dataset = make_dataset(small_release, fields=("image", "index"))
    loader = DataLoader(dataset, batch_size=100, shuffle=True, num_workers=workers)
    batches = list(loader)
    assert batches[0]["image"].shape == (100, 6, 8)
    seen = torch.cat([batch["index"] for batch in batches])
    assert sorted(seen.tolist()) == open_release(small_release).split("id", "train").tolist()


def test_a_batch_is_the_same_as_its_samples(small_release):
    dataset = make_dataset(small_release, fields=("image", "kernel"))
    batch = dataset.batch([5, 2, 5])
    for place, index in enumerate([5, 2, 5]):
        assert torch.equal(batch["image"][place], dataset[index]["image"])
        assert torch.equal(batch["kernel"][place], dataset[index]["kernel"])


def test_a_batch_can_be_changed_without_changing_the_release(small_release):
    dataset = make_dataset(small_release)
    before = dataset[0]["kernel"].clone()
    batch = dataset.batch([0])
    batch["image"].zero_()
    batch["kernel"].zero_()
    assert torch.equal(dataset[0]["kernel"], before)


def test_the_data_set_goes_through_pickle_and_subset(small_release):
    dataset = pickle.loads(pickle.dumps(make_dataset(small_release)))
    assert torch.equal(Subset(dataset, [4, 9])[1]["image"], dataset[9]["image"])


def test_unknown_fields_and_roles_are_refused(small_release):
    with pytest.raises(UsageError, match="no field 'images'; choose among image,"):
        make_dataset(small_release, fields=("images",))
    with pytest.raises(UsageError, match=r"fields must be a list of names, such as \['image'\], found 'image'"):
        make_dataset(small_release, fields="image")
    with pytest.raises(UsageError, match="The field 'activation_map' needs map_mode, 'paper' or 'exact'"):
        make_dataset(small_release, fields=("activation_map",))
    with pytest.raises(UsageError, match="no activation map mode 'sharp'"):
        make_dataset(small_release, fields=("activation_map",), map_mode="sharp")
    with pytest.raises(UsageError, match="no role 'tests'"):
        ReleaseDataset(small_release, task="id", role="tests")


def test_a_path_alone_gives_the_training_role_with_the_published_map(small_release):
    dataset = ReleaseDataset(small_release)
    release = open_release(small_release)
    assert dataset.rows.tolist() == release.split("id", "train").tolist()
    expected = activation_map(release.grid, release.told_position_nm(dataset.rows[[3]]), mode="paper")[0]
    assert dataset[3].keys() == {"image", "activation_map", "kernel"}
    np.testing.assert_array_equal(dataset[3]["activation_map"], expected)


def test_a_task_or_a_map_mode_may_be_named_alone(small_release):
    release = open_release(small_release)
    assert ReleaseDataset(small_release, task="ood").rows.tolist() == release.split("ood", "train").tolist()
    exact = ReleaseDataset(small_release, map_mode="exact")[0]["activation_map"]
    expected = activation_map(release.grid, release.told_position_nm(release.split("id", "train")[:1]), mode="exact")
    np.testing.assert_array_equal(exact, expected[0])


def test_an_unknown_task_or_role_is_answered_with_those_that_exist(small_release):
    with pytest.raises(UsageError, match=r"no task 'odd'; it has id, ood\."):
        ReleaseDataset(small_release, task="odd")
    with pytest.raises(UsageError, match=r"Task 'id' .* no role 'tests'; it has test, train, validation\."):
        ReleaseDataset(small_release, role="tests")


def test_spawned_workers_open_the_release_for_themselves(small_release, monkeypatch):
    monkeypatch.chdir(small_release.parent)
    loader = DataLoader(
        ReleaseDataset(small_release.name), batch_size=200, num_workers=1, multiprocessing_context="spawn"
    )
    dataset = ReleaseDataset(small_release)
    assert torch.equal(torch.cat([batch["image"] for batch in loader]), dataset.batch(range(len(dataset)))["image"])
