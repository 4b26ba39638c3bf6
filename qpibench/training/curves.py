"""Figure of a training log: losses and validation errors against the steps, one panel per stage."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qpibench.errors import InvalidDataError
from qpibench.files import write_whole
from qpibench.parsing import parse_json

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SHOWN = 60
"""Greatest number of points of the curve that shows the mean of a loss."""

_APART = frozenset({"stage", "step", "learning_rate", "seconds", "validation"})


def draw_curves(log: Path, picture: Path) -> None:
    """Draw a training log as a PNG: one panel per stage, with its losses and its validation errors.

    A thin curve shows a loss of every logged step, a thick curve its mean over blocks of steps. A line of the log that
    was cut off is skipped.

    Parameters
    ----------
    log
        File with one JSON object per line, ``{"stage", "step", "loss", ...}`` or ``{"stage", "step", "validation"}``.
        Other numbers except ``learning_rate`` and ``seconds`` are drawn as parts of the loss. If the file is missing or
        empty, nothing is drawn.
    picture
        The PNG file.

    Raises
    ------
    UsageError
        If the folder is missing or cannot be written to.
    QpibenchError
        If writing fails, as on a full disk.
    """
    from qpibench.pages.plotting import file_content, own_style

    # isort: split
    from matplotlib.figure import Figure

    stages = _curves(_lines(log))
    if not stages:
        return
    with own_style({}):
        figure = Figure(figsize=(6.4 * len(stages), 4.2), dpi=120, layout="constrained")
        panels = figure.subplots(1, len(stages), squeeze=False)[0]
        for axes, (stage, curves) in zip(panels, stages.items(), strict=True):
            _draw(axes, stage, curves)
        content = file_content(figure, "png")
    write_whole(picture, content, what="Picture")


Curve = list[tuple[int, float]]


def _lines(log: Path) -> Iterator[dict[str, Any]]:
    try:
        texts = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for text in texts:
        try:
            line = parse_json(text, "The line")
        except InvalidDataError:
            continue
        if isinstance(line, dict) and isinstance(line.get("step"), int):
            yield line


def _curves(lines: Iterator[dict[str, Any]]) -> dict[str, dict[str, Curve]]:
    """Return the points of the curves by stage and by name, in the order in which they appear."""
    stages: dict[str, dict[str, Curve]] = {}
    for line in lines:
        curves = stages.setdefault(str(line.get("stage", "")), {})
        for name, value in line.items():
            shown = name == "validation" or name not in _APART
            if shown and isinstance(value, (int, float)) and not isinstance(value, bool):
                curves.setdefault(name, []).append((line["step"], float(value)))
    return stages


def _draw(axes: Axes, stage: str, curves: dict[str, Curve]) -> None:
    from matplotlib.ticker import MaxNLocator

    # The loss is drawn before its parts, the validation above both.
    names = sorted(curves, key=lambda name: (name == "validation", name != "loss"))
    parts = iter(["C2", "C3", "C4", "C5", "C6", "C8", "C9"] * len(names))
    for name in names:
        step, value = _arrays(curves[name])
        if name == "validation":
            axes.plot(step, value, "o-", color="black", markersize=3.5, linewidth=1.2, label=name, zorder=4)
            best = int(np.argmin(np.where(np.isnan(value), np.inf, value)))
            label = f"best: {value[best]:.4g} at step {int(step[best]):,}"
            axes.plot(step[best], value[best], "o", color="C1", markersize=8, markeredgecolor="black", label=label)
            continue
        colour = "C0" if name == "loss" else next(parts)
        mean_step, mean = _block_means(step, value)
        axes.plot(step, value, color=colour, linewidth=0.6, alpha=0.3)
        axes.plot(mean_step, mean, color=colour, linewidth=1.6, label=name)
    axes.set_yscale("log", nonpositive="mask")
    axes.set(title=stage, xlabel="step of the stage", ylabel="loss, validation error")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.grid(which="major", color="0.88", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.legend(fontsize="small")


def _arrays(curve: Sequence[tuple[int, float]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    step, value = np.array(curve, dtype=np.float64).T
    return step, np.where(value > 0, value, np.nan)


def _block_means(
    step: NDArray[np.float64], value: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    starts = np.arange(0, len(step), -(-len(step) // _SHOWN))
    size = np.diff(np.append(starts, len(step)))
    return np.add.reduceat(step, starts) / size, np.add.reduceat(value, starts) / size
