"""Files of exports: what a format cannot hold, failures, and files that are damaged."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import euclidesdb
from euclidesdb._arrow_rows import ArrowColumns
from euclidesdb._item_files import complete_file, open_source
from euclidesdb._item_rows import BadRow

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("attributes_json", pa.string()),
        pa.field(
            "vector:m", pa.list_(pa.float32(), 2), metadata={"model": "m", "fingerprint": "f"}
        ),
        pa.field("predictions:m", pa.list_(pa.float32())),
        pa.field("ready_made:m", pa.bool_()),
    ]
)
ROWS: list[dict[str, Any]] = [
    {"id": "a", "attributes_json": '{"x": 1.0}', "vector:m": None, "predictions:m": None},
    {"id": "b", "vector:m": [1, 2], "predictions:m": [3], "ready_made:m": False},
    {"id": "c", "attributes_json": '{"x":1e999, "y":"\\ud800"}', "vector:m": [3, 4]},
]


def batch(rows):
    return pa.RecordBatch.from_pylist(
        [{"attributes_json": "{}", **row} for row in rows], schema=SCHEMA
    )


def write(path, rows):
    with complete_file(path, SCHEMA) as file:
        file.write(batch(rows))
        file.write(batch([]))


def read(path, named=None):
    source = open_source(path, named or {})
    try:
        return [row for batch in source.batches() for row in batch.rows()]
    finally:
        source.close()


def plain(row):
    return (
        row.id,
        row.attributes_json,
        [
            (each.column, each.values.tolist(), predictions_of(each), bool(each.ready_made))
            for each in row.vectors
        ],
    )


def predictions_of(vector):
    return None if vector.predictions is None else vector.predictions.tolist()


@pytest.mark.parametrize("ending", ["parquet", "arrow", "jsonl", "npz"])
def test_a_file_has_the_rows_that_were_written(tmp_path, ending):
    path = tmp_path / f"rows.{ending}"
    write(path, ROWS)
    found = [plain(row) for row in read(path)]
    assert [row[:2] for row in found] == [
        (row["id"], row.get("attributes_json", "{}")) for row in ROWS
    ]
    assert [len(row[2]) for row in found] == [0, 1, 1]
    ((column, values, predictions, ready_made),) = found[1][2]
    assert (column.name, column.model, column.fingerprint) == ("m", "m", "f")
    assert (values, predictions, ready_made) == ([1, 2], [3], False)
    assert found[2][2][0][1:3] == ([3, 4], None)
    source = open_source(path, {})
    assert source.count() in (3, None)
    source.close()


UNICODE = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3)
    ),
    max_leaves=8,
)
ITEM = st.fixed_dictionaries(
    {
        "id": UNICODE,
        "attributes_json": st.dictionaries(UNICODE, JSON, max_size=4).map(json.dumps),
        "metadata": st.binary(max_size=20),
        "vector:m": st.none() | st.lists(FLOATS, min_size=2, max_size=2),
        "payload_digest": st.none() | st.binary(min_size=32, max_size=32),
    }
).flatmap(
    lambda item: st.fixed_dictionaries(
        {
            **{key: st.just(value) for key, value in item.items()},
            "predictions:m": st.none()
            if item["vector:m"] is None
            else st.none() | st.lists(FLOATS, min_size=1, max_size=3),
            "ready_made:m": st.none() if item["vector:m"] is None else st.booleans(),
            "payload": st.none() | UNICODE.map(str.encode),
        }
    )
)


@settings(deadline=None, max_examples=60)
@given(items=st.lists(ITEM, max_size=8), ending=st.sampled_from(["parquet", "arrow", "jsonl"]))
def test_whatever_an_item_holds_comes_back_from_a_file(items, ending):
    schema = SCHEMA
    for name, kind in (
        ("metadata", pa.binary()), ("payload_digest", pa.binary()),
        ("payload_kind", pa.string()), ("payload", pa.binary()),
    ):  # fmt: skip
        schema = schema.append(pa.field(name, kind))
    kinds = [None if item["payload"] is None else "text" for item in items]
    rows = [{**item, "payload_kind": kind} for item, kind in zip(items, kinds, strict=True)]
    given_batch = pa.RecordBatch.from_pylist(rows, schema=schema)
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"rows.{ending}"
        with complete_file(path, schema) as file:
            file.write(given_batch)
        found = read(path)
    expected = [*ArrowColumns(schema).rows(given_batch)]
    assert [whole(row) for row in found] == [whole(row) for row in expected]
    assert [row.attributes_json for row in found] == [item["attributes_json"] for item in items]


def whole(row):
    rest = (row.metadata, row.payload_kind, row.payload, row.payload_digest)
    vectors = [
        (
            each.column,
            each.values.tobytes(),
            None if each.predictions is None else each.predictions.tobytes(),
            each.ready_made,
        )
        for each in row.vectors
    ]
    return row.id, row.attributes_json, vectors, rest


@pytest.mark.parametrize("ending", ["parquet", "arrow", "jsonl", "npz"])
def test_a_failure_leaves_the_file_that_was_there(tmp_path, ending):
    path = tmp_path / f"rows.{ending}"
    write(path, ROWS)
    before = path.read_bytes()

    def fail():
        with complete_file(path, SCHEMA) as file:
            file.write(batch(ROWS))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_bytes() == before
    assert [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"id": "null\0"}], "ends with a null character"),
        ([{**ROWS[1]}, {**ROWS[1], "predictions:m": [1, 2]}], "lengths 1 and 2"),
    ],
)
def test_what_an_npz_file_cannot_hold_is_refused(tmp_path, rows, message):
    with pytest.raises(ValueError, match=message):
        write(tmp_path / "rows.npz", rows)
    assert [*tmp_path.iterdir()] == []


def test_each_line_is_an_object_that_others_can_read(tmp_path):
    write(tmp_path / "rows.jsonl", ROWS)
    first, second, _ = map(json.loads, (tmp_path / "rows.jsonl").read_text().splitlines())
    assert first == {"id": "a", "attributes": {"x": 1.0}, "vectors": []}
    vector = {"model": "m", "fingerprint": "f", "values": [1, 2], "predictions": [3]}
    assert second["vectors"] == [{**vector, "ready_made": False}]


@pytest.mark.parametrize("ending", ["parquet", "arrow", "npz"])
@pytest.mark.parametrize("share", [0, 0.5, 0.95])
def test_a_damaged_file_is_a_clear_error(tmp_path, ending, share):
    path = tmp_path / f"rows.{ending}"
    write(path, ROWS)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises((ValueError, OSError)):
        read(path)


def test_lines_that_are_not_items_cost_only_themselves(tmp_path):
    path = tmp_path / "rows.jsonl"
    good = '{"id": "a"}'
    odd = [
        "[]", "1", "{}", '{"id": 1}', '{"id": "b", "metadata": 1}', '{"id": "c", "vectors": [{}]}',
        '{"id": "d", "payload": {"kind": "text"}}', '{"id": "e", "payload_digest": "xyz"}', "{",
        '{"id": "f", "vectors": [{"model": "m", "values": "x"}]}', "[" * 100_000,
    ]  # fmt: skip
    path.write_text("\n".join([good, *odd, "", good]))
    found = read(path)
    assert len(found) == len(odd) + 2
    bad = [row for row in found if isinstance(row, BadRow)]
    assert len(bad) >= len(odd) - 1  # {"id": 1} is refused when it is sent
    assert all("line" in str(row.error) for row in bad)


def test_arrays_that_do_not_fit_are_named(tmp_path):
    path = tmp_path / "own.npz"
    for arrays, message in (
        ({"x": np.ones(3)}, "no column 'ids'"),
        ({"ids": np.arange(3), ATTRIBUTES: np.array(["{}"])}, "1 rows for 3 ids"),
        ({"ids": np.array([1, "a", None], object)}, "Python objects"),
        ({"ids": np.arange(3), "vector:m": np.asfortranarray(np.ones((3, 2)))}, "Fortran"),
    ):
        np.savez(path, **arrays)
        with pytest.raises(ValueError, match=message):
            read(path)


ATTRIBUTES = "attributes_json"


def test_without_pyarrow_an_export_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with (
        euclidesdb.Client("localhost:1") as db,
        pytest.raises(ImportError, match="pip install pyarrow"),
    ):
        db.export()


@pytest.mark.parametrize("name", ["pandas", "polars"])
def test_without_a_library_of_data_frames_an_export_says_what_to_install(monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with (
        euclidesdb.Client("localhost:1") as db,
        pytest.raises(ImportError, match=f"pip install {name}"),
    ):
        getattr(db.export(), f"to_{name}")()


@pytest.mark.parametrize(
    "arguments",
    [{"vectors": "v"}, {"vectors": {1: "m"}}, {"models": "m"}, {"bytes_per_call": 0}],
)
def test_arguments_are_checked_before_anything_is_read(tmp_path, arguments):
    with euclidesdb.Client("localhost:1") as db, pytest.raises((TypeError, ValueError)):
        db.import_file(tmp_path / "missing.npz", **arguments)


def test_vectors_in_parquet_are_neither_compressed_nor_summarized(tmp_path):
    path = tmp_path / "rows.parquet"
    write(path, ROWS)
    group = pa.parquet.ParquetFile(path).metadata.row_group(0)
    found = {
        column.path_in_schema: (column.compression, column.is_stats_set)
        for column in map(group.column, range(group.num_columns))
    }
    assert found == {
        "id": ("SNAPPY", True),
        "attributes_json": ("SNAPPY", True),
        "vector:m.list.element": ("UNCOMPRESSED", False),
        "predictions:m.list.element": ("UNCOMPRESSED", False),
        "ready_made:m": ("SNAPPY", True),
    }


@pytest.mark.parametrize("is_mixed", [False, True])
def test_an_npz_file_of_many_batches_has_every_row(tmp_path, is_mixed):
    """Batches of ready-made vectors alone, of two models, and others between them."""
    vectors = [
        pa.field(f"vector:{name}", pa.list_(pa.float32(), 2), metadata={"model": name})
        for name in "ab"
    ]
    schema = pa.schema([SCHEMA.field("id"), SCHEMA.field("attributes_json"), *vectors])
    rows: list[dict[str, Any]] = []
    for number in range(90):
        name = "ab"[number // 20 % 2]
        row: dict[str, Any] = {"id": f"ü{number}", "attributes_json": json.dumps({"é": number})}
        rows.append({**row, f"vector:{name}": [number, -number]})
    if is_mixed:
        rows[33] |= {"vector:a": [1, 2], "vector:b": [3, 4]}
        rows[70] |= {"vector:a": None, "vector:b": None}
    path = tmp_path / "rows.npz"
    with complete_file(path, schema) as file:
        for start in range(0, len(rows), 10):
            file.write(pa.RecordBatch.from_pylist(rows[start : start + 10], schema=schema))
    with np.load(path) as arrays:
        assert arrays["ids"].tolist() == [row["id"] for row in rows]
        assert arrays["attributes_json"].tolist() == [row["attributes_json"] for row in rows]
        for name in "ab":
            found = arrays[f"vector:{name}"]
            expected = [row.get(f"vector:{name}") or [np.nan] * 2 for row in rows]
            np.testing.assert_array_equal(found, np.array(expected, np.float32))
