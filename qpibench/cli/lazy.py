"""A click group that imports a command when it runs, not when the help text lists it."""

from __future__ import annotations

import difflib
import inspect
import keyword
import textwrap
from collections.abc import Mapping
from importlib import import_module

import click

from qpibench.cli.response import Response

CONTEXT = {"help_option_names": ["-h", "--help"]}

# Settings.of reads their values from the raw arguments, so that an error while parsing is printed as they ask.
COMMON_OPTIONS: list[click.Parameter] = [
    click.Option(["--json"], is_flag=True, expose_value=False, help="Print one JSON object on standard output."),
    click.Option(["--quiet"], is_flag=True, expose_value=False, help="No progress, no notes on standard error."),
    click.Option(["--traceback"], is_flag=True, expose_value=False, help="Show where an error comes from."),
]


def help_text(text: str | None) -> str:
    """Turn a docstring into a help text: paragraphs of commands keep their lines, other paragraphs are filled."""
    paragraphs = inspect.cleandoc(text or "").split("\n\n")
    return "\n\n".join(
        "\b\n" + textwrap.indent(textwrap.dedent(paragraph), "  ")
        if paragraph.lstrip().startswith("qpibench ")
        else paragraph
        for paragraph in paragraphs
    )


class LazyGroup(click.Group):
    """Group of commands; each command is the object ``command`` of its own module.

    Parameters
    ----------
    modules
        Prefix of the modules' names: the command ``export-csv`` is in ``<modules>export_csv``. A command whose name is
        a keyword of Python, such as ``import``, has an underscore appended.
    summaries
        One sentence for each command, in the order of the help text.
    help
        Help text of the group.
    """

    def __init__(self, name: str, *, modules: str, summaries: Mapping[str, str], help: str) -> None:
        super().__init__(
            name,
            callback=_without_command,
            invoke_without_command=True,
            help=help_text(help),
            params=list(COMMON_OPTIONS),
            context_settings=CONTEXT,
        )
        self._modules, self._summaries = modules, summaries

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands."""
        return list(self._summaries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; return None if the group has none of that name."""
        if cmd_name not in self._summaries:
            return None
        name = cmd_name.replace("-", "_") + ("_" if keyword.iskeyword(cmd_name) else "")
        command: click.Command = import_module(self._modules + name).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the requested command; an unknown name gives an error that suggests similar names."""
        if args[0] not in self._summaries and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], self._summaries, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"known commands: {', '.join(self._summaries)}."
            ctx.fail(f"There is no command '{args[0]}'; {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self._summaries.items()))


@click.pass_context
def _without_command(context: click.Context) -> Response | None:
    if context.invoked_subcommand is not None:
        return None
    return Response(text=context.get_help(), error="No command was given; choose one of those listed.", exit_code=2)
