"""Builds the leaderboard page, a folder of static files, from result files alone."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qpibench.errors import InvalidDataError, UsageError
from qpibench.evaluation.metrics import in_order
from qpibench.evaluation.result import Interval
from qpibench.evaluation.result_file import parse_result, read_content
from qpibench.files import check_file, make_folder, write_whole
from qpibench.leaderboard.check import refuse_contradictions
from qpibench.leaderboard.comparisons import FOLDER, Pair, pairs_of, read_comparisons
from qpibench.leaderboard.details import numbers_of_images, scores_of_families
from qpibench.leaderboard.figures import board_figures
from qpibench.leaderboard.literature import REPORTED, SOURCE
from qpibench.leaderboard.overview import overview
from qpibench.leaderboard.page import render_page
from qpibench.leaderboard.pictures import draw_picture, median_of, picture_name
from qpibench.leaderboard.standings import Standing, Table, standings
from qpibench.parsing import parse_json
from qpibench.paths import path_of_text, text_of_path

SITE_SCHEMA_VERSION = 11
"""Version of the layout of leaderboard.json."""


def build_leaderboard(results_dir: str | Path, site: str | Path) -> dict[Table, tuple[Standing, ...]]:
    """Build the page from every result file of a folder.

    The site is ``index.html``, ``leaderboard.json`` (the standings for programs), a copy of every result file and of
    every comparison under ``results/`` and the median image of each standing under ``pictures/``. The same files give
    the same bytes. An existing site is replaced file by file, the page last, so no link points to a missing file
    meanwhile. Other files in the folder are kept.

    Parameters
    ----------
    results_dir
        Folder whose files ``*.json`` are all result files. Those in its folder ``comparisons``, which may be missing,
        are comparisons of ``qpibench compare --json``.
    site
        Folder to write; created if missing.

    Returns
    -------
    dict
        The standings; see :func:`qpibench.leaderboard.standings.standings`.

    Raises
    ------
    UsageError
        If there is no result file, the site cannot be written, or a file that this command did not make stands in the
        place of one of its own.
    InvalidDataError
        If a file is not a valid result or comparison or contradicts itself, or two results contradict each other or
        have the same predictions.
    QpibenchError
        If writing fails, as on a full disk.
    """
    results_dir, site = Path(results_dir), Path(site)
    if os.path.realpath(site) == os.path.realpath(results_dir):
        raise UsageError(f"The page cannot be written into the folder of its results, '{site}'; give another folder.")
    paths = _result_paths(results_dir)
    files = {text_of_path(path.name): read_content(path) for path in paths}
    results = {}
    for path, (name, content) in zip(paths, files.items(), strict=True):
        results[name] = parse_result(content, path)
        refuse_contradictions(results[name], path)
    comparisons = read_comparisons(results_dir)
    pairs = pairs_of(comparisons, results_dir)
    tables = standings(results)
    figures = board_figures(tables)
    pictures = _pictures(tables) | {f"{figure.name}.png": figure.content for figure in figures}
    former = _former_files(site)
    pages = {
        **{site / "results" / path_of_text(name): content for name, content in (files | comparisons).items()},
        **{site / "pictures" / path_of_text(name): content for name, content in pictures.items()},
        site / "leaderboard.json": _json(tables, tuple(files), tuple(pictures), pairs).encode(),
        site / "index.html": render_page(tables, figures, pairs).encode(),
    }
    make_folder(site / "results")
    if comparisons:
        make_folder(site / "results" / FOLDER)
    if pictures:
        make_folder(site / "pictures")
    for path, content in pages.items():
        check_file(path)
        if path.parent != site and path not in former and path.exists() and path.read_bytes() != content:
            raise UsageError(
                f"'{path}' is not a file of this leaderboard; move it or give another folder for the site."
            )
    for path, content in pages.items():
        write_whole(path, content, what="File")
    for path in former - pages.keys():
        path.unlink(missing_ok=True)
    return tables


def _pictures(tables: Mapping[Table, Sequence[Standing]]) -> dict[str, bytes]:
    """Return the contents of the pictures by name; an oracle has one picture for several tables."""
    found = {}
    for standing in (standing for members in tables.values() for standing in members):
        name, median = picture_name(standing), median_of(standing)
        if name is not None and median is not None and name not in found:
            found[name] = draw_picture(median)
    return dict(sorted(found.items()))


def _result_paths(folder: Path) -> list[Path]:
    """Return the result files of a folder by name."""
    if not os.path.isdir(folder):
        raise UsageError(f"There is no folder '{folder}'; give the folder that holds the result files.")
    paths = sorted(path for path in folder.glob("*.json") if path.is_file() and not path.name.startswith("."))
    if not paths:
        raise UsageError(f"Folder '{folder}' holds no result file (*.json); 'qpibench evaluate' and 'score' make them.")
    return paths


def _former_files(site: Path) -> set[Path]:
    """Return the results, comparisons and pictures that an earlier build wrote into the site."""
    listing, page = site / "leaderboard.json", site / "index.html"
    for path in (listing, page):
        if path.exists():
            check_file(path)
    if not listing.exists():
        if page.exists():
            raise UsageError(f"'{site}' holds a page that is not a leaderboard; give another folder.")
        return set()
    try:
        content = parse_json(listing.read_bytes(), f"'{listing}'")
        results = {site / "results" / path_of_text(name).name for name in content["result_files"]}
        compared = {path_of_text(pair["file"]).name for pair in content.get("comparisons", ())}
        pictures = {site / "pictures" / path_of_text(name).name for name in content.get("picture_files", ())}
        return results | {site / "results" / FOLDER / name for name in compared} | pictures
    except (InvalidDataError, ValueError, KeyError, TypeError, AttributeError):
        raise UsageError(f"'{listing}' is not a leaderboard's; remove it or give another folder.") from None


def _json(
    tables: Mapping[Table, Sequence[Standing]], files: Sequence[str], pictures: Sequence[str], pairs: Sequence[Pair]
) -> str:
    content = {
        "schema_version": SITE_SCHEMA_VERSION,
        "result_files": list(files),
        "picture_files": list(pictures),
        "tables": [
            {
                "cell": None if table.cell is None else table.cell.model_dump(mode="json", exclude={"metrics"}),
                "releases": [{"name": name, "content_sha256": digest} for name, digest in table.releases],
                "task": table.task,
                "view": table.view,
                "map_mode": table.map_mode,
                **({} if table.told_species is None else {"told_species": table.told_species}),
                "primary_metric": table.primary,
                "is_open": table.is_open,
                "n_available": table.n_available,
                "n_images": table.n_images,
                "n_whole": table.n_whole,
                "subset": table.subset,
                "images": _dumped(numbers_of_images(members)),
                "standings": [_row(standing, table.primary) for standing in members],
            }
            for table, members in tables.items()
        ],
        "overview": _overview(tables),
        "comparisons": [pair.for_programs() for pair in pairs],
        "reported": [
            {"source": SOURCE, "method": r.method, "task": r.task, "mae": r.mae, "mse": r.mse, "rmse": r.rmse}
            for r in REPORTED
        ],
    }
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _overview(tables: Mapping[Table, Sequence[Standing]]) -> dict[str, Any]:
    """Results by tracks for programs; see :mod:`qpibench.leaderboard.overview`."""
    found = overview(tables)
    tracks = [
        {"track": each.title, "view": each.view, "is_open": each.is_open, "cells": list(each.cells)}
        for each in found.columns
    ]
    rows = [
        {
            "entry": row.entry,
            "result_file": f"results/{row.file}",
            "unfinished": row.unfinished,
            "scores": [place.score for place in row.places],
            "reasons": [place.reason for place in row.places],
        }
        for row in found.rows
    ]
    return {"tracks": tracks, "rows": rows}


def _dumped(scores: Mapping[str, Interval]) -> dict[str, Any]:
    return {name: score.model_dump() for name, score in scores.items()}


def _row(standing: Standing, primary: str) -> dict[str, Any]:
    training = standing.result.model.training
    picture = picture_name(standing)
    return {
        "rank": standing.rank,
        "tied": standing.tied,
        "entry": standing.result.model.name,
        "result_file": f"results/{standing.file}",
        "picture": None if picture is None else f"pictures/{picture}",
        "model_file_sha256": standing.result.model.file_sha256,
        "needs": list(standing.result.model.needs),
        "knows": list(standing.result.model.knows),
        "trained_on": list(standing.result.model.trained_on),
        "training": None if training is None else training.model_dump(mode="json"),
        "marks": list(standing.marks),
        "n_failed": standing.cell.n_failed,
        "metrics": _dumped({name: standing.cell.metrics[name] for name in in_order(standing.cell.metrics)}),
        "families": _dumped(scores_of_families(standing, primary)),
        "floor": None if standing.cell.floor is None else standing.cell.floor.model_dump(mode="json"),
        "seconds_per_image": standing.seconds_per_image,
        "evaluator_version": standing.result.evaluator_version,
    }
