"""Units with prefixes, in which numbers are easy to read."""

from __future__ import annotations

import numpy as np

_PREFIXES = {-15: "f", -12: "p", -9: "n", -6: "\N{GREEK SMALL LETTER MU}", -3: "m", 0: "", 3: "k", 6: "M", 9: "G"}
_WITH_PREFIX = frozenset({"m", "A", "V", "A/V", "V/A", "S", "Hz", "N", "s", "W"})


def with_prefix(largest: float, unit: str) -> tuple[float, str]:
    """Factor and unit in which a value has one or two digits before the point, or lies just below 1.

    Examples
    --------
    >>> with_prefix(2.5e-12, "A")
    (1000000000000.0, 'pA')
    """
    if unit not in _WITH_PREFIX or not largest > 0:
        return 1.0, unit
    power = int(np.clip(3 * np.floor((np.log10(largest) + 1) / 3 + 1e-9), min(_PREFIXES), max(_PREFIXES)))
    return 10.0**-power, _PREFIXES[power] + unit
