"""Write docs/tracks/microscope.md, its plot, and the figures of docs/microscope.md from docs/tracks/microscope.json.

``PYTHONPATH=. python docs/microscope_page.py``; ``python -m benchmarks.microscope`` makes the JSON file.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from benchmarks.drawn_stacks import CHANNEL, StackSpec
from benchmarks.machine import sentence
from benchmarks.microscope_figures import Figures, Goals, StackFound, Summary, read_figures, summarised
from qpibench.counting import counted
from qpibench.pages.notation import number

DOCS = Path(__file__).parent
FIGURES = DOCS / "tracks" / "microscope.json"
PICTURE = "images/microscope.png"

SHOWN = "polar"
"""The method whose figures stand in docs/microscope.md."""

BEGIN, END = "<!-- figures of the track -->\n", "<!-- end of the figures -->\n"

PAGE = """# Track `microscope`

Whole stacks through a microscope's file: are the bottom of the band and its mass right, and do their intervals hold?

This track is no part of the suite `v1`, has no cells, and is not run by `qpibench evaluate`. A suite scores kernels of
single images, which an entry gets as arrays. Here maps of {energies} energies go through a Nanonis file, its reader,
the extraction of every layer, the fit of the standing waves and that of the band. The score is that of the band, so it
is one of this whole way, to which the entry contributes the kernels only. Kernels of surface states are scored one by
one in the tracks [materials](materials.md) and [instrument](instrument.md).

## Protocol

Stack n is drawn with NumPy's generator of the seed (n, {seed}), n = 0, 1, 2 and so on. Ranges are uniform
distributions, drawn anew for each stack. The kernels are those of the family
[`surface_state`](../families.md#surface_state), in the ranges of Ag(111).

{protocol}
Positions are told to the method exactly, and all scatterers are alike. The map has no drift, no line noise, no slope,
no blur beyond that of the tip, and no effect of the set point, so it is easier than a measurement. Nothing may be tuned
on these stacks; `--seed` draws others. That intervals of m\\* were too narrow was first seen here, and by how much they
had to grow was found on stacks with other seeds (`COMMON` in `qpibench/physics/dispersion.py`).

What is scored:

- **E0 and m\\*** of the parabola through q squared, against those that were drawn. Goal: E0 within {e0_goal:g} meV and
  m\\* within {mass_goal} for at least {wanted} of {count} stacks.
- **Intervals**: the number of 95 % intervals of E0 and m\\* that hold the truth, and the share of wavevectors within
  one and 1.96 standard deviations of theirs. If intervals are right, at least {least} of {count} hold in {chance}
  of such measurements.
- **Kernels**: relative L2 error outside a core of {core:g} nm, the mean over {some} of the energies, and its ratio to
  the error of the same method on the same data without a file, in double precision. Goal: at most {ratio:g} for each
  stack.

A stack without a band counts as missed, and its intervals do not hold.

## Band

{reached}

{band}
Errors are absolute values, medians and maxima over the stacks. [classical.md](../classical.md) says what each method
assumes; `positive`, for one, finds no negative part of a kernel.

![Errors of E0 and m* of each stack]({picture})

## Intervals and kernels

{intervals}
{narrow}

{without_std}

The square of each standard deviation grows with chi squared where that is above 1, for q and again for the band, and
the interval of m\\* allows for a factor that all wavevectors share (`qpibench/physics/standing_waves.py`,
`dispersion.py`). So an interval holds where the errors of a method look like noise, and may not where they change
slowly with the energy.{notes}

## Again, and with another method

    python -m benchmarks.microscope -o docs/tracks/microscope.json
    python -m benchmarks.microscope --method two_step my_model.py -o docs/tracks/microscope.json
    PYTHONPATH=. python docs/microscope_page.py

`--method` takes what `qpibench extract --method` takes: entries by name, Python files, and run folders. An interrupted
run is continued by the same command. It keeps stacks that the same code has measured on the same machine, and the
figures of other methods. The third command makes this page from the JSON file.

Seconds are in the file, too. They were taken on a machine that did other work at the same time, so they are not shown
here. Measured on {machine}
"""

GUIDE = """For the [track microscope](tracks/microscope.md), {count} stacks like this one were drawn with other bands,
scatterers and phase shifts, at {energies} energies each, written as Nanonis grids, read back and extracted. With
`{method}`, E0 is within {e0_goal:g} meV and m\\* within {mass_goal} in {within} of them. The largest errors are {e0}
meV and {mass} %. The 95 % interval of E0 holds in {e0_held} of them, that of m\\* in {mass_held}. The page of the track
has the protocol, other methods, and the command.
"""


def figures() -> Figures:
    """The figures, with the methods in order of their stacks within the goals, and then of their median errors."""
    found = read_figures(FIGURES)
    methods = sorted(found.methods.items(), key=lambda item: _order(summarised(item[1].stacks, found.goals)))
    return found.model_copy(update={"methods": dict(methods)})


def _order(summary: Summary) -> tuple[float, ...]:
    errors = (np.inf if value is None else value for value in (summary.e0_error_mev, summary.mass_error))
    return (-summary.within / summary.count, *errors)


def page() -> str:
    """The text of docs/tracks/microscope.md."""
    found = figures()
    spec, goals = found.spec, found.goals
    summaries = {name: summarised(each.stacks, goals) for name, each in found.methods.items()}
    count = max(each.count for each in summaries.values())
    least, chance = _least_held(count)
    rows = [row for each in found.methods.values() for row in each.stacks]
    return PAGE.format(
        energies=spec.energies,
        seed=spec.seed,
        protocol=_protocol(spec, rows),
        e0_goal=goals.e0_mev,
        mass_goal=_percent(goals.mass),
        wanted=round(goals.stacks * count),
        count=count,
        least=least,
        chance=_percent(chance),
        core=spec.core_nm,
        some=len(range(0, spec.energies, spec.direct_every)),
        ratio=goals.relative_l2_ratio,
        reached=_reached(summaries, goals),
        band=_band(summaries),
        picture=PICTURE,
        intervals=_intervals(summaries),
        narrow=_narrow(summaries, least / count),
        without_std=_without_std(summaries),
        notes=_notes(found),
        machine=" ".join(dict.fromkeys(sentence(each.machine) for each in found.methods.values())),
    )


def guide(text: str) -> str:
    """docs/microscope.md with the figures of the track made again."""
    found = figures()
    summary = summarised(found.methods[SHOWN].stacks, found.goals)
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    said = GUIDE.format(
        count=summary.count,
        energies=found.spec.energies,
        method=SHOWN,
        e0_goal=found.goals.e0_mev,
        mass_goal=_percent(found.goals.mass),
        within=summary.within,
        e0=number(summary.largest_e0_error_mev or 0),
        mass=number(100 * (summary.largest_mass_error or 0)),
        e0_held=summary.e0_held,
        mass_held=summary.mass_held,
    )
    return before + BEGIN + said + END + after


def _protocol(spec: StackSpec, rows: Iterable[StackFound]) -> str:
    fields = [row.field_nm for row in rows]
    low, high = spec.above_e0_mev
    lines = (
        ("E0, m\\*", f"{_range(spec.e0_mev)} meV, {_range(spec.mass)} electron masses"),
        ("energies", f"{spec.energies}, equally spaced from E0 + {low:g} to E0 + {high:g} meV"),
        (
            "field",
            f"{spec.pixels} x {spec.pixels} points; a square that holds {spec.periods:g} periods of the ripples at the"
            f" energy in the middle, {min(fields):.1f} to {max(fields):.1f} nm",
        ),
        ("scatterers", f"{spec.scatterers}, uniform in the field, the same at all energies"),
        ("phase shift delta, part alpha that is not absorbed", f"{_range(spec.delta)} rad, {_range(spec.alpha)}"),
        ("linewidth", f"{_range(spec.linewidth_mev)} meV, the same at all energies"),
        ("tip", f"Gaussian, {spec.tip_fwhm_nm:g} nm full width at half maximum"),
        (
            "noise",
            f"white and Gaussian; in each layer {spec.snr_db:g} dB below the standard deviation of the noiseless layer",
        ),
        (
            "file",
            f"a Nanonis grid (`.3ds`) as the instrument writes it: big-endian single precision, channel `{CHANNEL}`,"
            f" bias in V. A kernel of 1 stands for {spec.signal_a:g} A, and `unit` is {spec.unit:g}",
        ),
        (
            "extraction",
            "`read_maps`, `extract_maps` and `find`, with their defaults, as `qpibench extract` calls them",
        ),
    )
    return _table(("what", "drawn or set"), lines)


def _range(ends: tuple[float, float]) -> str:
    return f"{ends[0]:g} to {ends[1]:g}"


def _least_held(count: int) -> tuple[int, float]:
    """The least number of 95 % intervals out of many that hold in at least 95 % of measurements, and in how many."""
    from scipy.stats import binom

    least = int(binom.ppf(0.05, count, 0.95))
    return least, float(binom.sf(least - 1, count, 0.95))


def _reached(summaries: dict[str, Summary], goals: Goals) -> str:
    good = [f"`{name}`" for name, each in summaries.items() if each.within >= goals.stacks * each.count - 1e-9]
    others = len(summaries) - len(good)
    said = f"The goal of the band is reached by {', '.join(good) or 'no method'}"
    said += f", and not by {counted(others, 'other method')}." if others and good else "."
    ratios = [each.largest_ratio for each in summaries.values() if each.largest_ratio is not None]
    high = sum(ratio > goals.relative_l2_ratio for ratio in ratios)
    return f"{said} That of the kernels is {'missed by ' + counted(high, 'method') if high else 'reached by all'}."


def _band(summaries: dict[str, Summary]) -> str:
    rows = (
        (
            f"`{name}`",
            f"{each.within} of {each.count}",
            f"{each.bands}",
            _pair(each.e0_error_mev, each.largest_e0_error_mev),
            _pair(each.mass_error, each.largest_mass_error, 100),
            _number(each.q_error, 100),
            f"{each.layers_used:.1f}",
        )
        for name, each in summaries.items()
    )
    head = (
        "method",
        "stacks within the goals",
        "stacks with a band",
        "error of E0: median, largest (meV)",
        "error of m\\*: median, largest (%)",
        "error of q: median (%)",
        "energies in the fit",
    )
    return _table(head, rows)


def _intervals(summaries: dict[str, Summary]) -> str:
    rows = (
        (
            f"`{name}`",
            f"{each.e0_held}, {each.mass_held} of {each.count}",
            _number(each.e0_wide_mev),
            _number(each.mass_wide, 100),
            _share(each.q_within_68),
            _share(each.q_within_95),
            "" if each.relative_l2 is None else f"{each.relative_l2:.3f}",
            "" if each.largest_ratio is None else f"{each.largest_ratio:.3f}",
        )
        for name, each in summaries.items()
    )
    head = (
        "method",
        "intervals of E0, m\\* that hold",
        "half width, E0 (meV)",
        "half width, m\\* (%)",
        "q within 1 standard deviation (68.3 %)",
        "within 1.96 (95 %)",
        "relative L2 of kernels",
        "over that without a file, at most",
    )
    return _table(head, rows)


def _narrow(summaries: dict[str, Summary], least: float) -> str:
    bad = [f"`{name}`" for name, each in summaries.items() if min(each.e0_held, each.mass_held) < least * each.count]
    if not bad:
        return "No method has intervals that are too narrow."
    return f"Intervals of E0, of m\\* or of both are too narrow with {', '.join(bad)}."


def _without_std(summaries: dict[str, Summary]) -> str:
    silent = [f"`{name}`" for name, each in summaries.items() if not each.states_std]
    if not silent:
        return "All of these methods state standard deviations of their kernels."
    return (
        f"{', '.join(silent)} {'states' if len(silent) == 1 else 'state'} no standard deviation of the kernel. There"
        " the standard deviation of q follows from what the fit of the standing waves leaves: chi squared over the"
        " degrees of freedom is set to 1. It has all in it that does not look like standing waves, and nothing of an"
        " error that does."
    )


def _notes(found: Figures) -> str:
    notes = ""
    if "refine" in found.methods:
        notes += "\n\n`refine` mends lists of scatterers; they are exact here, so it can gain little over `polar`."
    if trained := [f"`{name}`" for name, each in found.methods.items() if each.weights_sha256]:
        notes += (
            f"\n\n{', '.join(trained)} {'has' if len(trained) == 1 else 'have'} learned from images of eq. 7. The"
            " field is brought to the pixels of that training"
            " ([extraction.md](../extraction.md#networks-and-their-pixels))."
        )
    counts = {len(each.stacks) for each in found.methods.values()}
    if len(counts) > 1:
        notes += "\n\nA method with fewer stacks has the first ones."
    return notes


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _number(value: float | None, factor: float = 1) -> str:
    return "" if value is None else number(factor * value)


def _pair(value: float | None, largest: float | None, factor: float = 1) -> str:
    return "" if value is None else f"{_number(value, factor)}, {_number(largest, factor)}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, ["---"] * len(head), *rows))


def draw() -> bytes:
    """PNG of the errors of E0 and m* of each stack, method by method, with the goals."""
    from qpibench.pages.plotting import file_content, own_style

    # isort: split
    from matplotlib.figure import Figure

    found = figures()
    goals = found.goals
    style = {"font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "font.size": 8, "axes.linewidth": 0.6}
    with own_style(style):
        figure = Figure(figsize=(7, 2.9), dpi=100, layout="constrained")
        panels = (
            ("e0_error_mev", "error of E0 (meV)", goals.e0_mev, 1.0, f"goal: {goals.e0_mev:g} meV"),
            ("mass_error", "error of m* (%)", 100 * goals.mass, 100.0, f"goal: {_percent(goals.mass)}"),
        )
        for axes, (name, label, goal, factor, said) in zip(figure.subplots(1, 2), panels, strict=True):
            for place, method in enumerate(found.methods.values()):
                values = [factor * abs(v) for row in method.stacks if (v := getattr(row, name)) is not None]
                across = place + np.linspace(-0.3, 0.3, len(values))
                axes.plot(across, values, "o", color="#0072b2", markersize=2.5, markeredgewidth=0)
                if values:
                    middle = float(np.median(values))
                    axes.plot([place - 0.35, place + 0.35], [middle, middle], color="black", linewidth=1)
            axes.axhline(goal, color="#d55e00", linewidth=1, linestyle="--")
            axes.set_title(f"{said} (dashed)", loc="left", fontsize=8)
            axes.set_yscale("log")
            axes.set_xticks(range(len(found.methods)), [each.partition(" (")[0] for each in found.methods])
            axes.tick_params(axis="x", rotation=30)
            axes.set_ylabel(label)
            axes.grid(axis="y", linewidth=0.3)
            axes.set_axisbelow(True)
        return file_content(figure, "png", dpi=100)


if __name__ == "__main__":
    if not FIGURES.exists():
        sys.exit(f"There is no {FIGURES}; python -m benchmarks.microscope -o {FIGURES} makes it.")
    (DOCS / "tracks" / "microscope.md").write_text(page(), encoding="utf-8")
    (DOCS / "tracks" / PICTURE).write_bytes(draw())
    path = DOCS / "microscope.md"
    path.write_text(guide(path.read_text(encoding="utf-8")), encoding="utf-8")
