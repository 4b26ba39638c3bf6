"""A release with white noise: more columns, and a format that older readers refuse."""

import shutil

import h5py
import numpy as np
import pytest

from qpibench.errors import InvalidDataError
from qpibench.release import Shard, merge_shards, open_release, verify_release, write_release, write_shard
from qpibench.release.shards import open_shard
from qpibench.release.xarray_view import to_xarray

COLUMNS = ("snr_db", "noise_sigma", "noise_over_kernel_rms")
# Rows of every shard of three, and rows on both sides of where they meet.
ROWS = [1299, 3, 3, 511, 512, 700, 1023, 1024, 0]


@pytest.fixture(scope="module")
def noisy_release(tmp_path_factory, noisy_spec):
    """A complete noisy release, not to be changed."""
    import runpy
    from pathlib import Path

    path = tmp_path_factory.mktemp("noisy") / "noisy.h5"
    backend = runpy.run_path(str(Path(__file__).with_name("conftest.py")))["FakeBackend"]()
    write_release(noisy_spec, path, backend=backend)
    return path


@pytest.fixture
def three_shards(tmp_path, noisy_spec, fake_backend):
    for index in (2, 3, 1):
        write_shard(noisy_spec, tmp_path / "shards", Shard(index, 3), backend=fake_backend())
    return tmp_path / "shards"


def test_the_noise_of_every_observation_is_in_the_file(noisy_release, noisy_spec, fake_backend):
    expected = fake_backend().observations(noisy_spec, None, 0, 1300)
    with h5py.File(noisy_release) as file:
        assert set(file["observations"]) == set(expected.columns())
        units = [file[f"observations/{name}"].attrs["units"] for name in COLUMNS]
        dtypes = [file[f"observations/{name}"].dtype for name in COLUMNS]
    assert units == [b"dB", b"1", b"1"]
    assert dtypes == ["<f8", "<f4", "<f4"]
    with open_release(noisy_release) as release:
        assert release.spec == noisy_spec
        for name, values in release.observations(ROWS).columns().items():
            np.testing.assert_array_equal(values, expected.columns()[name][ROWS], err_msg=name)


def test_a_clean_release_has_no_columns_of_noise_and_the_format_of_before(small_release, noisy_release):
    with open_release(small_release) as clean, open_release(noisy_release) as noisy:
        assert (clean.format_version, noisy.format_version) == (1, 2)
        assert not {f"observations/{name}" for name in COLUMNS} & clean.arrays.keys()
        assert not clean.observations([0]).extra
        assert noisy.arrays.keys() - clean.arrays.keys() == {f"observations/{name}" for name in COLUMNS}


def test_a_reader_of_the_format_of_before_refuses_noisy_releases_and_shards(noisy_release, three_shards, monkeypatch):
    monkeypatch.setattr("qpibench.release.layout.FORMAT_VERSION", 1)
    with pytest.raises(InvalidDataError, match=r"format version 2, and this qpibench reads 1; upgrade"):
        open_release(noisy_release)
    monkeypatch.setattr("qpibench.release.shards.SHARD_VERSION", 1)
    with pytest.raises(InvalidDataError, match=r"shard of format 2, and this qpibench reads 1; upgrade"):
        open_shard(three_shards / "shard-1-of-3.h5")


def test_a_release_that_lacks_a_column_of_its_noise_is_invalid(noisy_release, tmp_path):
    path = shutil.copy(noisy_release, tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        del file["observations/noise_sigma"]
    with pytest.raises(InvalidDataError, match="is damaged: observations/noise_sigma is missing"):
        open_release(path)


@pytest.mark.parametrize("name", COLUMNS)
def test_a_flipped_bit_in_the_noise_is_found_and_named(noisy_release, tmp_path, fake_backend, name):
    path = shutil.copy(noisy_release, tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        values = file[f"observations/{name}"][...]
        values.view(np.uint8)[-3] ^= 1
        file[f"observations/{name}"][...] = values
    with pytest.raises(InvalidDataError, match=f"observations/{name} has changed"):
        verify_release(path)
    with pytest.raises(InvalidDataError, match=f"agree with its spec: observations/{name} differs"):
        verify_release(path, backend=fake_backend())


@pytest.mark.parametrize("as_virtual", [False, True], ids=["file", "virtual"])
def test_shards_make_the_same_release(three_shards, tmp_path, noisy_release, fake_backend, as_virtual):
    content = merge_shards(three_shards, tmp_path / "a.h5", backend=fake_backend(), as_virtual=as_virtual)
    with open_release(tmp_path / "a.h5") as merged, open_release(noisy_release) as whole:
        assert content == whole.content_sha256
        assert merged.format_version == 2
        for name, values in whole.observations(ROWS).columns().items():
            np.testing.assert_array_equal(merged.take(name, ROWS), values)
    assert verify_release(tmp_path / "a.h5", backend=fake_backend()) == content


def test_an_interrupted_noisy_run_is_completed(tmp_path, noisy_spec, noisy_release, fake_backend):
    path = tmp_path / "a.h5"
    with pytest.raises(KeyboardInterrupt):
        write_release(noisy_spec, path, backend=fake_backend(interrupt_at=700), threads=1)
    backend = fake_backend()
    content = write_release(noisy_spec, path, backend=backend, resume=True)
    assert content == open_release(noisy_release).content_sha256
    assert len(backend.computed) < 6


def test_a_clean_run_is_not_completed_as_a_noisy_one(tmp_path, spec, noisy_spec, fake_backend):
    path = tmp_path / "a.h5"
    with pytest.raises(KeyboardInterrupt):
        write_release(spec, path, backend=fake_backend(interrupt_at=700), threads=1)
    with pytest.raises(InvalidDataError, match="of another release"):
        write_release(noisy_spec, path, backend=fake_backend(), resume=True)


def test_xarray_shows_the_noise(noisy_release, noisy_spec, fake_backend):
    expected = fake_backend().observations(noisy_spec, None, 0, 1300)
    with to_xarray(noisy_release) as dataset:
        for name in COLUMNS:
            assert dataset[name].dims == ("observation",)
            np.testing.assert_array_equal(dataset[name], expected.columns()[name])
        assert dataset.snr_db.attrs["units"] == "dB"


def test_a_torch_sample_tells_its_noise_and_that_a_clean_one_has_none(noisy_release, small_release):
    pytest.importorskip("torch")
    from qpibench.release.torch_view import ReleaseDataset

    fields = {"task": "id", "role": "train", "fields": ("index", "snr_db", "noise_sigma")}
    sample = ReleaseDataset(noisy_release, **fields)[5]
    row = int(sample["index"])
    assert (sample["snr_db"], sample["noise_sigma"]) == (row / 100, 1 + row % 7)
    batch = ReleaseDataset(small_release, **fields).batch([0, 1])
    assert batch["snr_db"].tolist() == [np.inf, np.inf]
    assert batch["noise_sigma"].tolist() == [0, 0]
