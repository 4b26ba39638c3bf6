"""Shards in several folders, such as one on each disk."""

import tempfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from qpibench.errors import InvalidDataError
from qpibench.release import Shard, merge_shards, open_release, verify_release, write_shard

# Rows of every shard of three, and rows on both sides of where they meet.
ROWS = [1299, 3, 511, 512, 1023, 1024, 0]


@pytest.fixture
def write(spec, fake_backend):
    """Write shards, such as "1/3", into a folder."""

    def write(folder, *shards):
        for shard in shards:
            write_shard(spec, folder, Shard.parse(shard), backend=fake_backend())
        return folder

    return write


@pytest.fixture
def merge(tmp_path, fake_backend):
    def merge(folders, **options):
        return merge_shards(folders, tmp_path / "merged.h5", backend=fake_backend(), **options)

    return merge


@pytest.fixture
def other_disk(tmp_path):
    """A folder on another disk than `tmp_path`."""
    place = Path("/dev/shm")
    if not place.is_dir() or place.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system in /dev/shm")
    with tempfile.TemporaryDirectory(dir=place) as folder:
        yield Path(folder)


def test_shards_on_several_disks_are_one_virtual_release(tmp_path, write, merge, other_disk, small_release):
    folders = [write(tmp_path / "shards", "1/3", "3/3"), write(other_disk / "shards", "2/3")]
    content = merge(folders, as_virtual=True)
    assert content == open_release(small_release).content_sha256
    moved = tmp_path / "deeper" / "still" / "moved.h5"
    moved.parent.mkdir(parents=True)
    (tmp_path / "merged.h5").rename(moved)
    folders[0].rename(moved.parent / "shards")
    with open_release(moved) as release, h5py.File(moved) as file:
        expected = open_release(small_release).image(ROWS)
        np.testing.assert_array_equal(release.image(ROWS), expected)
        np.testing.assert_array_equal([file["observations/image"][row] for row in ROWS], expected)
    assert verify_release(moved) == content


def test_shards_of_several_folders_are_copied_into_one_release(tmp_path, write, merge, small_release):
    folders = [write(tmp_path / "one", "2/3"), write(tmp_path / "two", "1/3", "3/3")]
    merge([*folders, folders[0]])  # a folder that is named twice is read once
    assert (tmp_path / "merged.h5").read_bytes() == small_release.read_bytes()


def test_a_shard_that_no_folder_has_or_two_have_is_named(tmp_path, write, merge):
    folders = [write(tmp_path / "one", "1/3"), write(tmp_path / "two", "2/3")]
    with pytest.raises(InvalidDataError, match=r"Shard 3/3 is missing in folders '.*/one', '.*/two' \('shard-3-of-3"):
        merge(folders)
    write(folders[1], "1/3", "3/3")
    with pytest.raises(InvalidDataError, match=r"'.*/one/shard-1-of-3\.h5' and '.*/two/shard-1-of-3\.h5' are both"):
        merge(folders)
