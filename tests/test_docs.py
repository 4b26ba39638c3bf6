"""Pages of docs/ that are partly made from the code are what the code gives."""

import importlib.util
from pathlib import Path

from qpibench.specs import load_spec

DOCS = Path(__file__).parents[1] / "docs"


def _script(name):
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_the_spec_is_what_its_models_say():
    page = (DOCS / "spec.md").read_text(encoding="utf-8")
    assert _script("spec_page").page() == page, "run `python docs/spec_page.py`"
    assert "| `kernels.count` | integer |  | required | at least 1, below 2^31 | number of kernels |" in page


def test_the_example_on_the_page_of_the_spec_is_a_spec(tmp_path):
    page = (DOCS / "spec.md").read_text(encoding="utf-8")
    lines = [line[4:] for line in page.splitlines() if line.startswith("    ")]
    (tmp_path / "mine.toml").write_text("\n".join(lines))
    assert load_spec(tmp_path / "mine.toml").scatterers.max == 20


def test_the_table_of_columns_is_what_families_and_corruptions_declare():
    columns = _script("columns")
    page = (DOCS / "format.md").read_text()
    assert columns.with_table(page) == page, "run `python docs/columns.py`"
    assert "| `phi1` | kernel | <f8 | rad |" in page
