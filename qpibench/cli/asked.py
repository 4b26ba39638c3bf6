"""Requests to a model with the releases that they are for: given files, or those of a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from qpibench.cli.models import Asked, ModelOptions
from qpibench.cli.progress import progress
from qpibench.errors import UsageError

if TYPE_CHECKING:
    from qpibench.release import Release
    from qpibench.tasks.suite import Suite, SuiteCell

DATA = Path("qpibench-data")
"""Default folder of the releases of a suite."""


def check_place(release_paths: Sequence[Path], data: Path | None, options: ModelOptions, *, also: str = "") -> None:
    """Refuse a command without a suite that names no releases, or a folder of releases and no cells.

    ``also`` begins the list of what may be named.
    """
    if not release_paths and data is None:
        raise UsageError(f"Say where the images are: {also}--release RELEASE, or --track TRACK --data DIR.")
    if data is not None and options.track is None:
        suite = "a suite or a track; add --suite or" if also else "a track; add"
        raise UsageError(f"--data is the folder of the releases of {suite} --track.")


def asked_files(*texts: str | None) -> list[Path]:
    """Return the TOML files that a suite and a track name, as given to --suite and --track."""
    return [Path(text[: text.index(".toml") + len(".toml")]) for text in texts if text and ".toml" in text]


def asked_on(
    suite: Suite | None, release_paths: Sequence[Path], data: Path | None, options: ModelOptions, stack: ExitStack
) -> tuple[Asked, ...]:
    """Return the requests to the model, with their releases open until the stack ends.

    Releases that ``data``, or without it the default folder of a suite, lacks are generated there.
    """
    from qpibench.evaluation.cells import by_spec
    from qpibench.release import open_release
    from qpibench.tasks.suite import SuiteCell
    from qpibench.tasks.track import find_cells

    given = [stack.enter_context(open_release(path)) for path in release_paths]
    if suite is None and options.track is None:
        return options.asked(given)
    if suite is not None:
        cells: Sequence[SuiteCell] = suite.cells
    else:
        options.refuse_requests()
        track, names = find_cells(options.track or "")
        cells = [SuiteCell(track, name) for name in names]
    releases = by_spec(cells, given)
    if suite is not None or data is not None:
        releases |= _stored(cells, releases, data or DATA, stack)
    return options.asked_by_cells(cells, releases, of_suite=suite is not None)


def _stored(
    cells: Sequence[SuiteCell], given: Mapping[str, Release], data: Path, stack: ExitStack
) -> dict[str, Release]:
    """Return the releases of cells that are not given, by the hash of their spec; those the folder lacks are made."""
    from qpibench.release.store import stored_releases
    from qpibench.synthesis import get_backend
    from qpibench.tasks.suite import specs_of

    others = tuple(spec for digest, spec in specs_of(cells).items() if digest not in given)
    with progress("Generating") as report:
        stored = stored_releases(others, data, backend=get_backend("cpu")[0], progress=report)
    for release in stored.values():
        stack.enter_context(release)
    return stored
