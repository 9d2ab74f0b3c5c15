"""A search that names no models is answered by those that fit its queries."""

from __future__ import annotations

import numpy as np
import pytest

from euclidesdb_server.database.requests import Conditions, FindRequest, ModelVector, ModelVectors
from euclidesdb_server.errors import InvalidRequest, ModelUnavailable, UnknownItem
from euclidesdb_server.values.payload import Payload
from tests.support.assembled import CALL, sample_image
from tests.support.stores import vector


@pytest.fixture
def database(embedding_database):
    """`a` has vectors of `color`, `gray` and `given`; `b` has one of `color`, `c` of `given`."""
    embedding_database.add_image("a", 1, "color", "gray")
    embedding_database.add("a", given=[1, 2])
    embedding_database.add_image("b", 2, "color")
    embedding_database.add("c", given=[1, 3])
    return embedding_database


def find(database, *queries):
    return database.features.find_similar(FindRequest(queries, (), Conditions(5)), CALL)


def models(answers):
    return [answer.model for answer in answers]


def test_an_image_is_searched_with_every_ready_model_that_takes_images(database):
    answers = find(database, sample_image(2))
    assert models(answers) == ["color", "gray"]
    assert [[*answer.neighbors.ids] for answer in answers] == [["b", "a"], ["a"]]


def test_a_stored_item_is_searched_in_every_space_served_that_has_it(database):
    assert models(find(database, "b")) == ["color"]
    database.models.withdraw("gray")
    assert models(find(database, "a")) == ["color"]


def test_a_batch_of_stored_items_is_searched_wherever_one_of_them_is(database):
    (color,) = find(database, "b", "c", "nobody")
    assert color.model == "color"
    assert color.answers[0].ids == ["a"]
    assert [type(outcome) for outcome in color.answers[1:]] == [UnknownItem, UnknownItem]


@pytest.mark.parametrize(
    ("queries", "error", "message"),
    [
        (["missing"], UnknownItem, "no item 'missing'"),
        (["c"], UnknownItem, "item 'c' has no vector of model 'color'"),
        ([Payload("text", b"words")], ModelUnavailable, "no model that takes texts is ready"),
        ([ModelVector(vector(1, 2))], InvalidRequest, "a vector needs the model"),
        ([sample_image(1), "a"], InvalidRequest, r"several kinds \(id, image\): name the models"),
        ([], InvalidRequest, "there is no query"),
        ([""], InvalidRequest, "0 bytes"),
    ],
)
def test_a_search_whose_models_cannot_be_chosen_says_why(database, queries, error, message):
    with pytest.raises(error, match=message):
        find(database, *queries)[0].neighbors  # noqa: B018  raises


def test_each_unusable_id_of_a_batch_fails_alone(database):
    (color,) = find(database, "b", "", "x" * 513, "missing")
    assert color.model == "color"
    assert color.answers[0].ids == ["a"]
    kinds = [type(outcome) for outcome in color.answers[1:]]
    assert kinds == [InvalidRequest, InvalidRequest, UnknownItem]


def test_a_batch_of_unknown_ids_fails_id_by_id(database):
    answers = find(database, "missing", "lost")
    assert models(answers) == ["color", "gray"]
    assert {type(outcome) for answer in answers for outcome in answer.answers} == {UnknownItem}


def test_unreadable_queries_alone_raise_their_error(database):
    unreadable = InvalidRequest("query is not set")
    with pytest.raises(InvalidRequest, match="query is not set"):
        find(database, unreadable)


def test_vectors_by_columns_need_their_model(database):
    request = FindRequest(ModelVectors(np.zeros((2, 2), np.float32)), (), Conditions(1))
    with pytest.raises(InvalidRequest, match="a vector needs the model"):
        database.features.find_similar(request, CALL)


def test_an_unreadable_query_does_not_decide_on_the_models(database):
    unreadable = InvalidRequest("query is not set")
    answers = find(database, unreadable, "b")
    assert models(answers) == ["color"]
    assert answers[0].answers[0] is unreadable
    assert answers[0].answers[1].ids == ["a"]
