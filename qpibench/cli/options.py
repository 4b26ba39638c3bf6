"""Options and arguments that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from qpibench.cli.lazy import COMMON_OPTIONS, CONTEXT, help_text
from qpibench.cli.response import Response, note
from qpibench.errors import UsageError
from qpibench.files import check_file, check_folder

if TYPE_CHECKING:
    from qpibench.cluster.client import Place
    from qpibench.synthesis import Backend

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def subcommand(
    name: str, cls: type[click.Command] = click.Command
) -> Callable[[Callable[..., Response]], click.Command]:
    """Decorate a function as the command of this name, with the options that all commands share."""

    def decorate(function: Callable[..., Response]) -> click.Command:
        made = click.command(name, cls=cls, help=help_text(function.__doc__), context_settings=CONTEXT)(function)
        made.params += COMMON_OPTIONS
        return made

    return decorate


def _together(*options: Callable[[Any], Any]) -> Callable[[Decorated], Decorated]:
    """Combine several decorators into one; the help text lists their options in this order."""

    def decorate(function: Decorated) -> Decorated:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


class _Input(click.Path):
    """Type of a path that a command reads."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The path; a URL is refused."""
        if isinstance(value, str) and "://" in value:
            self.fail(
                f"'{value}' is a URL, which only info, verify and Python read; download it and name the copy.",
                param,
                ctx,
            )
        return Path(value)


FILE = _Input()
"""Type of a path argument; the code that opens the file reports what is wrong with it."""


FOLDER = click.Path(path_type=Path)
"""Type of a folder; the code that reads from it, and perhaps writes into it, reports what is wrong with it."""

FILE_OR_URL = click.Path()
"""Type of a release that may be at a URL, a text; the code that opens it reports what is wrong with it."""


class Output(click.Path):
    """Type of a path that a command writes; a place where that is not possible is refused before the work begins.

    Parameters
    ----------
    check
        One of the checks of :mod:`qpibench.files`.
    """

    def __init__(self, check: Callable[[Path], object]) -> None:
        super().__init__(path_type=Path)
        self._check = check

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The path, which can be written."""
        path = Path(value)
        try:
            self.check(path, ctx)
        except UsageError as error:
            self.fail(str(error), param, ctx)
        return path

    def check(self, path: Path, ctx: click.Context | None) -> None:
        """Raise UsageError for a path that cannot be written."""
        self._check(path)


OUTPUT_FILE = Output(check_file)
"""Type of a file that a command writes."""

OUTPUT_FOLDER = Output(check_folder)
"""Type of a folder that a command writes into."""


def output_option(metavar: str, help: str, *, type: Output = OUTPUT_FILE) -> Callable[[Decorated], Decorated]:
    """Return the option ``-o``, the file or folder that the command writes."""
    return click.option("-o", "--output", type=type, required=True, metavar=metavar, help=help)


release_option = click.option(
    "--release", "release_path", type=FILE, required=True, metavar="RELEASE", help="The release file."
)


def releases_option(*, required: bool) -> Callable[[Decorated], Decorated]:
    """Return the option ``--release``, which may be repeated."""
    return click.option(
        "--release",
        "release_paths",
        type=FILE,
        required=required,
        multiple=True,
        metavar="RELEASE",
        help="The release file; on the cells of a track one for every spec that they name.",
    )


def data_option(cells: str, default: str = "") -> Callable[[Decorated], Decorated]:
    """Return the option ``--data``; ``cells`` says whose releases are meant."""
    return click.option(
        "--data",
        type=FOLDER,
        metavar="DIR",
        help=f"Folder of the releases of {cells}; missing ones are generated.{default}",
    )


def dask_option(what: str) -> Callable[[Decorated], Decorated]:
    """Return the option ``--dask``, which gives a place; ``what`` says what the workers do."""
    return click.option(
        "--dask",
        "place",
        callback=_place,
        metavar="WHERE",
        help=f"{what} on dask workers: local, local:N, slurm, slurm:N, or the address of a scheduler.",
    )


def _place(context: click.Context, parameter: click.Parameter, text: str | None) -> Place | None:
    from qpibench.cluster.client import Place

    try:
        return None if text is None else Place.parse(text)
    except UsageError as error:
        raise click.BadParameter(str(error), context, parameter) from None


report_option = click.option(
    "--report", type=OUTPUT_FILE, metavar="REPORT.html", help="Also write a report, one HTML file."
)

overwrite_option = click.option("--overwrite", is_flag=True, help="Replace an existing file.")

threads_option = click.option(
    "--threads", type=click.IntRange(min=1), metavar="N", help="Number of threads.  [default: all processors]"
)

backend_options = _together(
    click.option(
        "--backend",
        "backend_name",
        type=click.Choice(["auto", "cpu", "cuda"]),
        help="What computes; all give the same bits.  [default: auto]",
    ),
    click.option("--gpu", is_flag=True, help="Short for --backend cuda."),
)

time_limit_option = click.option(
    "--time-limit", "time_limit_s", type=float, default=60, show_default=True, metavar="S", help="For a batch, in s."
)

memory_limit_option = click.option(
    "--memory-limit",
    "memory_limit_gib",
    type=float,
    default=4,
    show_default=True,
    metavar="GIB",
    help="Above what the model has after import, in GiB.",
)

model_threads_option = click.option(
    "--threads",
    type=int,
    default=1,
    show_default=True,
    metavar="N",
    help="Threads of the model's numerical libraries; the result records the number.",
)

tasks_option = click.option(
    "--task", "tasks", multiple=True, metavar="TASK", help="A task; may be repeated.  [default: all]"
)

limit_option = click.option("--limit", type=int, metavar="N", help="Images per task, a seeded subset.  [default: all]")

model_options = _together(
    click.option(
        "--track",
        metavar="TRACK[/CELL]",
        help="Ask what the cells of a track ask, a name or a TOML file; see 'qpibench tracks'.",
    ),
    tasks_option,
    click.option("--view", metavar="VIEW", help="What is shown: image, raster, positions.  [default: positions]"),
    click.option(
        "--map",
        "map_mode",
        metavar="MODE",
        help="Activation map: paper or exact; view raster needs it, view positions shows no map without it.",
    ),
    click.option(
        "--hide-species",
        is_flag=True,
        help="With two species of scatterers, show the view positions without the species of each.",
    ),
    limit_option,
    click.option(
        "--batch-size",
        type=int,
        metavar="N",
        help="Images per call.  [default: 32 up to 128 x 128 pixels, then as many as have the same number of pixels]",
    ),
    model_threads_option,
    time_limit_option,
    click.option(
        "--fit-time-limit",
        "fit_time_limit_s",
        type=float,
        default=3600,
        show_default=True,
        metavar="S",
        help="For fit.",
    ),
    memory_limit_option,
    click.option("--seed", type=int, default=0, show_default=True, help="Seed of the model's random numbers."),
)


def backend_asked(name: str | None, *, gpu: bool) -> str:
    """Name of the backend that the two options ask for."""
    if gpu and name not in (None, "cuda"):
        raise UsageError(f"--gpu and --backend {name} contradict each other; give one of them.")
    return "cuda" if gpu else name or "auto"


def choose_backend(name: str | None, *, gpu: bool) -> Backend:
    """Return the requested backend; for ``auto``, print which one was chosen and why."""
    from qpibench.synthesis import get_backend

    name = backend_asked(name, gpu=gpu)
    backend, sentence = get_backend(name)
    if name == "auto":
        note(sentence)
    return backend


def check_new(files: Sequence[Path | None], *, overwrite: bool) -> list[Path]:
    """Refuse files that cannot be written, or that exist unless they may be replaced; return those that are asked."""
    written = [path for path in files if path is not None]
    for path in written:
        check_file(path, if_exists=None if overwrite else "add --overwrite to replace it, or choose another file")
    return written


def keep_apart(outputs: Sequence[Path | None], inputs: Sequence[Path]) -> None:
    """Refuse to write a file over one that is read, two files to the same place, or where no file can be."""
    written = [path for path in outputs if path is not None]
    for path in written:
        check_file(path)
    for place, path in enumerate(written):
        if any(_same(path, other) for other in [*written[:place], *inputs]):
            raise UsageError(f"'{path}' is given twice, and would be written over; choose another file to write.")


def _same(first: Path, second: Path) -> bool:
    if os.path.realpath(first) == os.path.realpath(second):
        return True
    return os.path.exists(first) and os.path.exists(second) and os.path.samefile(first, second)
