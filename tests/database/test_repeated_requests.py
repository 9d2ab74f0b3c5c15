"""A request that is repeated with its key, after its reply was lost, is applied once."""

from __future__ import annotations

import numpy as np
import pytest

from euclidesdb_server.database.item_import import ImportedEmbedding, ImportedItem
from euclidesdb_server.database.requests import (
    AddRequest,
    AddVectorsRequest,
    ModelVector,
    UpdateRequest,
)
from euclidesdb_server.errors import InvalidRequest, UnknownItem
from euclidesdb_server.values.item_change import ItemChange
from euclidesdb_server.values.vector_columns import VectorColumns
from tests.support.assembled import CALL, EMBEDDERS, Database, no_models
from tests.support.stores import copy_of_crashed, vector

KEY = b"the key of a request"
DIMS = {"one": 2}


def add(database, item_id="a", x=1.0, key=KEY):
    vectors = {"one": ModelVector(vector(x, 0.0))}
    return database.features.add(AddRequest(item_id, vectors=vectors, request_key=key), CALL)


def add_rows(database, ids, x, key=KEY):
    columns = VectorColumns(ids, np.full((len(ids), 2), x, np.float32))
    return database.features.add_vectors(AddVectorsRequest("one", columns, request_key=key))


def stored(database, item_id="a"):
    return database.vectors(item_id)["one"][0]


def crashed(tmp_path):
    """The database as a start finds it after the process was killed."""
    folder = tmp_path / "after the crash"
    copy_of_crashed(tmp_path / "leveldb", folder / "leveldb")
    return Database(folder, no_models(folder / "models"), DIMS)


def test_a_repeated_add_leaves_a_later_write_and_answers_with_what_is_stored(database):
    (first,) = add(database)
    (again,) = add(database)
    assert again.vector.tolist() == first.vector.tolist() == [1.0, 0.0]
    assert again.fingerprint == first.fingerprint
    add(database, x=2.0, key=b"of another caller")
    (again,) = add(database)
    assert again.vector.tolist() == [2.0, 0.0]
    assert stored(database) == 2.0


def test_a_repeated_add_runs_no_model(registry, tmp_path):
    """Another caller has given the item another payload, so a model would have to run."""
    with Database(tmp_path, registry, EMBEDDERS) as database:
        database.add_image("a", 1, "gray", request_key=KEY)
        (other,) = database.add_image("a", 2, "gray")
        before = registry.models["gray"].run_counts
        (again,) = database.add_image("a", 1, "gray", request_key=KEY)
        assert registry.models["gray"].run_counts == before
        assert again.vector.tolist() == other.vector.tolist()


def test_a_repeated_add_does_not_bring_back_what_was_removed_since(database):
    add(database)
    database.features.remove("a")
    assert not add(database)
    with pytest.raises(UnknownItem):
        database.get("a")


def test_a_repeated_add_is_known_after_a_crash(database, tmp_path):
    add(database)
    add(database, x=2.0, key=b"of another caller")
    with crashed(tmp_path) as restarted:
        add(restarted)
        assert stored(restarted) == 2.0


def test_a_repeated_add_that_changed_nothing_leaves_a_later_write(database, tmp_path):
    add(database, key=b"")
    add(database)
    add(database, x=2.0, key=b"of another caller")
    add(database)
    assert stored(database) == 2.0
    with crashed(tmp_path) as restarted:
        add(restarted)
        assert stored(restarted) == 2.0


def test_repeated_rows_that_changed_nothing_leave_a_later_write(database):
    add_rows(database, ["a"], 1.0, b"")
    add_rows(database, ["a"], 1.0)
    add(database, x=2.0, key=b"")
    add_rows(database, ["a"], 1.0)
    assert stored(database) == 2.0


def test_a_repeated_update_that_changed_nothing_leaves_a_later_one(database):
    add(database)
    request = UpdateRequest("a", merge_json='{"price": null}', request_key=KEY)
    assert database.features.update(request) == "{}"
    database.features.update(UpdateRequest("a", merge_json='{"price": 2}'))
    assert database.features.update(request) == '{"price":2}'


def test_the_same_key_of_another_item_or_without_one_is_another_request(database):
    add(database)
    add(database, "b")
    add(database, x=2.0, key=b"")
    assert (stored(database), stored(database, "b")) == (2.0, 1.0)


def test_of_many_items_only_those_not_yet_added_are(database):
    add(database, "a", key=b"key of the first")
    add(database, "a", x=2.0, key=b"")
    requests = [
        AddRequest(name, vectors={"one": ModelVector(vector(1.0, 0.0))}, request_key=key)
        for name, key in (("a", b"key of the first"), ("b", b"key of the second"))
    ]
    outcomes = database.features.add_many(requests, CALL)
    assert [[each.model for each in outcome] for outcome in outcomes] == [["one"], ["one"]]
    assert (stored(database), stored(database, "b")) == (2.0, 1.0)


def test_repeated_rows_of_columns_leave_later_writes(database, tmp_path):
    ids = [f"{number}" for number in range(5000)]  # more than one batch
    add_rows(database, ids, 1.0)
    add(database, "7", 2.0, b"")
    add(database, "4999", 3.0, b"")
    assert {*add_rows(database, ids, 1.0)} == {ItemChange.ADDED, ItemChange.REPLACED}
    assert [stored(database, name) for name in ("7", "4999", "8")] == [2.0, 3.0, 1.0]
    with crashed(tmp_path) as restarted:
        add_rows(restarted, ids, 1.0)
        assert [stored(restarted, name) for name in ("7", "4999", "8")] == [2.0, 3.0, 1.0]


@pytest.mark.parametrize("attributes_json", [None, "{}"], ids=["alike", "unlike"])
def test_a_repeated_import_leaves_later_writes(database, tmp_path, attributes_json):
    items = [
        ImportedItem(
            name,
            attributes_json if name == "a" else None,
            None,
            (ImportedEmbedding("one", None, vector(1.0, 0.0), ready_made=True),),
        )
        for name in ("a", "b", "a")
    ]
    imports = database.features.imports
    first = imports.write(items, KEY)
    assert first == [ItemChange.ADDED, ItemChange.ADDED, ItemChange.UNCHANGED]
    add(database, "b", 2.0, b"")
    again = imports.write(items, KEY)
    assert again[1] == ItemChange.REPLACED
    assert stored(database, "b") == 2.0
    with crashed(tmp_path) as restarted:
        restarted.features.imports.write(items, KEY)
        assert stored(restarted, "b") == 2.0
        restarted.features.imports.write(items)
        assert stored(restarted, "b") == 1.0
    with pytest.raises(InvalidRequest, match="request_key"):
        imports.write(items, b"short")


def test_a_repeated_import_of_which_other_items_are_refused_leaves_later_writes(database):
    def item(name, *, has_attributes=False, x=1.0):
        vectors = (ImportedEmbedding("one", None, vector(x, 0.0), ready_made=True),)
        return ImportedItem(name, "{}" if has_attributes else None, None, vectors)

    imports = database.features.imports
    refused = InvalidRequest("at first")
    imports.write([item("a"), refused], KEY)
    imports.write([item("a", x=2.0)])
    imports.write([item("a"), item("b", has_attributes=True)], KEY)
    assert (stored(database), stored(database, "b")) == (2.0, 1.0)


def test_a_repeated_removal_of_many_counts_what_it_has_removed(database, tmp_path):
    for name in "abc":
        add(database, name, key=b"")
    features = database.features
    first = features.remove_many([*"abcx"], request_key=KEY)
    assert (first.removed, first.missing) == (3, (3,))
    add(database, "b", 2.0, b"")
    add(database, "x", 2.0, b"")
    assert features.remove_many([*"abcx"], request_key=KEY) == first
    assert (stored(database, "b"), stored(database, "x")) == (2.0, 2.0)
    with crashed(tmp_path) as restarted:
        assert restarted.features.remove_many([*"abcx"], request_key=KEY) == first
        assert (stored(restarted, "b"), stored(restarted, "x")) == (2.0, 2.0)
        assert restarted.features.remove_many([*"abcx"]).removed == 2


def test_an_add_answers_what_it_has_changed(database):
    def changes(*items, key=b""):
        requests = [
            AddRequest(name, vectors={"one": ModelVector(vector(x, 0.0))}, request_key=key)
            for name, x in items
        ]
        return [each.change.value for each in database.features.add_many(requests, CALL)]

    assert changes(("a", 1.0), ("b", 1.0), ("a", 1.0), ("a", 2.0)) == [
        "added", "added", "unchanged", "replaced",
    ]  # fmt: skip
    assert changes(("c", 1.0), ("b", 2.0), key=KEY) == ["added", "replaced"]
    assert changes(("c", 1.0), ("b", 2.0), key=KEY) == ["added", "replaced"]
    assert changes(("d", 1.0), ("b", 2.0), ("c", 1.0)) == ["added", "unchanged", "unchanged"]
    rows = VectorColumns([*"ade"], np.ones((3, 2), np.float32))
    assert database.features.add_vectors(AddVectorsRequest("one", rows)) == [
        ItemChange.REPLACED, ItemChange.REPLACED, ItemChange.ADDED,
    ]  # fmt: skip
    assert {*database.features.add_vectors(AddVectorsRequest("one", rows))} == {
        ItemChange.UNCHANGED
    }


def test_a_repeated_update_leaves_a_later_one_and_returns_what_is_stored(database):
    add(database)
    first = UpdateRequest("a", merge_json='{"price": 1}', request_key=KEY)
    database.features.update(first)
    database.features.update(UpdateRequest("a", merge_json='{"price": 2}'))
    assert database.features.update(first) == '{"price":2}'
    database.features.remove("a")
    assert database.features.update(first) == "{}"


def test_a_repeated_removal_leaves_what_was_added_since(database, tmp_path):
    add(database)
    database.features.remove("a", KEY)
    database.features.remove("a", KEY)
    add(database, x=2.0, key=b"")
    database.features.remove("a", KEY)
    assert stored(database) == 2.0
    with crashed(tmp_path) as restarted:
        restarted.features.remove("a", KEY)
        assert stored(restarted) == 2.0


def test_the_repeated_removal_of_what_was_not_there_leaves_what_was_added_since(database):
    with pytest.raises(UnknownItem):
        database.features.remove("a", KEY)
    add(database, key=b"")
    with pytest.raises(UnknownItem):
        database.features.remove("a", KEY)
    assert stored(database) == 1.0


@pytest.mark.parametrize("length", [1, 7, 65])
def test_a_key_that_others_might_use_is_refused(database, length):
    with pytest.raises(InvalidRequest, match=f"8 to 64 random bytes, not {length}"):
        add(database, key=bytes(length))
    with pytest.raises(InvalidRequest, match="request_key"):
        add_rows(database, ["a"], 1.0, bytes(length))
    with pytest.raises(InvalidRequest, match="request_key"):
        database.features.remove("a", bytes(length))
    with pytest.raises(InvalidRequest, match="request_key"):
        database.features.update(UpdateRequest("a", merge_json="{}", request_key=bytes(length)))
