"""Ask if denoising helps: ``python -m benchmarks.denoising --data DIR -o docs/board/results/comparisons``.

Entries are evaluated on the cell ``window20/20dB`` as they are and behind each denoising of arXiv:2506.05325: Gaussian,
median and box filter, light and heavy (``baselines/denoised.py``). Each denoised entry is compared with the entry alone
on the same images. Each comparison is a file of the output folder, as ``qpibench compare --json`` writes it, and stands
on the board that ``qpibench leaderboard build`` makes.

Predictions and results are kept in the folder of ``--work``, and the same command continues an interrupted run there.
``polar`` takes 2 to 12 times longer for smoothed images, so it gets the first images of the cell only.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from baselines.denoised import ENTRIES, VARIANTS
from benchmarks.commands import Commands
from qpibench.cli.table import aligned
from qpibench.errors import QpibenchError
from qpibench.evaluation.paired import Comparison, compare
from qpibench.evaluation.result import CellResult
from qpibench.evaluation.result_file import load_result
from qpibench.files import make_folder, write_whole
from qpibench.locator import locate
from qpibench.pages.notation import interval
from qpibench.release import Release
from qpibench.release.store import stored_releases
from qpibench.synthesis import get_backend
from qpibench.tasks.track import load_track

TRACK, CELL = "window20", "20dB"

IMAGES = {"polar": 20}
"""Images for entries that take too long for all of the cell."""

LIMIT_S = 600
"""Time for a batch: far above what an image takes, as a machine that does other work must not make images fail."""


def evaluated(
    name: str, model: str, limit: int | None, data: Path, work: Path, qpibench: Commands
) -> tuple[Path, CellResult]:
    """Evaluate a model on the cell unless that was done; its predictions and scores."""
    named = name if limit is None else f"{name}-{limit}"
    result, predictions = work / "results" / f"{named}.json", work / "predictions" / f"{named}.h5"
    command = ["evaluate", model, "--track", f"{TRACK}/{CELL}", "--data", str(data), "-o", str(result)]
    command += ["--predictions", str(predictions), "--time-limit", str(LIMIT_S), "--resume"]
    qpibench(command if limit is None else [*command, "--limit", str(limit)])
    (cell,) = load_result(result).cells.values()
    return predictions, cell


def run(
    entries: Sequence[str], *, limit: int | None, data: Path, work: Path, output: Path
) -> Iterator[tuple[str, CellResult, Comparison | None]]:
    """Evaluate entries alone and denoised, and write a comparison for each of these; names, scores, comparisons."""
    for folder in (work / "results", work / "predictions", output):
        make_folder(folder)
    with Commands(1, threads=1) as qpibench:
        for entry in entries:
            asked = IMAGES.get(entry) if limit is None else limit
            alone, cell = evaluated(entry, entry, asked, data, work, qpibench)
            yield entry, cell, None
            for name in (name for name, (first, *_) in VARIANTS.items() if first == entry):
                model = f"{locate('baselines') / 'denoised.py'}:{name}"
                predictions, cell = evaluated(name, model, asked, data, work, qpibench)
                with _release(data) as release:
                    comparison = compare([predictions], [alone], release)
                content = f"{comparison.model_dump_json(indent=2)}\n".encode()
                write_whole(output / f"denoised-{name}.json", content, what="Comparison")
                yield name, cell, comparison


def _release(data: Path) -> Release:
    """The release of the cell, which the evaluations have made if it was missing."""
    (spec,) = load_track(TRACK).cell(CELL).specs
    (release,) = stored_releases([spec], data, backend=get_backend("cpu")[0]).values()
    return release


def row(name: str, cell: CellResult, comparison: Comparison | None) -> list[str]:
    """A row of the printed table: score, its difference to that of the entry alone, and coverage where it is known."""
    difference = ""
    if comparison is not None:
        (task,) = comparison.tasks.values()
        difference = " ".join(interval(task.metrics[cell.primary].difference))
    covered = cell.metrics.get("coverage_95")
    score = " ".join(interval(cell.metrics[cell.primary]))
    return [name, str(cell.n_images), score, difference, "" if covered is None else " ".join(interval(covered))]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks, print a table and write the comparisons; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.denoising", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of releases; missing ones are generated")
    parser.add_argument("--entries", nargs="+", choices=ENTRIES, default=ENTRIES)
    parser.add_argument("--limit", type=int, help=f"images; without it {IMAGES}, and all of the cell for the others")
    parser.add_argument("--work", type=Path, default=Path("denoising"), help="folder of predictions and results")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the comparisons")
    asked = parser.parse_args(arguments)
    rows = [["entry", "images", load_track(TRACK).cell(CELL).primary, "difference", "coverage of 95 %"]]
    try:
        for found in run(asked.entries, limit=asked.limit, data=asked.data, work=asked.work, output=asked.output):
            rows.append(row(*found))
            print(*rows[-1], sep="  ", file=sys.stderr, flush=True)
    except QpibenchError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    print(aligned(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
