"""A snapshot of a space: rows keep their numbers, and what they stand for."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from euclidesdb_server.engines.distances import normalized
from euclidesdb_server.engines.exact import ExactEngine, ExactOptions
from euclidesdb_server.engines.faiss import FaissEngine, FaissOptions
from euclidesdb_server.index.allowed_labels import AllowedLabels
from tests.support.assembled import Database, no_models

DIM = 8
PART = 300


@pytest.fixture(
    params=[
        ExactEngine(),
        ExactEngine(ExactOptions(metric="cosine")),
        FaissEngine(FaissOptions(index_type="HNSW16")),
        FaissEngine(FaissOptions(index_type="HNSW16", metric="cosine")),
    ],
    ids=["exact", "exact cosine", "HNSW16", "HNSW16 cosine"],
)
def database(request, tmp_path):
    with Database(tmp_path, no_models(tmp_path / "m"), {"one": DIM}, engine=request.param) as made:
        yield made


def filled(database):
    """Adds two segments and unindexed rows, some of them deleted; returns the vectors by id."""
    vectors = np.random.default_rng(4).standard_normal((3 * PART, DIM)).astype(np.float32)
    ids = [str(row) for row in range(3 * PART)]
    for part in range(3):
        rows = slice(part * PART, (part + 1) * PART)
        assert not database.add_vectors("one", ids[rows], vectors[rows])
        if part < 2:
            database.spaces["one"].rewriter.flush(threading.Event())
    for row in range(0, 3 * PART, 7):
        database.features.remove(ids[row])
    return {ids[row]: vectors[row] for row in range(3 * PART) if row % 7}


def test_the_rows_found_have_the_ids_and_vectors_of_their_items(database):
    vectors = filled(database)
    snapshot = database.spaces["one"].snapshot()
    queries = np.random.default_rng(5).standard_normal((3, DIM)).astype(np.float32)
    for exactly in (False, True):
        near, rows = snapshot.search(queries, 1000, exactly=exactly)
        assert near.shape == rows.shape == (3, len(vectors))
        ids = snapshot.ids(rows[0])
        assert {*ids} == {*vectors}
        expected = np.stack([vectors[item_id] for item_id in ids])
        if snapshot.metric.normalizes:
            expected = normalized(expected)
        assert snapshot.vectors(rows[0]).tolist() == expected.tolist()
    assert snapshot.vectors(rows[0][:0]).shape == (0, DIM)
    assert snapshot.rows_compared(10, exactly=True) == len(vectors)


def test_a_snapshot_does_not_change(database):
    vectors = filled(database)
    space = database.spaces["one"]
    snapshot = space.snapshot()
    query = np.zeros((1, DIM), np.float32)
    near, rows = snapshot.search(query, 20)
    ids = snapshot.ids(rows[0])
    database.features.remove(ids[0])
    database.add("new", one=[0.0] * DIM)
    space.compact()
    again, same = snapshot.search(query, 20)
    assert (again.tolist(), same.tolist()) == (near.tolist(), rows.tolist())
    assert snapshot.ids(same[0]) == ids
    later, _ = space.snapshot().search(query, 1000)
    assert later.shape == (1, len(vectors))


def test_a_snapshot_allows_the_labels_that_it_is_restricted_to(database):
    filled(database)
    snapshot = database.spaces["one"].snapshot()
    labels = [database.store.vector_labels(item_id)[1] for item_id in ("1", "400", "800")]
    restricted = snapshot.only(AllowedLabels(np.array(labels[:2], np.int64)))
    assert [snapshot.allows(label) for label in labels] == [True, True, True]
    assert [restricted.allows(label) for label in labels] == [True, True, False]
    _, rows = restricted.search(np.zeros((1, DIM), np.float32), 10)
    assert {*restricted.ids(rows[0])} == {"1", "400"}
