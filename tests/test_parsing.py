"""Decoding texts: what a text says comes back, and whatever else it is, one kind of error says it."""

import gc
import json
from contextlib import contextmanager

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


JSON_AND_TOML = pytest.mark.parametrize(
    "parse", [parse_json, lambda text, subject: parse_toml(f"a = {text}", subject)], ids=["json", "toml"]
)


@JSON_AND_TOML
def test_lists_may_be_nested_up_to_the_limit(parse):
    parse(nested(MAX_DEPTH - 1), "It")
    with pytest.raises(InvalidDataError, match="nested more than 64 deep"):
        parse(nested(MAX_DEPTH + 1), "It")


@contextmanager
def at_every_collection(call):
    """Call a function each time the garbage collector runs, which it does very often in this context."""
    former = gc.get_threshold()
    gc.callbacks.append(call)
    gc.set_threshold(1, 1000, 1000)
    try:
        yield
    finally:
        gc.set_threshold(*former)
        gc.callbacks.remove(call)


def can_call(depth):
    try:
        return depth == 0 or can_call(depth - 1)
    except RecursionError:
        return False


@JSON_AND_TOML
def test_the_collector_never_runs_near_the_recursion_limit(parse):
    far = []
    with at_every_collection(lambda *_: far.append(can_call(20))):
        assert "nested more than 64 deep" in problem(parse, "[" * 2000)
    assert all(far)


TEXTS = ["[" * 99, '\\"' + "{" * 99, "'\"" + "[" * 99, "\n# it's {" * 99]


@pytest.mark.parametrize("text", TEXTS, ids=["list", "quotes", "both quotes", "comments"])
def test_brackets_in_texts_do_not_nest(text):
    assert parse_json(json.dumps({"a": text}), "It") == {"a": text}
    assert parse_toml(f"a = {json.dumps(text)}", "It") == {"a": text}
    assert parse_toml(f"# it's {text!r}\na = '''\n{text}'''", "It") == {"a": text}
    assert parse_toml(f'a = """\n "{text}"""" # [[[', "It") == {"a": f' "{text}"'.replace('\\"', '"')}


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
