"""Adding an item again leaves what did not change: no vector and no tombstone is written."""

from __future__ import annotations

import numpy as np
import pytest

from euclidesdb_server.database.item_import import ImportedEmbedding, ImportedItem
from euclidesdb_server.errors import CorruptRecord
from euclidesdb_server.store import keys
from tests.support.assembled import EMBEDDERS, Database

TOMBSTONES = b"\x08"
CHEAP, DEAR = '{"price": 1}', '{"price": 2}'


@pytest.fixture
def prices(database):
    """A hundred items with a price, their vectors in the space `one`."""
    database.labels = [str(number) for number in range(100)]
    database.numbers = [[number, 0] for number in range(100)]
    database.add_vectors("one", database.labels, database.numbers, attributes_json=[CHEAP] * 100)
    return database


def stored_labels(database, ids):
    return [dict(database.store.item(item_id).labels) for item_id in ids]


def tombstones(database):
    return dict(database.store.prefix(TOMBSTONES))


def test_a_hundred_changed_prices_write_no_vector(prices):
    before = stored_labels(prices, prices.labels)
    assert (
        prices.add_vectors("one", prices.labels, prices.numbers, attributes_json=[DEAR] * 100) == {}
    )
    assert stored_labels(prices, prices.labels) == before
    assert {prices.get(item_id).attributes_json for item_id in prices.labels} == {DEAR}
    assert tombstones(prices) == {}
    assert prices.spaces["one"].status().unindexed_rows == 100


def test_only_the_vectors_that_changed_are_written(prices):
    before = stored_labels(prices, prices.labels)
    numbers = [[number, 1 if number % 10 == 0 else 0] for number in range(100)]
    prices.add_vectors("one", prices.labels, numbers)
    changed = [
        item_id
        for item_id, old, new in zip(
            prices.labels, before, stored_labels(prices, prices.labels), strict=True
        )
        if old != new
    ]
    assert changed == [str(number) for number in range(0, 100, 10)]
    assert len(tombstones(prices)) == 10
    assert prices.ids([30, 1], "one", 1) == ["30"]
    assert prices.get("30").attributes_json == CHEAP


def test_the_same_columns_again_write_nothing(prices):
    before = dict(prices.store.prefix(b""))
    prices.add_vectors("one", prices.labels, prices.numbers, attributes_json=[CHEAP] * 100)
    assert dict(prices.store.prefix(b"")) == before


def test_changed_attributes_of_one_item_leave_its_vectors(database):
    database.add("a", one=[1, 0], two=[1, 2, 3])
    before = stored_labels(database, ["a"])
    database.add("a", one=[1, 0], texts={"attributes_json": DEAR, "metadata": b"m"})
    assert stored_labels(database, ["a"]) == before
    item = database.get("a")
    assert (item.attributes_json, item.metadata) == (DEAR, b"m")
    assert tombstones(database) == {}


def test_changed_attributes_add_no_row(database):
    database.add("a", one=[1, 0])
    database.add("a", one=[1, 0], texts={"attributes_json": DEAR})
    database.spaces["one"].compact()
    assert database.ids([1, 0], "one") == ["a"]
    rows = database.store.prefix(keys.VECTOR)
    assert [keys.label_of(key) for key, _ in rows] == [1]


def test_new_attributes_of_an_embedded_item_leave_its_vector(tmp_path, registry):
    with Database(tmp_path, registry, EMBEDDERS) as database:
        database.add_image("a", 1, "color")
        before = stored_labels(database, ["a"])
        database.add_image("a", 1, "color", attributes_json=DEAR)
        assert stored_labels(database, ["a"]) == before
        assert database.get("a").attributes_json == DEAR
        assert tombstones(database) == {}


def test_an_unreadable_vector_is_written_again(database, monkeypatch):
    database.add("a", one=[1, 0])
    number = database.spaces["one"].record.number
    label = database.store.item("a").labels[number]
    vector = type(database.store).vector

    def damaged(store, space, found):
        if (space, found) == (number, label):
            raise CorruptRecord("damaged")
        return vector(store, space, found)

    monkeypatch.setattr(type(database.store), "vector", damaged)
    database.add("a", one=[1, 0])
    assert database.store.item("a").labels[number] != label
    assert database.ids([1, 0], "one") == ["a"]


def test_an_import_of_an_unknown_payload_writes_only_the_vectors_that_changed(database):
    def write(first):
        vectors = {"one": np.array([first, 0], np.float32), "two": np.ones(3, np.float32)}
        made = tuple(ImportedEmbedding(model, None, vector) for model, vector in vectors.items())
        database.features.imports.write([ImportedItem("a", embeddings=made)])
        return stored_labels(database, ["a"])[0]

    before, after = write(1), write(2)
    changed = database.spaces["one"].record.number
    assert {number for number in before if before[number] != after[number]} == {changed}
