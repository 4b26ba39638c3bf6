"""What the commands that write a report of kernels have in common."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qpibench.cli.options import OUTPUT_FOLDER, check_new
from qpibench.errors import UsageError
from qpibench.files import check_file

if TYPE_CHECKING:
    from qpibench.extraction.findings import Findings

figures_option = click.option(
    "--figures", type=OUTPUT_FOLDER, metavar="DIR", help="Also write the report's figures and numbers, as files."
)


def check_new_report(files: Sequence[Path | None], figures: Path | None, *, overwrite: bool) -> None:
    """Refuse files and a folder of figures that exist, unless they may be replaced, or that are one another."""
    written = check_new(files, overwrite=overwrite)
    if figures is None:
        return
    from qpibench.extraction.report import figure_files

    for path in map(Path.resolve, written):
        if path == figures.resolve() or path in figures.resolve().parents:
            raise UsageError(f"'{figures}' is a file that is written, too; choose another folder for --figures.")
    for path in figure_files(figures):
        check_file(
            path, if_exists=None if overwrite else "add --overwrite to replace figures, or choose another folder"
        )


def band_fields(findings: Findings) -> dict[str, Any]:
    """The band, or why there is none; nothing for kernels of a single energy."""
    if not findings.has_dispersion:
        return {}
    band = findings.band
    if band is None:
        return {"band": None, "no_band": findings.no_band}
    return {
        "band": {
            "e0_mev": band.e0_mev,
            "e0_interval_mev": list(band.e0_interval),
            "mass": band.mass,
            "mass_interval": list(band.mass_interval),
            "chi2_per_freedom": band.chi2,
            "energies_used": int(band.used.sum()),
            "energies": len(band.used),
        }
    }
