"""The random words: known answers, independence of streams, 64-bit indices."""

import hashlib

import numba as nb
import numpy as np
import pytest

from qpibench.arithmetic.philox import integer_between, philox4x32, unit, words
from qpibench.arithmetic.streams import stream_key


@nb.njit
def _philox(counter, key):
    return philox4x32(counter[0], counter[1], counter[2], counter[3], key[0], key[1])


@nb.njit
def _words(key, draw, image, kernel):
    return words(key, draw, image, kernel)


@nb.njit
def _unit(word):
    return unit(word)


@nb.njit
def _integer(word, low, high):
    return integer_between(word, low, high)


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_the_known_answers_of_random123_are_reproduced(counter, key, expected):
    def parse(text):
        return np.array([int(word, 16) for word in text.split()], np.uint32)

    assert [f"{word:08x}" for word in _philox(parse(counter), parse(key))] == expected.split()


def test_a_key_is_the_head_of_a_hash_over_domain_seed_and_tag():
    digest = hashlib.sha256(b"qpibench/training/000000000000000000000000000000ff/scatterer count").digest()
    assert stream_key("training", 255, "scatterer count") == int.from_bytes(digest[:8], "little")


def test_domains_seeds_and_tags_have_streams_of_their_own():
    keys = {
        stream_key(domain, seed, tag)
        for domain in ("benchmark", "training")
        for seed in (0, 1, 2**64, 2**127)
        for tag in ("a", "b")
    }
    assert len(keys) == 16


def test_kernel_indices_beyond_32_bits_do_not_wrap():
    key = stream_key("training", 0, "x")
    drawn = {_words(key, 0, 0, np.uint64(kernel)) for kernel in (5, 2**32 + 5, 2**63 + 5)}
    assert len(drawn) == 3


def test_units_lie_strictly_between_zero_and_one():
    assert _unit(np.uint32(0)) == 2.0**-33
    assert _unit(np.uint32(2**32 - 1)) == 1 - 2.0**-33


def test_integers_reach_both_ends_and_nothing_beyond():
    assert _integer(np.uint32(0), 1, 100) == 1
    assert _integer(np.uint32(2**32 - 1), 1, 100) == 100
    spread = [_integer(np.uint32(word), 3, 5) for word in np.linspace(0, 2**32 - 1, 3000).astype(np.uint32)]
    assert [spread.count(value) for value in (3, 4, 5)] == pytest.approx([1000] * 3, abs=1)
