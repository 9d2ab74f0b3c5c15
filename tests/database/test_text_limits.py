"""Attributes and metadata are limited, for an item and for a reply; what is stored is readable."""

from __future__ import annotations

import json
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from euclidesdb_server.config.server import MIB, ServerConfig
from euclidesdb_server.database.validation import TEXTS_AT_A_TIME, check_attributes
from euclidesdb_server.errors import InvalidRequest, ReplyTooLarge
from tests.support.assembled import Database, no_models
from tests.support.cases import each_as_subtest

SMALL = ServerConfig(max_attributes_bytes=100, max_metadata_bytes=1000, max_reply_bytes=4096)
ATTRIBUTES = '{"a": "%s"}'
DIMS = {"one": 2}


def open_database(folder, limits=SMALL):
    return Database(folder, no_models(folder / "models"), DIMS, limits=limits)


@pytest.fixture
def database(tmp_path):
    with open_database(tmp_path) as made:
        yield made


def attributes_of(size):
    return ATTRIBUTES % ("x" * (size - len(ATTRIBUTES % "")))


REFUSED = {
    "attributes": (
        {"attributes_json": attributes_of(101)},
        "the attributes of item 'a' have 101 bytes of JSON; [server] max_attributes_bytes "
        "permits 100",
    ),
    "attributes of long letters": (
        {"attributes_json": ATTRIBUTES % ("\U0001f600" * 25)},
        "the attributes of item 'a' have 109 bytes of JSON; [server] max_attributes_bytes "
        "permits 100",
    ),
    "metadata": (
        {"metadata": b"x" * 1001},
        "the metadata of item 'a' has 1,001 bytes; [server] max_metadata_bytes permits 1,000",
    ),
}


@each_as_subtest(("texts", "message"), REFUSED.values(), ids=REFUSED)
def test_an_item_over_a_limit_is_refused_alone(database, texts, message):
    with pytest.raises(InvalidRequest) as refused:
        database.add("a", one=[1, 2], texts=texts)
    assert str(refused.value) == message
    small: dict[str, str | bytes] = {"attributes_json": "{}", "metadata": b""}
    columns = {name: [value, small[name]] for name, value in texts.items()}
    errors = database.add_vectors("one", ["a", "b"], [[1, 2], [3, 4]], **columns)
    assert {row: str(error) for row, error in errors.items()} == {0: message}
    assert database.ids([3, 4], "one") == ["b"]


def test_among_many_texts_each_that_is_refused_is_named(database):
    count = 2 * TEXTS_AT_A_TIME + 10
    attributes, metadata = ["{}"] * count, [b""] * count
    refused = {
        0: "[1]",
        TEXTS_AT_A_TIME - 1: "{",
        TEXTS_AT_A_TIME: attributes_of(101),
        count - 2: '{"a": NaN}',
    }
    for row, text in refused.items():
        attributes[row] = text
    metadata[count - 1] = b"x" * 1001
    attributes[1], metadata[2] = attributes_of(100), b"x" * 1000
    errors = database.add_vectors(
        "one",
        [f"{row}" for row in range(count)],
        [[row, 0] for row in range(count)],
        attributes_json=attributes,
        metadata=metadata,
    )
    assert [*errors] == [*refused, count - 1]
    for row in (TEXTS_AT_A_TIME, count - 1):
        assert f"of item '{row}' ha" in str(errors[row])
    assert all(isinstance(error, InvalidRequest) for error in errors.values())
    assert database.get("1").attributes_json == attributes[1]


def test_items_at_the_limits_are_stored(database):
    texts = {"attributes_json": attributes_of(100), "metadata": b"x" * 1000}
    database.add("a", one=[1, 2], texts=texts)
    assert database.get("a").attributes_json == texts["attributes_json"]


def test_a_long_id_is_abbreviated_in_the_message(database):
    with pytest.raises(InvalidRequest, match=r"of item 'xxx\w{45}\.\.\.' has"):
        database.add("x" * 500, one=[1, 2], texts={"metadata": b"x" * 1001})


def test_items_that_were_stored_with_more_stay_readable(tmp_path):
    texts = {"attributes_json": attributes_of(2000), "metadata": b"x" * 2000}
    with open_database(tmp_path, ServerConfig()) as before:
        before.add("a", one=[1, 2], texts=texts)
    with open_database(tmp_path) as database:
        item = database.get("a")
        assert (item.attributes_json, item.metadata) == (texts["attributes_json"], b"x" * 2000)
        (found,) = database.near([1, 2], "one", include_attributes=True, include_metadata=True)
        assert found.attributes_json == texts["attributes_json"]
        database.add("a", one=[5, 6])
        assert database.get("a").metadata == b"x" * 2000, "what is not given stays"


def test_a_reply_over_its_limit_is_refused_with_what_to_ask_for(database):
    for number in range(5):
        database.add(str(number), one=[number, 0], texts={"metadata": b"x" * 1000})
    with pytest.raises(ReplyTooLarge) as refused:
        database.near([0, 0], "one", include_metadata=True)
    assert str(refused.value) == (
        "the answer has 5,005 bytes of ids and what else was requested, or more; [server] "
        "max_reply_bytes permits 4,096 in one reply: ask for fewer neighbors (top_k), queries or "
        "models in one call, or for ids alone, and get the items one by one"
    )
    assert len(database.near([0, 0], "one", 4, include_metadata=True)) == 4
    assert len(database.near([0, 0], "one")) == 5


def test_rows_that_a_repeated_search_leaves_out_do_not_count(database):
    for number in range(5):
        database.add(str(number), one=[number, 0], texts={"metadata": b"x" * 1000})
    found = database.near(
        "0", "one", 3, include_self=True, include_metadata=True, max_distance=100.0
    )
    assert [neighbor.id for neighbor in found] == ["0", "1", "2"]


def test_ids_count_too(database):
    ids = [f"{number:0500}" for number in range(9)]
    database.add_vectors("one", ids, [[1, 2]] * 9)
    with pytest.raises(ReplyTooLarge):
        database.near([1, 2], "one")
    with pytest.raises(ReplyTooLarge):
        database.near([1, 2], "one", max_distance=1.0)
    assert len(database.near([1, 2], "one", 8)) == 8


def test_a_search_reads_no_more_than_a_reply_may_have(tmp_path):
    limits = ServerConfig(max_reply_bytes=2 * MIB)
    with open_database(tmp_path, limits) as database:
        for number in range(30):
            database.add(str(number), one=[number, 0], texts={"metadata": b"x" * MIB})
        tracemalloc.start()
        try:
            with pytest.raises(ReplyTooLarge):
                database.near([0, 0], "one", include_metadata=True)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 8 * MIB


def refuse_constant(name):
    raise ValueError(name)


def verdict(text):
    """What the standard library says of attributes."""
    try:
        return isinstance(json.loads(text, parse_constant=refuse_constant), dict)
    except (ValueError, RecursionError):
        return False


def is_accepted(text):
    try:
        check_attributes("a", text, MIB)
    except InvalidRequest:
        return False
    return True


ODD = {
    "twice the same key": '{"a": 1, "a": 2}',
    "a long integer": '{"a": %s}' % ("9" * 4300),
    "too long an integer": '{"a": %s}' % ("9" * 4301),
    "a number that becomes infinite": '{"a": 1e999}',
    "half a surrogate pair": r'{"a": "\ud800"}',
    "a control character": '{"a": "\x01"}',
    "NUL": r'{"a": "\u0000"}',
    "NaN": '{"a": NaN}',
    "infinity": '{"a": -Infinity}',
    "deep": '{"a": ' + "[" * 63 + "]" * 63 + "}",
    "brackets that nest nothing": '{"a": "' + "[" * 500 + r"\"{" + '"}',
    "many lists": '{"a": [' + ",".join(["[]"] * 500) + "]}",
    "too deep": '{"a": ' + "[" * 200_000 + "]" * 200_000 + "}",
    "a byte order mark": "\ufeff{}",
    "white space": " \n\t{ } \r",
    "a space that is not white": "\u00a0{}",
    "a list": "[]",
    "nothing": "",
}


@each_as_subtest("text", ODD.values(), ids=ODD)
def test_odd_attributes_are_accepted_if_the_standard_library_reads_them(text):
    assert is_accepted(text) == verdict(text)


def test_attributes_are_nested_64_deep_at_most():
    for opened, closed in (("[", "]"), ('{"a":', "}")):
        text = '{"a": ' + opened * 64 + "1" + closed * 64 + "}"
        with pytest.raises(InvalidRequest, match="nested more than 64 deep"):
            check_attributes("a", text, 1 << 20)


PIECES = st.lists(
    st.sampled_from([*'{}[]:,"\\ \n-+.eE019', '"a"', '"a":', "null", "true", "NaN", r"\u12", "ü"]),
    max_size=12,
).map("".join)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(
    st.dictionaries(st.text(), VALUES).map(json.dumps) | PIECES | PIECES.map('{{"a":{}}}'.format)
)
@settings(max_examples=150, deadline=None)
def test_attributes_are_accepted_if_the_standard_library_reads_them(text):
    assert is_accepted(text) == verdict(text)
