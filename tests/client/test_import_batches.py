"""Imports send rows that are alike as columns, others as messages, in the order of the file."""

from __future__ import annotations

import json
from contextlib import closing

import numpy as np
import pyarrow as pa
import pytest

from euclidesdb._errors import Refused
from euclidesdb._import_batches import ITEMS_PER_IMPORT, ImportBatches
from euclidesdb._item_files import complete_file, open_source
from euclidesdb._item_rows import VectorColumn
from euclidesdb_protos.v1 import database_pb2 as pb

COUNT = 10_000
DIM = 3


class Server:
    """A server with a model `m`, for vectors of three dimensions."""

    def __call__(self, column):
        return column.name == "m"

    def as_columns(self, column, dim):
        return column.model == "m" and dim == DIM


def schema(dim=DIM, *, is_list=False):
    kind = pa.list_(pa.float32()) if is_list else pa.list_(pa.float32(), dim)
    return pa.schema(
        [
            pa.field("id", pa.string()),
            pa.field("attributes_json", pa.string()),
            pa.field("metadata", pa.binary()),
            pa.field("vector:m", kind, metadata={"model": "m", "fingerprint": "f"}),
            pa.field("predictions:m", pa.list_(pa.float32())),
            pa.field("ready_made:m", pa.bool_()),
            pa.field("vector:other", pa.list_(pa.float32(), 1)),
            pa.field("payload_digest", pa.binary()),
        ]
    )


def rows(count=COUNT, dim=DIM, **fields):
    return [
        {
            "id": f"item-{row}",
            "attributes_json": json.dumps({"row": row}),
            "metadata": b"%d" % row,
            "vector:m": [row + 0.25 * place for place in range(dim)],
            "ready_made:m": True,
            **fields,
        }
        for row in range(count)
    ]


def written(path, found, kind):
    with complete_file(path, kind) as file:
        for start in range(0, len(found), 700):
            file.write(pa.RecordBatch.from_pylist(found[start : start + 700], schema=kind))


def sent(path, *, bytes_per_call=4 << 20, named=None, refused=None):
    source = open_source(path, named or {})
    refuse = [].append if refused is None else refused.append
    batches = ImportBatches(source, Server(), bytes_per_call, refuse)
    try:
        return [*batches]
    finally:
        source.close()


def items_of(batch):
    """The items of a request: id, attributes, metadata and vector."""
    request = batch.request
    if isinstance(request, pb.AddVectorsRequest):
        vectors = np.frombuffer(request.vectors.data, "<f4").reshape(request.vectors.shape)
        attributes = request.attributes_json or [None] * len(request.ids)
        metadata = request.metadata or [None] * len(request.ids)
        assert (request.model, len(vectors)) == ("m", len(request.ids))
        return [*zip(request.ids, attributes, metadata, vectors.tolist(), strict=True)]
    return [
        (
            item.id,
            item.attributes_json,
            item.metadata,
            np.frombuffer(item.embeddings[0].vector.data, "<f4").tolist(),
        )
        for item in request.items
    ]


def values(found):
    names = ("id", "attributes_json", "metadata", "vector:m")
    return [tuple(row[name] for name in names) for row in found]


@pytest.mark.parametrize("ending", ["arrow", "parquet"])
@pytest.mark.parametrize("is_list", [False, True])
def test_vectors_of_one_model_are_sent_as_columns(tmp_path, ending, is_list):
    path, found = tmp_path / f"items.{ending}", rows()
    written(path, found, schema(is_list=is_list))
    batches = sent(path)
    assert {batch.method for batch in batches} == {"AddVectors"}
    assert len(batches) == 3
    assert {batch.request.fingerprint for batch in batches} == {"f"}
    assert len({batch.request.request_key for batch in batches}) == 3
    assert [position for batch in batches for position in batch.positions] == [*range(COUNT)]
    assert [item for batch in batches for item in items_of(batch)] == values(found)


def test_an_npz_file_is_sent_as_columns(tmp_path):
    path, found = tmp_path / "items.npz", rows()
    written(path, found, schema())
    batches = sent(path)
    assert {batch.method for batch in batches} == {"AddVectors"}
    expected = [(item, attributes, None, vector) for item, attributes, _, vector in values(found)]
    assert [item for batch in batches for item in items_of(batch)] == expected


def test_calls_have_bounded_sizes(tmp_path):
    path = tmp_path / "items.arrow"
    written(path, rows(), schema())
    batches = sent(path, bytes_per_call=4096)
    assert max(batch.request.ByteSize() for batch in batches) < 6000
    assert [each for batch in batches for each in batch.ids] == [f"item-{n}" for n in range(COUNT)]


@pytest.mark.parametrize(
    "fields",
    [
        {"ready_made:m": False},
        {"predictions:m": [0.5]},
        {"payload_digest": bytes(32)},
    ],
)
def test_other_items_are_sent_as_messages_between_them(tmp_path, fields):
    """A message may say of each item what columns cannot."""
    path, found = tmp_path / "items.parquet", rows()
    found[5000] |= fields
    written(path, found, schema())
    batches = sent(path)
    methods = [batch.method for batch in batches]
    assert methods == ["AddVectors", *["ImportItems"] * 4, "AddVectors"]
    assert max(len(batch.ids) for batch in batches if batch.method == "ImportItems") == (
        ITEMS_PER_IMPORT
    )
    assert [position for batch in batches for position in batch.positions] == [*range(COUNT)]
    assert [item for batch in batches for item in items_of(batch)] == values(found)


def test_vectors_of_another_length_are_refused_by_the_server_one_by_one(tmp_path):
    path = tmp_path / "items.arrow"
    written(path, rows(10, 5), schema(5))
    assert [batch.method for batch in sent(path)] == ["ImportItems"]


def test_a_row_without_an_id_is_refused_alone(tmp_path):
    path, found = tmp_path / "items.arrow", rows(10)
    found[3]["id"] = None
    written(path, found, schema())
    refused: list[Refused] = []
    (batch,) = sent(path, refused=refused)
    assert (batch.method, [each.position for each in refused]) == ("ImportItems", [3])
    assert [*batch.positions] == [0, 1, 2, 4, 5, 6, 7, 8, 9]


def test_a_text_that_is_not_unicode_is_refused_alone(tmp_path):
    path = tmp_path / "own.npz"
    np.savez(path, ids=np.array(["a", "\ud800", "c"]), v=np.ones((3, DIM)))
    refused: list[Refused] = []
    (batch,) = sent(path, named={"v": VectorColumn("m", "m")}, refused=refused)
    assert (batch.method, [*batch.positions]) == ("ImportItems", [0, 2])
    assert [each.position for each in refused] == [1]


def test_what_is_before_an_id_that_cannot_be_decoded_is_sent(tmp_path):
    path = tmp_path / "own.npz"
    np.savez(path, ids=np.array([b"a", b"b", b"\xff", b"d"]), v=np.ones((4, DIM)))
    with closing(open_source(path, {"v": VectorColumn("m", "m")})) as source:
        refused: list[Refused] = []
        batches = iter(ImportBatches(source, Server(), 4 << 20, refused.append))
        assert next(batches).ids == ["a", "b"]
        with pytest.raises(UnicodeDecodeError):
            next(batches)
