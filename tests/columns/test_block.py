"""Blocks, as they are made and merged, have the values of their items."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from euclidesdb_server.columns import attribute_columns, merging, rest_values
from euclidesdb_server.columns.block import Block, BlockFilter, BlockRows
from euclidesdb_server.columns.merging import merged
from euclidesdb_server.columns.ordering import Key, Ordering
from euclidesdb_server.columns.summaries import number_summary, value_counts, value_groups
from euclidesdb_server.columns.table_view import Selection, TableView
from euclidesdb_server.values.filters import (
    AnyOf,
    Attribute,
    Comparison,
    Field,
    ItemId,
    Not,
    Operator,
    Prediction,
    PredictionValue,
)
from tests.support import filter_trees
from tests.support.filtering import PlainItem, matches, value_of

FIELDS: list[Field] = [each for each in filter_trees.FIELDS if isinstance(each, ItemId | Attribute)]
some_fields = st.sampled_from(FIELDS)
some_filters = filter_trees.filters(named=FIELDS)


def no_stop() -> None:
    pass


def json_text(attributes: Any) -> str:
    return json.dumps(attributes).replace("Infinity", "1e400")


def block_of(items: Sequence[PlainItem], first: int = 1) -> Block:
    labels = np.arange(first, first + len(items))
    texts = [json_text(item.attributes) for item in items]
    return Block.of(BlockRows(labels, [item.id for item in items], labels, texts, {}, {}))


def parts_of(items: Sequence[PlainItem], cuts: Sequence[int]) -> list[tuple[Block, np.ndarray]]:
    """Blocks of the items, cut at some places."""
    places = sorted({0, len(items), *(cut for cut in cuts if cut < len(items))})
    return [
        (block_of(items[start:stop], start + 1), np.ones(stop - start, np.bool_))
        for start, stop in itertools.pairwise(places)
    ]


some_items = st.lists(filter_trees.items(), min_size=1, max_size=12)
some_cuts = st.lists(st.integers(1, 11), max_size=3)


@settings(max_examples=60, deadline=None)
@given(items=some_items, cuts=some_cuts, condition=some_filters)
def test_a_block_matches_what_plain_python_matches(items, cuts, condition):
    parts = parts_of(items, cuts)
    expected = [matches(condition, item) for item in items]
    assert (
        np.concatenate([block.matching(BlockFilter(condition)) for block, _ in parts]).tolist()
        == expected
    )
    (whole,) = merged(parts)
    assert whole.matching(BlockFilter(condition)).tolist() == expected
    kept = np.arange(len(items)) % 3 > 0
    masks = np.split(kept, np.cumsum([len(block) for block, _ in parts])[:-1])
    rest = merged([(block, mask) for (block, _), mask in zip(parts, masks, strict=True)])
    wanted = [found for found, stays in zip(expected, kept, strict=True) if stays]
    assert [row for block in rest for row in block.matching(BlockFilter(condition))] == wanted


@pytest.mark.parametrize(("columns", "few_paths"), [(0, 0), (0, 8), (1, 8)])
def test_attributes_without_columns_are_found_all_the_same(columns, few_paths, monkeypatch):
    monkeypatch.setattr(rest_values, "FEW_PATHS", few_paths)
    monkeypatch.setattr(attribute_columns, "MAX_COLUMNS", columns)
    monkeypatch.setattr(merging, "MAX_COLUMNS", columns)

    @settings(max_examples=60, deadline=None)
    @given(items=some_items, cuts=some_cuts, condition=some_filters)
    def check(items, cuts, condition):
        parts = parts_of(items, cuts)
        (whole,) = merged(parts)
        names = [name for name in whole.batch.schema.names if name.startswith("@")]
        assert len({name.split(":", 1)[1] for name in names}) <= columns
        assert whole.matching(BlockFilter(condition)).tolist() == [
            matches(condition, item) for item in items
        ]

    check()


def test_many_rare_attributes_are_read_in_one_pass(monkeypatch):
    items = [PlainItem(f"{n}", {f"rare{n}": n % 7, f"seldom{n % 50}": "x"}) for n in range(300)]
    block = block_of(items)
    assert not [name for name in block.batch.schema.names if name.startswith("@")]
    read: list[str] = []
    decode = rest_values._decode

    def counted(text: str) -> Any:
        read.append(text)
        return decode(text)

    monkeypatch.setattr(rest_values, "_decode", counted)
    condition = AnyOf(
        tuple(Comparison(Attribute(f"rare{n}"), Operator.EQUAL, 3) for n in range(300))
    )
    found = block.matching(BlockFilter(Not(condition)))
    assert found.tolist() == [n % 7 != 3 for n in range(300)]
    assert len(read) == len(items)


def test_columns_are_dropped_when_blocks_with_others_are_merged(monkeypatch):
    blocks = [
        block_of([PlainItem("i", {f"key{n}": n, "all": [n, "x", None]})], n) for n in range(9)
    ]
    monkeypatch.setattr(merging, "MAX_COLUMNS", 2)
    (whole,) = merged([(block, np.ones(1, np.bool_)) for block in blocks])
    assert whole.values(Attribute("key5")).ints.to_pylist() == [None] * 5 + [5] + [None] * 3
    everything = whole.values(Attribute("all"))
    assert everything.lists_of_ints.to_pylist() == [[n] for n in range(9)]
    assert everything.others.to_pylist() == [True] * 9


def test_rows_that_are_too_large_for_one_block_become_several(monkeypatch):
    blocks = [block_of([PlainItem(f"{n}", {"text": "x" * 1000})], n + 1) for n in range(5)]
    monkeypatch.setattr(merging, "MAX_BYTES", 2500)
    several = merged([(block, np.ones(1, np.bool_)) for block in blocks])
    assert [len(block) for block in several] == [2, 2, 1]


@pytest.mark.parametrize(
    "text",
    [
        '{"n": 1, "deep": ' + "[" * 2000 + "]" * 2000 + "}",
        '{"n": 1',
        '[{"n": 1}]',
        "1",
        '{"n": 1}, {"n": 1}',
        "",
    ],
)
def test_attributes_that_cannot_be_read_concern_their_item_alone(text, caplog):
    labels = np.arange(1, 4)
    texts = ['{"n": 7}', text, '{"n": 8}']
    block = Block.of(BlockRows(labels, ["a", "b", "c"], labels, texts, {}, {}))
    assert block.values(Attribute("n")).ints.to_pylist() == [7, None, 8]
    assert "left out of filters" in caplog.text


def test_paths_that_cannot_be_named_take_no_memory():
    members = ",".join(f'"{n}": 1' for n in range(3000))
    text = f'{{"n": 1, "{"k" * 30_000}": {{{members}}}}}'
    labels = np.array([1])
    block = Block.of(BlockRows(labels, ["a"], labels, [text], {}, {}))
    assert block.batch.nbytes < 10_000
    assert block.values(Attribute("n")).ints.to_pylist() == [1]


def rank(value: Any) -> tuple[int, Any]:
    """The place of a value among others, by type."""
    if isinstance(value, bool):
        return 2, value
    if isinstance(value, float | int):
        return 0, value
    if isinstance(value, str):
        return 1, value
    return 3, 0


def ordered(items: Sequence[PlainItem], field: Field | None, *, descending: bool) -> list[int]:
    numbers = [*range(len(items))]
    if field is None:
        return numbers[::-1] if descending else numbers
    ranks = [rank(value_of(item, field)) for item in items]
    there = [number for number in numbers if ranks[number][0] < 3]
    missing = [number for number in numbers if ranks[number][0] == 3]
    there.sort(key=lambda number: ranks[number], reverse=descending)
    if descending:  # equal ones stay in the order in which they were added
        there.sort(key=lambda number: number)
        there.sort(key=lambda number: ranks[number], reverse=True)
    return there + missing


@settings(max_examples=60, deadline=None)
@given(
    items=some_items,
    cuts=some_cuts,
    field=st.none() | some_fields,
    descending=st.booleans(),
    size=st.integers(1, 4),
)
def test_pages_are_in_order_and_have_every_item_once(items, cuts, field, descending, size):
    selection = TableView(parts_of(items, cuts)).select(None, no_stop)
    ordering = Ordering(field, descending)
    after: Key | None = None
    found: list[int] = []
    while True:
        numbers, after = ordering.page(selection, size, after)
        found += (selection.added[numbers] - 1).tolist()
        if after is None:
            break
        assert len(numbers) == size
    assert found == ordered(items, field, descending=descending)


@settings(max_examples=60, deadline=None)
@given(items=some_items, cuts=some_cuts, field=some_fields)
def test_counts_and_groups_are_those_of_plain_python(items, cuts, field):
    selection: Selection = TableView(parts_of(items, cuts)).select(None, no_stop)
    expected: dict[tuple[int, Any], int] = {}
    others = 0
    for item in items:
        value = value_of(item, field)
        elements = value if isinstance(value, list) else [value]
        for element in elements:
            if rank(element)[0] < 3:
                expected[rank(element)] = expected.get(rank(element), 0) + 1
        unusable = any(rank(element)[0] == 3 for element in elements) or not elements
        others += value is not None and unusable
    counted = value_counts(selection, field, 100)
    assert dict(zip(map(rank, counted.values), counted.counts, strict=True)) == expected
    assert counted.counts == sorted(counted.counts, reverse=True)
    assert counted.missing == sum(value_of(item, field) is None for item in items)
    assert counted.other == others
    groups = value_groups(selection, field)[np.argsort(selection.added)].tolist()
    values = [rank(value_of(item, field)) for item in items]
    pairs = itertools.pairwise(zip(groups, values, strict=True))
    for (one, value), (other, other_value) in pairs:
        assert (one == other) == (value == other_value)


def test_numbers_are_summarized():
    items = [PlainItem(f"{n}", {"n": n} if n % 2 else {"n": "x"}) for n in range(10)]
    summary = number_summary(
        TableView([*parts_of(items, [3])]).select(None, no_stop), Attribute("n")
    )
    assert (summary.count, summary.min, summary.max) == (5, 1, 9)
    assert (summary.mean, summary.median) == (5, 5)
    assert summary.standard_deviation == pytest.approx(np.std([1, 3, 5, 7, 9]))
    empty = number_summary(TableView([]).select(None, no_stop), Attribute("n"))
    assert (empty.count, empty.mean) == (0, None)


def test_the_states_of_some_rows_are_those_of_all_rows():
    labels = np.arange(1, 6)
    vectors = {1: np.array([1, 0, 0, 0, 0]), 2: np.array([0, 2, 3, 0, 0])}
    texts = ["{}"] * 5
    block = Block.of(BlockRows(labels, [*"abcde"], labels, texts, vectors, {}, {1: [2, 3]}))
    state = Prediction(1, PredictionValue.STATE, others=(2,))
    strings = block.values(state).strings
    assert strings is not None
    assert strings.to_pylist() == ["done", "superseded", "failed", "failed", "missing"]
    for rows in ([0, 1, 2, 3, 4], [4, 1], [2]):
        some = block.values_at(state, np.array(rows)).strings
        assert some == strings.take(pa.array(rows))
