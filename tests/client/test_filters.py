"""Filters as dicts: each means a tree of conditions, or is refused by the name of its key."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from euclidesdb._filter_messages import MAX_DEPTH
from euclidesdb._filters import filter_message
from euclidesdb_protos.v1 import database_pb2 as pb
from euclidesdb_server.errors import UnknownModel
from euclidesdb_server.rpc import v1_filters
from euclidesdb_server.values.filters import (
    All,
    AnyOf,
    Attribute,
    Comparison,
    Contains,
    Exists,
    ItemId,
    Not,
    OneOf,
    Operator,
    Prediction,
    PredictionValue,
    Prefix,
)
from tests.support.cases import each_as_subtest
from tests.support.filtering import PlainItem, matches

LESS, LESS_OR_EQUAL = Operator.LESS, Operator.LESS_OR_EQUAL
GREATER, GREATER_OR_EQUAL = Operator.GREATER, Operator.GREATER_OR_EQUAL
X = Attribute("x")
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


class OneModel:
    """A resolver that knows the model digits."""

    def prediction(self, model, value):
        return Prediction(1, value) if model == "digits" else None

    def refusal(self, model):
        return UnknownModel(model)


def tree(given_filter):
    """What the server makes of a filter."""
    data = filter_message(given_filter).SerializeToString()
    return v1_filters.filter_tree(pb.Filter.FromString(data), OneModel())


def equal(value, field=X):
    return Comparison(field, Operator.EQUAL, value)


MEANINGS: list[tuple[dict[str, Any], Any]] = [
    ({"x": 1}, equal(1)),
    ({"x": "red"}, equal("red")),
    ({"x": True}, equal(True)),
    ({"x": 0.5}, equal(0.5)),
    ({"x": None}, Not(Exists(X))),
    ({"x": {"$eq": 1}}, equal(1)),
    ({"x": {"$eq": None}}, Not(Exists(X))),
    ({"x": {"$ne": 1}}, Not(equal(1))),
    ({"x": {"$ne": None}}, Exists(X)),
    ({"x": {"$lt": 1}}, Comparison(X, LESS, 1)),
    ({"x": {"$lte": 1}}, Comparison(X, LESS_OR_EQUAL, 1)),
    ({"x": {"$gt": "a"}}, Comparison(X, GREATER, "a")),
    ({"x": {"$gte": 1.5}}, Comparison(X, GREATER_OR_EQUAL, 1.5)),
    (
        {"size.width": {"$gte": 3, "$lt": 5}},
        All(
            (
                Comparison(Attribute("size.width"), GREATER_OR_EQUAL, 3),
                Comparison(Attribute("size.width"), LESS, 5),
            )
        ),
    ),
    ({"x": {"$in": ["a", 1]}}, OneOf(X, ("a", 1))),
    ({"x": {"$in": (1,)}}, OneOf(X, (1,))),
    ({"x": {"$in": np.arange(2)}}, OneOf(X, (0, 1))),
    ({"x": {"$in": []}}, OneOf(X, ())),
    ({"x": {"$in": ["a", None]}}, AnyOf((OneOf(X, ("a",)), Not(Exists(X))))),
    ({"x": {"$nin": ["a"]}}, Not(OneOf(X, ("a",)))),
    ({"x": {"$nin": [None]}}, Not(AnyOf((OneOf(X, ()), Not(Exists(X)))))),
    ({"x": {"$exists": True}}, Exists(X)),
    ({"x": {"$exists": False}}, Not(Exists(X))),
    ({"x": {"$prefix": "sh"}}, Prefix(X, "sh")),
    ({"x": {"$contains": 1}}, Contains(X, 1)),
    ({"x": {"$not": {"$contains": "a"}}}, Not(Contains(X, "a"))),
    ({"$id": {"$prefix": "shoes/"}}, Prefix(ItemId(), "shoes/")),
    ({"id": "a"}, equal("a", Attribute("id"))),
    ({"digits.label": "7"}, equal("7", Prediction(1, PredictionValue.LABEL))),
    ({"x": 1, "y": 2}, All((equal(1), equal(2, Attribute("y"))))),
    ({"$and": [{"x": 1}, {"x": 2}]}, All((equal(1), equal(2)))),
    ({"$or": [{"x": 1}, {"x": 2}]}, AnyOf((equal(1), equal(2)))),
    ({"$or": [{"x": 1}]}, equal(1)),
    ({"$or": []}, AnyOf(())),
    ({"$not": {"x": 1}}, Not(equal(1))),
    ({"x": 1, "$or": [{"x": 2}, {}]}, All((equal(1), AnyOf((equal(2), All(())))))),
    ({}, All(())),
    ({"x": {"$gt": NOON}}, Comparison(X, GREATER, NOON)),
    ({"x": NOON.astimezone(timezone(timedelta(hours=-9)))}, equal(NOON)),
    ({"x": date(2024, 5, 1)}, equal(datetime(2024, 5, 1, tzinfo=UTC))),
    (
        {"x": datetime(1969, 12, 31, 23, 59, 59, 5, UTC)},
        equal(datetime(1969, 12, 31, 23, 59, 59, 5, UTC)),
    ),
    ({"x": np.int8(5)}, equal(5)),
    ({"x": np.float32(0.5)}, equal(0.5)),
    ({"x": np.bool_(True)}, equal(True)),
    ({"x": math.inf}, equal(math.inf)),
    ({"x": 2**63 - 1}, equal(2**63 - 1)),
    ({"x": 10**20}, equal(1e20)),
]


@each_as_subtest(("given_filter", "meaning"), MEANINGS)
def test_a_dict_means_a_tree_of_conditions(given_filter, meaning):
    found = tree(given_filter)
    assert found == meaning
    assert repr(found) == repr(meaning)  # 1, 1.0 and True are equal


NAIVE = datetime(2024, 5, 1)
ITSELF: dict[str, Any] = {}
ITSELF["$not"] = ITSELF
REFUSED: list[tuple[Any, type[Exception], str]] = [
    (5, TypeError, r"filter must be a dict of conditions, such as .*, not int: 5"),
    ({1: 2}, TypeError, "filter must have keys of type str, not int: 1"),
    ({"": 1}, ValueError, r"filter\[''\]: a field must have a name"),
    ({"x": {}}, ValueError, r"filter\['x'\] must have an operator"),
    (
        {"x": {"$like": "a"}},
        ValueError,
        r"filter\['x'\]\['\$like'\] is not one of the operators \$eq",
    ),
    (
        {"x": {"y": 1}},
        ValueError,
        r"filter\['x'\]\['y'\] is not .*join the names of nested fields by",
    ),
    ({"x": {1: 1}}, ValueError, r"filter\['x'\]\['1'\] is not one of the operators"),
    (
        {"x": {"$not": 1}},
        TypeError,
        r"filter\['x'\]\['\$not'\] must be a dict of operators, not int",
    ),
    ({"$lt": 1}, ValueError, r"filter\['\$lt'\] is neither .*write it inside a field"),
    (
        {"$nor": []},
        ValueError,
        r"filter\['\$nor'\] is neither a field nor one of \$and, \$or and \$not$",
    ),
    ({"$and": {"x": 1}}, TypeError, r"filter\['\$and'\] must be a list of dicts, not dict"),
    ({"$and": "x"}, TypeError, r"filter\['\$and'\] must be a list of dicts, not str"),
    ({"$or": 1}, TypeError, r"filter\['\$or'\] must be an iterable of dicts"),
    ({"$or": [{"x": 1}, 2]}, TypeError, r"filter\['\$or'\]\[1\] must be a dict of conditions"),
    (
        {"$or": [{"x": {"$lt": None}}]},
        TypeError,
        r"filter\['\$or'\]\[0\]\['x'\]\['\$lt'\]: None has no or",
    ),
    ({"$not": [{"x": 1}]}, TypeError, r"filter\['\$not'\] must be a dict of conditions"),
    ({"x": [1]}, TypeError, r"filter\['x'\]: a field is compared .*use \$in for one of several"),
    (
        {"x": b"a"},
        TypeError,
        r"filter\['x'\]: a field is compared with a str, a number, .* not with bytes",
    ),
    ({"x": math.nan}, ValueError, r"filter\['x'\]: nan is equal to nothing"),
    ({"x": NAIVE}, ValueError, r"filter\['x'\]: datetime.* has no time zone.*timezone\.utc"),
    ({"x": 2**63 + 1}, ValueError, r"filter\['x'\]: 9223372036854775809 does not fit into 64 bits"),
    ({"x": 10**400}, ValueError, "does not fit into 64 bits"),
    ({"x": np.timedelta64(5)}, TypeError, r"not with timedelta64"),
    ({"x": np.datetime64("2024-05-01")}, TypeError, r"not with datetime64"),
    ({"x": "\ud800"}, ValueError, r"filter\['x'\]: a value must be valid Unicode"),
    ({"\ud800": 1}, ValueError, "a field must be valid Unicode"),
    (
        {"x": {"$in": "abc"}},
        TypeError,
        r"filter\['x'\]\['\$in'\]: a list of values is needed, not str",
    ),
    (
        {"x": {"$in": 5}},
        TypeError,
        r"filter\['x'\]\['\$in'\]: it must be an iterable of values, not int",
    ),
    ({"x": {"$in": [[1]]}}, TypeError, r"filter\['x'\]\['\$in'\]: a field is compared"),
    ({"x": {"$exists": "no"}}, TypeError, r"filter\['x'\]\['\$exists'\]: it must be True or False"),
    ({"x": {"$prefix": 5}}, TypeError, r"filter\['x'\]\['\$prefix'\]: a prefix must be a str"),
    ({"x": {"$contains": None}}, TypeError, r"filter\['x'\]\['\$contains'\]: a field is compared"),
    ({"x" * 5000: NAIVE}, ValueError, r"x\.\.\.'\]: datetime"),
    (ITSELF, ValueError, "nested more than 32 deep"),
]


@each_as_subtest(("given_filter", "kind", "message"), REFUSED)
def test_a_dict_that_means_nothing_is_refused_by_the_name_of_its_key(given_filter, kind, message):
    with pytest.raises(kind, match=message) as refused:
        filter_message(given_filter)
    assert len(str(refused.value)) < 400


def test_the_deepest_dict_is_one_that_the_server_takes():
    assert MAX_DEPTH == v1_filters.MAX_DEPTH
    deep: dict[str, Any] = {"x": 1}
    for _ in range(MAX_DEPTH - 1):
        deep = {"$not": deep}
    tree(deep)
    for deeper in ({"$not": deep}, {"y": 1, **deep}, {"$or": [{}, deep]}):
        with pytest.raises(ValueError, match="nested more than 32 deep"):
            filter_message(deeper)


def plain(given_filter, item):
    """What a dict of some operators means, in Python."""
    operators: dict[str, Callable[[Any, Any], bool]] = {
        "$eq": lambda found, value: type(found) is type(value) and found == value,
        "$ne": lambda found, value: type(found) is not type(value) or found != value,
        "$lt": lambda found, value: type(found) is type(value) and found < value,
        "$in": lambda found, values: any(operators["$eq"](found, each) for each in values),
        "$nin": lambda found, values: not operators["$in"](found, values),
        "$exists": lambda found, wanted: (found is not None) is wanted,
    }
    for key, value in given_filter.items():
        if key == "$or":
            met = any(plain(each, item) for each in value)
        elif key == "$and":
            met = all(plain(each, item) for each in value)
        elif key == "$not":
            met = not plain(value, item)
        elif isinstance(value, dict):
            met = all(operators[name](item.get(key), each) for name, each in value.items())
        else:
            met = operators["$eq"](item.get(key), value)
        if not met:
            return False
    return True


VALUES = st.sampled_from([1, 2, "a", "b"])
OPTIONAL = VALUES | st.none()
OPERATORS = st.fixed_dictionaries(
    {},
    optional={
        "$eq": OPTIONAL,
        "$ne": OPTIONAL,
        "$lt": VALUES,
        "$in": st.lists(OPTIONAL, max_size=3),
        "$nin": st.lists(OPTIONAL, max_size=3),
        "$exists": st.booleans(),
    },
).filter(bool)
FIELDS = st.dictionaries(st.sampled_from(["x", "y"]), OPTIONAL | OPERATORS)
DICTS = st.recursive(
    FIELDS,
    lambda inner: st.fixed_dictionaries(
        {}, optional={"$or": st.lists(inner), "$and": st.lists(inner), "$not": inner, "x": OPTIONAL}
    ),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(DICTS, st.dictionaries(st.sampled_from(["x", "y"]), OPTIONAL))
def test_a_dict_means_what_its_words_say(given_filter, attributes):
    met = matches(tree(given_filter), PlainItem("a", attributes))
    assert met == plain(given_filter, attributes)
