"""Hold the score without a true kernel against true errors: ``python -m benchmarks.held_out_rank``.

Images are drawn like those of the cell ``instrument/chain``, with another seed. Each is extracted by several entries,
once whole for the true error (relative L2 outside the core, up to scale and small shift) and once in folds for the
score on pixels that were held out (:mod:`qpibench.extraction.held_out`). The rank correlation over entries (Spearman)
is 1 for an image whose entries the score orders as the true error does. Its mean over images has a 95 % interval by
bootstrap over images.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import machine, sentence
from qpibench.errors import InvalidDataError, QpibenchError
from qpibench.evaluation.facts import facts_of
from qpibench.evaluation.metrics import Case
from qpibench.evaluation.metrics.rescaled_l2 import relative_l2_rescaled
from qpibench.extraction import extract
from qpibench.extraction.held_out import held_out_score
from qpibench.files import write_whole
from qpibench.grid import Grid
from qpibench.release import open_release, write_release
from qpibench.specs import ReleaseSpec
from qpibench.synthesis import get_backend
from qpibench.tasks.track import load_track

Values = NDArray[np.float64]

SEED = 20261129
"""Seed of the draws, which is none of a track."""

IMAGES = 6
"""Images of each spec of the cell."""

ENTRIES = ("polar", "tikhonov", "wiener", "multi_atom")

_RESAMPLES = 4000


class Drawn(NamedTuple):
    """An image with its true kernel, told positions, and what its error needs."""

    spec: str
    grid: Grid
    image: Values
    truth: Values
    position_nm: Values
    core_nm: float
    shift_nm: float


def drawn(images: int) -> Iterator[Drawn]:
    """Draw images of every spec of the cell."""
    backend, _ = get_backend("cpu")
    for number, spec in enumerate(load_track("instrument").cell("chain").specs):
        fields = spec.model_dump(mode="json", exclude_none=True) | {"seed": SEED + number}
        fields["kernels"] |= {"count": images}
        own = ReleaseSpec.model_validate(fields)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "release.h5"
            write_release(own, path, backend=backend)
            with open_release(path) as release:
                facts, rows = facts_of(release), np.arange(images)
                told = release.told_position_nm(rows)
                for row, image in zip(rows, release.image(rows), strict=True):
                    places = told[row]
                    kernel = int(release.observation_kernel[row])
                    yield Drawn(
                        spec=spec.name,
                        grid=own.grid,
                        image=image.astype(np.float64),
                        truth=np.asarray(release.kernels.image[kernel], dtype=np.float64),
                        position_nm=places[np.isfinite(places).all(axis=1)],
                        core_nm=facts.core_nm,
                        shift_nm=facts.shift_nm,
                    )


def measure(one: Drawn, entry: str) -> dict[str, Any]:
    """The true error of an entry and its score on held-out pixels; None where it has no kernel."""
    size = (one.grid.size_y_nm, one.grid.size_x_nm)
    image = one.image - one.image.mean()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            kernel = extract(image, one.position_nm, size, entry, beyond_edge=True).kernel
            score = held_out_score(image, one.position_nm, size, entry, beyond_edge=True)
    except InvalidDataError:
        return {"entry": entry, "error": None, "score": None}
    case = Case(
        grid=one.grid, prediction=kernel[None], truth=one.truth[None], core_nm=one.core_nm, shift_nm=one.shift_nm
    )
    return {"entry": entry, "error": float(relative_l2_rescaled(case)[0]), "score": score.score}


def correlation(rows: Sequence[dict[str, Any]]) -> float:
    """Spearman's rank correlation of scores and errors of one image; NaN for fewer than three entries."""
    from scipy.stats import spearmanr

    known = [row for row in rows if row["score"] is not None]
    if len(known) < 3:
        return float("nan")
    return float(spearmanr([row["score"] for row in known], [row["error"] for row in known]).statistic)


def summarised(images: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean rank correlation with its interval, the share of images whose best entry the score finds, and by spec."""
    values = np.array([image["correlation"] for image in images])
    values = values[np.isfinite(values)]
    best = []
    for image in images:
        known = [row for row in image["entries"] if row["score"] is not None]
        if known:
            by_score, by_error = (min(known, key=lambda row: row[name])["entry"] for name in ("score", "error"))
            best.append(by_score == by_error)
    drawn_means = values[np.random.default_rng(0).integers(len(values), size=(_RESAMPLES, len(values)))].mean(axis=1)
    specs = sorted({image["spec"] for image in images})
    return {
        "images": len(images),
        "correlation": float(values.mean()),
        "interval": [float(end) for end in np.quantile(drawn_means, [0.025, 0.975])],
        "best_entry_found": float(np.mean(best)),
        "by_spec": {
            spec: float(np.nanmean([image["correlation"] for image in images if image["spec"] == spec]))
            for spec in specs
        },
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table and write the figures; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.held_out_rank", description=__doc__)
    parser.add_argument("--images", type=int, default=IMAGES, help="images of each spec")
    parser.add_argument("--entries", nargs="+", default=list(ENTRIES))
    parser.add_argument("-o", "--output", type=Path, help="JSON file of the figures")
    asked = parser.parse_args(arguments)
    found: list[dict[str, Any]] = []
    try:
        for one in drawn(asked.images):
            rows = [measure(one, entry) for entry in asked.entries]
            found.append({"spec": one.spec, "correlation": correlation(rows), "entries": rows})
            told = "  ".join(
                f"{row['entry']} -" if row["score"] is None else f"{row['entry']} {row['error']:.3f}/{row['score']:.2f}"
                for row in rows
            )
            print(f"{one.spec}  {found[-1]['correlation']:+.2f}  {told}", flush=True)
        summary = summarised(found)
        print("\n".join(f"{name}: {value}" for name, value in summary.items()))
        print(sentence(machine()))
        if asked.output is not None:
            content = json.dumps({"summary": summary, "images": found}, indent=1)
            write_whole(asked.output, f"{content}\n".encode(), what="File of figures")
    except QpibenchError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
