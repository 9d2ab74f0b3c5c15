"""A search with a filter finds the nearest of the items that match, as they are now."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from euclidesdb_server.engines.faiss import FaissEngine, FaissOptions
from euclidesdb_server.values.filters import (
    All,
    Attribute,
    Comparison,
    Filter,
    Not,
    OneOf,
    Operator,
)
from tests.support.assembled import Database, no_models

DIM = 8
COUNT = 2000


def below(value: float, path: str = "n") -> Filter:
    return Comparison(Attribute(path), Operator.LESS, value)


@pytest.fixture(params=["exact", "HNSW16"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    engine = (
        None if request.param == "exact" else FaissEngine(FaissOptions(index_type=request.param))
    )
    models = no_models(tmp_path / "models")
    with Database(tmp_path, models, {"one": DIM, "two": DIM}, engine=engine) as opened:
        yield opened


def points(count: int = COUNT) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, DIM)).astype(np.float32)


def load(database: Database) -> np.ndarray:
    vectors = points()
    texts = [json.dumps({"n": row, "kind": "ab"[row % 2]}) for row in range(COUNT)]
    ids = [f"{row}" for row in range(COUNT)]
    assert not database.add_vectors("one", ids, vectors, attributes_json=texts)
    return vectors


def nearest(vectors: np.ndarray, query: list[float], rows: np.ndarray, k: int) -> list[str]:
    distances = ((vectors[rows] - np.array(query, np.float32)) ** 2).sum(axis=1)
    return [f"{row}" for row in rows[np.argsort(distances, kind="stable")[:k]]]


@pytest.mark.parametrize("share", [0.0005, 0.005, 0.05, 0.5, 1.0])
@pytest.mark.parametrize("indexed", [False, True])
def test_the_nearest_that_match_are_found_at_every_selectivity(database, share, indexed):
    vectors = load(database)
    if indexed:
        database.spaces["one"].compact()
    matching = np.arange(int(share * COUNT))
    missed = 0
    for query in points(20).tolist():
        found = database.ids(query, "one", 10, filter=below(len(matching)))
        assert len(found) == min(10, len(matching))
        assert {*map(int, found)} <= {*matching.tolist()}
        missed += len({*nearest(vectors, query, matching, 10)} - {*found})
    exact = not isinstance(database.spaces["one"].engine, FaissEngine) or not indexed
    assert missed <= (0 if exact else 2)  # of 200


def test_a_filter_is_combined_with_deletions_and_other_conditions(database):
    vectors = load(database)
    database.spaces["one"].compact()
    for row in range(0, 40, 4):
        database.features.remove(f"{row}")
    condition = All((below(40), Comparison(Attribute("kind"), Operator.EQUAL, "a")))
    rows = np.array([row for row in range(40) if row % 2 == 0 and row % 4])
    query = vectors[0].tolist()
    assert database.ids(query, "one", 100, filter=condition) == nearest(vectors, query, rows, 100)
    near = database.near(query, "one", 100, filter=condition)
    limit = near[3].distance
    assert database.ids(query, "one", 100, filter=condition, max_distance=limit) == [
        each.id for each in near[:4]
    ]
    others = database.ids("2", "one", 100, filter=condition)
    assert "2" not in others
    assert len(others) == len(rows) - 1


def test_a_search_sees_what_was_written_just_before(database):
    load(database)
    query = [9.0] * DIM
    condition = Comparison(Attribute("n"), Operator.EQUAL, -1)
    assert database.ids(query, "one", filter=condition) == []
    database.add("new", one=query, texts={"attributes_json": '{"n": -1}'})
    assert database.ids(query, "one", filter=condition) == ["new"]
    database.add("new", one=query, texts={"attributes_json": '{"n": 1}'})
    assert database.ids(query, "one", filter=condition) == []
    assert database.ids(query, "one", 1, filter=Not(condition)) == ["new"]
    database.features.remove("new")
    assert "new" not in database.ids(query, "one", 1, filter=Not(condition))


def test_an_item_without_a_vector_of_the_model_is_not_found(database):
    database.add("one", one=[1.0] * DIM, texts={"attributes_json": '{"n": 1}'})
    database.add("two", two=[1.0] * DIM, texts={"attributes_json": '{"n": 1}'})
    condition = OneOf(Attribute("n"), (1, 2))
    assert database.ids([0.0] * DIM, "one", filter=condition) == ["one"]
    assert database.ids([0.0] * DIM, "two", filter=condition) == ["two"]


def test_an_item_that_is_written_again_and_again_is_always_found(database):
    """It matches before and after each write, so no search may miss it."""
    load(database)
    query = [5.0] * DIM
    condition = below(0)
    database.add("always", one=query, texts={"attributes_json": '{"n": -1}'})
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            vector = [5.0] * (DIM - 1) + [5.0 + number % 7]
            text = json.dumps({"n": -1 - number % 3})
            database.add("always", one=vector, texts={"attributes_json": text})

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(100):
            assert database.ids(query, "one", filter=condition) == ["always"]
    finally:
        stop.set()
        writer.join()
