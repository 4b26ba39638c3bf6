"""Tables of a report of kernels as CSV, with units in the names of the columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from qpibench.extraction.findings import Findings, LayerFindings


def tables(findings: Findings, unit: str) -> Mapping[str, bytes]:
    """Return the content of every table by the name of its file; ``unit`` is that of the kernels.

    ``layers.csv`` has one row for each layer, ``radial.csv`` and ``angular.csv`` have the profiles of all layers, and
    ``band.csv`` has the band, if there is one, and ``scatterers.csv`` the scatterers of layers whose method has found
    other ones than those told. Numbers are written without loss; what is not known is empty.
    """
    value = findings.column
    own = f" ({unit})" if unit else ""
    layer_columns = ["layer", value] if value else ["layer"]
    found = {
        "layers.csv": _table(
            [
                *layer_columns,
                "q (rad/nm)",
                "q std (rad/nm)",
                "decay (nm)",
                "in band",
                "fold",
                f"noise{own}",
                f"residual rms{own}",
                "residual rms / noise",
                "residual rms / image rms",
                "nuisance",
                "failure",
            ],
            (_layer_row(findings, layer, bool(value)) for layer in findings.layers),
        ),
        "radial.csv": _table(
            [*layer_columns, "r (nm)", f"mean{own}", f"std{own}", f"standing waves{own}"],
            (row for layer in findings.layers for row in _radial_rows(layer, bool(value))),
        ),
        "angular.csv": _table(
            [*layer_columns, "radius (nm)", "angle (deg)", f"kernel{own}", f"std{own}"],
            (row for layer in findings.layers for row in _angular_rows(layer, bool(value))),
        ),
    }
    if any(layer.scatterers is not None for layer in findings.layers):
        found["scatterers.csv"] = _table(
            [*layer_columns, "x_nm", "y_nm", "strength"],
            (row for layer in findings.layers for row in _scatterer_rows(layer, bool(value))),
        )
    if (band := findings.band) is not None:
        found["band.csv"] = _table(
            ["quantity", "unit", "value", "std", "95 % from", "95 % to"],
            [
                ["E0", "meV", band.e0_mev, band.e0_std, *band.e0_interval],
                ["m*", "electron mass", band.mass, band.mass_std, *band.mass_interval],
                ["chi squared per degree of freedom", "1", band.chi2, None, None, None],
            ],
        )
    return found


def _layer_row(findings: Findings, layer: LayerFindings, has_value: bool) -> list[object]:
    waves = layer.waves
    of_waves = [None] * 3 if waves is None else [waves.q, waves.q_std, waves.decay_nm]
    in_band = None if findings.band is None else int(findings.band.used[layer.number])
    over_noise = layer.residual_rms / layer.noise if layer.noise > 0 else None
    return [
        *_first(layer, has_value),
        *of_waves,
        in_band,
        layer.fold,
        layer.noise,
        layer.residual_rms,
        over_noise,
        layer.residual_share,
        layer.nuisance,
        layer.failure,
    ]


def _radial_rows(layer: LayerFindings, has_value: bool) -> Iterable[list[object]]:
    if layer.profiles is None:
        return
    waves, profiles = layer.waves, layer.profiles
    fit: NDArray[np.float64] = np.full(len(profiles.r_nm), np.nan)
    if waves is not None:
        fit[-len(waves.fit) :] = waves.fit
    for row in zip(profiles.r_nm, profiles.mean, profiles.mean_std, fit, strict=True):
        yield [*_first(layer, has_value), *row]


def _angular_rows(layer: LayerFindings, has_value: bool) -> Iterable[list[object]]:
    if layer.profiles is None:
        return
    profiles = layer.profiles
    for row in zip(profiles.angle_deg, profiles.around, profiles.around_std, strict=True):
        yield [*_first(layer, has_value), profiles.radius_nm, *row]


def _scatterer_rows(layer: LayerFindings, has_value: bool) -> Iterable[list[object]]:
    for place, strength in zip(*(layer.scatterers or ((), ())), strict=True):
        yield [*_first(layer, has_value), *place, strength]


def _first(layer: LayerFindings, has_value: bool) -> list[object]:
    return [layer.number, layer.value] if has_value else [layer.number]


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(each) for each in row] for row in rows)
    return target.getvalue().encode()


def _cell(value: object) -> object:
    if isinstance(value, float):  # NumPy's float64 among them
        return repr(float(value)) if np.isfinite(value) else ""
    return "" if value is None else value
