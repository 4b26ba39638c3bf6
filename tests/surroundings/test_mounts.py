"""Without /proc, with a package that cannot be written to, and for a user whom the system does not know."""

from __future__ import annotations

import shlex
import stat
import sys
import sysconfig

import pytest

from qpibench.locator import PACKAGE

pytestmark = pytest.mark.slow  # a process for each command

PROGRAM = [sys.executable, "-m", "qpibench.cli.main"]
WITHOUT_PROC = "mount -t tmpfs none /proc"
READ_ONLY = "; ".join(
    f"mount --bind -o ro {shlex.quote(str(folder))} {shlex.quote(str(folder))}"
    for folder in (PACKAGE, sysconfig.get_path("purelib"))
)
AS_UNKNOWN = ["unshare", "--user", "--map-user=12345", "--map-group=12345"]
SESSION = """
generate mini -o mini.h5
verify mini.h5
evaluate tikhonov --release mini.h5 --map exact --limit 1 -o results/t.json --report t.html
leaderboard build results -o site
"""


def test_without_proc_a_release_has_the_same_bytes_and_a_model_says_what_it_needs(namespace, mini, tmp_path):
    done = namespace(WITHOUT_PROC, *PROGRAM, "generate", "mini", "-o", "again.h5")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "again.h5").read_bytes() == mini.read_bytes()
    assert namespace(WITHOUT_PROC, *PROGRAM, "doctor").returncode == 0
    refused = namespace(WITHOUT_PROC, *PROGRAM, "evaluate", "zeros", "--release", "mini.h5", "-o", "result.json")
    assert refused.returncode == 4
    assert refused.stderr.splitlines()[-1] == (
        "Error: Models need the file system /proc, which shows how much memory they take; mount it."
    )


def test_a_package_that_cannot_be_written_to_keeps_what_it_compiled_in_the_home_folder(namespace, tmp_path):
    (home := tmp_path / "home").mkdir()
    elsewhere = {"HOME": str(home), "NUMBA_CACHE_DIR": None, "XDG_CACHE_HOME": None}
    first, second = (namespace(READ_ONLY, *PROGRAM, "doctor", **elsewhere) for _ in range(2))
    assert (first.returncode, second.returncode) == (0, 0), first.stderr
    assert "Compiling for this processor, once" in first.stderr
    assert "Compiling" not in second.stderr
    assert list(home.rglob("*.nbi"))


def test_a_user_without_a_home_does_the_main_job_in_ascii_and_alone_reads_the_outputs(namespace, tmp_path):
    (tmp_path / "results").mkdir(mode=0o700)
    tmp_path.chmod(0o777)
    bare = {"HOME": None, "USER": None, "LOGNAME": None, "LANG": "C", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}
    bare |= {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "XDG_CACHE_HOME": None, "MPLCONFIGDIR": None}
    for line in SESSION.strip().splitlines():
        command = f"umask 077; exec {shlex.join([*AS_UNKNOWN, *PROGRAM, *line.split()])}"
        done = namespace(READ_ONLY, "sh", "-c", command, **bare)
        assert done.returncode == 0, (line, done.stderr)
    made = {path.name for path in tmp_path.iterdir()}
    assert made == {"cache", "mini.h5", "results", "site", "t.html"}
    for path in tmp_path.rglob("*"):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path
