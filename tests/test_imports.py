"""The packages inside qpibench import each other in one direction only."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "qpibench"


def part(module: str) -> str:
    """Return the part of qpibench that holds a module: a package, or a single module beside the packages."""
    return module.split(".")[1]


def imported(path: Path) -> set[str]:
    """Return the parts that a file imports from at run time, anywhere in the file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.body = []
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "qpibench":
            names |= {f"qpibench.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {part(name) for name in names if name.startswith("qpibench.")}


def test_no_part_imports_one_that_imports_it():
    graph: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        relative = path.relative_to(PACKAGE)
        if relative.name != "__init__.py" or len(relative.parts) > 1:
            own = relative.parts[0].removesuffix(".py")
            graph.setdefault(own, set()).update(imported(path) - {own})
    order = list(TopologicalSorter(graph).static_order())
    assert order.index("grid") < order.index("specs") < order.index("release") < order.index("evaluation")
    assert [part for part, others in graph.items() if "cli" in others] == ["__main__"]
