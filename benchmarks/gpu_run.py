"""Training and evaluation of the arms of ``make gpu-train``."""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from benchmarks.arms import Arm, chosen
from benchmarks.gpu_output import Clock, Output, Request, device_name, is_readable, read_json, scores
from benchmarks.pace import Pace
from qpibench.errors import QpibenchError

if TYPE_CHECKING:
    from qpibench.training import RunRecord


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the queue; the exit code is 4 if there is no GPU, and 1 if an arm failed or could not be evaluated."""
    texts = list(sys.argv[1:] if arguments is None else arguments)
    request, started = _parse(texts)
    clock = Clock(request.budget, started)
    for folder in ("runs", "results"):
        (request.work / folder).mkdir(parents=True, exist_ok=True)
    making = None if request.release.exists() else _generate(request)
    clock.say(f"Release '{request.spec}' is {'there' if making is None else 'being made'}; torch starts.")
    import torch

    if not (request.cpu or torch.cuda.is_available()):
        if making is not None:
            making.terminate()
        print(f"Error: PyTorch {torch.__version__} finds no CUDA device; --cpu rehearses without.", file=sys.stderr)
        return 4
    _find_entries()
    clock.say(f"{device_name(request)}, PyTorch {torch.__version__}, is ready.")
    if making is not None and making.wait():
        print(f"Error: release '{request.spec}' could not be made.", file=sys.stderr)
        return 1
    clock.say("The release is ready; training begins.")
    return _run(request, clock, texts)


def _run(request: Request, clock: Clock, texts: Sequence[str]) -> int:
    output, pace, threads = Output(request, clock), Pace(), []
    for arm in chosen(request.arms):
        try:
            trained = train_arm(arm, request, clock, output, pace)
        except Exception as error:
            # Saved checkpoints remain. If the device or this program failed, the queue may run without CUDA graphs.
            first = str(error).strip().partition("\n")[0]
            output.note(f"{arm.name} failed: {type(error).__name__}: {first}")
            output.put(arm, status="failed", traceback=traceback.format_exc())
            if not (request.eager or request.cpu or isinstance(error, QpibenchError)):
                for thread in threads:
                    thread.join()
                clock.say("The queue begins anew without CUDA graphs.")
                again = [*texts, "--eager", "--started", str(clock.started)]
                os.execv(sys.executable, [sys.executable, "-m", "benchmarks.gpu_train", *again])
            continue
        if trained:
            threads.append(Thread(target=evaluate_arm, args=(arm, request, clock, output)))
            threads[-1].start()
    for thread in threads:
        thread.join()
    output.write()
    clock.say(f"The queue has ended; what came out is in '{request.output}'.")
    return int(bool(output.notes))


def train_arm(arm: Arm, request: Request, clock: Clock, output: Output, pace: Pace) -> bool:
    """Train an arm as far as the time allows; return whether there is a run to evaluate."""
    from learned.device import make_accelerator
    from learned.lanes import fit_lanes
    from learned.loop import plan_of
    from learned.precision import choose_precision

    from qpibench.training import load_run

    name = arm.name
    folders = [request.folder(arm, seed) for seed in request.seeds]
    begun = [load_run(folder) for folder in folders if (folder / "run.json").exists()]
    if len(begun) == len(folders) and all(run.status == "complete" for run in begun):
        output.put(arm, status=_status(begun))
        return not all(
            _is_scored(request.result(arm, seed), run) for seed, run in zip(request.seeds, begun, strict=True)
        )
    if clock.left <= 0:
        output.put(arm, status=_status(begun))
        clock.say(f"{name} is not begun: the time is over.")
        return False
    train = importlib.import_module(arm.entry).train
    plans = [plan_of(train, _request_of(arm, seed, request, clock)) for seed in request.seeds]
    steps = min(request.steps or plans[0].steps_stated, plans[0].steps_stated)
    todo = steps - min((run.steps_done for run in begun), default=0)
    needed = pace.seconds(arm, todo)
    if needed > clock.left:
        output.put(arm, status=_status(begun), needed_s=round(needed))
        clock.say(f"{name} is not begun: it would take {needed:.0f} s, and {clock.left:.0f} s are left.")
        return False
    clock.say(f"{name}, {len(plans)} seed(s), {todo:,} steps: begins, {clock.left:.0f} s are left.")
    began = time.monotonic()
    done_before = sum(run.steps_done for run in begun) / len(plans)
    failures = fit_lanes(plans, make_accelerator(choose_precision(plans[0].run).mode), graph=not request.eager)
    seconds = time.monotonic() - began
    runs = [load_run(folder) for folder in folders]
    done = sum(run.steps_done for run in runs) / len(runs)
    pace.learn(arm, seconds, round(done - done_before))
    status = _status(runs)
    for seed, failure in zip(request.seeds, failures, strict=True):
        if failure is not None:
            output.note(f"{name}-{seed}: {failure}")
            status = "failed"
    ms = 1e3 * seconds / max(done - done_before, 1)
    clock.say(f"{name}: {status}, {done:,.0f} steps in {seconds:.1f} s, {ms:.2f} ms a step of all seeds.")
    output.put(arm, status=status, seconds=round(seconds, 2), ms_per_step=round(ms, 4), steps_done=round(done))
    return done > 0


def evaluate_arm(arm: Arm, request: Request, clock: Clock, output: Output) -> None:
    """Evaluate all runs of an arm, each in its own process, and write the results."""
    from qpibench.processors import processors

    share = str(max(1, processors() // (len(request.seeds) + 1)))
    environment = os.environ | {"OMP_NUM_THREADS": share, "NUMBA_NUM_THREADS": share}
    if request.cpu:
        environment["CUDA_VISIBLE_DEVICES"] = ""
    limit = [] if request.limit is None else ["--limit", str(request.limit)]
    running = {}
    for seed in request.seeds:
        if not (request.folder(arm, seed) / "weights.safetensors").exists():
            continue
        command = ["evaluate", str(request.folder(arm, seed)), "--release", str(request.release)]
        command += ["--track", request.track or arm.track, "--quiet", "--json"]
        command += ["-o", str(request.result(arm, seed)), *limit]
        running[seed] = subprocess.Popen(_qpibench(command), env=environment, stdout=subprocess.DEVNULL)
    for seed, process in running.items():
        code = process.wait()
        if code:
            output.note(f"{arm.name}-{seed} could not be evaluated: exit code {code}.")
        else:
            told = _told(read_json(request.result(arm, seed)))
            clock.say(f"{arm.name}-{seed}: {told}")
        output.write()


def _request_of(arm: Arm, seed: int, request: Request, clock: Clock) -> Any:
    from qpibench.locator import locate
    from qpibench.specs import load_spec
    from qpibench.training import TrainingRun
    from qpibench.training.request import parse_options

    folder = request.folder(arm, seed)
    source: dict[str, Any] = {"spec": load_spec(request.spec)} if arm.stream else {"release_path": request.release}
    return TrainingRun(
        entry=arm.entry,
        entry_path=locate("baselines") / f"{arm.entry}.py",
        folder=folder,
        preset=request.preset,
        recipe=arm.recipe,
        options=parse_options(arm.settings),
        seed=seed,
        resume=(folder / "run.json").exists(),
        max_seconds=clock.left,
        steps=request.steps,
        precision=request.precision,
        **source,
    )


def _generate(request: Request) -> subprocess.Popen[bytes]:
    made = ["generate", request.spec, "-o", str(request.release), "--resume", "--quiet"]
    return subprocess.Popen(_qpibench([*made, *(["--backend", "cpu"] if request.cpu else [])]))


def _qpibench(arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "qpibench.cli.main", *arguments]


def _find_entries() -> None:
    """Put the entries' folder on the path, and import their packages while the release is being made."""
    from qpibench.locator import locate

    if str(locate("baselines")) not in sys.path:
        sys.path.insert(0, str(locate("baselines")))
    for entry in ("one_step", "two_step"):
        importlib.import_module(entry)
    # The curves repeat the log, and the device would wait at every checkpoint while they are drawn.
    importlib.import_module("learned.run_writer").draw_curves = lambda log, picture: None


def _status(runs: Sequence[RunRecord]) -> str:
    """Return "complete", or the share of the stated steps that the slowest run has done."""
    if not runs:
        return "not begun"
    least = min(run.fraction for run in runs)
    return "complete" if least >= 1 else f"partial {100 * least:.1f} %"


def _is_scored(result: Path, run: RunRecord) -> bool:
    """Return whether a result was made with the run's present weights."""
    return is_readable(result) and run.weights_sha256 in read_json(result)["model"]["weights"].values()


def _told(result: dict[str, Any]) -> str:
    return ", ".join(
        f"{cell} MAE (published convention) {metrics.get('mae_published', float('nan')):.4f}"
        for cell, metrics in scores(result).items()
    )


def _parse(texts: Sequence[str]) -> tuple[Request, float | None]:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu_train", description="Train the published methods on a GPU."
    )
    names = [arm.name for arm in chosen(None)]
    parser.add_argument("--budget", type=float, default=420.0, help="seconds of all, evaluation included (420)")
    parser.add_argument("--spec", default="paper", help="a named spec (paper)")
    parser.add_argument("--preset", default="compact")
    parser.add_argument("--precision", default=None, choices=["no", "bf16", "tf32"], help="tf32; on a CPU no")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="trained together")
    parser.add_argument("--arms", nargs="+", choices=names, metavar="ARM", help=f"some of {', '.join(names)}")
    parser.add_argument("--steps", type=int, help="of every run, for a rehearsal")
    parser.add_argument("--track", help="a track of that spec; without it, that of each arm")
    parser.add_argument("--limit", type=int, help="images of each cell; without it, the cell's own number")
    parser.add_argument("--cpu", action="store_true", help="rehearse without a GPU")
    parser.add_argument("--eager", action="store_true", help="without CUDA graphs")
    parser.add_argument("--work", type=Path, default=Path("build/gpu-train"), help="run folders and the release")
    parser.add_argument("-o", "--output", type=Path, default=Path(os.environ.get("OUT") or "gpu-train"))
    parser.add_argument("--started", type=float, help=argparse.SUPPRESS)
    options = vars(parser.parse_args(texts))
    started = options.pop("started")
    options["precision"] = options["precision"] or ("no" if options["cpu"] else "tf32")
    options["seeds"] = tuple(options["seeds"])
    options["arms"] = None if options["arms"] is None else tuple(options["arms"])
    return Request(**options), started
