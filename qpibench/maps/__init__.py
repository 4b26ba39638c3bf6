"""Measured maps: what a microscope's file contains, independent of its format."""

from __future__ import annotations

from qpibench.maps.measurement import Axis, Channel, Maps, Source, Step

__all__ = ["Axis", "Channel", "Maps", "Source", "Step"]
