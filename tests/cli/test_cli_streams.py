"""Commands that are started without standard input, output or error, as some schedulers and services do."""

from __future__ import annotations

import subprocess
import sys

import pytest

CLOSED = ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"]

COMMANDS = {
    "generate": "generate mini -o {out}",
    "info": "info {mini}",
    "evaluate": "evaluate zeros --release {mini} --limit 1 -o {out}",
}


def run(closed, *arguments):
    """Run a command whose standard streams a shell closes."""
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-m", "qpibench", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("closed", CLOSED)
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_command_works_without_standard_streams(mini, tmp_path, command, closed):
    out = tmp_path / "out"
    ran = run(closed, *command.format(mini=mini, out=out).split())
    assert (ran.returncode, ran.stderr.count("Error")) == (0, 0), ran.stderr
    assert bool(ran.stdout) == (">&-" not in closed.replace("2>&-", ""))
    assert [path.name for path in tmp_path.iterdir()] == ["out"] * ("{out}" in command)
    if command.startswith("generate"):
        assert out.read_bytes() == mini.read_bytes()


@pytest.mark.parametrize("closed", CLOSED)
def test_a_failure_without_standard_streams_keeps_its_exit_code(tmp_path, closed):
    ran = run(closed, "info", tmp_path / "missing.h5")
    assert ran.returncode == 2
    assert ran.stderr.count("There is no file") == ("2>&-" not in closed)
