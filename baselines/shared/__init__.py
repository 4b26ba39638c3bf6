"""Numerics that entries share and that need no torch; entries import it as ``from shared.splines import ...``."""
