"""What a search answers: the order, oneself, restrictions, and what it refuses."""

from __future__ import annotations

import pytest

from euclidesdb_server.database.requests import Conditions, FindRequest, ModelVector
from euclidesdb_server.engines.exact import ExactEngine, ExactOptions
from euclidesdb_server.errors import (
    DimensionMismatch,
    InvalidRequest,
    UnknownItem,
    UnknownModel,
    VersionMismatch,
)
from euclidesdb_server.values.metric import L2
from tests.support.assembled import CALL, Database, no_models
from tests.support.stores import vector


@pytest.fixture(params=["unindexed", "indexed", "both"])
def line(request, database):
    """Items "0" to "9" on a line, in each state of the index."""
    for position in range(10):
        database.add(str(position), one=[position, 0])
        if request.param == ("indexed" if position == 9 else "both" if position == 4 else None):
            database.features.compact()
            assert database.compactor.wait_idle(30)
    return database


def test_the_nearest_come_first_with_their_distances(line):
    found = line.near([3, 4], "one", 3)
    assert [(neighbor.id, neighbor.distance) for neighbor in found] == [
        ("3", 4.0),
        ("2", pytest.approx(17**0.5)),
        ("4", pytest.approx(17**0.5)),
    ]


def test_a_top_k_above_the_number_of_items_returns_all(line):
    assert line.ids([-1, 0], "one", 1000) == [*"0123456789"]


def test_by_id_the_item_itself_is_left_out_and_top_k_are_found(line):
    assert line.ids("3", "one", 4) == ["2", "4", "1", "5"]
    assert len(line.ids("3", "one")) == 9


def test_with_include_self_the_item_itself_comes_first(line):
    found = line.near("3", "one", 3, include_self=True)
    assert [neighbor.id for neighbor in found] == ["3", "2", "4"]
    assert found[0].distance == 0
    assert line.ids("3", "one", 1, include_self=True) == ["3"]


def test_by_id_the_item_itself_comes_before_others_as_near(database):
    for name in "abcde":
        database.add(name, one=[1, 1])
    assert database.ids("d", "one", 3, include_self=True) == ["d", "a", "b"]
    assert database.ids("d", "one", 5) == ["a", "b", "c", "e"]
    assert database.ids("a", "one", 2) == ["b", "c"]


def test_a_longer_vector_may_be_nearer_than_the_item_itself_by_inner_product(tmp_path):
    engine = ExactEngine(ExactOptions(metric="inner_product"))
    models = no_models(tmp_path / "models")
    with Database(tmp_path, models, {"one": 2}, engine=engine) as database:
        database.add("short", one=[1, 0])
        database.add("long", one=[5, 0])
        database.add("equal", one=[1, 0])
        found = database.near("short", "one", include_self=True)
        assert [(neighbor.id, neighbor.distance) for neighbor in found] == [
            ("long", -5),
            ("short", -1),
            ("equal", -1),
        ]
        assert database.ids("short", "one", 1, include_self=True) == ["long"]


@pytest.mark.parametrize("query", [[-1.0, 0.0], "0"])
def test_a_search_among_int32_ids_still_finds_top_k(line, query):
    for number in range(50):
        line.add(f"item {number}", one=[0.5 + number / 1000, 0.0])
    found = line.ids(query, "one", 3, int32_ids=True)
    assert found == (["0", "1", "2"] if query != "0" else ["1", "2", "3"])


def test_a_search_among_int32_ids_ends_if_there_are_none(database):
    database.add("a", one=[1, 2])
    assert database.ids([0, 0], "one", 3, int32_ids=True) == []
    database.add("7", one=[5, 5])
    assert database.ids([0, 0], "one", 3, int32_ids=True) == ["7"]


def test_attributes_and_metadata_are_returned_on_request(database):
    database.add("a", one=[1, 2], texts={"attributes_json": '{"x": 1}', "metadata": b"m"})
    database.add("b", one=[2, 2])
    plain = database.near([1, 2], "one")
    assert [(n.attributes_json, n.metadata) for n in plain] == [(None, None)] * 2
    described = database.near([1, 2], "one", include_attributes=True)
    assert [(n.attributes_json, n.metadata) for n in described] == [
        ('{"x": 1}', None),
        ("{}", None),
    ]
    opaque = database.near("b", "one", include_metadata=True, include_self=True)
    assert [(n.id, n.attributes_json, n.metadata) for n in opaque] == [
        ("b", None, b""),
        ("a", None, b"m"),
    ]


def test_a_stored_id_is_searched_in_every_model_in_the_requested_order(database):
    database.add("a", one=[1, 2], two=[1, 2, 3])
    database.add("b", one=[1, 3], two=[1, 2, 4])
    request = FindRequest(["a"], ("two", "one", "two"), Conditions(5))
    answers = database.features.find_similar(request, CALL)
    assert [answer.model for answer in answers] == ["two", "one"]
    assert [[n.id for n in answer.neighbors] for answer in answers] == [["b"], ["b"]]
    assert {(answer.fingerprint, answer.engine, answer.metric) for answer in answers} == {
        ("version 1", "exact", L2)
    }


@pytest.mark.parametrize(
    ("query", "models", "top_k", "error", "says"),
    [
        ("a", ("one",), 0, InvalidRequest, "top_k = 0 should be 1 to 1000"),
        ("a", ("one",), -1, InvalidRequest, "top_k = -1"),
        ("a", ("one",), 1001, InvalidRequest, "top_k = 1001"),
        ("", ("one",), 1, InvalidRequest, "0 bytes"),
        ("nobody", ("one",), 1, UnknownItem, "'nobody'"),
        ("a", ("two",), 1, UnknownItem, "'a' has no vector of model 'two'"),
        ("a", ("three",), 1, UnknownModel, "three"),
        (
            ModelVector(vector(1, 2)),
            ("one", "two"),
            1,
            InvalidRequest,
            r"of one model, not of \['one', 'two'\]",
        ),
        (ModelVector(vector(1, 2, 3)), ("one",), 1, DimensionMismatch, r"\(2,\)"),
        (ModelVector(vector(1, 2), "version 0"), ("one",), 1, VersionMismatch, "version 0"),
        (ModelVector(vector(1, float("inf"))), ("one",), 1, InvalidRequest, "inf at position 1"),
    ],
)
def test_an_invalid_search_is_refused_with_the_reason(database, query, models, top_k, error, says):
    database.add("a", one=[1, 2])
    request = FindRequest([query], models, Conditions(top_k))
    with pytest.raises(error, match=says):
        database.features.find_similar(request, CALL)[0].neighbors  # noqa: B018  raises


def test_a_vector_of_the_version_served_is_taken(database):
    database.add("a", one=[1, 2])
    request = FindRequest([ModelVector(vector(1, 2), "version 1")], ("one",), Conditions(1))
    (answer,) = database.features.find_similar(request, CALL)
    assert answer.neighbors.ids == ["a"]
