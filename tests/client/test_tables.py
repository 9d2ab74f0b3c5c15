"""Answers as tables of Arrow, pandas and polars."""

from __future__ import annotations

import json
import sys

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import euclidesdb
from euclidesdb import Embedding, Item, LabelProbability, Neighbors, ValueCounts
from euclidesdb._attribute_columns import MAX_COLUMNS
from euclidesdb._lists import ItemList

FLOATS = np.array([0.5, 10.25], np.float32)


def neighbors(*attributes, model="digits", **columns):
    """The neighbors "0", "1", ... with these attributes."""
    count = len(attributes)
    ids = tuple(str(row) for row in range(count))
    distances = np.arange(count, dtype=np.float32)
    return Neighbors(model, "f00", "l2", ids, distances, attributes, **columns)


def column(table, name):
    return table.column(name).to_pylist()


def test_neighbors_are_a_table_of_what_was_requested():
    found = neighbors({"price": 5}, {"price": 7}, vectors=(FLOATS, FLOATS), groups=("red", None))
    table = found.to_arrow()
    assert table.column_names == ["model", "rank", "id", "distance", "group", "price", "vector"]
    assert table.to_pylist()[1] == {
        "model": "digits",
        "rank": 2,
        "id": "1",
        "distance": 1.0,
        "group": None,
        "price": 7,
        "vector": [0.5, 10.25],
    }
    assert Neighbors("m", "f", "l2", (), FLOATS[:0]).to_arrow().num_rows == 0


def test_pandas_and_polars_have_the_same_rows():
    found = neighbors({"brand": "acme"}, {}, vectors=(FLOATS, None))
    frame = found.to_pandas()
    assert isinstance(frame, pd.DataFrame)
    assert frame["brand"][0] == "acme"
    assert pd.isna(frame["brand"][1])
    assert frame["vector"][0].tolist() == [0.5, 10.25]
    other = found.to_polars()
    assert other["brand"].to_list() == ["acme", None]
    assert other.schema["vector"] == pl.Array(pl.Float32, 2)


def test_vectors_are_fixed_size_lists_unless_their_lengths_differ():
    table = neighbors({}, {}, vectors=(FLOATS, None)).to_arrow()
    assert table.schema.field("vector").type == pa.list_(pa.float32(), 2)
    assert column(table, "vector") == [[0.5, 10.25], None]
    results = euclidesdb.Results(
        a=neighbors({}, vectors=(FLOATS,)), b=neighbors({}, model="b", vectors=(FLOATS[:1],))
    )
    assert results.to_arrow().schema.field("vector").type == pa.list_(pa.float32())
    assert column(results.to_arrow(), "model") == ["digits", "b"]
    assert column(neighbors({}, vectors=(None,)).to_arrow(), "vector") == [None]


def test_labels_are_columns_with_the_most_probable_one_by_itself():
    labels = ((LabelProbability("7", 0.75), LabelProbability("1", 0.25)), ())
    table = neighbors({"label": "mine"}, {}, labels=labels).to_arrow()
    assert column(table, "label") == ["7", None]
    assert column(table, "confidence") == [0.75, None]
    assert column(table, "attributes.label") == ["mine", None]
    assert column(table, "labels")[0][1] == {"label": "1", "probability": 0.25}


def test_payloads_are_columns_by_kind():
    tensor = np.arange(6, dtype=np.int16).reshape(2, 3)
    table = neighbors({}, {}, {}, {}, payloads=(b"jpeg", "a text", tensor, None)).to_arrow()
    assert column(table, "image") == [b"jpeg", None, None, None]
    assert column(table, "text") == [None, "a text", None, None]
    assert column(table, "tensor")[2] == [0, 1, 2, 3, 4, 5]
    assert table.schema.field("tensor").type == pa.list_(pa.int16(), 6)
    assert column(table, "tensor_shape")[2] == [2, 3]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([True, None, False], [True, None, False]),
        ([1, 2.5], [1.0, 2.5]),
        ([1, True], ["1", "true"]),
        ([1 << 62, 0.5], [str(1 << 62), "0.5"]),
        ([1 << 63, 1], [str(1 << 63), "1"]),
        (["a", 1], ['"a"', "1"]),
        ([["a"], []], [["a"], []]),
        ([[1], [0.5]], [[1.0], [0.5]]),
        ([["a", 1]], ['["a", 1]']),
        ([["a", None]], ['["a", null]']),
        ([[{"b": 1}]], ['[{"b": 1}]']),
        (["\ud800"], ['"\\ud800"']),
    ],
    ids=repr,
)
def test_values_of_one_type_are_themselves_and_others_are_json(values, expected):
    table = neighbors(*({"x": value} for value in values)).to_arrow()
    assert column(table, "x") == expected


def test_attributes_have_the_names_that_filters_use():
    table = neighbors(
        {"size": {"width": 3, "box": {"depth": 1}}, "id": "mine", "attributes.id": "other"},
        {"size.width": 4, "none": {}, "\ud800": 1},
    ).to_arrow()
    assert table.column_names[4:] == [
        "size.width",
        "size.box.depth",
        "attributes.id",
        "attributes.attributes.id",
        "\\ud800",
    ]
    assert column(table, "size.width") == [3, 4]
    assert column(table, "attributes.id") == ["mine", None]


def test_too_many_different_attributes_are_one_column():
    table = neighbors({f"a{n}": n for n in range(MAX_COLUMNS)}, {"b": 1}).to_arrow()
    assert table.column_names[4:] == ["attributes"]
    assert json.loads(column(table, "attributes")[1]) == {"b": 1}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=4,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.dictionaries(st.text(max_size=8), JSON, max_size=4), max_size=5))
def test_every_json_object_is_a_row(rows):
    found = neighbors(*rows)
    assert found.to_arrow().num_rows == len(rows)
    assert len(found.to_pandas()) == len(rows)
    assert len(found.to_polars()) == len(rows)


def test_items_are_a_table_with_the_vectors_of_each_model():
    items = ItemList(
        [
            Item("a", {"x": 1}, b"m", (Embedding("digits", "f", FLOATS, FLOATS[:1]),), text="hi"),
            Item("b", {}, b"", (Embedding("other", "g", FLOATS), Embedding("other", "h", FLOATS))),
        ]
    )
    table = items.to_arrow()
    assert table.column_names == [
        "id", "models", "x", "metadata", "text",
        "vector:digits", "vector:other@g", "vector:other@h", "predictions:digits",
    ]  # fmt: skip
    assert column(table, "models") == [["digits"], ["other"]]
    assert column(table, "vector:digits") == [[0.5, 10.25], None]
    page = euclidesdb.Page(tuple(items))
    assert page.to_arrow() == table
    assert items[:1] == ItemList(items[:1])
    assert ItemList().to_arrow().num_rows == 0


def test_counts_and_summaries_are_tables():
    counts = euclidesdb.CountsByField(
        color=ValueCounts((("red", 3), ("blue", 1)), 0, 0), size=ValueCounts(((7, 2),), 0, 0)
    )
    assert counts["color"].to_arrow().to_pylist() == [
        {"value": "red", "count": 3},
        {"value": "blue", "count": 1},
    ]
    assert column(counts.to_arrow(), "field") == ["color", "color", "size"]
    assert column(counts.to_arrow(), "value") == ['"red"', '"blue"', "7"]
    numbers = euclidesdb.NumbersByField(price=euclidesdb.NumberSummary(2, 1, 3, 2, 1, 2))
    assert numbers.to_arrow().to_pylist()[0]["median"] == 2


@pytest.mark.parametrize(
    ("method", "package"),
    [("to_arrow", "pyarrow"), ("to_pandas", "pandas"), ("to_polars", "polars")],
)
def test_a_missing_package_is_named_with_its_command(monkeypatch, method, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=f"{package}, which is not installed: `pip install"):
        getattr(neighbors({}), method)()
