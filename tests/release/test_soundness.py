"""Checking the arrays that are used: what is stored how makes no difference, and what is told may be fewer."""

import os
import pickle

import h5py
import numpy as np
import pytest

from qpibench.errors import InvalidDataError
from qpibench.release import Shard, merge_shards, open_release, verify_release, write_release, write_shard
from qpibench.release.soundness import Plausibility


def plain(spec, backend, folder):
    write_release(spec, folder / "release.h5", backend=backend)
    return "release.h5"


def compressed(spec, backend, folder):
    write_release(spec, folder / "release.h5", backend=backend, compression="gzip")
    return "release.h5"


def virtual(spec, backend, folder):
    for index in (1, 2):
        write_shard(spec, folder / "shards", Shard(index, 2), backend=backend)
    merge_shards(folder / "shards", folder / "release.h5", backend=backend, as_virtual=True)
    return "shards/shard-2-of-2.h5"


@pytest.mark.parametrize("store", [plain, compressed, virtual])
@pytest.mark.parametrize("field", ["image", "position_nm", "n_scatterers"])
def test_a_changed_value_is_found_wherever_it_is_stored(spec, fake_backend, tmp_path, store, field):
    holding = tmp_path / store(spec, fake_backend(), tmp_path)
    with open_release(tmp_path / "release.h5") as release:
        release.check("image", "position_nm")
    with h5py.File(holding, "r+") as file:
        file[f"observations/{field}"][-1] *= 0
    with open_release(tmp_path / "release.h5") as release, pytest.raises(InvalidDataError, match=field):
        release.check("image", "position_nm")


def test_an_array_is_read_once_and_by_no_process_that_is_given_the_release(small_release, monkeypatch):
    with open_release(small_release) as release:
        release.check("image")
        monkeypatch.setattr("qpibench.release.reader.check_arrays", lambda *_: pytest.fail("checked again"))
        release.check("image")
        pickle.loads(pickle.dumps(release)).split("id", "test")


def test_a_release_without_a_digest_cannot_be_checked(small_release, tmp_path):
    copy = tmp_path / "copy.h5"
    copy.write_bytes(small_release.read_bytes())
    with h5py.File(copy, "r+") as file:
        del file["observations/image"].attrs["sha256"]
    with (
        open_release(copy) as release,
        pytest.raises(InvalidDataError, match="SHA-256 of observations/image is missing"),
    ):
        release.check()


@pytest.mark.parametrize(
    ("told", "good"),
    [
        ([[1, 2], [3, 4], [np.nan, np.nan]], True),
        ([[np.nan, np.nan]] * 3, True),
        ([[np.nan, np.nan], [1, 2], [np.nan, np.nan]], False),
        ([[1, np.nan], [np.nan, np.nan], [np.nan, np.nan]], False),
        ([[1, np.inf], [np.nan, np.nan], [np.nan, np.nan]], False),
    ],
)
def test_told_positions_may_be_of_any_number_and_come_first(told, good):
    plausibility = Plausibility(kernel_count=1, max_scatterers=3, n_scatterers=np.ones(8, np.int32))
    problems = list(plausibility.problems("told_position_nm", 7, np.array([told], dtype=float)))
    assert problems == [] if good else problems[0][0] == 7


def test_a_file_that_is_cut_while_it_is_verified_is_named(small_release, tmp_path):
    copy = tmp_path / "copy.h5"
    copy.write_bytes(small_release.read_bytes())
    end = open_release(copy).arrays["observations/position_nm"].position(1290)
    with pytest.raises(InvalidDataError, match=r"copy\.h5' ends within observations/position_nm, row 1290\.$"):
        verify_release(copy, threads=1, progress=lambda *_: os.truncate(copy, end))
