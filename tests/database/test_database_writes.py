"""What adding, adding again and removing do to an item; vectors are ready-made."""

from __future__ import annotations

import json

import numpy as np
import pytest

from euclidesdb_server.database.item_reads import Include
from euclidesdb_server.database.requests import AddRequest, ModelVector
from euclidesdb_server.errors import (
    DatabaseError,
    DimensionMismatch,
    InvalidRequest,
    UnknownItem,
    UnknownModel,
    VersionMismatch,
)
from euclidesdb_server.values.payload import Payload
from tests.support.assembled import CALL, Database, no_models
from tests.support.stores import vector


def test_what_was_added_is_found_and_read_back(database):
    database.add("a", one=[1, 2], two=[3, 4, 5])
    assert database.vectors("a") == {"one": [1, 2], "two": [3, 4, 5]}
    assert database.ids([0, 0], "one") == ["a"]
    assert database.ids([0, 0, 0], "two") == ["a"]


def test_adding_returns_what_was_written_by_this_call(database):
    database.add("a", one=[1, 2])
    (written,) = database.add("a", two=[3, 4, 5])
    assert (written.model, written.fingerprint) == ("two", "version 1")
    assert written.vector.tolist() == [3, 4, 5]
    assert written.predictions is None


def test_adding_again_for_another_model_keeps_the_first_ones_vector(database):
    database.add("a", one=[1, 2])
    database.add("a", two=[3, 4, 5])
    assert database.vectors("a") == {"one": [1, 2], "two": [3, 4, 5]}
    assert database.ids([1, 2], "one") == ["a"]


def test_adding_again_for_the_same_model_replaces_just_its_vector(database):
    database.add("a", one=[1, 2], two=[3, 4, 5])
    database.add("a", one=[9, 9])
    assert database.vectors("a") == {"one": [9, 9], "two": [3, 4, 5]}
    (neighbor,) = database.near([9, 9], "one")
    assert neighbor.distance == 0


def test_unset_attributes_and_metadata_are_kept(database):
    database.add("a", one=[1, 2], texts={"attributes_json": '{"x": 1}', "metadata": b"\x80"})
    database.add("a", one=[2, 2])
    item = database.get("a")
    assert (json.loads(item.attributes_json), item.metadata) == ({"x": 1}, b"\x80")
    database.add("a", one=[2, 2], texts={"metadata": b""})
    item = database.get("a")
    assert (json.loads(item.attributes_json), item.metadata) == ({"x": 1}, b"")
    database.add("a", one=[2, 2], texts={"attributes_json": "{}"})
    assert json.loads(database.get("a").attributes_json) == {}


def test_an_item_without_attributes_or_metadata_has_empty_ones(database):
    database.add("a", one=[1, 2])
    item = database.get("a")
    assert (item.attributes_json, item.metadata, item.payload) == ("{}", b"", None)


def test_a_removed_item_is_unknown_and_in_no_answer(database):
    database.add("a", one=[1, 2], two=[3, 4, 5])
    database.add("b", one=[1, 2])
    database.features.remove("a")
    with pytest.raises(UnknownItem, match="'a'"):
        database.get("a")
    with pytest.raises(UnknownItem, match="'a'"):
        database.features.remove("a")
    with pytest.raises(UnknownItem, match="'a'"):
        database.near("a", "one")
    assert database.ids([0, 0], "one") == ["b"]
    assert database.ids([0, 0, 0], "two") == []


def test_an_item_added_after_its_removal_has_nothing_of_before(database):
    database.add("a", one=[1, 2], texts={"attributes_json": '{"x": 1}', "metadata": b"m"})
    database.features.remove("a")
    database.add("a", two=[3, 4, 5])
    item = database.get("a")
    assert (item.attributes_json, item.metadata) == ("{}", b"")
    assert database.vectors("a") == {"two": [3, 4, 5]}
    assert database.ids([0, 0], "one") == []


def test_arrays_are_read_only_on_request(database):
    database.add("a", one=[1, 2])
    item = database.features.get("a", Include())
    (embedding,) = item.embeddings
    assert (embedding.model, embedding.vector, embedding.predictions) == ("one", None, None)


@pytest.mark.parametrize(
    ("request_", "error", "says"),
    [
        (AddRequest(""), InvalidRequest, "0 bytes"),
        (AddRequest("é" * 257), InvalidRequest, "514 bytes"),
        (AddRequest("a"), InvalidRequest, "nothing to add"),
        (AddRequest("a", models=("one",)), InvalidRequest, "payload is not set"),
        (AddRequest("a", Payload("image", b"")), InvalidRequest, "models is empty"),
        (AddRequest("a", Payload("image", b""), ("three",)), UnknownModel, "three"),
        (AddRequest("a", vectors={"three": ModelVector(vector(1))}), UnknownModel, "three"),
        (AddRequest("a", vectors={"one": ModelVector(vector(1))}), DimensionMismatch, r"\(2,\)"),
        (AddRequest("a", vectors={"one": ModelVector(vector(1, 2), "v0")}), VersionMismatch, "v0"),
        (
            AddRequest("a", vectors={"one": ModelVector(vector(1, np.nan))}),
            InvalidRequest,
            "nan at position 1",
        ),
        (
            AddRequest("a", Payload("image", b""), ("one",), {"one": ModelVector(vector(1, 2))}),
            InvalidRequest,
            "in models and in vectors",
        ),
    ],
)
def test_a_call_that_raises_wrote_nothing(database, request_, error, says):
    with pytest.raises(error, match=says):
        database.features.add(request_, CALL)
    assert dict(database.store.prefix(b"\x04")) == {}
    assert database.ids([0, 0], "one") == []


@pytest.mark.parametrize("text", ["", "[]", "1", "{", "{'a': 1}", '{"a": NaN}', "[" * 100_000])
def test_attributes_must_be_a_json_object(database, text):
    with pytest.raises(InvalidRequest, match="attributes"):
        database.add("a", one=[1, 2], texts={"attributes_json": text})
    with pytest.raises(UnknownItem):
        database.get("a")


def test_one_bad_vector_keeps_the_good_one_from_being_written(database):
    database.add("a", one=[1, 2])
    with pytest.raises(DatabaseError):
        database.add("a", one=[7, 7], two=[1])
    assert database.vectors("a") == {"one": [1, 2]}


def test_ids_come_back_exactly_as_given(database):
    ids = ["é", "e\u0301", " a ", "a\nb", "\0", "💐" * 128, "A", "a", "01", "1"]
    for item_id in ids:
        database.add(item_id, one=[0, 0])
    assert database.ids([0, 0], "one") == ids
    for item_id in ids:
        assert database.get(item_id).id == item_id


def test_items_survive_a_restart(tmp_path):
    models = no_models(tmp_path / "models")
    with Database(tmp_path, models, {"one": 2}) as database:
        database.add("a", one=[1, 0], texts={"metadata": b"m"})
        database.add("b", one=[2, 0])
        database.add("c", one=[3, 0])
        database.add("b", one=[4, 0])
        database.features.remove("c")
    with Database(tmp_path, models, {"one": 2}) as database:
        assert database.ids([0, 0], "one") == ["a", "b"]
        assert database.get("a").metadata == b"m"
        assert database.vectors("b") == {"one": [4, 0]}


def test_a_vector_of_a_former_model_version_is_kept_and_never_mixed_with_the_new(tmp_path):
    models = no_models(tmp_path / "models")
    with Database(tmp_path, models, {"one": 2}, fingerprint="old") as database:
        database.add("a", one=[1, 0])
    with Database(tmp_path, models, {"one": 2}, fingerprint="new") as database:
        assert database.ids([0, 0], "one") == []
        with pytest.raises(UnknownItem, match="no vector of model 'one'"):
            database.near("a", "one")
        database.add("a", one=[2, 0])
        assert [
            (found.fingerprint, found.vector.tolist()) for found in database.get("a").embeddings
        ] == [("old", [1, 0]), ("new", [2, 0])]
    with Database(tmp_path, models, {"one": 2}, fingerprint="old") as database:
        assert database.near([1, 0], "one")[0].distance == 0


def test_an_item_removed_while_its_model_was_not_served_is_gone_when_it_is_again(tmp_path):
    models = no_models(tmp_path / "models")
    with Database(tmp_path, models, {"one": 2, "two": 3}) as database:
        for name in "abc":
            database.add(name, one=[1, 2], two=[1, 2, 3])
        database.features.compact()
        assert database.compactor.wait_idle(30)
    with Database(tmp_path, models, {"two": 3}) as database:
        database.features.remove("b")
    with Database(tmp_path, models, {"one": 2, "two": 3}) as database:
        assert database.spaces["one"].backlog() == (1, 3)  # it had a segment that held the row
        assert database.ids([0, 0], "one") == ["a", "c"]
        assert database.ids([0, 0, 0], "two") == ["a", "c"]
