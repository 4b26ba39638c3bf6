"""Hostile models: each of 34 attacks at each of six moments of an evaluation.

The evaluation ends within its limits with a documented exit code and one sentence, writes a result if the model could
be loaded, and leaves no process and no temporary file. It changes neither the release nor a file of the folder that it
is started in, and it and the model take no more than 2 GiB of memory.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.campaigns.campaign import Tally, Trial
from benchmarks.campaigns.processes import Process, contents, empty, prepare_processes
from qpibench.evaluation.isolation.watch import MOST_WAITING
from qpibench.release import write_release
from qpibench.specs import load_spec
from qpibench.synthesis import get_backend

PATIENCE_S = MOST_WAITING * 300.0 + 120.0
"""Its import has 300 s, without those in which it waits for a processor, and each other call 3 s."""

SAMPLE_S = 0.1
LIMIT_BYTES = 2**31
"""Of all processes. The model's limit is 0.25 GiB, but a child may take more before it is found, every half second."""

RIGHT = "np.zeros((len(batch), *batch.kernel_grid.shape))"

ATTACKS = {
    "raise an error without a text": ["class Odd(BaseException):", "    __str__ = None", "raise Odd"],
    "raise an error of a megabyte": ["raise ValueError('\\ud800\\0x' * 300_000)"],
    "raise an error that is its own cause": ["error = ValueError()", "error.__cause__ = error", "raise error"],
    "raise StopIteration": ["raise StopIteration(7)"],
    "raise MemoryError": ["raise MemoryError"],
    "raise SystemExit of an object": ["raise SystemExit(object())"],
    "exit at once": ["os._exit(0)"],
    "exit with 255": ["os._exit(255)"],
    "crash": ["ctypes.string_at(0)"],
    "abort": ["os.abort()"],
    "stop itself": ["os.kill(os.getpid(), signal.SIGSTOP)"],
    "end its group": ["os.killpg(0, signal.SIGKILL)"],
    "loop": ["while True: pass"],
    "loop deaf to signals": [
        "for number in range(1, 65):",
        "    with suppress(OSError, ValueError): signal.signal(number, signal.SIG_IGN)",
        "while True: pass",
    ],
    "loop in C": ["'a' in iter(int, 1)"],
    "recurse without end": ["sys.setrecursionlimit(10**9)", "def fall(): fall()", "fall()"],
    "take memory": ["kept = []", "while True:", "    kept.append(np.ones(1 << 18))", "    time.sleep(0.001)"],
    "take memory in a child": [
        "if os.fork() == 0:",
        "    kept = []",
        "    while True:",
        "        kept.append(np.ones(1 << 18))",
        "        time.sleep(0.001)",
        "time.sleep(600)",
    ],
    "ask for a terabyte": ["np.ones(1 << 37)"],
    "start children": ["for _ in range(20):", "    if os.fork() == 0: time.sleep(600)"],
    "start a child of another session": ["if os.fork() == 0:", "    os.setsid()", "    time.sleep(600)"],
    "start a child that nobody waits for": [
        "if os.fork() == 0:",
        "    os.setsid()",
        "    if os.fork() == 0: time.sleep(600)",
        "    os._exit(0)",
    ],
    "start threads": ["for _ in range(50): threading.Thread(target=time.sleep, args=(600,)).start()"],
    "print without end": ["for _ in range(3000): os.write(1, b'x' * 65536)"],
    "write junk to all files": [
        "for number in range(1, 99):",
        "    with suppress(OSError): os.write(number, os.urandom(4096))",
    ],
    "write a long header": [
        "for number in range(3, 99):",
        "    with suppress(OSError): os.write(number, b'\\xff\\xff\\x0f\\0' + b'[' * 65536)",
    ],
    "reply in the name of the program": [
        "arrays = [['kernel', '<f8', [2**30, 2**30]]]",
        "text = json.dumps({'kind': 'prediction', 'fields': {}, 'arrays': arrays}).encode()",
        "for number in range(3, 99):",
        "    with suppress(OSError): os.write(number, struct.pack('<I', len(text)) + text)",
    ],
    "close all files": ["os.closerange(0, 99)"],
    "change the program's modules": [
        "import qpibench.evaluation.isolation.protocol as protocol",
        "protocol.json.dumps = protocol.Channel.receive = np.ascontiguousarray = os.write = None",
    ],
    "delete its folder": ["shutil.rmtree(FOLDER, ignore_errors=True)", "os.chdir('/')"],
    "delete its own file": ["os.remove(__file__)"],
    "fill its folder": [
        "for number in range(100):",
        "    with open(str(number), 'wb') as file: file.write(bytes(1 << 20))",
    ],
    "signal the program": [
        "for number in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGURG, signal.SIGWINCH):",
        "    os.kill(os.getppid(), number)",
    ],
    "leave work for its end": [
        "atexit.register(lambda: time.sleep(600))",
        "threading.Thread(target=lambda: time.sleep(600)).start()",
    ],
}

MOMENTS = {
    "import": """
ATTACK
def predict(batch):
    return RIGHT
""",
    "fit": """
class Model:
    def fit(self, train):
        ATTACK
    def predict(self, batch):
        return RIGHT
""",
    "predict": """
def predict(batch):
    ATTACK
    return RIGHT
""",
    "second call": """
calls = []
def predict(batch):
    calls.append(1)
    if len(calls) == 2:
        ATTACK
    return RIGHT
""",
    "conversion": """
class Odd:
    def __array__(self, *arguments, **named):
        ATTACK
        return self.values
def predict(batch):
    odd = Odd()
    odd.values = RIGHT
    return odd
""",
    "thread": """
def attack():
    ATTACK
def predict(batch):
    thread = threading.Thread(target=attack, daemon=True)
    thread.start()
    thread.join(1)
    return RIGHT
""",
}

CASES = tuple((attack, moment) for attack in ATTACKS for moment in MOMENTS)
TRIALS = len(CASES)
_STRIDE = 65
"""Neighbouring trials are of different attacks and moments."""
HEADER = """import atexit, ctypes, json, os, re, shutil, signal, struct, sys, threading, time
from contextlib import suppress
import numpy as np

FOLDER = os.getcwd()
if not re.fullmatch("qpibench-[0-9a-f]{16}", os.path.basename(FOLDER)) or "QPIBENCH_MODEL" not in os.environ:
    raise SystemExit(FOLDER + " is not a folder of qpibench, so nothing is attacked here.")
"""
"""A model attacks the temporary folder only that ``evaluate`` has started it in, whatever the process does later."""


def source(attack: str, moment: str) -> str:
    """The file of a model."""
    lines = []
    for line in MOMENTS[moment].splitlines():
        depth = line.partition("ATTACK")[0]
        lines += [depth + each for each in ATTACKS[attack]] if "ATTACK" in line else [line.replace("RIGHT", RIGHT)]
    return "\n".join([HEADER, *lines, ""])


@contextmanager
def prepare(folder: Path) -> Iterator[Trial]:
    release = folder / "mini.h5"
    write_release(load_spec("mini"), release, backend=get_backend("cpu")[0])
    prepare_processes(folder / "temporary")
    yield lambda random, tally: _trial(release, folder / "case", tally)


def _trial(release: Path, case: Path, tally: Tally) -> None:
    attack, moment = CASES[_STRIDE * tally.trial % len(CASES)]
    empty(case)
    (case / "my_model.py").write_text(source(attack, moment), encoding="utf-8")
    result, predictions = case / "r.json", case / "p.h5"
    before = contents(case), _digest(release)
    limits = ["--time-limit", "3", "--fit-time-limit", "3", "--memory-limit", "0.25", "--batch-size", "2"]
    request = ["--release", str(release), "--limit", "4", "-o", str(result), "--predictions", str(predictions)]
    process = Process(["evaluate", str(case / "my_model.py"), *request, *limits], first=lambda: os.chdir(case))
    deadline, largest = time.monotonic() + PATIENCE_S, 0
    while not process.wait(SAMPLE_S) and time.monotonic() < deadline:
        largest = max(largest, process.memory_bytes())
    problem = _problem(process, case, result, before[0])
    if problem is None and _digest(release) != before[1]:
        problem = "the release has changed"
    if problem is None and largest > LIMIT_BYTES:
        problem = f"{largest:,} bytes of memory"
    problem = process.left() or problem
    if problem is None:
        tally.add(f"{moment}: exit code {process.code}", memory_mib=largest / 2**20)
    else:
        tally.problem(f"{attack}, {moment}", f"{problem}: {process.printed[:800]}")


def _problem(process: Process, case: Path, result: Path, before: dict[Path, str]) -> str | None:
    if process.code is None:
        process.kill()
        return "it hangs"
    errors = [line for line in process.printed.splitlines() if line.startswith("Error: ")]
    if process.code not in (0, 1, 3) or len(errors) != (process.code != 0) or "Traceback" in process.printed:
        return f"exit code {process.code}"
    if any("Unexpected " in line for line in errors):
        return "an unexpected error"
    if result.exists() != (process.code != 3):
        return f"exit code {process.code}, and the result {'is' if result.exists() else 'is not'} written"
    expected = {case / name for name in ("r.json", "p.h5")} if process.code != 3 else set()
    after = contents(case)
    others = {path.name for path, content in after.items() if path not in expected and before.get(path) != content}
    return f"files {others}" if others else None


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
