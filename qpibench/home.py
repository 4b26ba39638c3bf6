"""The home folder of the user, where caches lie unless the user chose another place."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path | None:
    """Return the home folder; None if ``HOME`` is not set and the system does not know the user, as in containers."""
    found = os.path.expanduser("~")
    return None if found == "~" else Path(found)
