"""The entries of the benchmark as a function: the kernel of an image of one's own."""

from __future__ import annotations

from qpibench.extraction.extract import Extraction, extract

__all__ = ["Extraction", "extract"]
