"""The constraints files of ``make test-pythons`` agree with pyproject.toml, so that its lower bounds are tested."""

from __future__ import annotations

import tomllib
from collections import defaultdict
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from benchmarks import pythons

ROOT = Path(__file__).parents[1]


def requirements():
    """What pyproject.toml asks for, of the extras that are tested."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [
        each for name in (*pythons.EXTRAS, *pythons.WITH_TORCH) for each in project["optional-dependencies"][name]
    ]
    return [asked for asked in map(Requirement, [*project["dependencies"], *extras]) if asked.name != "torch"]


def pins(name):
    """The versions that a constraints file names for each package; several if they depend on the Python."""
    found = defaultdict(list)
    for line in (ROOT / "constraints" / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            pinned = Requirement(line)
            (only,) = pinned.specifier
            assert only.operator == "=="
            found[pinned.name].append(Version(only.version))
    return found


@pytest.mark.parametrize("asked", requirements(), ids=str)
def test_the_oldest_version_is_the_lower_bound(asked):
    (bound,) = asked.specifier
    lowest, least = Version(bound.version), min(pins("oldest")[asked.name])
    assert bound.operator == ">="
    assert least.release[: len(lowest.release)] == lowest.release


@pytest.mark.parametrize("asked", requirements(), ids=str)
def test_the_newest_version_is_stated_and_permitted(asked):
    found = pins("newest")[asked.name]
    assert found
    assert all(asked.specifier.contains(version) for version in found)
