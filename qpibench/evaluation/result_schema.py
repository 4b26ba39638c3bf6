"""JSON Schema of a result file, which describes every metric there is."""

from __future__ import annotations

from typing import Any

from qpibench.evaluation.metrics import all_metrics
from qpibench.evaluation.result import Result


def result_schema() -> dict[str, Any]:
    """JSON Schema of a result file, with every metric there is."""
    return with_metrics(Result.model_json_schema(), "Interval")


def with_metrics(schema: dict[str, Any], value: str) -> dict[str, Any]:
    """Return a JSON Schema whose mappings ``metrics`` describe each metric; their values have the type ``value``."""
    properties = {
        name: {"$ref": f"#/$defs/{value}", "description": metric.sentence} for name, metric in all_metrics().items()
    }
    for model in schema["$defs"].values():
        if model.get("properties", {}).get("metrics", {}).get("type") == "object":
            model["properties"]["metrics"]["properties"] = properties
    return schema
