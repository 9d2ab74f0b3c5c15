"""Many items, many vectors and many queries in one call: each as it would be alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from euclidesdb._batches import VECTORS_PER_CALL
from euclidesdb_server.database import write_batches
from euclidesdb_server.database.requests import (
    AddRequest,
    AddVectorsRequest,
    Conditions,
    FindRequest,
    ModelVector,
    ModelVectors,
)
from euclidesdb_server.database.results import Written
from euclidesdb_server.errors import (
    CorruptRecord,
    DimensionMismatch,
    InvalidRequest,
    UnknownItem,
    UnknownModel,
    VersionMismatch,
)
from euclidesdb_server.store import keys
from euclidesdb_server.values.vector_columns import VectorColumns
from tests.support.assembled import CALL, Database, no_models
from tests.support.stores import vector


@pytest.fixture
def database(tmp_path):
    with Database(tmp_path, no_models(tmp_path / "models"), {"one": 2, "two": 3}) as made:
        yield made


def request(item_id: str, *values: float, model: str = "one", **texts: Any) -> AddRequest:
    return AddRequest(item_id, vectors={model: ModelVector(vector(*values))}, **texts)


def test_items_are_added_in_order_and_the_last_of_an_id_wins(database):
    outcomes = database.features.add_many(
        [request("a", 1, 0), request("b", 2, 0), request("a", 3, 0), request("a", 4, 0)], CALL
    )
    assert [outcome[0].vector.tolist() for outcome in outcomes] == [[1, 0], [2, 0], [3, 0], [4, 0]]
    assert database.vectors("a") == {"one": [4, 0]}
    assert database.ids([0, 0], "one") == ["b", "a"]


def test_an_item_that_is_refused_leaves_the_others_alone(database):
    outcomes = database.features.add_many(
        [
            request("a", 1, 0),
            request("", 1, 0),
            request("b", 1, 2, 3),
            request("c", 1, 0, model="three"),
            request("d", 1, 0, attributes_json="[]"),
            request("e", 1, float("nan")),
            request("f", 2, 0),
        ],
        CALL,
    )
    kinds = [type(outcome) for outcome in outcomes]
    assert kinds == [
        Written,
        InvalidRequest,
        DimensionMismatch,
        UnknownModel,
        InvalidRequest,
        InvalidRequest,
        Written,
    ]
    assert database.ids([0, 0], "one") == ["a", "f"]


def test_vectors_are_added_by_columns_with_what_belongs_to_them(database):
    refused = database.add_vectors(
        "one",
        ["a", "b"],
        [[1, 2], [3, 4]],
        attributes_json=['{"x": 1}', "{}"],
        metadata=[b"", b"m"],
    )
    assert refused == {}
    items = [database.get("a"), database.get("b")]
    assert [(item.attributes_json, item.metadata) for item in items] == [
        ('{"x": 1}', b""),
        ("{}", b"m"),
    ]
    assert database.vectors("b") == {"one": [3, 4]}
    assert database.ids([3, 4], "one") == ["b", "a"]


def test_vectors_by_columns_keep_what_is_stored_of_items_that_are_known(database):
    database.add("b", texts={"metadata": b"kept"}, one=[9, 9], two=[1, 2, 3])
    assert database.add_vectors("one", ["a", "b", "c"], [[1, 0], [2, 0], [3, 0]]) == {}
    assert database.get("b").metadata == b"kept"
    assert database.vectors("b") == {"one": [2, 0], "two": [1, 2, 3]}
    assert database.ids([0, 0], "one") == ["a", "b", "c"]
    assert database.ids([1, 2, 3], "two") == ["b"]


def test_of_vectors_with_the_same_id_in_one_call_the_last_is_kept(database):
    ids = ["a", "b", "a", "a", "c"]
    assert database.add_vectors("one", ids, [[n, 0] for n in range(5)]) == {}
    assert database.near([0, 0], "one") == database.near([0, 0], "one", 3)
    assert database.ids([0, 0], "one") == ["b", "a", "c"]
    assert database.vectors("a") == {"one": [3, 0]}


def test_vectors_that_are_refused_leave_the_others_alone(database):
    refused = database.add_vectors(
        "one",
        ["a", "", "c", "d", "e"],
        [[1, 0], [1, 0], [np.inf, 0], [1, 0], [2, 0]],
        attributes_json=["{}", "{}", "{}", "nothing", "{}"],
    )
    assert {position: type(error) for position, error in refused.items()} == {
        1: InvalidRequest,
        2: InvalidRequest,
        3: InvalidRequest,
    }
    assert "inf at position 0" in str(refused[2])
    assert database.ids([0, 0], "one") == ["a", "e"]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("rows", [1, write_batches.MAX_ROWS])
def test_a_value_that_is_not_finite_is_named_however_many_rows_there_are(database, rows, value):
    vectors = np.full((rows, 2), 3e38, np.float32)  # finite, though its square is not
    ids = [f"item {number}" for number in range(rows)]
    assert database.add_vectors("one", ids, vectors) == {}
    vectors[-1, 1] = value
    (refused,) = database.add_vectors("one", ids, vectors).items()
    assert refused[0] == rows - 1
    assert f"{np.float32(value)} at position 1" in str(refused[1])


def test_bulk_writes_are_cut_into_batches_and_lose_nothing(database, monkeypatch):
    monkeypatch.setattr(write_batches, "MAX_ITEMS", 7)
    monkeypatch.setattr(write_batches, "MAX_ROWS", 7)
    count = 50
    ids = [f"item {n % 40}" for n in range(count)]
    assert database.add_vectors("one", ids, [[n, 0] for n in range(count)]) == {}
    latest = {item_id: float(n) for n, item_id in enumerate(ids)}
    found = database.near([0, 0], "one", 1000)
    assert {neighbor.id: neighbor.distance for neighbor in found} == latest
    outcomes = database.features.add_many([request(item_id, 5, 0) for item_id in ids], CALL)
    assert len(outcomes) == count
    assert {neighbor.distance for neighbor in database.near([5, 0], "one", 1000)} == {0.0}
    assert len(database.spaces["one"]) == 40


def test_the_columns_of_one_call_of_the_client_are_one_synced_write(database, monkeypatch):
    groups: list[int] = []
    commits = database.store._leveldb.group_commit
    commit = commits._commit

    def counted(group: list[object]) -> object:
        groups.append(len(group))
        return commit(group)

    database.add("first", one=[0, 0])  # reserves labels
    monkeypatch.setattr(commits, "_commit", counted)
    ids = [f"item {number}" for number in range(VECTORS_PER_CALL)]
    assert database.add_vectors("one", ids, np.ones((len(ids), 2), np.float32)) == {}
    assert groups == [1]


def test_an_item_whose_record_is_damaged_fails_alone(database):
    ids = [f"item {number}" for number in range(20)]
    assert database.add_vectors("one", ids, [[n, 0] for n in range(20)]) == {}
    batch = database.store._leveldb.batch()
    batch.put(keys.item_key("item 13"), b"\xc1")
    database.store._leveldb.write(batch, "damaging")
    refused = database.add_vectors("one", ids, [[n, 1] for n in range(20)])
    assert {position: type(error) for position, error in refused.items()} == {13: CorruptRecord}
    outcomes = database.features.add_many([request(item_id, 0, 2) for item_id in ids], CALL)
    assert [isinstance(outcome, CorruptRecord) for outcome in outcomes] == [
        item_id == "item 13" for item_id in ids
    ]
    assert database.vectors("item 12") == {"one": [0, 2]}


def test_bulk_writes_are_there_after_a_restart(tmp_path, database):
    assert database.add_vectors("one", ["a", "b"], [[1, 0], [2, 0]]) == {}
    database.features.add_many([request("c", 3, 0)], CALL)
    database.close()
    with Database(tmp_path, no_models(tmp_path / "models"), {"one": 2, "two": 3}) as reopened:
        assert reopened.ids([0, 0], "one") == ["a", "b", "c"]
        assert reopened.ids("b", "one", 1, include_self=True) == ["b"]


@pytest.mark.parametrize(
    ("columns", "error", "says"),
    [
        ({"ids": ["a"]}, InvalidRequest, "vectors has 2 rows for 1 ids"),
        ({"attributes_json": ["{}"]}, InvalidRequest, "attributes_json has 1 rows for 2 ids"),
        ({"metadata": [b""] * 3}, InvalidRequest, "metadata has 3 rows for 2 ids"),
        ({"model": "three"}, UnknownModel, "three"),
        ({"vectors": np.zeros((2, 3), np.float32)}, DimensionMismatch, r"\(2,\)"),
        ({"fingerprint": "version 0"}, VersionMismatch, "version 0"),
    ],
)
def test_invalid_columns_are_refused_as_a_whole(database, columns, error, says):
    usual = {"ids": ["a", "b"], "vectors": np.zeros((2, 2), np.float32)}
    given = {**usual, **columns}
    model, fingerprint = given.pop("model", "one"), given.pop("fingerprint", None)
    request = AddVectorsRequest(model, VectorColumns(**given), fingerprint)
    with pytest.raises(error, match=says):
        database.features.add_vectors(request)
    assert database.ids([0, 0], "one") == []


def find(database, queries, models=("one",), **conditions):
    asked = FindRequest(queries, models, Conditions(**{"top_k": 3, **conditions}))
    return database.features.find_similar(asked, CALL)


@pytest.fixture
def line(database):
    """Items "0" to "9" at their numbers, the first half of them indexed."""
    database.add_vectors("one", [str(n) for n in range(5)], [[n, 0] for n in range(5)])
    database.spaces["one"].compact()
    database.add_vectors("one", [str(n) for n in range(5, 10)], [[n, 0] for n in range(5, 10)])
    return database


def test_many_queries_of_any_kind_are_answered_as_each_would_be_alone(line):
    queries = [ModelVector(vector(4.2, 0)), "7", ModelVector(vector(0, 0)), "0", "9"]
    (together,) = find(line, queries)
    for query, found in zip(queries, together.answers, strict=True):
        assert [*found] == [*find(line, [query])[0].neighbors]
    assert [found.ids for found in together.answers] == [
        ["4", "5", "3"],
        ["6", "8", "5"],
        ["0", "1", "2"],
        ["1", "2", "3"],
        ["8", "7", "6"],
    ]


def test_a_query_that_is_refused_leaves_the_others_alone(line):
    (answer,) = find(line, ["3", "nobody", ModelVector(vector(1, 2, 3)), ModelVector(vector(0, 0))])
    assert answer.answers[0].ids == ["2", "4", "1"]
    assert isinstance(answer.answers[1], UnknownItem)
    assert isinstance(answer.answers[2], DimensionMismatch)
    assert answer.answers[3].ids == ["0", "1", "2"]


def test_queries_by_columns_are_answered_and_refused_each_on_its_own(line):
    rows = np.array([[4.2, 0], [np.nan, 0], [0, 0]], np.float32)
    (answer,) = find(line, ModelVectors(rows))
    assert answer.answers[0].ids == ["4", "5", "3"]
    assert isinstance(answer.answers[1], InvalidRequest)
    assert answer.answers[2].ids == ["0", "1", "2"]


def test_no_queries_have_no_answers(line):
    assert find(line, [])[0].answers[:] == []
    assert find(line, ModelVectors(np.zeros((0, 2), np.float32)))[0].answers[:] == []


def test_only_items_near_enough_are_answers(line):
    (answer,) = find(line, ["3", ModelVector(vector(0, 0))], top_k=10, max_distance=2.0)
    assert answer.answers[0].ids == ["2", "4", "1", "5"]
    assert answer.answers[1].ids == ["0", "1", "2"]
    (answer,) = find(line, ["3"], top_k=2, max_distance=2.0, include_self=True)
    assert answer.answers[0].ids == ["3", "2"]
    (answer,) = find(line, ["3"], top_k=2, max_distance=-1.0)
    assert answer.answers[0].ids == []


def test_a_restriction_by_distance_and_by_id_together_still_finds_all_there_are(line):
    for name, position in (("near", 3.9), ("nearer", 4.1), ("03", 4.2), ("77", 4.3)):
        line.add(name, one=[position, 0.0])
    (answer,) = find(line, ["4"], top_k=9, max_distance=1.0, int32_ids=True)
    assert answer.answers[0].ids == ["77", "3", "5"]


@pytest.mark.parametrize(
    ("count", "conditions", "says"),
    [
        (1001, {"top_k": 1000}, "more than 1,000,000 neighbors"),
        (1, {"max_distance": float("nan")}, "max_distance must not be NaN"),
    ],
)
def test_a_search_over_a_limit_is_refused_with_the_limit(line, count, conditions, says):
    with pytest.raises(InvalidRequest, match=says):
        find(line, ModelVectors(np.zeros((count, 2), np.float32)), **conditions)
