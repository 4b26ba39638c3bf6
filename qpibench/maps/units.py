"""Units of lengths, energies and currents as files write them."""

from __future__ import annotations

_NM = {
    "m": 1e9,
    "metre": 1e9,
    "metres": 1e9,
    "meter": 1e9,
    "meters": 1e9,
    "mm": 1e6,
    "um": 1e3,
    "\u00b5m": 1e3,
    "nm": 1.0,
    "nanometre": 1.0,
    "nanometres": 1.0,
    "nanometer": 1.0,
    "nanometers": 1.0,
    "å": 0.1,
    "angstrom": 0.1,
    "angstroms": 0.1,
    "pm": 1e-3,
}
_MEV = {"v": 1e3, "volt": 1e3, "volts": 1e3, "mv": 1.0, "ev": 1e3, "mev": 1.0}
_A = {"a": 1.0, "ma": 1e-3, "ua": 1e-6, "\u00b5a": 1e-6, "na": 1e-9, "pa": 1e-12, "fa": 1e-15}


def in_nm(unit: str) -> float | None:
    """The length of a unit in nm; None if it is none of length."""
    return _NM.get(_plain(unit))


def in_mev(unit: str) -> float | None:
    """The energy in meV of one unit of energy, or of an electron that crosses one unit of voltage; None for others."""
    return _MEV.get(_plain(unit))


def in_a(unit: str) -> float | None:
    """The current of a unit in A; None if it is none of current."""
    return _A.get(_plain(unit))


def _plain(unit: str) -> str:
    # The micro sign and the Greek letter look alike, as do the angstrom sign and the Swedish letter.
    return unit.strip().replace("\u03bc", "\u00b5").replace("\u212b", "Å").lower()
