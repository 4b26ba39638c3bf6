"""No process of a model outlives the one that started it, and none finds out what it must not know."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from qpibench.evaluation.entries import find_entry
from qpibench.evaluation.isolation.failure import ModelFailure
from qpibench.evaluation.isolation.isolated import IsolatedModel, Limits
from qpibench.grid import Grid
from qpibench.locator import PACKAGE
from qpibench.tasks import Batch

PATIENCE_S = 10

# A model that starts a child, tells who they are, and never answers.
STUBBORN = """
    import os, signal, sys
    import numpy as np

    def predict(batch):
        for name in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(name, signal.SIG_IGN)
        child = os.fork()
        if child:
            with open({told!r} + ".new", "w") as file:
                file.write(f"{{os.getpid()}} {{child}} {{os.getcwd()}}")
            os.rename({told!r} + ".new", {told!r})
        {forever}
"""

PARENT = """
    import sys
    import numpy as np
    from qpibench.evaluation.entries import find_entry
    from qpibench.evaluation.isolation.isolated import IsolatedModel, Limits
    from qpibench.grid import Grid
    from qpibench.tasks import Batch

    grid = Grid(ny=8, nx=8, size_y_nm=1, size_x_nm=1)
    image = np.zeros((1, 8, 8), np.float32)
    with IsolatedModel(find_entry(sys.argv[1]), limits=Limits()) as model:
        model.predict(Batch(image=image, activation_map=None, position_nm=None, grid=grid, kernel_grid=grid))
"""


def _batch() -> Batch:
    grid = Grid(ny=8, nx=8, size_y_nm=1, size_x_nm=1)
    image = np.zeros((1, 8, 8), np.float32)
    return Batch(image=image, activation_map=None, position_nm=None, grid=grid, kernel_grid=grid)


def _told(path: Path, *, by: psutil.Process) -> tuple[list[psutil.Process], Path]:
    """The processes and the folder that a model has written down, once it has."""
    while not path.exists():
        assert by.is_running()
        assert by.status() != psutil.STATUS_ZOMBIE
        with pytest.raises(psutil.TimeoutExpired):
            by.wait(0.02)
    *pids, folder = path.read_text(encoding="utf-8").split()
    return [psutil.Process(int(pid)) for pid in pids], Path(folder)


def _survivors(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still run after a while; a zombie is dead and waits for init."""
    deadline = time.monotonic() + PATIENCE_S
    while (alive := [process for process in processes if _runs(process)]) and time.monotonic() < deadline:
        psutil.wait_procs(alive, timeout=0.05)
    return alive


def _left_in(folder: Path) -> list[str]:
    """What is still in a folder after a while, in which a guard may empty it."""
    deadline = time.monotonic() + PATIENCE_S
    while (left := os.listdir(folder)) and time.monotonic() < deadline:
        pass
    return left


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize(
    "ending",
    [signal.SIGKILL, *(pytest.param(each, marks=pytest.mark.slow) for each in (signal.SIGTERM, signal.SIGINT))],
)
@pytest.mark.parametrize(
    "forever",
    [
        "while True: signal.pause()",
        "'a' in iter(int, 1)",  # inside one call into C that never gives up the interpreter
        "child or os.setsid(); [signal.pause() for _ in iter(int, 1)]",
    ],
    ids=["sleeping", "busy in C", "in another session"],
)
def test_no_process_of_a_model_outlives_a_parent_that_is_killed(tmp_path, write_model, ending, forever):
    told = tmp_path / "told"
    model = write_model(textwrap.dedent(STUBBORN).format(told=str(told), forever=forever))
    parent = psutil.Popen(
        [sys.executable, "-c", textwrap.dedent(PARENT), model],
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
        stderr=subprocess.DEVNULL,
    )
    processes, folder = _told(told, by=parent)
    guards = parent.children()
    parent.send_signal(ending)
    parent.wait(PATIENCE_S)
    survivors = _survivors([*processes, *guards])
    for process in survivors:
        process.kill()
    assert not survivors
    assert not folder.exists()


LOCKED = """
    import os, signal

    os.makedirs("cache/inner")
    open("cache/inner/file", "w").close()
    os.chmod("cache/inner", 0o555)
    os.chmod("cache", 0o555)

    def predict(batch):
        return batch.image if len(os.listdir("cache")) == 1 else None
"""


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="root may write everywhere, and setpriv is missing")
@pytest.mark.parametrize("killed", [False, True])
def test_a_folder_that_a_model_locks_is_removed_too(tmp_path, write_model, killed):
    model = write_model(textwrap.dedent(LOCKED))
    (tmp_path / "temporary").mkdir()
    end = "\n    import os, signal; os.kill(os.getpid(), signal.SIGKILL)" if killed else ""
    drop = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    subprocess.run(
        [*drop, sys.executable, "-c", textwrap.dedent(PARENT).rstrip() + end, model],
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent), "TMPDIR": str(tmp_path / "temporary")},
        check=not killed,
    )
    assert not _left_in(tmp_path / "temporary")


KILLED_BEFORE = """
    import os, signal, sys

    def hook(event, arguments, left=[int(sys.argv[2])]):
        if event == "subprocess.Popen":
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("process", [1, 2])
def test_no_folder_is_left_by_a_parent_that_is_killed_before_it_starts_a_process(tmp_path, write_model, process):
    model = write_model("def predict(batch):\n    return batch.image\n")
    (tmp_path / "temporary").mkdir()
    script = textwrap.dedent(KILLED_BEFORE) + textwrap.dedent(PARENT).replace(
        "with IsolatedModel", "sys.addaudithook(hook)\nwith IsolatedModel"
    )
    parent = subprocess.run(
        [sys.executable, "-c", script, model, str(process)],
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent), "TMPDIR": str(tmp_path / "temporary")},
        check=False,
    )
    assert parent.returncode == -signal.SIGKILL
    assert not _left_in(tmp_path / "temporary")


def test_children_of_a_model_are_gone_when_it_is(tmp_path, write_model):
    told = tmp_path / "told"
    model = write_model(
        textwrap.dedent(STUBBORN).format(
            told=str(told), forever="return np.zeros((1, 8, 8)) if child else signal.pause()"
        )
    )
    with IsolatedModel(find_entry(model), limits=Limits()) as running:
        running.predict(_batch())
        processes = [psutil.Process(int(pid)) for pid in told.read_text().split()[:2]]
        assert all(process.is_running() for process in processes)
    assert not _survivors(processes)


@pytest.mark.skipif(sys.platform != "linux", reason="the environment of processes is shown by Linux")
@pytest.mark.parametrize("answer", ["return np.zeros((1, 8, 8))", "os._exit(1)"], ids=["lives", "dies"])
def test_processes_that_a_model_has_detached_are_gone_when_it_is(tmp_path, write_model, answer):
    told = tmp_path / "told"
    model = write_model(f"""
        import os, signal
        import numpy as np

        def predict(batch):
            read, write = os.pipe()
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0:
                    os.write(write, str(os.getpid()).encode())
                    signal.pause()
                os._exit(0)
            with open({str(told)!r}, "wb") as file:
                file.write(os.read(read, 99))
            {answer}
    """)
    with IsolatedModel(find_entry(model), limits=Limits()) as running, contextlib.suppress(ModelFailure):
        running.predict(_batch())
    assert not _survivors([psutil.Process(pid) for pid in map(int, told.read_text().split()) if psutil.pid_exists(pid)])


def test_a_model_that_dies_while_its_child_lives_on_is_noticed(write_model):
    model = write_model("""
        import os, signal

        def predict(batch):
            if os.fork() == 0:
                signal.pause()
            os._exit(1)
    """)
    with IsolatedModel(find_entry(model), limits=Limits()) as running, pytest.raises(ModelFailure, match="exit code 1"):
        running.predict(_batch())


def test_a_model_cannot_see_where_its_images_come_from(tmp_path, write_model, monkeypatch):
    hidden = tmp_path / "secret release.h5"
    hidden.touch()
    seen = tmp_path / "seen"
    monkeypatch.setenv("QPIBENCH_RELEASE", str(hidden))
    monkeypatch.setenv("QPIBENCH_OPTIONS", f"--release={hidden} --limit=3")
    monkeypatch.setenv("KEPT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    model = write_model(f"""
        import os, sys
        import psutil

        def predict(batch):
            me = psutil.Process()
            with open({str(seen)!r}, "w") as file:
                print(me.cmdline(), sys.argv, dict(os.environ), os.getcwd(), os.listdir(), sep="\\n", file=file)
                print([os.path.realpath(f"/proc/self/fd/{{fd}}") for fd in os.listdir("/proc/self/fd")], file=file)
            return batch.image
    """)
    with hidden.open() as _, IsolatedModel(find_entry(model), limits=Limits(), hidden=(hidden,)) as running:
        running.predict(_batch())
    text = seen.read_text()
    assert "secret" not in text
    assert "'KEPT'" in text
    assert text.splitlines()[4] == "[]"  # its folder is empty


def test_a_relative_path_is_hidden_where_it_stands_for_itself(write_model, monkeypatch):
    monkeypatch.setenv("QPIBENCH_RELEASE", "bin")
    monkeypatch.setenv("OTHER_PATH", "/usr/bin:/bin")
    model = write_model("""
        import os

        def predict(batch):
            raise ValueError(sorted(name for name in os.environ if name in ("QPIBENCH_RELEASE", "OTHER_PATH")))
    """)
    isolated = IsolatedModel(find_entry(model), limits=Limits(), hidden=(Path("bin"),))
    with isolated as running, pytest.raises(ModelFailure, match=r"\['OTHER_PATH'\]"):
        running.predict(_batch())


def test_the_folder_of_a_model_is_its_own_and_is_removed(write_model):
    model = write_model("""
        import os

        def predict(batch):
            open("scratch", "w").close()
            raise ValueError(os.getcwd())
    """)
    with IsolatedModel(find_entry(model), limits=Limits()) as running, pytest.raises(ModelFailure) as failure:
        running.predict(_batch())
    folder = Path(failure.value.message.split("ValueError: ")[1])
    assert folder.is_absolute()
    assert not folder.exists()


def test_a_model_that_prints_without_end_does_not_fill_the_disk(write_model):
    model = write_model("""
        import os

        def predict(batch):
            written = 0
            while os.fstat(1).st_size >= written:  # until the log is cut
                written += os.write(1, b"x" * (1 << 18))
            return batch.image
    """)
    with IsolatedModel(find_entry(model), limits=Limits()) as running:
        running.predict(_batch())


def test_the_process_of_a_model_starts_with_little(write_model):
    model = write_model("""
        import sys

        heavy = {"numba", "h5py", "scipy", "skimage", "torch", "matplotlib", "psutil"} & set(sys.modules)

        def predict(batch):
            raise ValueError(f"{len(heavy)} heavy: {sorted(heavy)}")
    """)
    with IsolatedModel(find_entry(model), limits=Limits()) as running, pytest.raises(ModelFailure, match="0 heavy"):
        running.predict(_batch())
