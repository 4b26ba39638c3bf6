import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from qpibench.errors import InvalidDataError, QpibenchError, UsageError
from qpibench.grid import Grid
from qpibench.release import open_release, verify_release, write_imported, write_release
from qpibench.specs import ImportedSpec, load_spec
from qpibench.synthesis import get_backend
from qpibench.synthesis.contract import Kernels, Observations

CONFTEST = Path(__file__).with_name("conftest.py")


def leftovers(folder):
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


def partial(path):
    return path.with_name(f".{path.name}.partial")


def journal(path):
    return path.with_name(f".{path.name}.journal")


def write_in_a_child(path, *, kill_at=None, prepare=""):
    """Write the small release in a process of its own, which may die on the way."""
    code = f"""
import os, resource, runpy, signal, sys
from qpibench.errors import QpibenchError
from qpibench.release import write_release
conftest = runpy.run_path({str(CONFTEST)!r})
{prepare}
try:
    backend = conftest["FakeBackend"](kill_at={kill_at})
    write_release(conftest["make_spec"](), {str(path)!r}, backend=backend, threads=1)
except QpibenchError as error:
    sys.exit(f"{{error}}")
"""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def interrupt(spec, path, backend, **options):
    with pytest.raises(KeyboardInterrupt):
        write_release(spec, path, backend=backend(interrupt_at=700), threads=1, **options)


def test_a_release_holds_what_the_backend_computes(small_release, truth):
    kernels, observations = truth
    with h5py.File(small_release) as file:
        for group, expected in (("kernels", kernels.columns()), ("observations", observations.columns())):
            assert set(file[group]) == set(expected)
            for name, values in expected.items():
                np.testing.assert_array_equal(file[group][name][:], values)
                assert file[group][name].dtype == values.dtype


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_only_the_release_itself_remains_in_the_folder(tmp_path, spec, fake_backend, compression):
    write_release(spec, tmp_path / "a.h5", backend=fake_backend(), compression=compression)
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


def test_a_release_takes_little_more_space_than_its_values(small_release):
    values = sum(array.nbytes for array in open_release(small_release).arrays.values())
    assert small_release.stat().st_size < values + 60_000


@pytest.mark.parametrize("threads", [1, 3])
def test_the_hash_does_not_depend_on_the_number_of_threads(tmp_path, spec, fake_backend, small_release, threads):
    content = write_release(spec, tmp_path / "a.h5", backend=fake_backend(), threads=threads)
    assert content == open_release(small_release).content_sha256


@pytest.mark.skipif(not hasattr(os, "O_DIRECT"), reason="this system writes in the ordinary way anyway")
def test_the_hash_does_not_depend_on_how_the_system_writes(tmp_path, spec, fake_backend, small_release, monkeypatch):
    monkeypatch.delattr(os, "O_DIRECT")
    monkeypatch.delattr(os, "posix_fallocate")
    write_release(spec, tmp_path / "a.h5", backend=fake_backend())
    assert verify_release(tmp_path / "a.h5") == open_release(small_release).content_sha256


def test_the_hash_depends_on_the_spec(tmp_path, another_spec, fake_backend, small_release):
    content = write_release(another_spec, tmp_path / "a.h5", backend=fake_backend())
    assert content != open_release(small_release).content_sha256


def test_large_images_are_computed_a_few_at_a_time_with_the_same_hash(
    tmp_path, spec, fake_backend, small_release, monkeypatch
):
    monkeypatch.setattr("qpibench.release.identity.RUN_BYTES", 100 * 6 * 8 * 4)
    backend = fake_backend()
    assert write_release(spec, tmp_path / "a.h5", backend=backend) == open_release(small_release).content_sha256
    assert max(stop - start for start, stop in backend.computed) == 100


def test_progress_counts_observations_up_to_their_number(tmp_path, spec, fake_backend):
    calls = []
    write_release(spec, tmp_path / "a.h5", backend=fake_backend(), progress=lambda *call: calls.append(call))
    assert calls[-1] == (1300, 1300)
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)


def test_an_existing_file_is_not_touched_without_permission(tmp_path, spec, fake_backend):
    path = tmp_path / "a.h5"
    path.write_bytes(b"mine")
    with pytest.raises(UsageError, match="exists already"):
        write_release(spec, path, backend=fake_backend())
    assert path.read_bytes() == b"mine"
    assert leftovers(tmp_path) == []


def test_a_file_that_appears_meanwhile_is_not_replaced_without_permission(tmp_path, spec, fake_backend):
    path, backend = tmp_path / "a.h5", fake_backend()
    with pytest.raises(UsageError, match="exists already"):
        write_release(spec, path, backend=backend, progress=lambda *_: path.write_bytes(b"theirs"))
    assert path.read_bytes() == b"theirs"
    write_release(spec, path, backend=backend, resume=True, overwrite=True)
    assert sum(stop - start for start, stop in backend.computed) == spec.observation_count


def test_a_release_can_be_read_before_its_name_is_safely_on_the_disk(tmp_path, spec, fake_backend, monkeypatch):
    read, fsync = [], os.fsync

    def read_if_a_folder(fd):
        fsync(fd)
        if os.path.samestat(os.fstat(fd), tmp_path.stat()):
            read.append(open_release(tmp_path / "a.h5").content_sha256)

    monkeypatch.setattr(os, "fsync", read_if_a_folder)
    assert read == [write_release(spec, tmp_path / "a.h5", backend=fake_backend())]


def test_overwriting_replaces_the_old_file_only_when_the_new_one_is_complete(tmp_path, spec, fake_backend):
    path = tmp_path / "a.h5"
    path.write_bytes(b"mine")
    interrupt(spec, path, fake_backend, overwrite=True)
    assert path.read_bytes() == b"mine"
    backend = fake_backend()
    content = write_release(spec, path, backend=backend, resume=True, overwrite=True)
    assert verify_release(path) == content
    assert len(backend.computed) < 6


@pytest.mark.parametrize(("target", "message"), [("missing/a.h5", "does not exist"), (".", "is a folder")])
def test_a_target_that_cannot_be_is_refused(tmp_path, spec, fake_backend, target, message):
    with pytest.raises(UsageError, match=message):
        write_release(spec, tmp_path / target, backend=fake_backend())


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="needs a folder that nobody can write to")
def test_a_read_only_folder_is_a_clear_failure(spec, fake_backend):
    with pytest.raises(QpibenchError, match="cannot be written to"):
        write_release(spec, "/sys/kernel/a.h5", backend=fake_backend())


def test_a_disk_that_is_too_small_is_noticed_before_anything_is_computed(tmp_path):
    limit = "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (100_000,) * 2)"
    child = write_in_a_child(tmp_path / "a.h5", kill_at=0, prepare=limit)
    assert child.returncode == 1
    assert "does not fit: it needs" in child.stderr
    assert "Traceback" not in child.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_device_that_fails_is_a_clear_failure_and_the_rest_can_be_resumed(tmp_path, spec, fake_backend):
    path = tmp_path / "a.h5"
    with pytest.raises(QpibenchError, match=r"failed: Input/output error.*resumed"):
        write_release(spec, path, backend=fake_backend(fail_at=700), threads=1)
    backend = fake_backend()
    write_release(spec, path, backend=backend, resume=True)
    assert (0, 256) not in backend.computed


@pytest.mark.parametrize("kill_at", [0, 300, 1299])
def test_a_killed_run_resumes_to_the_same_hash_without_repeating_its_work(
    tmp_path, spec, fake_backend, small_release, kill_at
):
    path = tmp_path / "a.h5"
    assert write_in_a_child(path, kill_at=kill_at).returncode == -9
    assert leftovers(tmp_path) == [".a.h5.journal", ".a.h5.partial"]
    assert not path.exists()
    backend = fake_backend()
    assert write_release(spec, path, backend=backend, resume=True) == open_release(small_release).content_sha256
    # One more block than the killed one may have been under way.
    assert len(backend.computed) <= 6 - kill_at // 256 + 1
    assert verify_release(path, backend=fake_backend()) == open_release(small_release).content_sha256
    assert leftovers(tmp_path) == []


def test_an_interrupted_file_is_not_taken_for_a_release(tmp_path, spec, fake_backend):
    path = tmp_path / "a.h5"
    interrupt(spec, path, fake_backend)
    with pytest.raises(InvalidDataError, match="interrupted"):
        open_release(partial(path))


def test_an_interruption_says_that_it_can_be_resumed(tmp_path, spec, fake_backend):
    with pytest.raises(KeyboardInterrupt, match="resumed"):
        write_release(spec, tmp_path / "a.h5", backend=fake_backend(interrupt_at=300))


def test_a_block_that_changed_on_the_disk_is_computed_again(tmp_path, spec, fake_backend, small_release):
    path = tmp_path / "a.h5"
    interrupt(spec, path, fake_backend)
    with h5py.File(partial(path), "r+") as file:
        file["observations/image"][10, 0, 0] += 1
    backend = fake_backend()
    assert write_release(spec, path, backend=backend, resume=True) == open_release(small_release).content_sha256
    assert (0, 256) in backend.computed
    assert (256, 512) not in backend.computed


def test_a_journal_with_a_half_written_last_line_is_read_up_to_there(tmp_path, spec, fake_backend, small_release):
    path = tmp_path / "a.h5"
    interrupt(spec, path, fake_backend)
    whole = journal(path).read_bytes()
    *kept, lost = [int(line.split()[0]) for line in whole.splitlines()[1:]]
    journal(path).write_bytes(whole[:-40])
    last = max({*range(6)}.difference(kept))
    again = fake_backend(interrupt_at=256 * last)
    with pytest.raises(KeyboardInterrupt):
        write_release(spec, path, backend=again, threads=1, resume=True)
    computed = {start // 256 for start, _ in again.computed}
    assert {lost, last} <= computed
    assert not computed.intersection(kept)
    backend = fake_backend()
    assert write_release(spec, path, backend=backend, resume=True) == open_release(small_release).content_sha256
    assert 256 * last in [start for start, _ in backend.computed]
    assert not {start // 256 for start, _ in backend.computed}.intersection(kept)


@pytest.mark.parametrize("damage", [lambda p: journal(p).unlink(), lambda p: journal(p).write_bytes(b"qpi")])
def test_without_a_usable_journal_a_run_starts_afresh(tmp_path, spec, fake_backend, small_release, damage):
    path = tmp_path / "a.h5"
    interrupt(spec, path, fake_backend)
    damage(path)
    backend = fake_backend()
    assert write_release(spec, path, backend=backend, resume=True) == open_release(small_release).content_sha256
    assert len(backend.computed) == 6


def test_a_partial_file_that_lost_its_head_is_written_afresh(tmp_path, spec, fake_backend, small_release):
    path = tmp_path / "a.h5"
    interrupt(spec, path, fake_backend)
    partial(path).write_bytes(bytes(1000))
    content = write_release(spec, path, backend=fake_backend(), resume=True)
    assert content == open_release(small_release).content_sha256


@pytest.mark.parametrize(
    ("item", "name", "value"),
    [("observations/position_nm", "units", np.bytes_(b"mm")), ("/", "format_version", 9)],
)
def test_a_partial_file_with_a_damaged_attribute_is_written_afresh(tmp_path, spec, fake_backend, item, name, value):
    """The hash does not cover attributes, so a file that went on from it would have the right hash and be refused."""
    path = tmp_path / "a.h5"
    interrupt(spec, path, fake_backend)
    with h5py.File(partial(path), "r+") as file:
        file[item].attrs[name] = value
    assert write_release(spec, path, backend=fake_backend(), resume=True) == verify_release(path)


def test_resuming_without_a_partial_file_starts_afresh(tmp_path, spec, fake_backend, small_release):
    content = write_release(spec, tmp_path / "a.h5", backend=fake_backend(), resume=True)
    assert content == open_release(small_release).content_sha256


def test_resuming_a_finished_release_does_nothing(tmp_path, spec, fake_backend):
    path = tmp_path / "a.h5"
    content = write_release(spec, path, backend=fake_backend())
    before = path.stat()
    backend = fake_backend()
    assert write_release(spec, path, backend=backend, resume=True) == content
    assert backend.computed == []
    assert path.stat().st_mtime_ns == before.st_mtime_ns


def test_resuming_another_spec_is_refused(tmp_path, spec, another_spec, fake_backend):
    finished, interrupted = tmp_path / "a.h5", tmp_path / "b.h5"
    write_release(spec, finished, backend=fake_backend())
    interrupt(spec, interrupted, fake_backend)
    for path in (finished, interrupted):
        with pytest.raises(InvalidDataError, match=r"another (spec|release)"):
            write_release(another_spec, path, backend=fake_backend(), resume=True)
    assert write_release(spec, interrupted, backend=fake_backend(), resume=True) == verify_release(finished)


def test_two_processes_cannot_write_the_same_file(tmp_path, spec, fake_backend):
    path = tmp_path / "a.h5"
    children = []

    def try_at_the_same_time(done, total):
        if not children:
            children.append(write_in_a_child(path))

    write_release(spec, path, backend=fake_backend(), progress=try_at_the_same_time)
    assert children[0].returncode == 1
    assert "Another process is writing" in children[0].stderr
    verify_release(path, backend=fake_backend())


def test_compression_changes_the_storage_but_not_the_identity(tmp_path, spec, fake_backend, small_release, truth):
    path = tmp_path / "a.h5"
    content = write_release(spec, path, backend=fake_backend(), compression="gzip")
    assert content == verify_release(small_release)
    assert verify_release(path, backend=fake_backend()) == content
    assert [file.name for file in tmp_path.iterdir()] == ["a.h5"]
    with h5py.File(path) as file:
        assert file["observations/image"].compression == "gzip"
    rows = [700, 3, 3, 1299]
    with open_release(path) as release:
        np.testing.assert_array_equal(release.image(rows), truth[1].image[rows])
        np.testing.assert_array_equal(release.observations(rows).position_nm, truth[1].position_nm[rows])


@pytest.mark.slow
def test_memory_does_not_grow_with_the_release(tmp_path):
    peaks = []
    for per_kernel in (130, 2600):
        code = f"""
import resource, runpy
from qpibench.release import write_release
conftest = runpy.run_path({str(CONFTEST)!r})
spec = conftest["make_spec"](observations_per_kernel={per_kernel})
write_release(spec, {str(tmp_path / str(per_kernel))!r}, backend=conftest["FakeBackend"](), threads=2)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
        peaks.append(int(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout))
    assert peaks[1] - peaks[0] < 4_000


def test_an_unknown_compression_is_refused(tmp_path, spec, fake_backend):
    with pytest.raises(UsageError, match="no compression 'zip'"):
        write_release(spec, tmp_path / "a.h5", backend=fake_backend(), compression="zip")


def imported(spec_of_grid):
    grid = spec_of_grid.grid
    spec = ImportedSpec(name="imported", files_sha256=("0" * 64,), axis_order="x_first", grid=grid)
    unknown = np.full(3, np.nan)
    kernels = Kernels(
        image=np.ones((3, *grid.shape), np.float32),
        family=np.full(3, b"unknown", "S16"),
        parameters={"fold": np.full(3, -1, np.int32), "phi1": unknown, "B": unknown, "phi2": unknown, "C": unknown},
    )
    observations = Observations(
        image=np.arange(20 * grid.ny * grid.nx, dtype=np.float32).reshape(20, *grid.shape),
        kernel=(np.arange(20, dtype=np.int32) * 7) % 3,
        n_scatterers=np.ones(20, np.int32),
        position_nm=np.zeros((20, 1, 2)),
    )
    return spec, kernels, observations


def test_an_imported_release_reads_back_and_cannot_be_regenerated(tmp_path, spec, fake_backend):
    source, kernels, observations = imported(spec)
    path = tmp_path / "a.h5"
    content = write_imported(source, path, kernels, observations)
    with open_release(path) as release:
        assert release.spec == source
        np.testing.assert_array_equal(release.observation_kernel, observations.kernel)
        np.testing.assert_array_equal(release.stratum, -1)
        assert np.isnan(release.kernels.parameters["B"]).all()
        np.testing.assert_array_equal(release.image(range(20)), observations.image)
    assert verify_release(path) == content
    with pytest.raises(UsageError, match="cannot be generated again"):
        verify_release(path, backend=fake_backend())


def test_every_nan_and_zero_is_stored_in_one_way(tmp_path, spec):
    source, kernels, observations = imported(spec)
    observations.n_scatterers[4] = 0
    payload = np.array([0x7FF8_0000_0000_0001], np.uint64).view(np.float64)[0]
    observations.position_nm[3, 0] = (-0.0, 1)
    observations.position_nm[4, 0] = (np.nan, payload)
    observations.image[0, 0, 0] = -0.0
    first = write_imported(source, tmp_path / "a.h5", kernels, observations)
    observations.position_nm[3, 0] = (0.0, 1)
    observations.position_nm[4, 0] = (np.nan, np.nan)
    observations.image[0, 0, 0] = 0.0
    assert write_imported(source, tmp_path / "b.h5", kernels, observations) == first
    stored = open_release(tmp_path / "a.h5").observations([3, 4]).position_nm.view(np.uint64)
    assert (stored[0, 0, 0], stored[1, 0, 1]) == (0, 0x7FF8_0000_0000_0000)


def test_arrays_that_do_not_fit_are_refused_and_leave_nothing(tmp_path, spec):
    source, kernels, observations = imported(spec)
    observations.kernel[5] = 3
    with pytest.raises(InvalidDataError, match="kernel outside 0 to 2"):
        write_imported(source, tmp_path / "a.h5", kernels, observations)
    observations.kernel[5] = 0
    ragged = replace(observations, position_nm=np.zeros((20, 2, 3)))
    with pytest.raises(InvalidDataError, match="position_nm"):
        write_imported(source, tmp_path / "a.h5", kernels, ragged)
    other_grid = source.model_copy(update={"grid": Grid(ny=5, nx=5, size_y_nm=1, size_x_nm=1)})
    with pytest.raises(InvalidDataError, match="kernels/image"):
        write_imported(other_grid, tmp_path / "a.h5", kernels, observations)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda kernels, observations: observations.image[17].fill(np.nan), "observations/image of observation 17"),
        (lambda kernels, observations: kernels.image[2].fill(np.inf), "kernels/image"),
        (lambda kernels, observations: observations.position_nm[17].fill(np.nan), "position_nm of observation 17"),
        (lambda kernels, observations: observations.n_scatterers[17:].fill(2), "n_scatterers of observation 17"),
    ],
)
def test_values_that_no_reader_would_take_are_not_written(tmp_path, spec, change, words):
    source, kernels, observations = imported(spec)
    change(kernels, observations)
    with pytest.raises(InvalidDataError, match=words):
        write_imported(source, tmp_path / "a.h5", kernels, observations)
    assert list(tmp_path.iterdir()) == []


def test_a_release_that_memory_cannot_hold_is_refused_before_anything_is_drawn(tmp_path):
    spec = load_spec("mini", overrides=["kernels.count=200_000_000"])
    with pytest.raises(QpibenchError, match="bytes of memory"):
        write_release(spec, tmp_path / "huge.h5", backend=get_backend("cpu")[0])
    assert not list(tmp_path.iterdir())
