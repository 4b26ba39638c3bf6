"""Entry point of the command line."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from qpibench import __version__
from qpibench.cli.lazy import LazyGroup
from qpibench.cli.progress import say
from qpibench.cli.response import Response, Settings, explain, show
from qpibench.cli.terminal import open_streams
from qpibench.notices import shown
from qpibench.processors import thread_variables

SUMMARIES = {
    "generate": "Make a release from a spec.",
    "gallery": "Draw the kernels, images and corruptions of a spec.",
    "merge": "Join the shards of a release in one file.",
    "verify": "Recompute the hashes of a release and compare them.",
    "info": "Show the contents of a release.",
    "import": "Make a release from files such as the published CSV.",
    "export-csv": "Write a kernel and its images as a CSV file.",
    "new": "Write a model to start from.",
    "check": "Test in seconds whether a model follows the model contract.",
    "train": "Train an entry; its run folder is a model.",
    "tracks": "List the standard tests: groups of cells, each with a ranking.",
    "evaluate": "Run a model on the test images and score it.",
    "predict": "Predict the test images with a model and write the predictions.",
    "score": "Score a predictions file.",
    "compare": "Compare two methods image by image.",
    "oracle": "Pick the best training kernel for each image, as a yardstick.",
    "maps": "Show what the file of a microscope contains, and draw it.",
    "prepare": "Level, clean, mask or crop measured maps.",
    "scatterers": "Find the scatterers of a measured map.",
    "extract": "Extract the kernel of a measured map.",
    "report": "Write the report of extracted kernels.",
    "hold-out": "Compare extractions of a measured map without a true kernel.",
    "leaderboard": "Build a leaderboard, or check one of its results.",
    "bench": "Draw the history of the benchmarks, or compare two runs.",
    "schema": "Print the JSON Schema of a file.",
    "doctor": "Show what this machine offers and lacks.",
}


class Program(LazyGroup):
    """The outermost group: prints the outcome of a command and turns every error into a sentence and an exit code."""

    def main(  # type: ignore[override]  # never returns
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **options: Any
    ) -> NoReturn:
        """Run a command and end the process."""
        arguments = list(sys.argv[1:] if args is None else args)
        settings = Settings.of(arguments)
        options.pop("standalone_mode", None)
        try:
            with shown(notes=(lambda _: None) if settings.quiet else say, warnings=say):
                response = super().main(arguments, prog_name, standalone_mode=False, obj=settings, **options)
        except (Exception, KeyboardInterrupt) as error:
            response = explain(error)
        sys.exit(show(response, settings) if isinstance(response, Response) else response)


HELP = """Generate quasiparticle-interference images, and benchmark how well models extract their kernels.

  qpibench generate mini -o mini.h5
  qpibench evaluate tikhonov --release mini.h5 --map exact -o result.json

Exit codes: 0 done, 1 failure, 2 usage, 3 invalid data or hash mismatch, 4 device or package not available, 5 a
benchmark fell, 130 interrupted (Ctrl-C, SIGTERM or SIGHUP), 141 nobody reads the output.
"""


cli = click.version_option(__version__, package_name="qpibench")(
    Program("qpibench", modules="qpibench.cli.", summaries=SUMMARIES, help=HELP)
)


def main() -> NoReturn:
    """Run the command line."""
    open_streams()
    # SIGTERM is handled like Ctrl-C: unfinished files are cleaned up and the model's process ends.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup sets it
        signal.signal(signal.SIGHUP, signal.default_int_handler)
    # NumPy's BLAS knows of no quota, and reads this variable when NumPy is imported, which is later.
    if threads := thread_variables().get("OPENBLAS_NUM_THREADS"):
        os.environ.setdefault("OPENBLAS_NUM_THREADS", threads)
    cli.main(prog_name="qpibench")


if __name__ == "__main__":
    main()
