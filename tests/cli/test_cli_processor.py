"""`generate` refuses a processor mode that would change bits, and shows progress on a terminal."""

from __future__ import annotations

import json
import os
import platform
import pty
import shutil
import subprocess
import sys
import termios

import pytest

PROGRAM = [sys.executable, "-m", "qpibench.cli.main"]

# Bits 15 and 6 of the control register: results, and operands, that are denormal become zero.
SWITCH = """
#include <xmmintrin.h>
__attribute__((constructor)) static void flush_to_zero() { _mm_setcsr(_mm_getcsr() | 0x8040); }
"""


@pytest.fixture(scope="module")
def flushing(tmp_path_factory):
    """An environment in which a library switches flush-to-zero on."""
    if platform.machine() not in ("x86_64", "AMD64") or sys.platform != "linux" or not shutil.which("g++"):
        pytest.skip("needs Linux on x86 and g++")
    folder = tmp_path_factory.mktemp("flushing")
    (folder / "switch.cpp").write_text(SWITCH)
    subprocess.run(["g++", "-shared", "-fPIC", "-ffast-math", "switch.cpp", "-o", "switch.so"], cwd=folder, check=True)
    return {**os.environ, "LD_PRELOAD": str(folder / "switch.so")}


@pytest.mark.parametrize(
    "command", ["generate mini -o release.h5", pytest.param("verify {mini} --regenerate", marks=pytest.mark.slow)]
)
def test_a_processor_in_flush_to_zero_mode_is_refused(mini, tmp_path, flushing, command):
    arguments = [*command.format(mini=mini).split(), "--json"]
    ended = subprocess.run(
        [*PROGRAM, *arguments], env=flushing, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 4
    assert json.loads(ended.stdout)["error"]["exit_code"] == 4
    assert "Error: The processor is in flush-to-zero mode" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_doctor_sees_the_mode_too(tmp_path, flushing):
    ended = subprocess.run(
        [*PROGRAM, "doctor"], env=flushing, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert "flushed to zero" in ended.stderr
    assert "LD_PRELOAD" in ended.stderr


def _on_a_terminal(arguments, folder):
    """What a command prints on a terminal, by way of standard error."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    environment = {**os.environ, "TERM": "xterm-256color", "NO_COLOR": "1"}
    process = subprocess.Popen(
        [*PROGRAM, *map(str, arguments)], cwd=folder, stdout=subprocess.DEVNULL, stderr=theirs, env=environment
    )
    os.close(theirs)
    printed = b""
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        try:
            while part := terminal.read(4096):
                printed += part
        except OSError:  # how Linux tells that the other end is closed
            pass
    assert process.wait() == 0
    return printed.decode()


def test_progress_is_shown_on_a_terminal_only_without_escape_sequences_and_not_when_quiet(mini, tmp_path):
    printed = _on_a_terminal(["verify", mini], tmp_path)
    assert "Verifying" in printed
    assert "/100 " in printed
    assert "\x1b" not in printed
    assert _on_a_terminal(["verify", mini, "--quiet"], tmp_path) == ""


def test_the_help_is_printed_without_importing_what_is_slow():
    code = (
        "import sys\n"
        "from qpibench.cli.main import cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "slow = {'numpy', 'numba', 'h5py', 'scipy', 'pydantic', 'torch', 'matplotlib', 'qpibench.cli.generate'}\n"
        "print(sorted(slow & set(sys.modules)), file=sys.stderr)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stderr == "[]\n"
