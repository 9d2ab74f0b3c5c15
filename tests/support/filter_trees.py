"""Random items and filters, for hypothesis, from values that often meet."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from hypothesis import strategies as st

from euclidesdb_server.values.filters import (
    All,
    AnyOf,
    Attribute,
    Comparison,
    Contains,
    Exists,
    Field,
    Filter,
    ItemId,
    Not,
    OneOf,
    Operator,
    Prediction,
    PredictionValue,
    Prefix,
    Scalar,
)
from tests.support.filtering import PlainItem

NUMBERS: list[float] = [
    *(0, 1, -1, 7, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, 2**63 - 512, -(2**63)),
    *(0.0, -0.0, 0.5, 1.0, 6.5, 7.0, 2.0**53, 2.0**53 + 2, 2.0**63, -(2.0**63), 1e300, -1e300),
    *(float("inf"), float("-inf"), 5e-324),
]
HUGE_INTS = [2**63, 2**64, -(2**63) - 1, 2**70 + 1, 10**400]
STRINGS = ["", "a", "ab", "abc", "b", "7", "é", "e\u0301", "\uffff", "\U0001f600", "\0", "true"]
TIMES = [
    *("2024-05-01", "2024-05-01T00:00", "2024-05-01 00:00:00.000000", "2024-05-01T02:00+02:00"),
    *("2024-05-01T00:00:00Z", "2024-04-30T23:30:00-0030", "2024-05-01T00:00:00.123456789+00"),
    *("2024-02-29", "2023-02-29", "1900-02-29", "2000-02-29", "0000-01-01", "0001-01-01T00:00+01"),
    *("2024-13-01", "2024-04-31", "2024-05-01T24:00", "2024-05-01T00:00:60", "2024-05-01T00"),
    *("2024-5-1", "2024-05-01\n", "x2024-05-01", "2024-05-01Z", "2024-W18-3", "20240501"),
    *("9999-12-31T23:59:59.999999-23:59", "2024-05-01T00:00:00.", "2024-05-01t00:00"),
]
DATETIMES = [
    *(datetime(2024, 5, 1, tzinfo=UTC), datetime(2024, 2, 29, tzinfo=UTC)),
    datetime(2024, 5, 1, 2, tzinfo=timezone(timedelta(hours=2))),
    datetime(2024, 5, 1, microsecond=123456, tzinfo=UTC),
    *(datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999999, UTC)),
]

FIELDS: list[Field] = [
    *(ItemId(), Attribute("a"), Attribute("b"), Attribute("o"), Attribute("o.a"), Attribute("o.é")),
    *(Attribute("missing"), Attribute("a.a")),
    *(Prediction(3, value, ("a", "b")) for value in PredictionValue),
]

numbers = st.sampled_from(NUMBERS) | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False)
texts = st.sampled_from([*STRINGS, *TIMES]) | st.text(
    st.characters(exclude_categories=["Cs"]), max_size=4
)
times = st.sampled_from(DATETIMES) | st.datetimes(timezones=st.just(UTC))
literals: st.SearchStrategy[Scalar] = st.booleans() | numbers | texts | times


def _values() -> st.SearchStrategy[Any]:
    scalars = st.none() | st.booleans() | numbers | st.sampled_from(HUGE_INTS) | texts
    lists = st.lists(scalars | st.just([1]) | st.just({"a": 1}), max_size=4)
    return scalars | lists


def items() -> st.SearchStrategy[PlainItem]:
    """Items with attributes of any type, or without them, nested ones, and predictions."""
    objects = st.dictionaries(st.sampled_from(["a", "é", "other"]), _values(), max_size=3)
    attributes = st.fixed_dictionaries(
        {}, optional={"a": _values(), "b": _values(), "o": objects | _values()}
    )
    labels = st.sampled_from(["a", "b"])
    shares = st.floats(0, 1, width=32)
    predictions = st.fixed_dictionaries(
        {},
        optional={
            (3, PredictionValue.LABEL): labels,
            (3, PredictionValue.CONFIDENCE): shares,
            (3, PredictionValue.MARGIN): shares,
            (3, PredictionValue.ENTROPY): shares,
            (3, PredictionValue.TOP_LABELS): st.lists(labels, min_size=1, unique=True),
            (3, PredictionValue.VECTOR): st.just(True),
        },
    )
    ids = texts.filter(bool)
    return st.builds(PlainItem, ids, attributes, predictions)


def filters(max_leaves: int = 12) -> st.SearchStrategy[Filter]:
    """Trees of conditions of every kind."""
    fields = st.sampled_from(FIELDS)
    conditions: st.SearchStrategy[Filter] = st.one_of(
        st.builds(Comparison, fields, st.sampled_from(Operator), literals),
        st.builds(OneOf, fields, st.lists(literals, max_size=5).map(tuple)),
        st.builds(Exists, fields),
        st.builds(Prefix, fields, texts),
        st.builds(Contains, fields, literals),
    )

    def joined(children: st.SearchStrategy[Filter]) -> st.SearchStrategy[Filter]:
        several = st.lists(children, max_size=4).map(tuple)
        return st.builds(Not, children) | st.builds(All, several) | st.builds(AnyOf, several)

    return st.recursive(conditions, joined, max_leaves=max_leaves)
