import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import psutil
import pytest

from qpibench.errors import InvalidDataError, QpibenchError, UsageError
from qpibench.release import Shard, merge_shards, open_release, verify_release, write_release, write_shard
from qpibench.release.shards import open_shard
from qpibench.release.xarray_view import to_xarray

CONFTEST = Path(__file__).with_name("conftest.py")
# Rows of every shard of three, and rows on both sides of where they meet.
ROWS = [1299, 3, 3, 511, 512, 700, 1023, 1024, 0]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def start_child(folder, shard, *, kill_at=None):
    """Write a shard of the small release in a process of its own, which may die on the way."""
    code = f"""
import runpy, sys
from qpibench.errors import QpibenchError
from qpibench.release import Shard, write_shard
conftest = runpy.run_path({str(CONFTEST)!r})
try:
    backend = conftest["FakeBackend"](kill_at={kill_at})
    write_shard(conftest["make_spec"](), {str(folder)!r}, Shard.parse({shard!r}), backend=backend, threads=1)
except QpibenchError as error:
    sys.exit(str(error))
"""
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)


@pytest.fixture
def write(tmp_path, spec, fake_backend):
    """Write shards, such as "1/3", into the folder `shards`."""

    def write(*shards, spec=spec, folder=tmp_path / "shards"):
        for shard in shards:
            write_shard(spec, folder, Shard.parse(shard), backend=fake_backend())
        return folder

    return write


@pytest.fixture(scope="session")
def three_shards(tmp_path_factory, spec):
    """All of three shards, not to be changed."""
    import runpy

    folder = tmp_path_factory.mktemp("three") / "shards"
    for index in (2, 3, 1):
        backend = runpy.run_path(str(CONFTEST))["FakeBackend"]()
        write_shard(spec, folder, Shard(index, 3), backend=backend)
    return folder


@pytest.fixture
def three(tmp_path, three_shards):
    """A folder of three shards that may be damaged."""
    return Path(shutil.copytree(three_shards, tmp_path / "shards"))


@pytest.fixture
def merge(tmp_path, fake_backend):
    def merge(folder, path=tmp_path / "merged.h5", **options):
        return merge_shards(folder, path, backend=fake_backend(), **options)

    return merge


@pytest.fixture
def virtual(tmp_path, three, merge):
    """A virtual release beside the folder of its shards."""
    merge(three, tmp_path / "virtual.h5", as_virtual=True)
    return tmp_path / "virtual.h5"


@pytest.mark.parametrize("count", [1, 2, 3, 6, 9])
def test_shards_hold_every_observation_once_in_whole_blocks(spec, count):
    rows = [Shard(index, count).rows(spec) for index in range(1, count + 1)]
    assert [row for start, stop in rows for row in range(start, stop)] == list(range(1300))
    assert all(start % 256 == 0 for start, _ in rows)


@pytest.mark.parametrize("as_virtual", [False, True], ids=["file", "virtual"])
@pytest.mark.parametrize("order", [["1/1"], ["2/2", "1/2"], ["2/3", "3/3", "1/3"], [f"{i}/9" for i in range(9, 0, -1)]])
def test_shards_in_any_order_have_the_hash_of_the_release(
    tmp_path, write, merge, small_release, fake_backend, order, as_virtual
):
    content = merge(write(*order), as_virtual=as_virtual)
    assert content == open_release(small_release).content_sha256
    assert verify_release(tmp_path / "merged.h5", backend=fake_backend()) == content
    assert names(tmp_path) == ["merged.h5", "shards"]


def test_merged_shards_are_the_same_file_as_the_release(tmp_path, three, merge, small_release):
    merge(three)
    assert (tmp_path / "merged.h5").read_bytes() == small_release.read_bytes()


def test_a_release_whose_splits_exceed_the_memory_is_refused_before_the_merge(tmp_path, three, merge, monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1000, total=1000))
    with pytest.raises(QpibenchError, match=r"needs about [0-9,]+ bytes of memory .*1,000 are available"):
        merge(three)
    assert names(tmp_path) == ["shards"]


def test_a_shard_depends_on_the_spec_and_its_number_and_on_nothing_else(tmp_path, write, three_shards, another_spec):
    again = open_shard(write("2/3") / "shard-2-of-3.h5")
    first = open_shard(three_shards / "shard-2-of-3.h5")
    assert again.sha256 == first.sha256
    np.testing.assert_array_equal(again.block_digests, first.block_digests)
    others = [open_shard(write("1/2") / "shard-1-of-2.h5"), open_shard(write("1/3") / "shard-1-of-3.h5")]
    others.append(open_shard(write("2/3", spec=another_spec, folder=tmp_path / "b") / "shard-2-of-3.h5"))
    assert len({first.sha256, *(other.sha256 for other in others)}) == 4


def test_a_shard_computes_its_own_observations_only(tmp_path, spec, fake_backend, truth):
    backend = fake_backend()
    shard = write_shard(spec, tmp_path / "shards", Shard(2, 3), backend=backend)
    assert sorted(backend.computed) == [(512, 768), (768, 1024)]
    np.testing.assert_array_equal(shard.read("observations/image", 700, 900), truth[1].image[700:900])


def test_the_names_of_shards_sort_as_their_numbers(spec):
    assert [Shard(index, 10).file_name for index in (1, 10)] == ["shard-01-of-10.h5", "shard-10-of-10.h5"]


@pytest.mark.parametrize(
    "text", ["", "1", "1/", "/3", "0/3", "4/3", "-1/3", "1/0", "a/b", "1.5/3", "1/3/5", "1/9999999999"]
)
def test_a_shard_that_does_not_exist_is_refused(text):
    with pytest.raises(UsageError, match="expected I/N with I from 1 to N"):
        Shard.parse(text)


def test_progress_counts_the_observations_of_the_shard(tmp_path, spec, fake_backend):
    calls = []
    write_shard(spec, tmp_path / "a", Shard(3, 3), backend=fake_backend(), progress=lambda *call: calls.append(call))
    assert calls[-1] == (276, 276)


@pytest.mark.parametrize("kill_at", [768, 1299])
def test_a_killed_shard_is_resumed_without_repeating_its_work(
    tmp_path, spec, write, merge, fake_backend, small_release, kill_at
):
    folder = tmp_path / "shards"
    child = start_child(folder, "2/2", kill_at=kill_at)
    child.communicate()
    assert child.returncode == -9
    assert names(folder) == [".shard-2-of-2.h5.journal", ".shard-2-of-2.h5.partial"]
    with pytest.raises(InvalidDataError, match=r"Shard 2/2 is missing.*--resume"):
        merge(write("1/2"))
    backend = fake_backend()
    write_shard(spec, folder, Shard(2, 2), backend=backend, resume=True)
    # Of its three blocks one more than the killed one may have been under way.
    assert len(backend.computed) <= 3 - (kill_at - 768) // 256 + 1
    assert merge(folder) == open_release(small_release).content_sha256


def test_a_finished_shard_is_kept_resumed_or_replaced_as_asked(spec, three, another_spec, fake_backend):
    path = three / "shard-2-of-3.h5"
    before = path.read_bytes()
    with pytest.raises(UsageError, match="exists already"):
        write_shard(spec, three, Shard(2, 3), backend=fake_backend())
    with pytest.raises(InvalidDataError, match="another spec"):
        write_shard(another_spec, three, Shard(2, 3), backend=fake_backend(), resume=True)
    backend = fake_backend()
    write_shard(spec, three, Shard(2, 3), backend=backend, resume=True)
    assert backend.computed == []
    assert path.read_bytes() == before
    write_shard(another_spec, three, Shard(2, 3), backend=fake_backend(), overwrite=True)
    assert open_shard(path).spec == another_spec


@pytest.mark.slow
def test_processes_write_into_the_same_folder_at_the_same_time(tmp_path, merge, small_release):
    children = [start_child(tmp_path / "shards", f"{index}/3") for index in (3, 2, 1)]
    assert [(child.communicate()[1], child.returncode) for child in children] == [("", 0)] * 3
    assert merge(tmp_path / "shards") == open_release(small_release).content_sha256


def test_two_processes_cannot_write_the_same_shard(tmp_path, spec, fake_backend):
    failures = []

    def try_at_the_same_time(done, total):
        if not failures:
            failures.append(start_child(tmp_path, "1/1").communicate()[1])

    write_shard(spec, tmp_path, Shard(1, 1), backend=fake_backend(), progress=try_at_the_same_time)
    assert "Another process is writing" in failures[0]
    open_shard(tmp_path / "shard-1-of-1.h5")


@pytest.mark.parametrize(("folder", "message"), [("a/b", "does not exist"), ("file", "not a folder")])
def test_a_folder_that_cannot_be_is_refused(tmp_path, spec, fake_backend, folder, message):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=message):
        write_shard(spec, tmp_path / folder, Shard(1, 2), backend=fake_backend())


def test_a_shard_is_not_taken_for_a_release(three):
    with pytest.raises(InvalidDataError, match=r"one shard of a release \(2 of 3\).*merge"):
        open_release(three / "shard-2-of-3.h5")


def remove(folder, file):
    (folder / file).unlink()


def truncate(folder, file):
    os.truncate(folder / file, (folder / file).stat().st_size // 2)


def empty(folder, file):
    (folder / file).write_bytes(b"")


def flip_image(folder, file):
    with h5py.File(folder / file, "r+") as opened:
        opened["observations/image"][100, 0, 0] += 1e-3


def flip_digest(folder, file):
    with h5py.File(folder / file, "r+") as opened:
        opened["block_digests"][0, 0, 0] ^= 1


def unfinish(folder, file):
    with h5py.File(folder / file, "r+") as opened:
        del opened.attrs["shard_sha256"]


def renumber(folder, file):
    with h5py.File(folder / file, "r+") as opened:
        opened.attrs["shard"] = 7


def outdate(folder, file):
    with h5py.File(folder / file, "r+") as opened:
        opened.attrs["shard_version"] = 5


def write_foreign_hdf5(folder, file):
    with h5py.File(folder / file, "w") as opened:
        opened["x"] = [1.0]


def copy(folder, file):
    shutil.copy(folder / file, folder / "copy.h5")


BAD_SHARDS = [
    (remove, r"Shard 2/3 is missing in folder '.*' \('shard-2-of-3.h5'\); generate .*--shard 2/3"),
    (truncate, r"shard-2-of-3.h5' is truncated.*generated again with --overwrite"),
    (empty, r"shard-2-of-3.h5' is not an HDF5 file.*generated again"),
    (flip_image, r"shard-2-of-3.h5' is damaged: observations/image has changed in rows 512 to 767.*generate it again"),
    (flip_digest, r"shard-2-of-3.h5' is damaged: its block digests.*generate it again with --shard 2/3"),
    (unfinish, r"shard-2-of-3.h5' is an interrupted shard"),
    (renumber, r"shard-2-of-3.h5' is damaged.*There is no shard 7/3"),
    (outdate, r"shard-2-of-3.h5' is a shard of format 5.*reads 4; upgrade"),
    (write_foreign_hdf5, r"shard-2-of-3.h5' is not a shard"),
    (copy, r"copy.h5' and '.*shard-2-of-3.h5' are both shard 2/3; move one"),
]


@pytest.mark.parametrize("as_virtual", [False, True], ids=["file", "virtual"])
@pytest.mark.parametrize(("damage", "message"), BAD_SHARDS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_bad_shard_is_named_and_nothing_is_written(tmp_path, three, merge, damage, message, as_virtual):
    damage(three, "shard-2-of-3.h5")
    before = names(three)
    with pytest.raises(InvalidDataError, match=message):
        merge(three, as_virtual=as_virtual)
    assert names(tmp_path) == ["shards"]
    assert names(three) == before


def test_a_shard_of_another_spec_or_number_is_named(tmp_path, three, write, merge, another_spec):
    write("1/2")
    with pytest.raises(InvalidDataError, match=r"shard-1-of-2.h5' is shard 1/2, and the others are shards of 3"):
        merge(three)
    (three / "shard-1-of-2.h5").unlink()
    other = write("1/3", spec=another_spec, folder=tmp_path / "other") / "shard-1-of-3.h5"
    shutil.move(other, three / "shard-1-of-3.h5")
    with pytest.raises(InvalidDataError, match=r"shard-1-of-3.h5' is a shard of another spec \('another'"):
        merge(three)


def test_all_missing_shards_are_counted(tmp_path, write, merge):
    with pytest.raises(InvalidDataError, match=r"3 shards, the first of them 1/4, are missing"):
        merge(write("3/4"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidDataError, match="no shard in folder"):
        merge(tmp_path / "empty")
    with pytest.raises(UsageError, match="no folder"):
        merge(tmp_path / "missing")


def test_a_release_may_lie_beside_its_shards(three, merge):
    (three / "notes.txt").touch()
    content = merge(three, three / "release.h5")
    assert merge(three, three / "virtual.h5", as_virtual=True) == content
    assert merge(three, three / "release.h5", overwrite=True) == content


def test_an_existing_file_is_replaced_only_with_permission_and_only_by_a_complete_one(tmp_path, three, merge):
    path = tmp_path / "merged.h5"
    path.write_bytes(b"mine")
    with pytest.raises(UsageError, match="exists already"):
        merge(three)
    flip_image(three, "shard-3-of-3.h5")
    with pytest.raises(InvalidDataError):
        merge(three, overwrite=True)
    assert path.read_bytes() == b"mine"
    assert names(tmp_path) == ["merged.h5", "shards"]


@pytest.mark.parametrize("as_virtual", [False, True], ids=["file", "virtual"])
def test_a_shard_is_not_replaced_by_the_release(three, merge, as_virtual):
    with pytest.raises(UsageError, match="one of the shards"):
        merge(three, three / "shard-1-of-3.h5", overwrite=True, as_virtual=as_virtual)
    open_shard(three / "shard-1-of-3.h5")


def test_a_merge_that_is_interrupted_or_fails_leaves_nothing(tmp_path, three, merge, monkeypatch):
    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="nothing is kept"):
        merge(three, progress=interrupt)
    assert names(tmp_path) == ["shards"]
    monkeypatch.setattr(os, "fsync", lambda fd: (_ for _ in ()).throw(OSError(5, "Input/output error")))
    with pytest.raises(QpibenchError, match=r"Input/output error; nothing is kept"):
        merge(three)
    assert names(tmp_path) == ["shards"]


@pytest.mark.slow
def test_merging_takes_memory_that_does_not_grow_with_the_release(tmp_path):
    peaks = []
    for per_kernel in (130, 2600):
        code = f"""
import resource, runpy
from qpibench.release import Shard, merge_shards, write_shard
conftest = runpy.run_path({str(CONFTEST)!r})
spec = conftest["make_spec"](observations_per_kernel={per_kernel})
folder = {str(tmp_path / str(per_kernel))!r}
for index in (1, 2):
    write_shard(spec, folder, Shard(index, 2), backend=conftest["FakeBackend"](), threads=2)
merge_shards(folder, folder + ".h5", backend=conftest["FakeBackend"](), threads=2)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
        peaks.append(int(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout))
    assert peaks[1] - peaks[0] < 4_000


def test_no_object_of_a_release_has_the_time_of_its_creation(virtual, three, small_release):
    times = {}
    for path in (virtual, small_release, *three.iterdir()):
        with h5py.File(path) as file:
            names = ["/"]
            file.visit(names.append)
            times |= {(path.name, name): h5py.h5o.get_info(file[name].id).mtime for name in names}
    assert len(times) > 20
    assert not any(times.values())


def test_a_virtual_release_reads_like_any_other(virtual, small_release):
    with open_release(virtual) as release, open_release(small_release) as plain:
        assert release.content_sha256 == plain.content_sha256
        assert release.arrays.keys() == plain.arrays.keys()
        np.testing.assert_array_equal(release.image(ROWS), plain.image(ROWS))
        for name, values in plain.observations(ROWS).columns().items():
            np.testing.assert_array_equal(getattr(release.observations(ROWS), name), values)
        for name in plain.arrays:
            np.testing.assert_array_equal(release.read(name), plain.read(name))
        assert release.image([]).shape == plain.image([]).shape


def test_a_virtual_release_keeps_few_of_many_shards_open(virtual, three, small_release, monkeypatch):
    monkeypatch.setattr("qpibench.release.virtual._MAPPED", 1)
    with open_release(virtual) as release, open_release(small_release) as plain:
        np.testing.assert_array_equal(release.image(ROWS), plain.image(ROWS))
        np.testing.assert_array_equal(release.image(ROWS), plain.image(ROWS))
        mapped = {Path(each.path) for each in psutil.Process().memory_maps()}
    assert len(mapped & {path.resolve() for path in three.iterdir()}) == 1


def test_a_virtual_release_is_small(virtual, small_release):
    assert virtual.stat().st_size < small_release.stat().st_size / 4


def test_xarray_sees_a_virtual_release(virtual, small_release):
    with to_xarray(virtual) as dataset, to_xarray(small_release) as plain:
        for key in ((ROWS,), (-1,), (slice(None), 2), (slice(1, 1200, 7), slice(None, None, 2), 3), (5, [1, 3])):
            np.testing.assert_array_equal(dataset.image[key], plain.image[key])


def test_h5py_reads_a_virtual_release_from_any_folder(virtual, truth, monkeypatch):
    monkeypatch.chdir("/")
    with h5py.File(virtual) as file:
        np.testing.assert_array_equal(file["observations/image"][...], truth[1].image)
        np.testing.assert_array_equal(file["observations/position_nm"][500:520], truth[1].position_nm[500:520])
        assert file["observations/image"].dims[0][0].name == "/observation"


def test_a_virtual_release_may_be_moved_with_its_shards(tmp_path, virtual, truth, fake_backend):
    place = tmp_path / "100%b of ümläut"
    place.mkdir()
    for path in (virtual, tmp_path / "shards"):
        shutil.move(path, place)
    verify_release(place / "virtual.h5", backend=fake_backend())
    with h5py.File(place / "virtual.h5") as file:
        np.testing.assert_array_equal(file["observations/image"][...], truth[1].image)


def test_shards_may_lie_in_a_folder_of_any_name(tmp_path, three, merge, truth):
    odd = three.rename(tmp_path / "100%b of ümläut")
    merge(odd, as_virtual=True)
    verify_release(tmp_path / "merged.h5")
    with h5py.File(tmp_path / "merged.h5") as file:
        np.testing.assert_array_equal(file["observations/image"][...], truth[1].image)


def test_a_virtual_release_is_found_through_a_link(tmp_path, virtual):
    (tmp_path / "folder").mkdir()
    link = tmp_path / "folder" / "link.h5"
    link.symlink_to(virtual)
    verify_release(link)


def test_a_virtual_release_can_be_pickled_and_read_from_another_folder(virtual, truth, monkeypatch, tmp_path):
    monkeypatch.chdir(virtual.parent)
    release = open_release(virtual.name)
    release.image([0])
    state = pickle.dumps(release)
    monkeypatch.chdir("/")
    np.testing.assert_array_equal(pickle.loads(state).image(ROWS), truth[1].image[ROWS])


def replace_by_another(folder, file):
    shutil.copy(folder / "shard-1-of-3.h5", folder / file)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove, r"its shard '.*shard-2-of-3.h5' is missing; put it back"),
        (truncate, r"its shard '.*shard-2-of-3.h5' has .* bytes instead of .*; put it back"),
        (replace_by_another, r"shard-2-of-3.h5' is not the shard from which"),
        (flip_digest, r"shard-2-of-3.h5' is damaged"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_virtual_release_without_one_of_its_shards_is_not_opened(virtual, three, damage, message):
    damage(three, "shard-2-of-3.h5")
    with pytest.raises(InvalidDataError, match=message):
        open_release(virtual)


@pytest.mark.parametrize(("name", "dtype"), [("file", "S15"), ("bytes", "<i8"), ("sha256", "S64")])
def test_a_virtual_release_whose_list_states_more_than_it_has_is_refused(virtual, name, dtype):
    with h5py.File(virtual, "r+") as file:
        del file[f"shards/{name}"]
        file.create_dataset(f"shards/{name}", shape=(1 << 26,), chunks=(16,), dtype=dtype)
    with pytest.raises(InvalidDataError, match=rf"shards/{name} has .* bytes by its shape, and 0 are stored"):
        open_release(virtual)
    with h5py.File(virtual, "r+") as file:
        del file[f"shards/{name}"]
        file[f"shards/{name}"] = np.zeros(3)
    with pytest.raises(InvalidDataError, match=f"shards/{name} is <f8"):
        open_release(virtual)


def test_a_shard_that_was_made_again_fits(virtual, spec, three, fake_backend):
    write_shard(spec, three, Shard(2, 3), backend=fake_backend(), overwrite=True)
    verify_release(virtual)


def test_a_shard_that_vanishes_after_opening_is_noticed_when_it_is_read(virtual, three):
    release = open_release(virtual)
    remove(three, "shard-2-of-3.h5")
    with pytest.raises(InvalidDataError, match=r"shard-2-of-3.h5"):
        release.image([600])


@pytest.mark.parametrize("first", [None, 1299])
def test_a_shard_that_is_cut_after_opening_is_named(virtual, three, cut_while_open, first):
    said = cut_while_open(virtual, three / "shard-3-of-3.h5", 4096, first)
    assert len(said) == 3
    assert all("shard-3-of-3.h5' is truncated: it has 4,096 bytes" in sentence for sentence in said)


def test_verifying_a_virtual_release_names_the_shard_that_has_changed(virtual, three):
    flip_image(three, "shard-2-of-3.h5")
    with pytest.raises(InvalidDataError, match=r"shard-2-of-3.h5' is damaged: observations/image .* 512 to 767"):
        verify_release(virtual)


def test_verifying_a_virtual_release_names_what_has_changed_in_its_own_file(virtual):
    with h5py.File(virtual, "r+") as file:
        file["splits/id/test"][0] += 1
    with pytest.raises(InvalidDataError, match="splits/id/test has changed"):
        verify_release(virtual)


def test_a_virtual_release_without_the_list_of_its_shards_is_not_opened(virtual):
    with h5py.File(virtual, "r+") as file:
        del file["shards"]
    with pytest.raises(InvalidDataError, match="list of its shards is missing"):
        open_release(virtual)


@pytest.mark.parametrize("times", [50, pytest.param(1000, marks=pytest.mark.slow)])
def test_any_damage_to_a_virtual_release_is_refused_or_without_effect(virtual, small_release, times):
    whole = virtual.read_bytes()
    rng = np.random.default_rng(0)
    for position in rng.choice(len(whole), times, replace=False):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << int(rng.integers(8))
        virtual.write_bytes(damaged)
        try:
            content = verify_release(virtual, threads=1)
        except InvalidDataError:
            continue
        assert content == open_release(small_release).content_sha256


def test_a_virtual_release_is_no_source_of_silent_zeros_for_others(virtual, three):
    remove(three, "shard-2-of-3.h5")
    with h5py.File(virtual) as file:
        assert np.isnan(file["observations/image"][600]).all()
        assert file["observations/kernel"][600] == -1


def test_a_release_of_one_file_is_not_virtual(tmp_path, spec, fake_backend):
    write_release(spec, tmp_path / "a.h5", backend=fake_backend())
    assert open_release(tmp_path / "a.h5").shards is None
