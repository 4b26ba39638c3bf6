"""The commands that campaigns kill, cut off and starve. They may be ended at any moment, and then be completed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from safetensors.numpy import load_file

from benchmarks.campaigns.commands import Commands
from benchmarks.campaigns.processes import Process, empty, prepare_processes
from qpibench.errors import InvalidDataError
from qpibench.evaluation.result_file import load_result
from qpibench.parsing import parse_json
from qpibench.release import open_release

IMAGES = (
    "mini", "--set", "grid.nx=16", "--set", "grid.ny=16", "--set", "grid.size_x_nm=2.5", "--set", "grid.size_y_nm=2.5",
    "--set", "observations_per_kernel=256", "--set", "scatterers.max=100", "--threads", "1",
)  # fmt: skip
"""Ten blocks of images."""

Run = Callable[..., None]
"""Runs a command to its end; raises an error if it fails."""

TRACK = """
summary = "cells of one release"

[every_cell]
specs = [{spec = "mini", set = ["seed=5"]}]
metrics = ["rel_l2_capped"]
primary = "rel_l2_capped"
view = "positions"
task = "id"

[cells.seen]

[cells.unseen]
task = "ood"

[cells.image]
view = "image"
"""
SUITE = """
summary = "three cells"
cells = ["track.toml"]
limit = 2
"""
FITTED = """
needs = "image"

class Model:
    def fit(self, train):
        self.kernel = train.kernels.mean(axis=0)

    def predict(self, batch):
        return self.kernel[None].repeat(len(batch), axis=0)
"""

BASELINES = Path(__file__).parents[2] / "baselines"
LONG_S = 1200.0
WRONG = "wrong"
PARTIAL = "partial"
_TIMES = ("predict_seconds", "prediction_run", "scoring_run")


@dataclass(frozen=True, kw_only=True)
class Job:
    """A command that writes.

    Attributes
    ----------
    name
        Its name in the figures.
    command
        Its arguments; ``{base}`` is the folder of the files that it reads, ``{folder}`` the folder of its outputs.
    again
        The arguments that complete it after it was ended.
    begin
        Prepares the folder of outputs.
    state
        Describes the outputs that a reader sees, from the folder of outputs: the same text for the same outputs.
    partly
        Whether outputs may be as described at the end of a command that was ended; a function of that description, of
        the description before the command, and of that of complete outputs.
    weight
        How often it is chosen.
    """

    name: str
    command: tuple[str, ...]
    again: tuple[str, ...]
    state: Callable[[Path], str]
    begin: Callable[[Path, Path], None] = lambda base, folder: None
    partly: Callable[[str, str, str], bool] = lambda now, before, complete: now in (before, complete, PARTIAL)
    weight: float = 1.0

    @property
    def resumes_blocks(self) -> bool:
        """Whether a command that failed leaves the hidden files from which ``generate --resume`` goes on."""
        return self.again[0] == "generate" and "--resume" in self.again


def find_baselines() -> None:
    """Let the processes that train import the modules of the shipped entries."""
    os.environ["PYTHONPATH"] = os.pathsep.join([str(BASELINES), *filter(None, [os.environ.get("PYTHONPATH")])])


def make_base(base: Path, run: Run) -> None:
    """Make the files that jobs read."""
    run("generate", *IMAGES, "-o", base / "images.h5")
    for number in (1, 2):
        run("generate", *IMAGES, "--shard", f"{number}/2", "-o", base / "shards")
    run("generate", "mini", "--set", "seed=5", "-o", base / "other.h5")
    (base / "results").mkdir()
    for limit, name in enumerate(("one", "two"), 2):
        predictions = base / f"{name}.h5"
        run("predict", "zeros", "--release", base / "images.h5", "--limit", limit, "-o", predictions)
        run("score", predictions, "--release", base / "images.h5", "--name", name, "-o", base / f"{name}.json")
    shutil.copy(base / "one.json", base / "results")
    run("leaderboard", "build", base / "results", "-o", base / "site")
    shutil.copy(base / "two.json", base / "results")
    shutil.copyfile(Path(__file__).with_name("trained.py"), base / "trained.py")
    for name, text in (("track.toml", TRACK), ("suite.toml", SUITE), ("fitted.py", FITTED)):
        (base / name).write_text(text, encoding="utf-8")


def jobs() -> tuple[Job, ...]:
    """All jobs."""
    generate = ("generate", *IMAGES, "-o", "{folder}/out.h5")
    shard = ("generate", *IMAGES, "--shard", "2/2", "-o", "{folder}")
    merge = ("merge", "{base}/shards", "-o", "{folder}/out.h5", "--threads", "1")
    train = ("train", "{base}/trained.py", "--release", "{base}/other.h5", "-o", "{folder}/run", "--quiet")
    evaluate = ("evaluate", "zeros", "--release", "{base}/images.h5", "--limit", "4", "-o", "{folder}/r.json",
                "--predictions", "{folder}/p.h5")  # fmt: skip
    suite = ("evaluate", "{base}/fitted.py", "--suite", "{base}/suite.toml", "--release", "{base}/other.h5",
             "--data", "{base}", "-o", "{folder}/r.json", "--predictions", "{folder}/p.h5")  # fmt: skip
    build = ("leaderboard", "build", "{base}/results", "-o", "{folder}/site")
    over = ("--overwrite",)

    def old_release(base: Path, folder: Path) -> None:
        shutil.copy(base / "other.h5", folder / "out.h5")

    def old_site(base: Path, folder: Path) -> None:
        shutil.copytree(base / "site", folder / "site")

    return (
        Job(name="generate", command=generate, again=(*generate, "--resume"), state=_release, weight=3),
        Job(
            name="generate, gzip", command=(*generate, "--compression", "gzip"),
            again=(*generate, "--compression", "gzip", "--resume"), state=_release,
        ),
        Job(
            name="generate over another", command=generate + over, again=(*generate, *over, "--resume"),
            state=_release, begin=old_release,
        ),
        Job(name="shard", command=shard, again=(*shard, "--resume"), state=_shard),
        Job(name="merge", command=merge, again=merge + over, state=_release, weight=2),
        Job(name="merge over another", command=merge + over, again=merge + over, state=_release, begin=old_release),
        Job(name="merge, virtual", command=(*merge, "--virtual"), again=(*merge, "--virtual", *over), state=_release),
        Job(name="train", command=train, again=(*train, "--resume"), state=_run, weight=2),
        Job(name="evaluate", command=evaluate, again=evaluate, state=_evaluation, weight=2),
        Job(name="evaluate a suite", command=suite, again=(*suite, "--resume"), state=_cells, partly=_some_parts),
        Job(name="leaderboard build", command=build, again=build, state=_site, partly=_some_parts),
        Job(
            name="leaderboard build over another", command=build, again=build, state=_site, partly=_some_parts,
            begin=old_site,
        ),
    )  # fmt: skip


@dataclass(frozen=True)
class Usual:
    """A job that nothing disturbs: its time in s, its outputs before and after, and their size in bytes."""

    seconds: float
    before: str
    after: str
    nbytes: int


class Jobs:
    """The jobs and their folders.

    Parameters
    ----------
    folder
        A folder for all files. Outputs are in ``case``.
    """

    def __init__(self, folder: Path) -> None:
        self.base, self.case = folder / "base", folder / "case"
        self.base.mkdir()
        self.case.mkdir()
        self._usual: dict[str, Usual] = {}
        find_baselines()
        prepare_processes(folder / "temporary")
        with Commands() as commands:

            def run(*words: object) -> None:
                ran = commands.run([str(word) for word in words])
                if ran.exit_code != 0:
                    raise RuntimeError(f"{words}: {ran.stderr}{ran.noise}")

            make_base(self.base, run)

    def choose(self, random: Random, *, without: str = "") -> Job:
        """Choose a job, but the one that is named."""
        known = [job for job in jobs() if job.name != without]
        return random.choices(known, [job.weight for job in known])[0]

    def begin(self, job: Job) -> None:
        """Empty the folder of outputs and prepare it for a job."""
        empty(self.case)
        job.begin(self.base, self.case)

    def start(self, words: Sequence[str], *, first: Callable[[], None] = lambda: None) -> Process:
        """Start a command of a job."""
        return Process([word.format(base=self.base, folder=self.case) for word in words], first=first)

    def usual(self, job: Job) -> Usual:
        """Run a job once without disturbing it."""
        if job.name not in self._usual:
            self.begin(job)
            before, began = job.state(self.case), time.monotonic()
            process = self.start(job.command)
            process.wait(LONG_S)
            if process.code != 0:
                raise RuntimeError(f"{job.name}: {process.code}: {process.printed}")
            seconds = time.monotonic() - began
            nbytes = sum(path.stat().st_size for path in self.case.rglob("*") if path.is_file())
            self._usual[job.name] = Usual(seconds, before, job.state(self.case), nbytes)
        return self._usual[job.name]

    def seen(self, job: Job, code: int | None) -> str | None:
        """What is wrong with the outputs of a job that ended with a code or was ended; None if nothing is.

        After code 0 they are complete.
        """
        now, usual = job.state(self.case), self.usual(job)
        if now != usual.after and (
            code == 0 or now.startswith(WRONG) or not job.partly(now, usual.before, usual.after)
        ):
            return f"the outputs are {now[:1000]}"
        return None

    def complete(self, job: Job) -> str | None:
        """Complete a job that was ended; return what is wrong with its outputs then, None if nothing is."""
        usual, last = self.usual(job), self.start(job.again)
        if not last.wait(LONG_S) or last.code != 0:
            last.kill()
            return f"exit code {last.code}: {last.printed}"
        if job.state(self.case) != usual.after:
            return f"the outputs are {job.state(self.case)[:1000]}"
        hidden = [str(path.relative_to(self.case)) for path in self.case.rglob(".*")]
        return last.left() or (f"left: {', '.join(hidden)}" if hidden else None)


def _release(folder: Path) -> str:
    path = folder / "out.h5"
    if not path.exists():
        return "nothing"
    try:
        with open_release(path) as release:
            release.check(*release.arrays)
            return release.content_sha256
    except InvalidDataError as error:
        return f"{WRONG}: {error}"


def _shard(folder: Path) -> str:
    from qpibench.release.shards import open_shard

    found = [path for path in folder.glob("*.h5") if not path.name.startswith(".")]
    try:
        return " ".join([open_shard(path).sha256 + " " + _sha256(path) for path in found]) or "nothing"
    except InvalidDataError as error:
        return f"{WRONG}: {error}"


def _run(folder: Path) -> str:
    """Losses and weights of a complete run; ``partial`` for one whose files are whole and agree with each other."""
    run = folder / "run"
    if not (run / "run.json").exists():
        return "nothing"
    try:
        record: Any = parse_json((run / "run.json").read_bytes(), "run.json")
        weights = run / "weights.safetensors"
        if weights.exists():
            load_file(weights)
        if record["status"] != "complete":
            return PARTIAL
        lines = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
        losses = [{key: value for key, value in line.items() if key != "seconds"} for line in lines]
        return f"{_text_sha256(json.dumps(losses))} {_sha256(weights)}"
    except Exception as error:  # whatever a file that is not whole raises
        return f"{WRONG}: {type(error).__name__}: {error}"


def _evaluation(folder: Path) -> str:
    """Scores of the result; predictions are written before it and may be there without it."""
    from qpibench.evaluation.predictions import open_predictions

    path, predictions = folder / "r.json", folder / "p.h5"
    try:
        if predictions.exists():
            with open_release(folder.parent / "base" / "images.h5") as release, open_predictions(predictions, release):
                pass
        if not path.exists():
            return PARTIAL if predictions.exists() else "nothing"
        cells = load_result(path).model_dump(mode="json")["cells"]
        return _text_sha256(json.dumps(_without_times(cells), sort_keys=True))
    except InvalidDataError as error:
        return f"{WRONG}: {error}"


def _cells(folder: Path) -> str:
    """Hashes of the scores of every cell of a result and of every file of predictions; cells are added one by one."""
    from qpibench.evaluation.predictions import open_predictions

    path, parts = folder / "r.json", {}
    try:
        for predictions in folder.glob("p*.h5"):
            release_path = folder.parent / "base" / "other.h5"
            with open_release(release_path) as release, open_predictions(predictions, release) as opened:
                parts[predictions.name] = opened.sha256()
        if path.exists():
            result = load_result(path).model_dump(mode="json")
            for name, cell in result["cells"].items():
                parts[name] = _text_sha256(json.dumps(_without_times(cell), sort_keys=True))
            if result["status"] == "complete":
                parts["status"] = result["status"]
        return json.dumps(parts, sort_keys=True) if parts else "nothing"
    except InvalidDataError as error:
        return f"{WRONG}: {error}"


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_times(each) for key, each in value.items() if key not in _TIMES}
    return [_without_times(each) for each in value] if isinstance(value, list) else value


def _site(folder: Path) -> str:
    """Names and hashes of the pages; while one site replaces another, each page is that of one of them."""
    site = folder / "site"
    pages = {
        str(path.relative_to(site)): _sha256(path)
        for path in sorted(site.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }
    return json.dumps(pages) if pages else "nothing"


def _some_parts(now: str, before: str, complete: str) -> bool:
    """Whether every page or cell is whole, be it one from before or one of the complete outputs."""
    parts, *wholes = ({} if each == "nothing" else json.loads(each) for each in (now, before, complete))
    return all(any(whole.get(name) == content for whole in wholes) for name, content in parts.items())


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _text_sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
