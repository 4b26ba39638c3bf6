"""Decoding texts: what a text says comes back, and whatever else it is, one kind of error says it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpibench.errors import InvalidDataError
from qpibench.parsing import MAX_DEPTH, parse_json, parse_toml, shown


def nested(depth):
    return "[" * depth + "1" + "]" * depth


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**128), 2**128) | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_what_json_says_comes_back(content):
    assert parse_json(json.dumps(content).encode(), "It") == content


def problem(parse, text):
    try:
        parse(text, "It")
    except InvalidDataError as error:
        return str(error)
    return "none"


@given(st.binary() | st.text())
def test_any_text_is_decoded_or_refused(text):
    for parse in (parse_json, parse_toml):
        assert problem(parse, text).startswith(("none", "It is not valid"))
        assert "\n" not in problem(parse, text)


@pytest.mark.parametrize("parse", [parse_json, lambda text, subject: parse_toml(f"a = {text}", subject)])
def test_lists_may_be_nested_up_to_the_limit(parse):
    parse(nested(MAX_DEPTH - 1), "It")
    with pytest.raises(InvalidDataError, match="nested more than 64 deep"):
        parse(nested(MAX_DEPTH + 1), "It")


def test_a_byte_order_mark_is_no_fault():
    assert parse_toml("a = 1".encode("utf-8-sig"), "It") == {"a": 1}
    assert parse_json("[1]".encode("utf-8-sig"), "It") == [1]


def test_values_in_messages_are_cut_off():
    deep = []
    for _ in range(100_000):
        deep = [deep]
    assert shown("short") == "'short'"
    assert len(shown("n" * 5000)) < 110
    assert (shown(deep), shown(10**5000)) == ("a list", "a int")
