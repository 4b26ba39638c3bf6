"""Write docs/denoising.md and its plot from the comparisons on the board: ``python docs/denoising_page.py``.

``python -m benchmarks.denoising --data DIR -o docs/board/results/comparisons`` makes these comparisons.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qpibench.evaluation.paired import Comparison, PairedMetric
from qpibench.grid import Grid
from qpibench.maps import Channel, Maps, Source
from qpibench.maps.preparation import apply
from qpibench.maps.smoothing import box_weights, gaussian_weights
from qpibench.pages.notation import interval, number
from qpibench.tasks.track import load_track

DOCS = Path(__file__).parent
COMPARISONS = DOCS / "board" / "results" / "comparisons"
PICTURE = "images/denoising.png"

TRACK, CELL = "window20", "20dB"
FILTERS, STRENGTHS = ("gaussian", "median", "box"), ("light", "heavy")
PERIODS_NM = (1.0, 2.0, 3.0)

PAGE = """# Does denoising before the extraction help?

{answer}

Each entry gets the images of the cell [`{track}/{cell}`](tracks/{track}.md) as they are, and smoothed by each filter of
[`qpibench prepare`](preparation.md#denoising): Gaussian, median and box, light and heavy, with the radii of
arXiv:2506.05325. All scores are against the true kernel, without the filter. Nothing was tuned to the smoothed images.
{fewer}

The capped relative L2 error with, in brackets, its difference to the entry alone on the same images and the 95 %
interval of that difference:

{scores}
![Differences to the entry alone]({picture})

The MAE in the published convention, in the same way:

{published}
## Why

An image is a sum of kernels, so a linear filter replaces each kernel by the filtered kernel, and the entries extract
that one. The table has the standard deviation of white noise after each filter and the amplitude of ripples of three
periods, over those before. The periods of this track are {shortest:g} to {longest:g} nm, its pixels {pitch:.2f} nm.

{filters}
At 20 dB the noise is a tenth of the signal, so a filter takes more from the signal than there is noise. Extraction
averages noise as well, over all pixels at once and without a loss of ripples. A median filter has no such factors; it
lowers the extrema of ripples that are narrower than half of its square.

`polar` takes noise to be white, which it no longer is behind a filter. Of
its 95 % intervals 90 % hold without a filter, and 23 to 35 % with one, as the command below prints.

`one_step` had only 1,000 of the 144,000 steps of its recipe, so that its column says nothing about the method;
`two_step`, by the recipe of its authors' code, was trained to its end. Both learned from clean images of a field half
as wide, none of them filtered, and are far off here without a filter already.

This is one noise level and one size of pixels: a filter of the same radius takes less from ripples of more pixels.
Where a filtered map is extracted nevertheless, the kernel is that of the filtered map. Its standard deviation takes the
noise for independent from pixel to pixel, which it no longer is.

## Again

    python -m benchmarks.denoising --data qpibench-data -o docs/board/results/comparisons
    qpibench leaderboard build docs/board/results -o docs/board
    python docs/denoising_page.py

The first command evaluates the variants, such as `baselines/denoised.py:tikhonov_box_heavy`, by `qpibench evaluate`,
and compares each with its entry as `qpibench compare` does. It generates the release if the folder lacks it, and
continues where it was interrupted. [The board](board/index.html#comparisons) has the same comparisons.
"""


def found() -> dict[tuple[str, str, str], Comparison]:
    """The comparisons by entry, filter and strength, those with the least errors of the entry alone first."""
    comparisons = {}
    for path in sorted(COMPARISONS.glob("denoised-*.json")):
        entry, filter_name, strength = path.stem.removeprefix("denoised-").rsplit("_", 2)
        comparisons[entry, filter_name, strength] = Comparison.model_validate_json(path.read_text(encoding="utf-8"))
    return dict(sorted(comparisons.items(), key=lambda item: (_primary(item[1]).b, item[0])))


def page() -> str:
    """The text of docs/denoising.md."""
    comparisons, cell = found(), load_track(TRACK).cell(CELL)
    (spec,) = cell.specs
    shortest, longest = spec.kernels.wavelength_nm
    return PAGE.format(
        answer=_answer(comparisons),
        track=TRACK,
        cell=CELL,
        fewer=_fewer(comparisons),
        scores=_scores(comparisons, cell.primary),
        picture=PICTURE,
        published=_scores(comparisons, "mae_published"),
        shortest=shortest,
        longest=longest,
        pitch=spec.grid.pitch_x_nm,
        filters=_filters(spec.grid),
    )


def _primary(comparison: Comparison) -> PairedMetric:
    return _metric(comparison, load_track(TRACK).cell(CELL).primary)


def _metric(comparison: Comparison, name: str) -> PairedMetric:
    (task,) = comparison.tasks.values()
    return task.metrics[name]


def _answer(comparisons: Mapping[tuple[str, str, str], Comparison]) -> str:
    lower = [_primary(each).lower for each in comparisons.values()]
    *others, last = (f"`{entry}`" for entry in dict.fromkeys(entry for entry, *_ in comparisons))
    entries = f"{', '.join(others)} and {last}" if others else last
    worse, better, count = lower.count("B"), lower.count("A"), len(lower)
    if better:
        return f"It depends: of {count} denoised entries, {better} are better than without denoising and {worse} worse."
    rest = "" if worse == count else " For the others the interval of the difference holds 0."
    return (
        f"Not {entries}: of {count} pairs of entry and filter, {worse} have a larger error than the entry alone.{rest}"
        " Other entries have not been measured."
    )


def _fewer(comparisons: dict[tuple[str, str, str], Comparison]) -> str:
    """Say how many images the entries got."""
    images: dict[int, list[str]] = {}
    for (entry, *_), comparison in comparisons.items():
        (task,) = comparison.tasks.values()
        names = images.setdefault(task.n_images, [])
        names += [] if f"`{entry}`" in names else [f"`{entry}`"]
    counts = sorted(images, reverse=True)
    said = [
        f"{' and '.join(images[count])} have {count} of them, for the time that smoothed images take"
        for count in counts[1:]
    ]
    return f"There are {counts[0]} images" + "".join(f"; {each}" for each in said).replace("` have", "` has") + "."


def _scores(comparisons: dict[tuple[str, str, str], Comparison], metric: str) -> str:
    entries = list(dict.fromkeys(entry for entry, *_ in comparisons))
    alone = {entry: _metric(each, metric).b[0] for (entry, *_), each in comparisons.items()}
    rows = [("none", *(number(alone[entry]) for entry in entries))]
    for filter_name in FILTERS:
        for strength in STRENGTHS:
            cells = (_difference(comparisons.get((entry, filter_name, strength)), metric) for entry in entries)
            rows.append((f"{filter_name}, {strength}", *cells))
    return _table(("denoising", *(f"`{entry}`" for entry in entries)), rows)


def _difference(comparison: Comparison | None, metric: str) -> str:
    if comparison is None:
        return "not measured"
    paired = _metric(comparison, metric)
    value, bounds = interval(paired.difference)
    return f"{number(paired.a[0])} ({'+' if paired.difference.value > 0 else ''}{value} {bounds})"


def _filters(grid: Grid) -> str:
    """What the filters leave of noise and ripples."""
    rows = []
    for name in FILTERS:
        for strength in STRENGTHS:
            size = _size(grid, name, strength)
            weights = {"gaussian": gaussian_weights, "box": box_weights}.get(name)
            if weights is None:
                rows.append((f"{name}, {strength}", f"{size:g} x {size:g} pixels", *("–" for _ in (0, *PERIODS_NM))))
            else:
                left = _left(weights(size), grid.pitch_x_nm)
                rows.append((f"{name}, {strength}", f"R = {size:g} pixels", *(f"{value:.2f}" for value in left)))
    head = ("denoising", "size", "noise", *(f"ripples of {period:g} nm" for period in PERIODS_NM))
    return _table(head, rows)


def _size(grid: Grid, name: str, strength: str) -> float:
    """Radius or size of a filter in pixels, as the step itself says."""
    channel = Channel(name="z", unit="", values=np.zeros(grid.shape))
    maps = Maps(grid=grid, channels=(channel,), source=Source(file="zeros", format="array", sha256=""))
    (size,) = apply(maps, name, strength=strength).steps[-1].found.values()
    return float(size)


def _left(weights: NDArray[np.float64], pitch_nm: float) -> list[float]:
    """Standard deviation of white noise, and amplitude of plane ripples of each period, over those before a filter."""
    weights = weights / weights.sum()
    place = pitch_nm * (np.arange(len(weights)) - len(weights) // 2)
    ripples = (abs(weights @ np.cos(2 * np.pi / period * place)) for period in PERIODS_NM)
    return [float(np.sum(weights**2)), *map(float, ripples)]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, ["---"] * len(head), *rows))


def draw() -> bytes:
    """PNG of the differences to the entry alone, entry by entry."""
    from qpibench.pages.plotting import file_content, own_style

    # isort: split
    from matplotlib.figure import Figure

    comparisons = found()
    entries = list(dict.fromkeys(entry for entry, *_ in comparisons))
    colours = dict(zip(FILTERS, ("#0072b2", "#d55e00", "#009e73"), strict=True))
    style = {"font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "font.size": 8, "axes.linewidth": 0.6}
    with own_style(style):
        figure = Figure(figsize=(7, 2.9), dpi=100, layout="constrained")
        axes = figure.add_subplot()
        for number_, (filter_name, strength) in enumerate((f, s) for f in FILTERS for s in STRENGTHS):
            named = [(place, comparisons.get((entry, filter_name, strength))) for place, entry in enumerate(entries)]
            known = [(place, _primary(each).difference) for place, each in named if each is not None]
            value = np.array([difference.value for _, difference in known])
            ends = np.array([[d.value - d.low, d.high - d.value] for _, d in known]).reshape(-1, 2).T
            axes.errorbar(
                [place + 0.12 * (number_ - 2.5) for place, _ in known],
                value,
                yerr=ends,
                fmt="o" if strength == "light" else "s",
                color=colours[filter_name],
                markerfacecolor="white" if strength == "light" else colours[filter_name],
                markersize=4,
                linewidth=1,
                label=f"{filter_name}, {strength}",
            )
        axes.axhline(0, color="black", linewidth=0.6)
        axes.set_xticks(range(len(entries)), entries)
        axes.set_ylabel("relative L2 (capped): denoised − alone")
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
        axes.grid(axis="y", linewidth=0.3)
        axes.set_axisbelow(True)
        figure.legend(loc="outside right upper", frameon=False)
        return file_content(figure, "png", dpi=100)


if __name__ == "__main__":
    if not any(COMPARISONS.glob("denoised-*.json")):
        sys.exit(f"There are no comparisons in {COMPARISONS}; python -m benchmarks.denoising makes them.")
    (DOCS / "denoising.md").write_text(page(), encoding="utf-8")
    (DOCS / PICTURE).write_bytes(draw())
