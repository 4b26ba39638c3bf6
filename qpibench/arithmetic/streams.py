"""Keys of the streams of random words: each purpose draws from a stream of its own."""

from __future__ import annotations

import hashlib
from typing import Literal

import numpy as np

Domain = Literal["benchmark", "training"]
"""Releases are drawn in ``benchmark`` and streams of training data in ``training``; their keys differ."""


def stream_key(domain: Domain, seed: int, tag: str) -> np.uint64:
    """Key of a stream: the first 64 bits of SHA-256 over domain, seed and tag.

    The hashed text is ``qpibench/<domain>/<seed, 32 hexadecimal digits>/<tag>`` in ASCII; the digest's first eight
    bytes are read as a little-endian integer. Each purpose has a tag of its own, so a new purpose changes no other.
    """
    digest = hashlib.sha256(f"qpibench/{domain}/{seed:032x}/{tag}".encode()).digest()
    return np.uint64(int.from_bytes(digest[:8], "little"))
