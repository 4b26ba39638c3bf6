"""Pages of docs/ that are partly made from the code are what the code gives."""

import importlib.util
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def test_the_table_of_columns_is_what_families_and_corruptions_declare():
    spec = importlib.util.spec_from_file_location("docs_columns", DOCS / "columns.py")
    columns = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(columns)
    page = (DOCS / "format.md").read_text()
    assert columns.with_table(page) == page, "run `python docs/columns.py`"
    assert "| `phi1` | kernel | <f8 | rad |" in page
