"""``qpibench doctor``."""

from __future__ import annotations

from qpibench.cli.options import subcommand
from qpibench.cli.response import Response
from qpibench.cli.table import aligned


@subcommand("doctor")
def command() -> Response:
    """Show what qpibench needs, what this machine offers, and how to install what is missing.

    qpibench doctor
    """
    from qpibench.diagnosis import diagnose

    findings = diagnose()
    failed = [finding for finding in findings if finding.required and finding.advice]
    rows = [(finding.what, finding.found, f"-> {finding.advice}" if finding.advice else "") for finding in findings]
    return Response(
        text=aligned(rows),
        fields={"findings": [vars(finding) for finding in findings]},
        error="; ".join(f"{finding.what}: {finding.found}; {finding.advice}" for finding in failed) or None,
        exit_code=1 if failed else 0,
    )
