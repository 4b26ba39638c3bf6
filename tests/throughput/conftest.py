"""Runs of the benchmarks that were never run."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

MACHINE = {
    "cpu": "Processor",
    "cores": 2,
    "memory_gib": 8,
    "file_system": "ext4",
    "system": "Linux x86_64",
    "python": "3.12.3",
    "versions": {"numpy": "2.4.6"},
}


def _figure(name="speed.ratio", value=100.0, spread=2.0, **others):
    return {
        "name": name,
        "what": f"the figure `{name}`",
        "unit": "x",
        "value": value,
        "low": value - spread / 2,
        "high": value + spread / 2,
        "rounds": 12,
        **others,
    }


@pytest.fixture
def figure():
    """Make up a figure whose quartiles lie half the spread below and above its value."""
    return _figure


@pytest.fixture
def machine():
    """The machine of the runs, to be changed."""
    return dict(MACHINE)


@pytest.fixture
def write_run(tmp_path):
    """Write a run as pytest-benchmark does; days are counted from the first of March."""

    def write(*figures, day=0, folder="history", machine=MACHINE, not_measured=(), name=None):
        measured = datetime(2026, 3, 1, 12, tzinfo=UTC) + timedelta(days=day)
        content = {
            "machine_info": machine,
            "commit_info": {"id": f"{day:07x}" + "0" * 33, "dirty": False},
            "benchmarks": [{"name": "test_speed[fast]", "stats": {}, "extra_info": {"figures": list(figures)}}],
            "not_measured": list(not_measured),
            "datetime": measured.isoformat(),
            "version": "5.1",
        }
        path = tmp_path / folder / (name or f"{machine['cpu'].lower()}-{day:03}.json")
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))
        return path

    return write
