"""Every file of the repository has a name that Windows and macOS can store."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("qpibench", "baselines", "kernels_cuda", "tests", "benchmarks", "docs", "constraints")
RESERVED = re.compile(r"(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(?:\..*)?", re.IGNORECASE)


def problem(name: str) -> str | None:
    """What keeps a system from storing a file of this name."""
    if RESERVED.fullmatch(name):
        return "Windows keeps it for a device"
    if name.endswith((".", " ")) or re.search(r'[<>:"|?*\\\x00-\x1f]', name):
        return "Windows allows no such character there"
    if unicodedata.normalize("NFC", name) != name:
        return "macOS would change it"
    return None


def test_every_name_can_be_stored_anywhere():
    paths = [path.relative_to(ROOT) for folder in FOLDERS for path in (ROOT / folder).rglob("*")]
    assert len(paths) > 300
    assert not {str(path): found for path in paths if (found := problem(path.name))}
    assert max(len(str(path)) for path in paths) < 150  # of the 260 that Windows allows with the folders around it
    assert not [name for name, count in Counter(str(path).casefold() for path in paths).items() if count > 1]


@pytest.mark.parametrize("name", ["nul.h5", "Aux", "COM1.txt", "a:b.json", "name.", "caf" + "e\u0301"])
def test_a_name_that_some_system_cannot_store_is_seen(name):
    assert problem(name)
