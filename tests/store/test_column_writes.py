"""Items that are written by columns are stored byte for byte as one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from euclidesdb_server.store import ColumnsWrite, ItemRecord, ItemWrite
from euclidesdb_server.store.column_writes import put_columns
from euclidesdb_server.store.item_writes import put_item
from euclidesdb_server.values.embedding import Embedding
from euclidesdb_server.values.vector_columns import VectorColumns

LIMITS = [1 << bits for bits in (7, 8, 16, 32)]


def written(write: ItemWrite | ColumnsWrite) -> dict[bytes, bytes]:
    """What a write puts; the keys of one batch differ, so their order does not matter."""
    put: dict[bytes, bytes] = {}

    class Batch:
        @staticmethod
        def put(key: bytes, value: bytes) -> None:
            assert isinstance(key, bytes)
            assert key not in put
            put[key] = bytes(value)

    if isinstance(write, ColumnsWrite):
        put_columns(Batch, write)
    else:
        put_item(Batch, write)
    return put


def one_by_one(space: int, labels: list[int], columns: VectorColumns) -> dict[bytes, bytes]:
    put: dict[bytes, bytes] = {}
    for row, label in enumerate(labels):
        record = ItemRecord(
            "{}" if columns.attributes_json is None else columns.attributes_json[row],
            b"" if columns.metadata is None else columns.metadata[row],
            {space: label},
            ready_made=frozenset([space]),
        )
        embedding = Embedding(columns.vectors[row], None)
        put |= written(ItemWrite(columns.ids[row], label, None, record, {space: embedding}))
    return put


def columns_of(count: int, dim: int = 3, **texts: Any) -> VectorColumns:
    vectors = np.random.default_rng(0).standard_normal((count, dim)).astype(np.float32)
    return VectorColumns([f"naïve {row}" for row in range(count)], vectors, **texts)


@pytest.mark.parametrize("first", [1, *LIMITS, *(limit - 2 for limit in LIMITS), (1 << 63) - 4])
@pytest.mark.parametrize("space", [1, 127, 128, 70_000, (1 << 32) - 1])
def test_columns_are_stored_as_single_items_whatever_their_labels(first, space):
    labels = [*range(first, first + 4)]
    columns = columns_of(4)
    assert written(ColumnsWrite(space, labels, columns)) == one_by_one(space, labels, columns)


@pytest.mark.parametrize(
    "texts",
    [
        {"attributes_json": ["{}", '{"é": 1}', '{"long": "' + "x" * 70_000 + '"}']},
        {"metadata": [b"", b"\0" * 300, b"m" * 70_000]},
        {"attributes_json": ["{}", '{"a": 1}', "{ }"], "metadata": [b"a", b"", b"\xff"]},
    ],
)
def test_columns_are_stored_with_what_belongs_to_them(texts):
    columns = columns_of(3, **texts)
    labels = [125, 126, 130]
    assert written(ColumnsWrite(2, labels, columns)) == one_by_one(2, labels, columns)


@pytest.mark.parametrize("dim", [1, 128, 5000])
def test_rows_that_are_not_in_one_piece_are_stored_as_they_are(dim):
    whole = columns_of(6, dim)
    columns = VectorColumns(whole.ids[::2], whole.vectors[::2])
    labels = [7, 8, 1000]
    assert written(ColumnsWrite(1, labels, columns)) == one_by_one(1, labels, columns)
