"""Tables and JSON: what is cut, what is escaped, what fits."""

from __future__ import annotations

import json
import sys

from hypothesis import given
from hypothesis import strategies as st

from euclidesdb_server.commands.printing import (
    attribute,
    counted,
    cut,
    json_text,
    print_table,
    printable,
    shown,
    width,
)

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(ANYTHING)
def test_json_is_printable_and_means_the_same(value):
    text = json_text(value)
    assert text.isprintable()
    assert json.loads(text) == value


@given(st.text())
def test_texts_become_printable(text):
    assert printable(text).isprintable()
    assert shown(text) == printable(text)
    assert width(cut(printable(text), 7)) <= 7


def test_letters_of_two_columns_are_counted_so():
    assert width("日本") == 4
    assert cut("日本語", 5) == "日本…"


def test_bytes_are_base64_in_json():
    assert json_text({"a": b"ab"}) == '{"a": "YWI="}'


def test_columns_that_do_not_fit_are_left_out(capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "14")
    print_table(["id", "a", "b"], [["1", "12345", "1234567"]], fitted=True)
    print_table(["id", "a", "b"], [["1", "12345", "123"]], fitted=True)
    assert capsys.readouterr().out.splitlines() == [
        "id  a      …",
        "1   12345  …",
        "id  a      b",
        "1   12345  123",
    ]


def test_an_attribute_may_be_nested_or_have_dots_in_its_name():
    assert attribute({"a": {"b": 1}}, "a.b") == 1
    assert attribute({"a": {"b": 1}, "a.b": 2}, "a.b") == 2
    assert attribute({"a": 1}, "a.b") is None


def test_things_are_counted():
    assert (counted(0), counted(1), counted(2000)) == ("0 items", "1 item", "2,000 items")
