"""Items with images, embedded by two tiny real models."""

from __future__ import annotations

import pytest

from euclidesdb_server.database.requests import AddRequest, ModelVector
from euclidesdb_server.errors import InvalidRequest, UndecodableInput, UnknownItem, UnknownModel
from euclidesdb_server.values.payload import Payload
from euclidesdb_server.values.status import ModelState
from tests.support.assembled import CALL, EMBEDDERS, Database, sample_image
from tests.support.stores import vector


@pytest.fixture
def database(embedding_database):
    return embedding_database


@pytest.fixture
def forgetful(tmp_path, registry):
    with Database(tmp_path / "forgetful", registry, EMBEDDERS, keep_payloads=False) as made:
        yield made


def test_an_image_is_embedded_stored_and_found_by_itself(database):
    written = database.add_image("a", 1, "color", "gray")
    assert [(found.model, found.vector.shape) for found in written] == [
        ("color", (12,)),
        ("gray", (4,)),
    ]
    assert all(found.predictions.shape == (3,) for found in written)
    database.add_image("b", 2, "color", "gray")
    item = database.get("a")
    assert item.payload == sample_image(1)
    assert [found.vector.tolist() for found in item.embeddings] == [
        found.vector.tolist() for found in written
    ]
    assert [found.predictions.tolist() for found in item.embeddings] == [
        found.predictions.tolist() for found in written
    ]
    assert [(n.id, n.distance == 0) for n in database.near(sample_image(1), "color")] == [
        ("a", True),
        ("b", False),
    ]


def test_the_same_image_for_another_model_keeps_the_first_ones_vector(database):
    (first,) = database.add_image("a", 1, "color")
    database.add_image("a", 1, "gray")
    assert set(database.vectors("a")) == {"color", "gray"}
    assert database.vectors("a")["color"] == first.vector.tolist()
    assert database.get("a").payload == sample_image(1)
    assert database.ids(sample_image(1), "color") == ["a"]


def test_another_image_removes_the_vectors_that_models_made_from_the_old_one(database):
    database.add_image("a", 1, "color", "gray")
    database.add("a", given=[1, 2])
    database.add_image("a", 2, "gray")
    assert set(database.vectors("a")) == {"gray", "given"}
    assert database.get("a").payload == sample_image(2)
    assert database.ids(sample_image(1), "color") == []
    assert database.ids([1, 2], "given") == ["a"]
    assert database.ids(sample_image(2), "gray") == ["a"]
    with pytest.raises(UnknownItem, match="no vector of model 'color'"):
        database.near("a", "color")


def test_adding_a_ready_made_vector_keeps_image_and_vectors(database):
    database.add_image("a", 1, "color")
    database.add("a", given=[1, 2])
    assert set(database.vectors("a")) == {"color", "given"}
    assert database.get("a").payload == sample_image(1)


def test_an_image_and_a_ready_made_vector_may_come_together(database):
    database.add_image("a", 1, "gray", vectors={"given": ModelVector(vector(1, 2))})
    assert set(database.vectors("a")) == {"gray", "given"}


def test_embedding_again_keeps_the_image_that_is_stored(database):
    database.add_image("a", 1, "color")
    first = database.store.item("a").payload_label
    database.add_image("a", 1, "color")
    assert database.store.item("a").payload_label == first
    assert database.get("a").payload == sample_image(1)


def test_without_payloads_none_is_stored_and_a_changed_one_is_still_noticed(forgetful):
    forgetful.add_image("a", 1, "color")
    assert forgetful.get("a").payload is None
    assert dict(forgetful.store.prefix(b"\x09")) == {}
    forgetful.add_image("a", 1, "gray")
    assert set(forgetful.vectors("a")) == {"color", "gray"}
    forgetful.add_image("a", 2, "gray")
    assert set(forgetful.vectors("a")) == {"gray"}
    assert dict(forgetful.store.prefix(b"\x09")) == {}


def test_payloads_are_stored_once_that_is_switched_on_and_go_when_they_change_without(
    tmp_path, registry
):
    images = []
    for keep, seed in ((False, 1), (True, 1), (False, 1), (False, 2)):
        with Database(tmp_path, registry, EMBEDDERS, keep_payloads=keep) as database:
            database.add_image("a", seed, "color")
            images.append(database.get("a").payload)
    assert images == [None, sample_image(1), sample_image(1), None]


def test_an_image_that_one_model_cannot_take_is_stored_for_none(database):
    broken = Payload("image", b"no image")
    database.add_image("a", 1, "color")
    with pytest.raises(UndecodableInput):
        database.features.add(AddRequest("a", broken, ("color", "gray")), CALL)
    assert database.get("a").payload == sample_image(1)
    assert set(database.vectors("a")) == {"color"}


def test_a_model_that_is_not_served_fails_the_whole_call(database):
    with pytest.raises(UnknownModel, match="nothing"):
        database.add_image("a", 1, "color", "nothing")
    with pytest.raises(UnknownItem):
        database.get("a")


def test_a_kind_of_input_that_the_model_does_not_take_is_refused(database):
    with pytest.raises(InvalidRequest, match="takes 'image', not 'text'"):
        database.features.add(AddRequest("a", Payload("text", b"words"), ("color",)), CALL)


def test_an_image_is_searched_in_the_space_of_each_model(database):
    database.add_image("a", 1, "color", "gray")
    database.add_image("b", 2, "gray")
    assert database.ids(sample_image(2), "gray") == ["b", "a"]
    assert database.ids(sample_image(2), "color") == ["a"]


def test_the_models_served_are_listed_with_their_items(database):
    database.add_image("a", 1, "color", "gray")
    database.add_image("b", 2, "color")
    served = database.features.list_models()
    listed = {status.name: status for status in served if status.name in EMBEDDERS}
    assert [(name, status.items) for name, status in listed.items()] == [("color", 2), ("gray", 1)]
    color = listed["color"]
    assert (color.state, color.input, color.feature_dim, color.prediction_dim) == (
        ModelState.READY,
        "image",
        12,
        3,
    )
    assert (color.engine, color.metric) == ("exact", "l2")
