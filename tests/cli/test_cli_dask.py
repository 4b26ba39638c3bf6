"""Releases made on dask workers: the bytes of one process, whatever happens to workers, scheduler and command."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from types import SimpleNamespace

import h5py
import numpy as np
import psutil
import pytest

from qpibench import kernel_files
from qpibench.cluster import generation, tasks
from qpibench.cluster.client import Place, connected
from qpibench.errors import InvalidDataError, QpibenchError, UnavailableError, UsageError
from qpibench.families import file
from qpibench.notices import shown, warn
from qpibench.release import Shard
from qpibench.release.identity import BLOCK_ROWS
from qpibench.release.shards import open_shard
from qpibench.specs import load_spec
from qpibench.synthesis.cpu import CpuBackend

PATIENCE_S = 120
# Five blocks of images.
FIVE = ["mini", "--set", "observations_per_kernel=128"]
# The same, each block taking a good while on one thread.
SLOW = [*FIVE, "--set", "scatterers.min=299", "--set", "scatterers.max=300"]


@pytest.fixture(scope="module")
def five(tmp_path_factory, qpibench):
    """A release of five blocks made by this process, not to be changed."""
    path = tmp_path_factory.mktemp("five") / "five.h5"
    assert qpibench("generate", *FIVE, "-o", path).exit_code == 0
    return path


@pytest.fixture
def generate(qpibench, scheduler, tmp_path):
    """Generate the same on the worker."""
    return lambda *options: qpibench("generate", *FIVE, "--dask", scheduler, "-o", tmp_path / "a.h5", *options)


@pytest.fixture
def fails_once(monkeypatch):
    """Let the first of all shards fail with an error, or each of them."""

    def install(error, *, always=False):
        whole, errors = generation.write_shard, [error]
        turn = threading.Lock()

        def write_shard(*arguments, **options):
            with turn:
                if always or errors:
                    raise error if always else errors.pop()
            return whole(*arguments, **options)

        monkeypatch.setattr(generation, "write_shard", write_shard)

    return install


def test_a_release_made_on_workers_has_the_bytes_of_one_made_by_one_process(generate, five, tmp_path):
    made = generate("--json").json
    assert (made["observations"], made["backend"]) == (1280, "auto")
    assert (tmp_path / "a.h5").read_bytes() == five.read_bytes()
    assert os.listdir(tmp_path) == ["a.h5"]
    assert "already complete" in generate("--resume").stdout
    generate().fails(2, "exists already")


def test_an_interrupted_run_is_resumed_in_its_own_shards_and_not_begun_afresh_unasked(
    qpibench, generate, five, tmp_path, unchanged
):
    folder = tmp_path / "a.h5.shards"
    assert qpibench("generate", *FIVE, "--shard", "2/3", "-o", folder).exit_code == 0
    with unchanged():
        generate().fails(2, "a.h5.shards", "--resume", "--overwrite")
        generate("--resume", "--set", "seed=1").fails(3, "shard-2-of-3.h5", "another spec")
    kept = (folder / "shard-2-of-3.h5").stat().st_ino
    os.link(folder / "shard-2-of-3.h5", tmp_path / "kept")
    assert generate("--resume").exit_code == 0
    assert (tmp_path / "a.h5").read_bytes() == five.read_bytes()
    assert (tmp_path / "kept").stat().st_ino == kept
    assert not folder.exists()


@pytest.fixture
def three_shards(qpibench, tmp_path):
    """Folder of three whole shards that an interrupted run left."""
    folder = tmp_path / "a.h5.shards"
    for index in (1, 2, 3):
        assert qpibench("generate", *FIVE, "--shard", f"{index}/3", "-o", folder).exit_code == 0
    return folder


def test_a_shard_that_is_cut_off_is_made_again_and_the_others_are_kept(generate, five, tmp_path, three_shards):
    kept = tmp_path / "kept"
    kept.hardlink_to(three_shards / "shard-1-of-3.h5")
    os.truncate(three_shards / "shard-2-of-3.h5", 100_000)
    completed = generate("--resume")
    assert "shard-2-of-3.h5' is truncated" in completed.stderr
    assert "it is made again." in completed.stderr
    assert (tmp_path / "a.h5").read_bytes() == five.read_bytes()


def test_a_shard_that_has_changed_is_made_again_by_the_same_command(generate, five, tmp_path, three_shards):
    changed = three_shards / "shard-3-of-3.h5"
    image = open_shard(changed).arrays["observations/image"].position(1279)
    with changed.open("r+b") as shard:
        shard.seek(image)
        shard.write(b"changed")
    generate("--resume").fails(3, "shard-3-of-3.h5' is damaged", "observations/image has changed", "--resume makes it")
    assert sorted(path.name for path in three_shards.iterdir()) == ["shard-1-of-3.h5", "shard-2-of-3.h5"]
    assert generate("--resume").exit_code == 0
    assert (tmp_path / "a.h5").read_bytes() == five.read_bytes()


def test_a_shard_whose_spec_cannot_be_read_is_kept(generate, three_shards, unchanged):
    with h5py.File(three_shards / "shard-2-of-3.h5", "r+") as shard:
        shard.attrs["spec"] = np.bytes_(shard.attrs["spec"].replace(b'"seed"', b'"newer"'))
    with unchanged():
        generate("--resume").fails(3, "shard-2-of-3.h5' is not valid", "newer")


def test_files_of_the_user_beside_the_shards_stay(generate, tmp_path, three_shards):
    (three_shards / "shard-1-of-3.h5.bak").touch()
    (three_shards / "notes.txt").touch()
    assert generate("--overwrite").exit_code == 0
    assert sorted(path.name for path in three_shards.iterdir()) == ["notes.txt", "shard-1-of-3.h5.bak"]


def test_another_command_cannot_write_a_release_while_its_shards_are_made(qpibench, scheduler, five, tmp_path):
    @contextmanager
    def beside(activity):
        if activity == "Generating":
            qpibench("generate", *FIVE, "-o", tmp_path / "a.h5").fails(1, "Another process is writing", "a.h5")
        yield

    spec = load_spec("mini", overrides=["observations_per_kernel=128"])
    generation.generate_release(spec, tmp_path / "a.h5", place=Place.parse(scheduler), show=beside)
    assert (tmp_path / "a.h5").read_bytes() == five.read_bytes()


def test_a_disk_that_is_too_small_is_noticed_at_once(qpibench, generate, five, tmp_path, unchanged, monkeypatch):
    size = five.stat().st_size
    free = SimpleNamespace(free=size * 3 // 2)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: free)
    generate().fails(1, "a.h5' does not fit", "more bytes", f"{free.free:,} are available")
    assert os.listdir(tmp_path) == []
    assert qpibench("generate", *FIVE, "--shard", "1/2", "-o", tmp_path / "a.h5.shards").exit_code == 0
    free.free = size
    with unchanged():
        generate("--overwrite").fails(1, "does not fit")
    free.free = 2 * size - (tmp_path / "a.h5.shards" / "shard-1-of-2.h5").stat().st_size
    assert generate("--resume").exit_code == 0
    assert (tmp_path / "a.h5").read_bytes() == five.read_bytes()


def test_a_merge_that_was_killed_is_resumed_on_a_disk_that_it_has_filled(qpibench, five, tmp_path, monkeypatch):
    assert qpibench("generate", *FIVE, "--shard", "1/1", "-o", tmp_path / "a.h5.shards").exit_code == 0
    (tmp_path / ".a.h5.partial").write_bytes(five.read_bytes())
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=0))
    assert qpibench("generate", *FIVE, "--dask", "local", "--resume", "-o", tmp_path / "a.h5").exit_code == 0
    assert (tmp_path / "a.h5").read_bytes() == five.read_bytes()


def test_shards_of_another_run_give_way_where_that_is_asked(qpibench, generate, five, tmp_path):
    assert qpibench("generate", "mini", "--shard", "1/2", "-o", tmp_path / "a.h5.shards").exit_code == 0
    assert generate("--overwrite").exit_code == 0
    assert (tmp_path / "a.h5").read_bytes() == five.read_bytes()


def test_whole_shards_need_no_worker(qpibench, five, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert qpibench("generate", *FIVE, "--shard", "1/1", "-o", tmp_path / "a.h5.shards").exit_code == 0
    assert qpibench("generate", *FIVE, "--dask", "local", "--resume", "-o", tmp_path / "a.h5").exit_code == 0
    assert (tmp_path / "a.h5").read_bytes() == five.read_bytes()


@pytest.mark.parametrize("kind", [QpibenchError, UsageError, InvalidDataError, UnavailableError])
def test_an_error_on_a_worker_arrives_as_itself(generate, fails_once, tmp_path, kind):
    fails_once(kind("The moon is full; wait."), always=True)
    outcome = generate()
    outcome.fails(kind.exit_code, "The moon is full; wait.")
    assert outcome.stderr.count("\n") == 1
    assert os.listdir(tmp_path) == []


def test_an_unexpected_error_on_a_worker_is_one_sentence(generate, fails_once):
    fails_once(ZeroDivisionError("of all things"), always=True)
    generate().fails(1, "Shard ", "failed on a worker: ZeroDivisionError: of all things", "--resume")


@pytest.mark.parametrize("error", [OSError("the disk is away"), QpibenchError("Writing failed.")], ids=type)
def test_a_shard_that_failed_for_a_passing_reason_is_made_again(generate, fails_once, five, tmp_path, error):
    fails_once(error)
    assert generate().exit_code == 0
    assert (tmp_path / "a.h5").read_bytes() == five.read_bytes()


def test_each_run_shows_the_warning_of_its_tasks_once(scheduler):
    for _ in range(2):
        said = []
        with connected(Place.parse(scheduler)) as connection, shown(notes=said.append, warnings=said.append):
            list(tasks.run(connection.client, warn, ["The moon is full."] * 3, what="Task"))
        assert said == ["Warning: The moon is full."]


def test_an_interrupted_command_leaves_its_shards_to_the_next_and_its_tasks_stop(
    scheduler, five, tmp_path, monkeypatch
):
    begun, interrupted, ended, whole = threading.Event(), threading.Event(), SimpleQueue(), generation.write_shard

    def write_shard(spec, folder, shard, **options):
        if shard.index == 1:  # when it is whole, it interrupts the command, while another shard is being made
            assert begun.wait(PATIENCE_S)
            return whole(spec, folder, shard, **options)
        begun.set()
        assert interrupted.wait(PATIENCE_S)
        try:
            return whole(spec, folder, shard, **options)
        finally:
            ended.put(shard)

    @contextmanager
    def interrupting(_):
        def tell(done, total):
            if done:
                raise KeyboardInterrupt

        yield tell

    monkeypatch.setattr(generation, "write_shard", write_shard)
    spec, place = load_spec("mini", overrides=["observations_per_kernel=128"]), Place.parse(scheduler)
    with pytest.raises(KeyboardInterrupt):
        generation.generate_release(spec, tmp_path / "a.h5", place=place, show=interrupting)
    interrupted.set()
    ended.get(timeout=PATIENCE_S)
    assert [path.name for path in (tmp_path / "a.h5.shards").glob("shard-*.h5")] == ["shard-1-of-5.h5"]
    generation.generate_release(spec, tmp_path / "a.h5", place=place, resume=True)
    assert (tmp_path / "a.h5").read_bytes() == five.read_bytes()


def _task(spec, folder):
    return generation.ShardTask(
        spec=spec.canonical_json(), folder=str(folder), token=str(folder / "token"), backend="cpu", threads=1
    )


def test_a_shard_that_was_begun_goes_on_after_its_last_complete_block(tmp_path, monkeypatch):
    computed, failing, whole = [], [4], CpuBackend.observations

    def observations(backend, spec, kernels, start, stop):
        computed.append(start // BLOCK_ROWS)
        if computed[-1] in failing:
            raise QpibenchError("The disk is away.")
        return whole(backend, spec, kernels, start, stop)

    monkeypatch.setattr(CpuBackend, "observations", observations)
    (tmp_path / "token").touch()
    task = _task(load_spec("mini", overrides=["observations_per_kernel=128"]), tmp_path)
    with pytest.raises(QpibenchError, match="away"):
        task(Shard(1, 1))
    assert set(computed) == {0, 1, 2, 3, 4}
    computed.clear()
    failing.clear()
    task(Shard(1, 1))
    assert set(computed) == {4}


def test_a_task_brings_the_file_of_kernels_to_a_process_that_has_not_seen_it(tmp_path, monkeypatch):
    example = Path(file.__file__).with_name("file_example.npy")
    spec = load_spec("mini", overrides=[f'kernels={{family="file", count=4, path="{example}", pixel_nm=0.2}}'])
    task = pickle.loads(pickle.dumps(_task(spec, tmp_path)))
    monkeypatch.setattr(kernel_files, "_known", {})
    kernel_files.kernels_of.cache_clear()
    (tmp_path / "token").touch()
    task(Shard(1, 1))
    assert open_shard(tmp_path / "shard-1-of-1.h5").spec == spec


def test_a_worker_that_does_not_see_the_folder_says_so(tmp_path):
    with pytest.raises(UsageError, match=r"does not see folder .* all workers share"):
        _task(load_spec("mini"), tmp_path)(Shard(1, 1))


@pytest.mark.parametrize(
    ("arguments", "exit_code", "words"),
    [
        ("--dask local --shard 1/2", 2, ["--dask", "--shard", "one of the two"]),
        ("--dask local --compression gzip", 2, ["--compression"]),
        ("--dask nowhere", 2, ["'nowhere'", "local:N", "tcp://host:8786"]),
        ("--dask local:0", 2, ["'local:0'", "local:N"]),
        ("--dask slurm", 2, ["slurm:N", "distributed.adaptive.maximum"]),
        ("--dask slurm:2", 4, ["sbatch"]),
    ],
)
def test_a_request_that_cannot_be_granted(
    distributed, qpibench, tmp_path, unchanged, monkeypatch, arguments, exit_code, words
):
    monkeypatch.setenv("PATH", str(tmp_path))
    with unchanged():
        outcome = qpibench("generate", "mini", *arguments.split(), "-o", tmp_path / "a.h5", "--json")
    outcome.fails(exit_code, *words)
    assert os.listdir(tmp_path) == []


def test_without_dask_the_extra_is_named(qpibench, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    qpibench("generate", "mini", "--dask", "local", "-o", tmp_path / "a.h5").fails(4, 'pip install "qpibench[dask]"')


def test_shards_are_small_many_enough_for_all_workers_and_never_empty():
    spec = load_spec("paper")
    assert generation.shard_count(spec, 2) == 16
    assert generation.shard_count(spec, 0) == 128
    assert generation.shard_count(spec, 1000) == 196
    large = load_spec("paper", overrides=["observations_per_kernel=10000000"])
    assert large.observation_count == 10**9
    shards = generation.shard_count(large, 2)
    assert (
        max(stop - start for start, stop in (Shard(i, shards).rows(large) for i in (1, shards))) * 4**7 < 1.01 * 2**30
    )


def _start(*arguments, folder):
    return psutil.Popen(
        [sys.executable, "-m", "qpibench.cli.main", "generate", *SLOW, *map(str, arguments), "-o", "slow.h5"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _wait_for_a_shard(folder, process):
    deadline = time.monotonic() + PATIENCE_S
    while not list(folder.glob("slow.h5.shards/shard-*.h5")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        psutil.wait_procs([process], timeout=0.01)


@pytest.fixture(scope="module")
def slow_hash(qpibench, tmp_path_factory):
    path = tmp_path_factory.mktemp("slow") / "slow.h5"
    return qpibench("generate", *SLOW, "-o", path, "--json").json["content_sha256"]


def _said(stderr):
    """Lines on standard error, without the sentence about the backend."""
    return [line for line in stderr.splitlines() if line and not line.startswith("CPU backend")]


def _workers(process):
    found = []
    for child in process.children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it has ended meanwhile
            if "spawn_main" in " ".join(child.cmdline()):
                found.append(child)
    return found


@pytest.mark.slow  # starts processes that import everything
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL], ids=lambda ending: ending.name)
def test_a_run_on_local_workers_is_ended_with_them_and_resumed(qpibench, distributed, tmp_path, slow_hash, ending):
    process = _start("--dask", "local:2", folder=tmp_path)
    _wait_for_a_shard(tmp_path, process)
    workers = _workers(process)
    listening = [c for each in (process, *workers) for c in each.net_connections() if c.status == psutil.CONN_LISTEN]
    assert {connection.laddr.ip for connection in listening} == {"127.0.0.1"}
    process.send_signal(ending)
    _, stderr = process.communicate(timeout=PATIENCE_S)
    assert psutil.wait_procs(workers, timeout=PATIENCE_S)[1] == []
    if ending == signal.SIGINT:
        assert process.returncode == 130
        assert _said(stderr) == ["Error: Interrupted; run the same command with --resume added to continue."]
    assert not (tmp_path / "slow.h5").exists()
    resumed = _start("--dask", "local:1", "--resume", folder=tmp_path)
    assert slow_hash in resumed.communicate(timeout=PATIENCE_S)[0]
    assert os.listdir(tmp_path) == ["slow.h5"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "interrupt",
    [lambda process: process.terminate(), lambda process: os.killpg(process.pid, signal.SIGINT)],
    ids=["SIGTERM", "Ctrl-C in a terminal"],
)
def test_a_run_that_is_interrupted_while_its_workers_start_says_only_that(distributed, tmp_path, interrupt):
    process = _start("--dask", "local:2", folder=tmp_path)
    deadline = time.monotonic() + PATIENCE_S
    while not _workers(process):
        assert time.monotonic() < deadline
    interrupt(process)
    _, stderr = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert _said(stderr) == ["Error: Interrupted; run the same command with --resume added to continue."]
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_the_shard_of_a_worker_that_is_killed_is_made_by_another(distributed, tmp_path, slow_hash):
    process = _start("--dask", "local:2", folder=tmp_path)
    _wait_for_a_shard(tmp_path, process)
    os.kill(_workers(process)[0].pid, signal.SIGKILL)
    stdout, stderr = process.communicate(timeout=PATIENCE_S)
    assert slow_hash in stdout
    assert _said(stderr) == []


@pytest.mark.slow
def test_a_run_whose_scheduler_is_lost_is_resumed_with_another(distributed, tmp_path, slow_hash, start_scheduler):
    scheduler, address = start_scheduler()
    process = _start("--dask", address, folder=tmp_path)
    _wait_for_a_shard(tmp_path, process)
    scheduler.kill()
    scheduler.wait(PATIENCE_S)
    _, stderr = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert stderr.startswith("Error: The dask scheduler at tcp://127.0.0.1:")
    assert stderr.endswith("was lost; run the same command with --resume added to continue.\n")
    resumed = _start("--dask", "local:1", "--resume", folder=tmp_path)
    assert slow_hash in resumed.communicate(timeout=PATIENCE_S)[0]


def _jobs(folder):
    jobs = [each for each in psutil.process_iter(["cmdline"]) if "distributed.cli.dask_worker" in str(each.info)]
    return [job for job in jobs if job.cwd() == str(folder)]


@pytest.mark.slow
@pytest.mark.parametrize("where", ["slurm:1", "slurm"])
def test_jobs_of_slurm_make_a_release_and_are_cancelled_at_the_end(slurm, tmp_path, slow_hash, monkeypatch, where):
    slurm()
    monkeypatch.setenv("DASK_DISTRIBUTED__ADAPTIVE__MAXIMUM", "2")
    process = _start("--dask", where, folder=tmp_path)
    stdout, stderr = process.communicate(timeout=PATIENCE_S)
    assert slow_hash in stdout, stderr
    assert stderr == ""
    assert psutil.wait_procs(_jobs(tmp_path), timeout=PATIENCE_S)[1] == []


@pytest.mark.slow
def test_ctrl_c_ends_a_run_with_its_jobs_of_slurm(slurm, tmp_path):
    slurm()
    process = _start("--dask", "slurm:1", folder=tmp_path)
    _wait_for_a_shard(tmp_path, process)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert _said(stderr) == ["Error: Interrupted; run the same command with --resume added to continue."]
    assert psutil.wait_procs(_jobs(tmp_path), timeout=PATIENCE_S)[1] == []


@pytest.mark.slow
def test_a_job_that_slurm_refuses_ends_the_run_with_its_reason(slurm, tmp_path):
    slurm("#!/bin/sh\necho 'sbatch: error: Invalid account' >&2\nexit 1\n")
    process = _start("--dask", "slurm:2", folder=tmp_path)
    _, stderr = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert stderr.startswith("Error: SLURM does not accept the job: ")
    assert stderr.endswith("sbatch: error: Invalid account.\n")
    assert not (tmp_path / "slow.h5.shards").exists()


@pytest.mark.slow
def test_each_local_worker_is_shown_a_gpu_of_its_own(distributed, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    with connected(Place.parse("local"), devices=2) as connection:
        shown = connection.client.run(os.getenv, "CUDA_VISIBLE_DEVICES")
    assert sorted(shown.values()) == ["3", "5"]
