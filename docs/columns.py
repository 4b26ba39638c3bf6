"""Write the table of declared columns into docs/format.md: ``python docs/columns.py``, after a declaration changed."""

from __future__ import annotations

from pathlib import Path

from qpibench.columns import Column
from qpibench.corruptions import corruption_names, get_corruption
from qpibench.families import family_names, get_family
from qpibench.specs.species import KERNEL_COLUMNS, ROTATION, SCATTERER_SPECIES, TOLD_SPECIES

PAGE = Path(__file__).parent / "format.md"
HEAD = "| column | per | type | units | meaning | absent | declared by |\n|---|---|---|---|---|---|---|\n"


def with_table(page: str) -> str:
    """The page with the rows of its table as the package declares them."""
    before, head, after = page.partition(HEAD)
    _, blank, rest = after.partition("\n\n")
    return before + head + "\n".join(_rows()) + blank + rest


def _rows() -> list[str]:
    rows = []
    for name in family_names():
        family = get_family(name)
        for column in family.COLUMNS:
            stratum = "; its stratum" if column.name == family.STRATUM else ""
            rows.append(_row(column, f"family `{name}`{stratum}"))
    of_species = (*KERNEL_COLUMNS, ROTATION, SCATTERER_SPECIES, TOLD_SPECIES)
    rows += [_row(column, "table `[species]`") for column in of_species]
    for name in corruption_names():
        rows += [_row(column, f"corruption `{name}`") for column in get_corruption(name).COLUMNS]
    return rows


def _row(column: Column, declared_by: str) -> str:
    absent = "NaN" if column.absent != column.absent else f"{column.absent:g}"
    cells = (f"`{column.name}`", column.per, column.dtype, column.units, column.long_name, absent, declared_by)
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text()))
