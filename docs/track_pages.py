"""Write docs/tracks/ from the files of tracks and suites: ``python docs/track_pages.py``.

A track's page has the comments of its file, its cells, the settings of its releases, and the ranges of the specs that
they are made of. Scores come from the results of suites on the board, docs/board/results/. The examples are drawn by
`track_pictures.py`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from qpibench.evaluation.result import Result
from qpibench.evaluation.result_file import load_result
from qpibench.pages.notation import interval, whole
from qpibench.specs import ReleaseSpec
from qpibench.specs.schema import spec_keys
from qpibench.specs.species import species_count
from qpibench.tasks.suite import Suite, load_suite, suite_names
from qpibench.tasks.track import Cell, Track, load_track, track_names

FOLDER = Path(__file__).parent / "tracks"
RESULTS = FOLDER.parent / "board" / "results"
FILES = Path(__file__).parents[1] / "qpibench" / "tasks" / "tracks"

README = """# Tracks and suites

A track is a group of tests, a suite a list of tests from several tracks ([words](../scores.md#words)). Each track has a
page with its cells, settings, examples and the scores of trivial entries. `qpibench tracks` prints the same lists.

    qpibench evaluate my_model.py --suite quick -o result.json

## Tracks

{tracks}
[microscope](microscope.md) is a track beside these: whole stacks of maps in a microscope's file, scored by the band
that comes out. `python -m benchmarks.microscope` runs it, and no suite contains it.

## Suites

{suites}
A suite of one's own is a TOML file (`--suite my.toml`) with its tracks or cells:

    summary = "a line for lists"
    cells = ["materials64", "noise/10dB", "my_track.toml/raster"]    # TRACK or TRACK/CELL; files beside this one
    limit = 20                                                       # images of each release; without it, all

`evaluate` reads the releases in the folder of `--data`, and generates those that it lacks. A folder that has all may be
read-only, and several evaluations may use one folder at the same time. The result is written after each cell. The
same command with `--resume` continues an interrupted run: it keeps the finished cells with their files, evaluates the
others, and refuses a result of another model, suite or subset.

## Errors in a frozen suite

{state}

A suite is frozen when the classical entries have been run on it. From then on its cells and their order stay, and so
does its hash. If a cell turns out to be wrong, it is never mended in place, because scores before and after would have
the same name:

1. The cell is struck through on the page of its track, with the reason and the date (`WITHDRAWN` in
   `docs/track_pages.py`). Its scores stay where they are.
2. A corrected cell gets a new name, and the next suite, such as `v2`, lists it instead of the wrong one.
3. Results of both suites stay on the board, in tables of their own. The hash in each result says of which suite it is.

New cells make a new suite too.

This page and those of the tracks are made by `python docs/track_pages.py`.
"""

STATE = """`v1` is frozen since 30 November 2026, when all classical entries had run on it. Its hash begins with
`a2ee5ee6`, and the tests hold it."""
"""Since when the official suite is frozen, and its hash."""

TRIVIAL = ("zeros", "median_kernel", "tikhonov")
"""Entries whose scores a page shows."""

WITHDRAWN: dict[str, str] = {}
"""Wrong cells of frozen suites, by TRACK/CELL, with the reason and the date."""


def pages() -> dict[str, str]:
    """The text of each page by its file name."""
    tracks = [load_track(name) for name in track_names()]
    suites = [load_suite(name) for name in suite_names()]
    found = {f"{track.name}.md": track_page(track) for track in tracks}
    return found | {"README.md": README.format(tracks=_track_table(tracks), suites=_suite_table(suites), state=STATE)}


def track_page(track: Track) -> str:
    """The text of a track's page."""
    content = (FILES / f"{track.name}.toml").read_text(encoding="utf-8")
    file = tomllib.loads(content)
    examples = "".join(
        f"\n`{cell}`\n\n![{track.name}/{cell}](images/{track.name}-{cell}.png)\n" for cell in track.cells
    )
    return (
        f"# Track `{track.name}`\n\n{_sentence(track.summary)}\n\n{_comment(content)}\n"
        f"\n## Cells\n\n{_cell_table(track, content)}"
        f"\n{_arrays(track)} in native units; positions are float64"
        " arrays (image, scatterer, xy) in nm, padded with NaN. [scores.md](../scores.md#metrics) explains the metrics:"
        f" {_code(_metrics(track))}.\n"
        f"\n## Settings\n\n{_setting_table(track, file)}"
        f"\n## Fields, kernels and scatterers\n\n{_range_table(track, file)}"
        f"\n## Trivial scores\n\n{_scores(track)}"
        f"\n## Examples\n\n{_about_examples(track)}\n{examples}"
        f"\nThis page is made from `qpibench/tasks/tracks/{track.name}.toml` by `python docs/track_pages.py`.\n"
    )


def _comment(content: str) -> str:
    """The comment at the top of a file as one paragraph."""
    return " ".join(line.removeprefix("#").strip() for line in _top(content).splitlines())


def _top(content: str) -> str:
    return re.match(r"(?:#.*\n)*", content)[0]


def _remarks(content: str) -> dict[str, str]:
    """The comments of each cell in a track's file: those just above its heading, and those inside of it."""
    found: dict[str, list[str]] = {}
    cell, above = "", []
    for line in content[len(_top(content)) :].splitlines():
        code, _, comment = line.partition("#")
        if heading := re.match(r"\[+(?:cells\.([\w-]+))?", code):
            cell = heading[1] or ""
            found.setdefault(cell, []).extend(above)
        if code.strip() or not comment:
            above = []
            found.setdefault(cell, []).extend([comment.strip()] if comment else [])
        else:
            above.append(comment.strip())
    return {name: " ".join(lines) for name, lines in found.items() if name}


def _about_examples(track: Track) -> str:
    cells = track.cells.values()
    if all(cell.view == "image" for cell in cells):
        return "Each picture has one image for each family of kernels, above its kernel."
    if all(species_count(spec) > 1 for cell in cells for spec in cell.specs):
        return (
            "Each picture has one image above both its kernels. Circles are scatterers of the kernel on the left,"
            " triangles those of the other one; where the species are hidden, all are circles."
        )
    return (
        "Each picture has one image for each family of kernels, above its kernel. Circles are scatterers; crosses are"
        " told positions, where they differ."
    )


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(line)} |" for line in (head, *rows)]
    return "\n".join([lines[0], f"|{'---|' * len(head)}", *lines[1:]]) + "\n"


def _track_table(tracks: list[Track]) -> str:
    rows = (
        (f"[{track.name}]({track.name}.md)", track.summary, ", ".join(f"`{cell}`" for cell in track.cells))
        for track in tracks
    )
    return _table(("track", "summary", "cells"), rows)


def _suite_table(suites: list[Suite]) -> str:
    rows = (
        (
            f"`{suite.name}`",
            suite.summary,
            ", ".join(f"`{label}`" for label in _labels(suite)),
            "all" if suite.limit is None else f"at most {whole(suite.limit)} of a release",
            f"`{suite.sha256}`",
        )
        for suite in suites
    )
    return _table(("suite", "summary", "cells", "images", "SHA-256"), rows)


def _labels(suite: Suite) -> Iterator[str]:
    """The tracks and cells of a suite; a track stands for all its cells."""
    listed = [each.label for each in suite.cells]
    for track in {each.track.name: each.track for each in suite.cells}.values():
        cells = [f"{track.name}/{cell}" for cell in track.cells]
        inside = [label for label in cells if label in listed]
        yield from [track.name] if inside == cells else inside


def _arrays(track: Track) -> str:
    if all(species_count(spec) == 1 for cell in track.cells.values() for spec in cell.specs):
        return "Images, kernels and predictions are float32 arrays (image, y, x)"
    return "Images are float32 arrays (image, y, x), kernels and predictions (image, species, y, x)"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('?') else '.'}"


def _specs(track: Track, file: dict[str, Any]) -> dict[str, list[tuple[str, ReleaseSpec]]]:
    """The specs of each cell, with the names of the shipped ones that they are made of."""
    shared = file.get("every_cell", {}).get("specs", ())
    return {
        name: [
            (each if isinstance(each, str) else each["spec"], spec)
            for each, spec in zip(file["cells"][name].get("specs", shared), cell.specs, strict=True)
        ]
        for name, cell in track.cells.items()
    }


def _cell_table(track: Track, content: str) -> str:
    """A table of the cells; what is the same in all of several cells is said once."""
    rows, remarks = {name: _cell_columns(cell) for name, cell in track.cells.items()}, _remarks(content)
    if any(remarks.get(name) for name in rows):
        rows = {name: columns | {"remark": remarks.get(name, "")} for name, columns in rows.items()}
    heads = [head for head in next(iter(rows.values())) if all(head in row for row in rows.values())]
    common = [head for head in heads if len(rows) > 1 and len({row[head] for row in rows.values()}) == 1]
    first = next(iter(rows.values()))
    said = f"The same in all cells: {'; '.join(f'{head}: {first[head]}' for head in common)}.\n\n" if common else ""
    shown = [head for head in heads if head not in common]
    lines = ((_cell_name(track, name), *(row[head] for head in shown)) for name, row in rows.items())
    reasons = "".join(
        f"\n{label} is withdrawn: {reason}\n"
        for label, reason in WITHDRAWN.items()
        if label.partition("/")[0] == track.name
    )
    return said + _table(("cell", *shown), lines) + reasons


def _cell_name(track: Track, cell: str) -> str:
    return f"~~`{cell}`~~" if f"{track.name}/{cell}" in WITHDRAWN else f"`{cell}`"


def _cell_columns(cell: Cell) -> dict[str, str]:
    families = dict.fromkeys(spec.kernels.family for spec in cell.specs)
    counts = [sum(_tested(spec, cell) for spec in cell.specs if spec.kernels.family == family) for family in families]
    pairs = any(species_count(spec) > 1 for spec in cell.specs)
    is_test_only = all(spec.splits.ood_kernels == 1 for spec in cell.specs)
    training = cell.training or (None if is_test_only else cell.specs[0])
    columns = {
        "images": "the whole test role" if cell.image_count is None else whole(cell.image_count),
        "kernels": ", ".join(
            f"{count}{' pairs' * pairs} of `{family}`" for count, family in zip(counts, families, strict=True)
        ),
        "species": ("told" if cell.told_species else "hidden") if pairs else "",
        "predicted": "" if cell.kernel_px is None else f"the central {cell.kernel_px} x {cell.kernel_px} pixels",
        "pixels": _same(f"{spec.grid.ny} x {spec.grid.nx}" for spec in cell.specs),
        "field (nm)": _same(f"{spec.grid.size_y_nm:g} x {spec.grid.size_x_nm:g}" for spec in cell.specs),
        "scatterers": _same(_span(spec) for spec in cell.specs),
        "task": cell.task,
        "view": cell.view,
        "map": cell.map or "none",
        "ranked by": f"`{cell.primary}`",
        "training images": "none" if training is None else f"`{training.name}`",
    }
    return {head: text for head, text in columns.items() if text}


def _tested(spec: ReleaseSpec, cell: Cell) -> int:
    """Number of the kernels of a spec that are those of a cell's task."""
    ood = spec.splits.ood_kernels
    return round(spec.kernels.count * (ood if cell.task == "ood" else 1 - ood))


def _span(spec: ReleaseSpec) -> str:
    low, high = spec.scatterers.min, spec.scatterers.max
    return f"{low}" if low == high else f"{low} to {high}"


def _same(texts: Iterable[str]) -> str:
    """The text that all specs of a cell share; empty if they differ."""
    distinct = set(texts)
    return distinct.pop() if len(distinct) == 1 else ""


def _metrics(track: Track) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for cell in track.cells.values() for name in cell.metrics))


def _setting_table(track: Track, file: dict[str, Any]) -> str:
    """What the specs of the cells are, in addition to the shipped specs that they are made of."""
    shared = file.get("every_cell", {})
    places: dict[tuple[str, str], list[tuple[str, str]]] = {}
    every: list[tuple[str, str]] = []
    for cell in track.cells:
        own = file["cells"][cell]
        common = [*shared.get("set", ()), *own.get("set", ())]
        for named in own.get("specs", shared.get("specs", ())):
            spec, changes = (named, []) if isinstance(named, str) else (named["spec"], named.get("set", []))
            every.append((cell, spec))
            for text in (*common, *changes):
                for setting in _settings(text):
                    places.setdefault(setting, []).append((cell, spec))
    units = {key.path: (key.unit, key.meaning) for key in spec_keys()} | {"name": ("", "")}
    rows = (
        (cells, specs, f"`{key}`", f"`{value}`", *units[key])
        for (key, value), found in places.items()
        if key != "name"
        for cells, specs in _where(found, every)
    )
    if not places:
        specs = ", ".join(f"`{spec}`" for spec in dict.fromkeys(spec for _, spec in every))
        return f"The settings are those of the shipped spec {specs} ([spec.md](../spec.md)).\n"
    about = "Specs are [shipped ones](../spec.md) with these changes:\n\n"
    return about + _table(("cells", "specs", "setting", "value", "unit", "meaning"), rows)


def _settings(text: str) -> Iterator[tuple[str, str]]:
    """The keys of a setting with their values as written; those of an inline table are keys of their own."""
    key, _, value = (part.strip() for part in text.partition("="))
    if not value.startswith("{"):
        yield key, value
        return
    for name, inner in tomllib.loads(f"table = {value}")["table"].items():
        yield f"{key}.{name}", _toml(inner)


def _toml(value: Any) -> str:
    """A value as TOML."""
    match value:
        case None:
            return "absent"
        case list() | tuple():
            return f"[{', '.join(map(_toml, value))}]"
        case str():
            return f'"{value}"'
        case _:
            return f"{value:g}"


def _range_table(track: Track, file: dict[str, Any]) -> str:
    """The field, kernels, scatterers and species of each shipped spec, with the changes of the cells."""
    values: dict[str, dict[str, dict[str, None]]] = {}
    stated: set[str] = set()
    specs = dict.fromkeys(name for of_cell in _specs(track, file).values() for name, _ in of_cell)
    heads = {name: f"[{name}](../../qpibench/specs/{name}.toml)" for name in specs}
    for cell, of_cell in _specs(track, file).items():
        training = file["cells"][cell].get("training", file.get("every_cell", {}).get("training"))
        name = training["spec"] if isinstance(training, dict) else training
        if name is not None and name not in specs:
            heads[name] = f"training: [{name}](../../qpibench/specs/{name}.toml)"
            of_cell = [*of_cell, (name, track.cells[cell].training)]
        for name, spec in of_cell:
            for key, value, is_stated in _ranges(spec):
                values.setdefault(key, {}).setdefault(name, {})[value] = None
                stated |= {key} if is_stated else set()
    rows = (
        (f"`{key.path}`", key.unit, *(_alternatives(values[key.path].get(name, {})) for name in heads), key.meaning)
        for key in spec_keys()
        if key.path in stated
    )
    about = (
        "The values of specs, with the changes of the cells; those of different cells are joined by *or*."
        " [families.md](../families.md) has the equation of each family, and says what else is drawn.\n\n"
    )
    return about + _table(("setting", "unit", *heads.values(), "meaning"), rows)


def _alternatives(values: Iterable[str]) -> str:
    texts = list(values)
    return "" if texts == ["absent"] else " or ".join(text if text == "absent" else f"`{text}`" for text in texts)


def _ranges(spec: ReleaseSpec) -> Iterator[tuple[str, str, bool]]:
    """The keys of a spec about field, kernels, scatterers and species, with their values, and which it states."""
    for table in ("grid", "kernels", "scatterers", "species"):
        model = getattr(spec, table)
        if model is not None:
            for name in type(model).model_fields:
                value = getattr(model, name)
                is_stated = name in model.model_fields_set and value is not None
                if name != "count":
                    yield f"{table}.{name}", _toml(value), is_stated


def _where(found: list[tuple[str, str]], every: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Cells and specs with a setting, as texts; "all" cells are those that have the specs."""
    by_specs: dict[tuple[str, ...], list[str]] = {}
    for cell in dict.fromkeys(cell for cell, _ in found):
        specs = tuple(spec for each, spec in found if each == cell)
        is_all = set(specs) == {spec for each, spec in every if each == cell}
        by_specs.setdefault(() if is_all else specs, []).append(cell)
    for specs, cells in by_specs.items():
        able = {cell for cell, spec in every if not specs or spec in specs}
        yield "all" if set(cells) == able else _code(cells), _code(specs) or "all"


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _scores(track: Track) -> str:
    paths = (RESULTS / f"{name}.json" for name in TRIVIAL)
    results = [load_result(path) for path in paths if path.exists()]
    shown = {name: _scores_of(results, track, name) for name in TRIVIAL}
    if not any(shown.values()):
        return "Not measured yet.\n"
    rows = ((f"`{cell}`", *(shown[name].get(cell, "") for name in TRIVIAL)) for cell in track.cells)
    return "The primary score with its 95 % interval.\n\n" + _table(("cell", *(f"`{name}`" for name in TRIVIAL)), rows)


def _scores_of(results: list[Result], track: Track, entry: str) -> Mapping[str, str]:
    """Primary scores of an entry, or why it has none, by cell, from results of the track as it is now."""
    found: dict[str, str] = {}
    for result in results:
        if result.model.name != entry or result.suite is None or result.suite.limit is not None:
            continue
        for cell in result.cells.values():
            if cell.record is not None and cell.record.track_sha256 == track.sha256:
                found[cell.record.cell] = " ".join(interval(cell.metrics[cell.primary]))
        for label in result.not_applicable:
            if label.startswith(f"{track.name}/"):
                found.setdefault(label.removeprefix(f"{track.name}/"), "not applicable")
    return found


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for file, text in pages().items():
        (FOLDER / file).write_text(text, encoding="utf-8")
