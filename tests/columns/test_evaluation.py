"""A filter over columns says of each row what it means in plain Python."""

from __future__ import annotations

import math
import random
import time
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from euclidesdb_server.columns.evaluation import matching
from euclidesdb_server.columns.field_values import FieldValues
from euclidesdb_server.values.filters import (
    All,
    AnyOf,
    Attribute,
    Comparison,
    Contains,
    Exists,
    Filter,
    Not,
    OneOf,
    Operator,
    Prefix,
)
from tests.support.filter_trees import (
    DATETIMES,
    HUGE_INTS,
    NUMBERS,
    TIMES,
    filters,
    items,
    texts,
    times,
)
from tests.support.filtering import ItemColumns, PlainItem, matches

A = Attribute("a")
DAY = datetime(2024, 5, 1, tzinfo=UTC)


def with_values(values):
    return [PlainItem(str(row), {"a": value}) for row, value in enumerate(values)]


def assert_as_in_python(condition, given_items, rows=None):
    expected = [matches(condition, item) for item in given_items[rows or slice(None)]]
    found = matching(condition, ItemColumns(given_items, rows))
    assert found.dtype == np.bool_
    assert found.tolist() == expected, condition


@settings(max_examples=400, deadline=None)
@given(
    st.lists(items(), max_size=8),
    st.lists(filters(), min_size=1, max_size=4),
    st.integers(0, 8),
    st.integers(0, 8),
)
def test_any_filter_of_any_items_is_what_it_is_in_python(drawn, conditions, start, stop):
    for condition in conditions:
        assert_as_in_python(condition, drawn)
        assert_as_in_python(condition, drawn, slice(start, max(start, stop)))


def test_numbers_compare_exactly_whatever_their_types():
    numbers = with_values([*NUMBERS, *HUGE_INTS, True, "7", None])
    for literal in NUMBERS:
        for operator in Operator:
            assert_as_in_python(Comparison(A, operator, literal), numbers)
        assert_as_in_python(OneOf(A, (literal,)), numbers)
    assert_as_in_python(OneOf(A, tuple(NUMBERS)), numbers)


def test_zero_is_equal_to_negative_zero():
    zeros = with_values([0, 0.0, -0.0])
    for literal in (0, 0.0, -0.0):
        for condition in (Comparison(A, Operator.EQUAL, literal), OneOf(A, (literal, 5))):
            assert matching(condition, ItemColumns(zeros)).all()


def test_what_is_not_a_number_is_neither_equal_nor_less_nor_greater():
    class Columns:
        def __len__(self):
            return 2

        def values(self, _field):
            return FieldValues(floats=pa.array([math.nan, 1.0]))

    for operator in Operator:
        assert not matching(Comparison(A, operator, math.inf), Columns())[0]
        assert not matching(Comparison(A, operator, -math.inf), Columns())[0]
    assert matching(OneOf(A, (1, 0.0)), Columns()).tolist() == [False, True]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(texts | st.datetimes(timezones=st.timezones()).map(str), max_size=6),
    times,
    st.sampled_from(Operator),
)
@example(TIMES, DAY, Operator.EQUAL)
@example(TIMES, DAY, Operator.LESS_OR_EQUAL)
def test_times_compare_with_strings_that_are_times(strings, literal, operator):
    assert_as_in_python(Comparison(A, operator, literal), with_values([*strings, 5]))


def test_all_forms_of_times_compare_in_python_and_here_alike():
    for literal in DATETIMES:
        for operator in Operator:
            assert_as_in_python(Comparison(A, operator, literal), with_values(TIMES))


def test_every_day_that_exists_is_a_time_and_no_other():
    days = [
        f"{year:04}-{month:02}-{day:02}"
        for year in (0, 1, 4, 100, 400, 1900, 2000, 2001, 2023, 2024, 9999)
        for month in range(14)
        for day in range(33)
    ]
    assert_as_in_python(Comparison(A, Operator.GREATER_OR_EQUAL, DATETIMES[4]), with_values(days))


def test_a_condition_on_what_is_missing_is_false_and_its_negation_true():
    odd = with_values([None, [], {}, {"b": 1}, [[1]]])
    for condition in (
        Comparison(A, Operator.EQUAL, 1),
        Comparison(A, Operator.LESS, "x"),
        OneOf(A, (1, "x", True, DAY)),
        Prefix(A, ""),
        Contains(A, 1),
    ):
        assert not matching(condition, ItemColumns(odd)).any()
        assert matching(Not(condition), ItemColumns(odd)).all()
    assert matching(Exists(A), ItemColumns(odd)).tolist() == [False, True, True, True, True]


def test_booleans_are_not_numbers_and_have_no_order():
    values = with_values([True, False, 1, 0, 1.0])
    assert matching(OneOf(A, (True,)), ItemColumns(values)).tolist() == [True] + 4 * [False]
    assert matching(OneOf(A, (1,)), ItemColumns(values)).tolist() == [
        False,
        False,
        True,
        False,
        True,
    ]
    assert not matching(Comparison(A, Operator.LESS, True), ItemColumns(values)).any()


def test_an_empty_all_is_true_and_an_empty_any_is_false():
    rows = ItemColumns(with_values([1, None]))
    assert matching(All(()), rows).all()
    assert not matching(AnyOf(()), rows).any()
    assert matching(Not(AnyOf(())), rows).all()


def test_without_rows_nothing_matches():
    for condition in (All(()), Exists(A), Contains(A, 1), Comparison(A, Operator.EQUAL, 1)):
        assert matching(condition, ItemColumns([])).shape == (0,)


def test_elements_of_lists_that_are_slices_or_null_belong_to_their_own_rows():
    lists = pa.ListArray.from_arrays(
        pa.array([0, 2, 2, 4, 5, 6], pa.int32()),
        pa.array([1, 2, 3, 1, 1, 4]),
        mask=pa.array([False, False, False, True, False]),
    )

    class Columns:
        def __init__(self, start, stop):
            self.part = lists.slice(start, stop - start)

        def __len__(self):
            return len(self.part)

        def values(self, _field):
            return FieldValues(lists_of_ints=self.part)

    expected = [True, False, True, False, False]
    for start in range(6):
        for stop in range(start, 6):
            found = matching(Contains(A, 1), Columns(start, stop))
            assert found.tolist() == expected[start:stop]


def test_a_deep_tree_needs_no_deep_stack():
    condition: Filter = Comparison(A, Operator.EQUAL, 1)
    for depth in range(20_001):
        condition = (Not(condition), All((condition,)), AnyOf((condition,)))[depth % 3]
    # 6,667 negations
    assert matching(condition, ItemColumns(with_values([1, 2]))).tolist() == [False, True]


def test_many_values_cost_no_more_than_a_set_of_them():
    generator = random.Random(0)
    rows = ItemColumns(with_values([*range(2000), "5"]))
    values = tuple(generator.sample(range(10**6), 100_000))
    began = time.perf_counter()
    found = matching(OneOf(A, values), rows)
    assert time.perf_counter() - began < 5  # seconds; comparing each with each takes minutes
    assert np.flatnonzero(found).tolist() == sorted(set(values) & set(range(2000)))


def test_each_field_is_read_once():
    rows = ItemColumns(with_values([1, 2, 3]))
    conditions = tuple(Comparison(A, Operator.EQUAL, value) for value in range(100))
    assert matching(AnyOf(conditions), rows).tolist() == [True, True, True]
    assert rows.reads == 1
