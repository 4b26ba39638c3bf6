"""Report of the kernels of a measurement: one self-contained HTML file, and its figures and numbers as files."""

from __future__ import annotations

import os
import re
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from qpibench import __version__
from qpibench.errors import UsageError
from qpibench.extraction.drawings import LayerDrawings, band_drawing, layer_drawings
from qpibench.extraction.explained import BACKGROUNDS
from qpibench.extraction.findings import Findings, LayerFindings, find
from qpibench.extraction.kernel_file import KernelFile
from qpibench.extraction.tables import tables
from qpibench.extraction.texts import band_text, with_interval, with_std
from qpibench.files import check_file, check_folder, make_folder, write_whole
from qpibench.maps.chosen import nearest_on_axis
from qpibench.pages.environment import page_environment
from qpibench.pages.notation import number, whole
from qpibench.pages.units import with_prefix
from qpibench.physics.standing_waves import LEAST_POINTS

SHOWN = 3
"""Layers of which a report has figures, at most; they are spread evenly over those with a kernel."""

_FIGURE_FILE = re.compile(r"(layer_\d+_\w+|band)\.(svg|png)|(layers|radial|angular|band|scatterers)\.csv")

_ON_PAGE = str.maketrans({"-": "\N{MINUS SIGN}"})


def write_report(
    content: KernelFile,
    path: str | Path,
    *,
    figures: str | Path | None = None,
    findings: Findings | None = None,
    energies_mev: Sequence[float] | None = None,
) -> None:
    """Write the report of kernels as one HTML file that loads no other file.

    Parameters
    ----------
    content
        The kernels, as :func:`~qpibench.extraction.kernel_file.read_kernel_file` returns them.
    path
        The HTML file to write; an existing one is replaced.
    figures
        Folder to which every figure is written as SVG and PNG, and every number as CSV; see
        :func:`qpibench.extraction.tables.tables`. Those of an earlier report are removed; other files stay. None: they
        are not written.
    findings
        What :func:`qpibench.extraction.findings.find` has found in these kernels, if it is known already.
    energies_mev
        Energies in meV: the nearest layers are shown. None: up to three layers, spread over those with a kernel.

    Raises
    ------
    UsageError
        If the file or the folder cannot be written there, or there is no layer or no kernel at an energy.
    InvalidDataError
        If energies are asked for and the axis of the kernels is no bias.
    QpibenchError
        If writing fails, as on a full disk.

    Examples
    --------
    >>> write_report(read_kernel_file("kernel.h5"), "kernel.html")  # doctest: +SKIP
    """
    path = Path(path)
    chosen = None if energies_mev is None else _at(content, energies_mev)
    check_file(path)
    if figures is not None:
        check_folder(figures)
    found = find(content) if findings is None else findings
    drawn = [(layer, layer_drawings(content, layer)) for layer in shown_layers(found, chosen)]
    write_whole(path, _render(content, found, drawn).encode(), what="Report")
    if figures is not None:
        _write_figures(content, found, drawn, Path(figures))


def cell_html(content: KernelFile) -> str:
    """Return kernels as a cell of a notebook shows them: a sentence, the middle layer or the band, and all layers."""
    found = find(content)
    layers = shown_layers(found)
    drawn = [(layer, layer_drawings(content, layer)) for layer in layers[len(layers) // 2 :][:1]]
    figures = [(drawing, "14rem") for _, of_layer in drawn for drawing in of_layer.maps[:4]]
    if found.band is not None:
        figures.append((band_drawing(found), "28rem"))
    return (
        page_environment("qpibench.extraction")
        .get_template("kernel_cell.html.j2")
        .render(
            channel=content.channel,
            file=content.source.file,
            method=content.kernels.method,
            summary=_summary(found, drawn) if drawn else "",
            failed=sum(bool(layer.failure) for layer in found.layers),
            count=len(found.layers),
            shown=_of_layer(found, drawn[0][0]) if drawn and found.axis else "",
            figures=[(each.title, width, b64encode(each.in_file("png")).decode()) for each, width in figures],
            axis=found.axis,
            columns=_columns(content, found),
            rows=_rows(content, found),
        )
    )


def figure_files(folder: str | Path) -> tuple[Path, ...]:
    """Return the files in a folder that have names of figures and numbers of a report."""
    folder = Path(folder)
    names = sorted(os.listdir(folder)) if folder.is_dir() else []
    return tuple(folder / name for name in names if _FIGURE_FILE.fullmatch(name))


def shown_layers(findings: Findings, chosen: Sequence[int] | None = None) -> tuple[LayerFindings, ...]:
    """Return the layers of which a report has figures: those of the chosen numbers, or some over all."""
    if chosen is not None:
        return tuple(findings.layers[number] for number in chosen)
    there = [layer for layer in findings.layers if not layer.failure]
    places = np.unique(np.rint(np.linspace(0, len(there) - 1, min(SHOWN, len(there)))).astype(int))
    return tuple(there[place] for place in places)


def _at(content: KernelFile, energies_mev: Sequence[float]) -> list[int]:
    """Numbers of the layers at energies, each of which has a kernel."""
    if content.axis is None:
        raise UsageError("These are kernels of a single map, so no energies can be chosen.")
    numbers: list[int] = nearest_on_axis(content.axis, energies_mev, "The file of kernels").tolist()
    for layer in numbers:
        if failure := content.kernels.failures[layer]:
            raise UsageError(f"Layer {layer} has no kernel to show: {failure}")
    return numbers


def _write_figures(
    content: KernelFile, findings: Findings, drawn: Sequence[tuple[LayerFindings, LayerDrawings]], folder: Path
) -> None:
    drawings = [drawing for _, of_layer in drawn for drawing in of_layer.all]
    if findings.has_dispersion:
        drawings.append(band_drawing(findings))
    files = {f"{drawing.name}.{kind}": drawing.in_file(kind) for drawing in drawings for kind in ("svg", "png")}
    files |= tables(findings, content.unit)
    make_folder(folder)
    earlier = [path for path in figure_files(folder) if path.name not in files]
    for path in (*(folder / name for name in files), *earlier):
        check_file(path)
    for name, written in files.items():
        write_whole(folder / name, written, what="Figure")
    for path in earlier:
        path.unlink()


def _render(content: KernelFile, findings: Findings, drawn: Sequence[tuple[LayerFindings, LayerDrawings]]) -> str:
    kernels = content.kernels
    dispersion = band_drawing(findings).on_page() if findings.has_dispersion else None
    failed = [layer for layer in findings.layers if layer.failure]
    band = findings.band
    return (
        page_environment("qpibench.extraction")
        .get_template("kernel_report.html.j2")
        .render(
            source=content.source,
            channel=content.channel,
            unit=content.unit or "unknown",
            method=kernels.method,
            options=_settings(content.options or {}),
            steps=[(step.name, _settings(step.settings)) for step in content.steps],
            scatterers=whole(len(kernels.position_nm)),
            finds_scatterers=any(layer.scatterers is not None for layer in findings.layers),
            map_size=_size(kernels.grid),
            kernel_size=_size(kernels.kernel_grid),
            count=len(findings.layers),
            axis=findings.axis,
            failed=[(_of_layer(findings, layer), layer.failure) for layer in failed],
            summary=_summary(findings, drawn),
            layers=[_shown(content, findings, layer, of_layer) for layer, of_layer in drawn],
            dispersion=dispersion,
            band=None
            if band is None
            else {
                "e0": with_interval(band.e0_mev, band.e0_interval, "meV").translate(_ON_PAGE),
                "mass": with_interval(band.mass, band.mass_interval, "electron masses"),
                "used": int(band.used.sum()),
                "chi2": number(band.chi2),
            },
            no_band=findings.no_band,
            left_out=[
                f"{findings.label(layer)} ({_why_left_out(layer)})" for layer in findings.left_out if band is not None
            ],
            columns=_columns(content, findings),
            rows=_rows(content, findings),
            has_background=any(layer.nuisance in BACKGROUNDS for layer in findings.layers),
            has_evidence=any("log evidence" in layer.symmetry for layer in findings.layers),
            least_points=LEAST_POINTS,
            version=__version__,
        )
    )


def _shown(content: KernelFile, findings: Findings, layer: LayerFindings, drawn: LayerDrawings) -> dict[str, Any]:
    waves, profiles = layer.waves, layer.profiles
    assert profiles is not None
    grid = content.kernels.grid
    return {
        "heading": _of_layer(findings, layer),
        "maps": [(drawing.title, drawing.on_page()) for drawing in drawn.maps],
        "transforms": [(drawing.title, drawing.on_page()) for drawing in drawn.transforms],
        "profiles": [(drawing.title, drawing.on_page()) for drawing in drawn.profiles],
        "most_q": number(drawn.most_q),
        "resolved_q": number(np.pi / max(grid.pitch_x_nm, grid.pitch_y_nm)),
        "waves": None
        if waves is None
        else {
            "q": with_std(waves.q, waves.q_std),
            "period": number(2 * np.pi / waves.q),
            "decay": number(waves.decay_nm),
            "core": number(float(waves.r_nm[0])),
            "chi2": number(waves.chi2),
        },
        "has_std": bool(np.isfinite(profiles.mean_std).all()),
        "radius": number(profiles.radius_nm),
        "harmonic": profiles.harmonic,
        "harmonic_share": f"{100 * profiles.harmonic_share:.2g} %",
        "symmetry": layer.symmetry,
        "scatterers": layer.scatterers_text,
        "residual": f"{100 * layer.residual_share:.3g} %",
        "over_noise": number(layer.residual_rms / layer.noise) if layer.noise > 0 else "",
    }


def _summary(findings: Findings, drawn: Sequence[tuple[LayerFindings, LayerDrawings]]) -> str:
    """The one sentence that is read first."""
    if findings.band is not None:
        return (
            f"{band_text(findings)}.".replace("E0", "E₀")
            .replace("m_e", "electron masses")
            .replace("95 %", "95\N{NO-BREAK SPACE}%")
            .translate(_ON_PAGE)
        )
    if not drawn:
        return "No kernel could be extracted."
    layer, _ = drawn[len(drawn) // 2]
    place = f" at {findings.label(layer)}" if findings.axis else ""
    if layer.waves is None:
        return f"No standing waves were found{place}."
    waves = layer.waves
    if waves.q_std >= waves.q:
        return f"The standing waves{place} have no certain wavevector: q = {with_std(waves.q, waves.q_std)} rad/nm."
    return (
        f"The standing waves{place} have q = {with_std(waves.q, waves.q_std)} rad/nm, a period of"
        f" {number(2 * np.pi / waves.q)} nm."
    )


def _why_left_out(layer: LayerFindings) -> str:
    if layer.failure:
        return "no kernel"
    return "no standing waves" if layer.waves is None else f"q = {number(layer.waves.q)} rad/nm lies far off"


def _columns(content: KernelFile, findings: Findings) -> list[str]:
    value = [findings.column] if findings.column else []
    unit = _unit(content, findings)[1]
    noise = f"noise ({unit})" if unit else "noise"
    return ["layer", *value, "q (rad/nm)", "std of q", "fold", noise, "residual / noise", "residual / map", "nuisance"]


def _rows(content: KernelFile, findings: Findings) -> list[dict[str, Any]]:
    factor, _ = _unit(content, findings)
    return [
        {
            "layer": layer.number,
            "value": f"{layer.value:.6g}".translate(_ON_PAGE) if findings.axis else "",
            "failure": layer.failure,
            "cells": [
                *(("–", "–") if layer.waves is None else with_std(layer.waves.q, layer.waves.q_std).split(" ± ")),
                "–" if layer.fold is None else str(layer.fold),
                number(factor * layer.noise) if np.isfinite(layer.noise) else "–",
                number(layer.residual_rms / layer.noise) if layer.noise > 0 else "–",
                f"{100 * layer.residual_share:.3g} %",
            ],
            "nuisance": layer.nuisance or "–",
        }
        for layer in findings.layers
    ]


def _unit(content: KernelFile, findings: Findings) -> tuple[float, str]:
    """Factor and unit in which all noises are easy to read."""
    noises = [layer.noise for layer in findings.layers if np.isfinite(layer.noise)]
    return with_prefix(max(noises, default=0.0), content.unit)


def _of_layer(findings: Findings, layer: LayerFindings) -> str:
    return f"Layer {layer.number}, {findings.label(layer)}" if findings.axis else "The map"


def _size(grid: Any) -> str:
    return f"{grid.nx} × {grid.ny} pixels, {grid.size_x_nm:.4g} × {grid.size_y_nm:.4g} nm"


def _settings(settings: Any) -> str:
    return ", ".join(f"{name} = {value}" for name, value in settings.items() if value not in (None, "", []))
