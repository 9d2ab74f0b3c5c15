"""Filters as text: each means what a dict means, or is refused with a pointer to the column."""

from __future__ import annotations

import contextlib
import time
from datetime import UTC, datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from euclidesdb._filters import filter_message
from euclidesdb_protos.v1 import database_pb2 as pb
from tests.support.cases import each_as_subtest

DAY = datetime(2024, 5, 1, tzinfo=UTC)
MEANINGS = {
    'price < 10 and color == "red"': {"price": {"$lt": 10}, "color": "red"},
    "10 <= price < 20": {"$and": [{"price": {"$gte": 10}}, {"price": {"$lt": 20}}]},
    "10 < price": {"price": {"$gt": 10}},
    "10 >= price": {"price": {"$lte": 10}},
    "10 > price": {"price": {"$lt": 10}},
    "1 == x": {"x": 1},
    "1 != x": {"x": {"$ne": 1}},
    "x == 1 == y": {"x": 1, "y": 1},
    'brand in ("a", "b")': {"brand": {"$in": ["a", "b"]}},
    'brand in ["a", None]': {"brand": {"$in": ["a", None]}},
    "brand in {1}": {"brand": {"$in": [1]}},
    "brand in ()": {"brand": {"$in": []}},
    'brand not in ("a",)': {"brand": {"$nin": ["a"]}},
    "not (x == 1)": {"x": {"$ne": 1}},
    "not x == 1 and y == 2": {"x": {"$ne": 1}, "y": 2},
    '"new" in tags': {"tags": {"$contains": "new"}},
    '"new" not in size.tags': {"$not": {"size.tags": {"$contains": "new"}}},
    "exists(size.width)": {"size.width": {"$exists": True}},
    "not exists(x)": {"x": {"$exists": False}},
    "x == None": {"x": None},
    "x is None": {"x": None},
    "x is not None": {"x": {"$ne": None}},
    "None != x": {"x": {"$ne": None}},
    'startswith(name, "sh")': {"name": {"$prefix": "sh"}},
    'startswith(id(), "shoes/")': {"$id": {"$prefix": "shoes/"}},
    'id() == "a"': {"$id": "a"},
    'id() in ("a", "b")': {"$id": {"$in": ["a", "b"]}},
    'field("id") == "a"': {"id": "a"},
    'field("$id") == "a"': {"$id": "a"},
    'field("unit price") >= -3': {"unit price": {"$gte": -3}},
    'exists(field("my-model.vector"))': {"my-model.vector": {"$exists": True}},
    'digits.label == "7" or digits.confidence < 0.6': {
        "$or": [{"digits.label": "7"}, {"digits.confidence": {"$lt": 0.6}}]
    },
    "a == 1 or b == 2 and c == 3": {"$or": [{"a": 1}, {"b": 2, "c": 3}]},
    "(a == 1 or b == 2) and c == 3": {"$and": [{"$or": [{"a": 1}, {"b": 2}]}, {"c": 3}]},
    "x == +1.5e3": {"x": 1500.0},
    "x == True": {"x": True},
    "x == 'it\\'s'": {"x": "it's"},
    'x == "a" "b"': {"x": "ab"},
    'größe == "ü"': {"größe": "ü"},
    'x > date("2024-05-01")': {"x": {"$gt": DAY}},
    'x == date("2024-05-01T02:00+02:00")': {"x": DAY},
    'x == date("2024-05-01T00:00:00Z")': {"x": DAY},
    'date("2024-05-01") in days': {"days": {"$contains": DAY}},
    "(a == 1\n or b == 2)": {"$or": [{"a": 1}, {"b": 2}]},
    "  x == 1\n": {"x": 1},
}


@each_as_subtest(("text", "given_dict"), MEANINGS.items())
def test_a_text_means_what_a_dict_means(text, given_dict):
    assert filter_message(text) == filter_message(given_dict)


# text, what the message says, and the column that it points at
REFUSED = [
    ("price <", "invalid syntax", 8),
    ("(price < 3", "'(' was never closed", 1),
    ("price < 3)", "unmatched ')'", 10),
    ("x == 08", "leading zeros", 6),
    ("class == 1", "invalid syntax", 1),
    ("price = 10", "write ==, not =", 7),
    ("name == 'a=b' && x == 1", "write and, not &&", 15),
    ("x == 1 || y == 2", "write or, not ||", 8),
    ("!(x == 1)", "write not, not !", 1),
    ("x <> 1", "write !=, not <>", 3),
    ("x == 1 AND y == 2", "write and, not AND", 8),
    ("name LIKE 'sh%'", "write startswith(field, 'sh'), not LIKE", 6),
    ("price < cost", "not with another field", 9),
    ("exists(true)", 'true is a value; an attribute is field("true")', 8),
    ("color == red", "a text has quotes: 'red'", 10),
    ("color != size.red", "a text has quotes: 'red'", 10),
    ("x in (a, 1)", "a text has quotes: 'red'", 7),
    ('brand in ("a")', "to the right of in is a list of values", 11),
    ("brand in 5", "to the right of in is a list of values", 10),
    ("x == [1]", "a list of values belongs to the right of in", 6),
    ("1 < 2", "a comparison has a field on one side", 1),
    ("my-model.label == 3", 'a name with other characters is written field("my-name")', 1),
    ("x == 1 & y == 2", "write and, not &", 6),
    ("(x == 1) | (y == 2)", "write or, not |", 1),
    ("~(x == 1)", "write not, not ~", 1),
    ("x", "a condition is needed: x == True, or exists(x)", 1),
    ("x == 1 and size.width", "size.width == True, or exists(size.width)", 12),
    ("True", "a condition is needed", 1),
    ("x == 1, y == 2", "a condition is needed", 1),
    ("lambda: x", "a condition is needed", 1),
    ("[x for x in y]", "a condition is needed", 1),
    ("(x := 1)", "a condition is needed", 2),
    ("open('file')", "the functions are exists(field) and startswith(field, 'sh')", 1),
    ("exists()", "the functions are", 1),
    ("exists(x, y)", "the functions are", 1),
    ("exists(*x)", "a field is needed here", 8),
    ("exists(field=x)", "the functions are", 1),
    ("exists('x')", "a field is needed here", 8),
    ("startswith(x, 5)", "a prefix must be a str", 15),
    ("startswith(x, y)", "a text has quotes", 15),
    ("x.startswith('sh')", "the functions are", 1),
    ('id == "a"', "write id() for the id of the item", 1),
    ("id(x) == 1", "a field is needed here", 1),
    ("field(x) == 1", "a field is needed here", 1),
    ('field("") == 1', "a field must have a name", 1),
    ("x[0] == 1", "a comparison has a field on one side", 1),
    ("x().y == 1", "only names are joined by dots", 1),
    ("x == 10**3", "a value is needed here", 6),
    ("x == -True", "a value is needed here", 6),
    ("x == f'{y}'", "a value is needed here", 6),
    ("x == {1: 2}", "a value is needed here", 6),
    ("x == b'a'", "not with bytes", 6),
    ("x == 1j", "not with complex", 6),
    ("x == ...", "not with ellipsis", 6),
    ("x < None", "None has no order", 5),
    ("x is 1", "is and is not are for None", 6),
    ("x == 9223372036854775809", "does not fit into 64 bits", 6),
    ('x > date("2024-13-01")', "month must be in 1..12", 5),
    ('x > date("soon")', "Invalid isoformat string", 5),
    ("x > date(2024)", "a value is needed here", 5),
    ('größe == "ü" and y == red', "a text has quotes", 23),
    ("é == 1 and é.ﬁt == 1", "write field('é.ﬁt')", 12),
    ("ﬁt == 1", "write field('ﬁt') for a name with these letters", 1),
    ("x == '\\ud800'", "must be valid Unicode", 6),
    ("x == 1 and " * 50 + "y == red", "a text has quotes", 556),
]


@each_as_subtest(("text", "message", "column"), REFUSED)
def test_a_text_that_means_nothing_is_refused_at_its_column(text, message, column):
    with pytest.raises(ValueError, match="column") as refused:
        filter_message(text)
    found, line, mark = str(refused.value).split("\n")
    assert message in found
    assert f"(column {column} of the filter)" in found
    pointed = line[mark.index("^") :]
    assert text[column - 1 :].startswith(pointed)
    assert len(line) < 100


def test_the_line_of_an_error_in_a_longer_text_is_shown():
    with pytest.raises(ValueError, match=r"\(line 2, column 11 of the filter\)\n {4}  or b == red"):
        filter_message("(a == 1\n  or b == red)")


@each_as_subtest(
    ("text", "message"),
    {
        "": "the filter is empty",
        " \n ": "the filter is empty",
        "x == 1 and " * 10_000 + "x == 1": "the filter has 110,006 characters; the limit is 100,",
        "x == " + "9" * 5000: "a number in the filter has too many digits",
        "x == '\ud800'": "a filter must be valid Unicode",
        "x == '\0'": "the filter has a null character",
        "not " * 32 + "x == 1": "filters are nested more than 32 deep",
        "not " * 20_000 + "x == 1": "filters are nested more than 32 deep",
        "-" * 50_000 + "1 == x": "filters are nested more than 32 deep",
        "x" + ".a" * 30_000 + " == 1": "filters are nested more than 32 deep",
        "(" * 250 + "x == 1" + ")" * 250: "too many nested parentheses",
        "x" + "()" * 30_000 + " == 1": "filters are nested more than 32 deep",
    }.items(),
    ids=lambda value: value[:20],
)
def test_a_hostile_text_is_refused_briefly(text, message):
    with pytest.raises(ValueError, match=message) as refused:
        filter_message(text)
    assert len(str(refused.value)) < 400


def test_a_long_text_takes_time_in_proportion():
    began = time.perf_counter()
    filter_message(" or ".join(f"größe == {number}" for number in range(5000)))
    assert time.perf_counter() - began < 10  # seconds; it took minutes when it was quadratic


def test_the_deepest_text_is_one_that_the_server_takes():
    message = filter_message("not " * 31 + "x == 1")
    pb.FindSimilarRequest(options=pb.SearchOptions(filter=message)).SerializeToString()


PIECES = st.sampled_from(
    [
        *("x", "size.width", "id()", 'field("a b")', "red", "1", "-2.5", '"a"', "None", "True"),
        *("date('2024-05-01')", "(", ")", "[", "]", ",", ".", "==", "<", ">=", "in", "not", "is"),
        *("and", "or", "exists(", "startswith(", "if", "else", "lambda", ":=", "*", "&", "\n", "é"),
    ]
)


@settings(max_examples=500, deadline=None)
@given(st.lists(PIECES, max_size=15).map(" ".join) | st.text(max_size=30))
@example("x == '\\d'")
@example("1if x else 2")
def test_any_text_is_a_filter_or_a_value_error(text):
    with contextlib.suppress(ValueError):
        assert filter_message(text).WhichOneof("kind")


def test_the_words_of_json_are_values():
    for text, same in (
        ("sold == true", "sold == True"),
        ("sold != false", "sold != False"),
        ("sold == null", "sold == None"),
        ("sold is not null", "sold is not None"),
        ("x in (true, 1)", "x in (True, 1)"),
        ('field("true") == true', 'field("true") == True'),
    ):
        assert filter_message(text) == filter_message(same)
