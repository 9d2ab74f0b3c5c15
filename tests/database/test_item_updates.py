"""Attributes and metadata are changed in place: durable, without a trace in the vectors."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from euclidesdb_server.config.server import ServerConfig
from euclidesdb_server.database.requests import UpdateRequest
from euclidesdb_server.errors import CorruptRecord, InvalidRequest, UnknownItem, WriteInDoubt
from euclidesdb_server.store import keys
from tests.database.test_database_recovery import add_in_spite_of
from tests.support.assembled import Database, no_models
from tests.support.cases import each_as_subtest
from tests.support.failing_sync import FailingSync
from tests.support.stores import write_labels

ATTRIBUTES = '{"price": 10, "size": {"width": 1, "height": 2}}'


@pytest.fixture
def item(database):
    """The item `a`."""
    database.add("a", one=[1, 0], texts={"attributes_json": ATTRIBUTES, "metadata": b"m"})
    return database


def update(database, **changes):
    return database.features.update(UpdateRequest("a", **changes))


def attributes(database, item_id="a"):
    return database.get(item_id).attributes_json


def test_each_change_is_returned_and_stored(item):
    steps: list[tuple[dict[str, Any], str]] = [
        ({"merge_json": '{"price": 11}'}, '{"price":11,"size":{"width": 1, "height": 2}}'),
        ({"remove_attributes": ("size.width",)}, '{"price":11,"size":{"height":2}}'),
        ({"remove_attributes": ("size",), "merge_json": '{"size": {"depth": 3}}'},
         '{"price":11,"size":{"depth":3}}'),
        ({"attributes_json": '{"b": 1.10}'}, '{"b": 1.10}'),
        ({"metadata": b"other"}, '{"b": 1.10}'),
        ({"merge_json": '{"b": null}', "metadata": b""}, "{}"),
    ]  # fmt: skip
    for changes, expected in steps:
        assert update(item, **changes) == expected
        assert attributes(item) == expected
    assert item.get("a").metadata == b""


def test_an_update_leaves_vectors_payload_and_indexes(item):
    before = item.store.item("a")
    rows = dict(item.store.prefix(keys.VECTOR))
    update(item, merge_json='{"price": 1}', metadata=b"n")
    after = item.store.item("a")
    assert (after.labels, after.ready_made) == (before.labels, before.ready_made)
    assert dict(item.store.prefix(keys.VECTOR)) == rows
    assert dict(item.store.prefix(keys.TOMBSTONE)) == {}
    assert len(item.spaces["one"]) == 1
    assert item.ids([1, 0], "one") == ["a"]


def test_an_update_is_the_current_label_of_its_item(item):
    first = item.store.item("a").first_label
    for price in range(3):
        before = item.store.item("a").current_label
        update(item, merge_json=f'{{"price": {price}}}')
        labels = write_labels(item.store)["a"]
        assert labels[0] == first
        assert labels[1] > before
    item.add("a", one=[2, 0])
    assert write_labels(item.store)["a"][0] == first
    item.features.remove("a")
    item.add("a", one=[2, 0])
    assert write_labels(item.store)["a"][0] > labels[1]


@each_as_subtest(
    "changes",
    [
        {"merge_json": "{}"},
        {"merge_json": '{"price": 10, "size": {"width": 1}, "other": null}'},
        {"remove_attributes": ("other", "price.x", "size.depth")},
        {"attributes_json": ATTRIBUTES},
        {"metadata": b"m"},
    ],
)
def test_what_does_not_change_is_not_written(item, changes):
    before = dict(item.store.prefix(b""))
    assert update(item, **changes) == ATTRIBUTES
    assert dict(item.store.prefix(b"")) == before


def test_an_update_is_there_after_a_restart(tmp_path):
    models = no_models(tmp_path / "models")
    with Database(tmp_path, models, {"one": 2}) as database:
        database.add("a", one=[1, 0])
        update(database, merge_json='{"n": 1}', metadata=b"m")
        labels = write_labels(database.store)
    with Database(tmp_path, models, {"one": 2}) as database:
        assert (attributes(database), database.get("a").metadata) == ('{"n":1}', b"m")
        assert write_labels(database.store) == labels
        assert database.ids([1, 0], "one") == ["a"]


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({}, "there is nothing to change"),
    ({"attributes_json": "{}", "merge_json": "{}"}, "attributes_json and merge_json are both set"),
    ({"attributes_json": "{}", "remove_attributes": ("a",)}, "and remove_attributes are both set"),
    ({"attributes_json": "[]"}, "should be a JSON object"),
    ({"attributes_json": '{"a": NaN}'}, "NaN is not a JSON number"),
    ({"merge_json": '{"a": -Infinity}'}, "merge_json: attributes is not valid JSON"),
    ({"merge_json": "null"}, "merge_json: attributes should be a JSON object, not 'null'"),
    ({"merge_json": '{"a":1'}, "merge_json: attributes is not valid JSON"),
    ({"merge_json": json.dumps({"a": "x" * 100})}, "merge_json: the attributes of item 'a' have"),
    ({"merge_json": json.dumps({"a": "x" * 60})}, "the attributes of item 'a' have 112 bytes"),
    ({"attributes_json": json.dumps({"a": "x" * 100})}, "max_attributes_bytes permits 100"),
    ({"metadata": bytes(11)}, "max_metadata_bytes permits 10"),
    ({"remove_attributes": ("a", "")}, "remove_attributes has an empty name at 1"),
    ({"remove_attributes": ("x" * 101,)}, "remove_attributes has 101 characters"),
    ({"remove_attributes": ("x",) * 1001}, "remove_attributes has 1,001 names"),
]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    limits = ServerConfig(max_attributes_bytes=100, max_metadata_bytes=10)
    with Database(folder, no_models(folder / "models"), {"one": 2}, limits=limits) as database:
        database.add("a", one=[1, 0], texts={"attributes_json": ATTRIBUTES})
        yield database


@each_as_subtest("case", REFUSED)
def test_a_request_that_cannot_be_met_changes_nothing(small, case):
    changes, message = case
    before = dict(small.store.prefix(b""))
    with pytest.raises(InvalidRequest) as refused:
        update(small, **changes)
    assert message in str(refused.value)
    assert dict(small.store.prefix(b"")) == before


def test_an_item_that_is_not_stored_cannot_be_updated(database):
    with pytest.raises(UnknownItem, match="no item 'a'"):
        update(database, metadata=b"")
    with pytest.raises(InvalidRequest, match="1 to 512"):
        database.features.update(UpdateRequest("", metadata=b""))


def test_attributes_that_are_nested_too_deeply_for_a_merge_can_be_replaced(item):
    """There may be some that were stored before there was a limit."""
    record = item.store.item("a")
    batch = item.store._leveldb.batch()
    deep = type(record)('{"x":' * 700 + "1" + "}" * 700, labels=record.labels)
    batch.put(keys.item_key("a"), deep.packed())
    item.store._leveldb.write(batch, "nesting")
    for change in ('{"y": 1}', '{"x":' * 65 + "2" + "}" * 65):
        with pytest.raises(InvalidRequest, match="nested more than 64 deep"):
            update(item, merge_json=change)
    assert update(item, attributes_json='{"y": 1}') == '{"y": 1}'


def test_attributes_that_are_damaged_are_named_and_can_be_replaced(item):
    record = item.store.item("a")
    batch = item.store._leveldb.batch()
    damaged = type(record)("{broken", labels=record.labels)
    batch.put(keys.item_key("a"), damaged.packed())
    item.store._leveldb.write(batch, "damaging")
    with pytest.raises(CorruptRecord, match="attributes of item 'a' are not a JSON object"):
        update(item, merge_json='{"a": 1}')
    assert update(item, attributes_json="{}") == "{}"


def test_merges_of_different_keys_at_once_all_survive(item):
    def merge(name):
        for number in range(20):
            update(item, merge_json=json.dumps({name: number, "shared": {name: number}}))

    threads = [threading.Thread(target=merge, args=(f"key {each}",)) for each in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = json.loads(attributes(item))
    assert found.pop("price") == 10
    del found["size"]
    expected = {f"key {each}": 19 for each in range(4)}
    assert found == {**expected, "shared": expected}
    write_labels(item.store)


def test_an_update_that_fails_on_its_way_is_in_doubt_and_resolved(tmp_path):
    with Database(tmp_path, no_models(tmp_path / "models"), {"one": 2}, sync=True) as database:
        database.add("a", one=[1, 0], texts={"attributes_json": '{"n": 1}'})
        FailingSync(database.store).may_fail.set()
        with pytest.raises(WriteInDoubt, match="it may be on disk or not"):
            update(database, merge_json='{"n": 2}')
        add_in_spite_of(database, "after")
        assert attributes(database) == '{"n":2}'
        assert database.store.labels.low_watermark() >= write_labels(database.store)["a"][1]
        assert set(database.ids([1, 0], "one")) == {"a", "after"}
