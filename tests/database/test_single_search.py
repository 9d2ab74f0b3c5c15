"""A search for one vector or id finds what a search for many finds, and stays on the event loop."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from euclidesdb_server.database.requests import AddRequest, Conditions, FindRequest, ModelVector
from euclidesdb_server.database.single_search import single_query
from euclidesdb_server.engines.exact import ExactEngine, ExactOptions
from euclidesdb_server.engines.faiss import FaissEngine, FaissOptions
from euclidesdb_server.errors import DatabaseError, UndecodableInput
from euclidesdb_server.values.payload import Payload
from tests.support.assembled import CALL, Database, no_models, sample_image

DIM = 8
PER_SEGMENT = 300


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
    """Two segments and some unindexed rows; every fourth vector is that of another item, too."""
    chance = np.random.default_rng(0)
    models = no_models(tmp_path / "models")
    with Database(tmp_path, models, {"one": DIM, "two": 2}, engine=request.param) as made:
        for part in range(3):
            vectors = chance.standard_normal((PER_SEGMENT, DIM))
            vectors[::4] = np.random.default_rng(1).standard_normal((PER_SEGMENT // 4, DIM))
            ids = [f"{part}-{row}" for row in range(PER_SEGMENT)]
            assert not made.add_vectors("one", ids, vectors)
            if part < 2:
                made.spaces["one"].rewriter.flush(threading.Event())
        yield made


def outcome(database, queries, model="one", **conditions):
    """The outcome of the first query."""
    request = FindRequest(queries, (model,), Conditions(**conditions))
    assert (single_query(request) is None) == (len(queries) > 1)
    (answer,) = database.features.find_similar(request, CALL)
    first = answer.answers[0]
    if isinstance(first, DatabaseError):
        return type(first), str(first)
    assert answer.answers.counts[0] == len(first)
    return answer.model, answer.metric, answer.engine, list(first)


def both(database, query, **conditions):
    """What a search for the query finds, alone and with another one."""
    alone = outcome(database, [query], **conditions)
    return alone, outcome(database, [query, query], **conditions)


def test_a_query_alone_finds_what_it_finds_among_others(database):
    vectors = np.random.default_rng(2).standard_normal((20, DIM)).astype(np.float32)
    for query in [*map(ModelVector, vectors), "0-0", "0-4", "1-7", "1-299", "2-0", "2-13"]:
        for conditions in ({"top_k": 1}, {"top_k": 10}, {"top_k": 5, "int32_ids": True}):
            alone, among = both(database, query, **conditions)
            assert alone == among
            assert conditions.get("int32_ids") or len(alone[3]) == conditions["top_k"]
            assert query not in [each.id for each in alone[3]]
    alone, among = both(database, "0-8", top_k=1000)
    assert alone == among
    assert len(alone[3]) == 3 * PER_SEGMENT - 1


def test_a_payload_alone_finds_what_it_finds_among_others(embedding_database):
    database = embedding_database
    for seed in range(20):
        image = sample_image(seed)
        database.features.add(AddRequest(str(seed), image, models=("color",)), CALL)
    for query in (sample_image(3), sample_image(99), Payload("image", b"no image")):
        alone = outcome(database, [query], model="color", top_k=5)
        assert alone == outcome(database, [query, query], model="color", top_k=5)
    assert alone[0] is UndecodableInput


def test_a_payload_alone_is_refused_as_among_others(embedding_database):
    for query, model in (
        (Payload("text", b"a"), "color"),
        (sample_image(1), "given"),
        (sample_image(1), "none"),
    ):
        refusals = []
        for queries in ([query], [query, query]):
            try:
                refusals.append(outcome(embedding_database, queries, model=model, top_k=5))
            except DatabaseError as error:
                refusals.append((type(error), str(error)))
        assert refusals[0] == refusals[1]
        assert issubclass(refusals[0][0], DatabaseError)


@pytest.mark.parametrize(
    "query",
    [
        "missing",
        "",
        "x" * 513,
        "other",
        ModelVector(np.ones(DIM - 1, np.float32)),
        ModelVector(np.ones((1, DIM), np.float32)),
        ModelVector(np.full(DIM, np.nan, np.float32)),
        ModelVector(np.array([*[0] * (DIM - 1), -np.inf], np.float32)),
        ModelVector(np.ones(DIM, np.float32), "another version"),
    ],
    ids=str,
)
def test_a_query_alone_is_refused_as_among_others(database, query):
    database.add("other", two=[1, 2])
    alone, among = both(database, query, top_k=3)
    assert alone == among
    assert issubclass(alone[0], DatabaseError)


def test_a_vector_whose_square_exceeds_float32_is_searched(database):
    huge = ModelVector(np.full(DIM, 3e38, np.float32))
    alone, among = both(database, huge, top_k=3)
    assert alone == among
    assert len(alone[3]) == 3


def test_a_search_by_id_sees_what_was_written_last(database):
    for round_ in range(20):
        place = [round_ * 100.0] * DIM
        database.add("moving", one=place)
        database.add(f"near {round_}", one=[*place[1:], place[0] + 0.5])
        assert (
            database.ids("moving", "one", 1) == [f"near {round_}"]
            or database.spaces["one"].metric.normalizes
        )
    database.features.remove("moving")
    assert outcome(database, ["moving"], top_k=1)[1] == "no item 'moving'"


def flushed(database, segments, rows):
    vectors = np.random.default_rng(0).standard_normal((rows, 128))
    for number in range(segments):
        assert not database.add_vectors("one", [f"{number}-{row}" for row in range(rows)], vectors)
        database.spaces["one"].rewriter.flush(threading.Event())
    assert len(database.spaces["one"].segments) == segments


def test_a_search_of_sixteen_graphs_is_quick(tmp_path):
    engine = FaissEngine(FaissOptions(index_type="HNSW32"))
    with Database(tmp_path, no_models(tmp_path / "m"), {"one": 128}, engine=engine) as database:
        flushed(database, 16, 300)
        quick = database.features.searches_quickly
        assert quick(["one"], 10)
        assert not quick(["one", "one", "one"], 10)
        assert not quick(["one"], 101)
        assert not quick([], 10)
        assert not quick(["unknown"], 10)


def test_a_wide_search_of_graphs_is_not_quick(tmp_path):
    engine = FaissEngine(FaissOptions(index_type="HNSW32", ef_search=2000))
    with Database(tmp_path, no_models(tmp_path / "m"), {"one": 128}, engine=engine) as database:
        flushed(database, 4, 2000)
        assert not database.features.searches_quickly(["one"], 10)


def test_a_scan_is_quick_up_to_some_thousand_rows(tmp_path):
    with Database(tmp_path, no_models(tmp_path / "m"), {"one": 128}) as database:
        assert database.features.searches_quickly(["one"], 10)
        flushed(database, 2, 10_000)
        assert database.features.searches_quickly(["one"], 10)
        flushed_more = np.zeros((2000, 128))
        database.add_vectors("one", [f"more-{row}" for row in range(2000)], flushed_more)
        assert not database.features.searches_quickly(["one"], 10)
