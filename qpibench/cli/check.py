"""``qpibench check``."""

from __future__ import annotations

import click

from qpibench.cli.options import memory_limit_option, model_threads_option, subcommand, time_limit_option
from qpibench.cli.response import Response


@subcommand("check")
@click.argument("model")
@time_limit_option
@memory_limit_option
@model_threads_option
@click.option(
    "--kernel-px",
    type=click.IntRange(min=2),
    metavar="N",
    help="Ask for the central N x N pixels of the kernels, as the cells of some tracks do.  [default: all 64 x 64]",
)
def command(
    *, model: str, time_limit_s: float, memory_limit_gib: float, threads: int, kernel_px: int | None
) -> Response:
    """Test in seconds whether MODEL follows the model contract; no release is needed.

    MODEL is a file, FILE.py:NAME, the name of an entry, or a run folder of train. The exit code is 3 for a model that
    cannot be loaded, 4 if it needs a package of qpibench[training] that is missing, and 1 for one that breaks the
    contract in another way.

      qpibench check my_model.py
    """
    from qpibench.evaluation.check import check

    findings = check(
        model, time_limit_s=time_limit_s, memory_limit_gib=memory_limit_gib, threads=threads, kernel_px=kernel_px
    )
    broken = [finding for finding in findings if finding.problem]
    return Response(
        text="\n".join(f"{'broken' if finding.problem else 'ok':6}  {finding.demand}" for finding in findings),
        fields={
            "model": model,
            "findings": [{"demand": finding.demand, "problem": finding.problem} for finding in findings],
        },
        error="; ".join(f"{finding.problem}".rstrip(".") for finding in broken) + "." if broken else None,
        traceback="\n".join(finding.traceback for finding in broken),
        exit_code=max((finding.exit_code for finding in broken), default=0),
    )
