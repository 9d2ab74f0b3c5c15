"""Checking the records of a store, and what a repair makes of them."""

from __future__ import annotations

import msgpack
import pytest

from euclidesdb_server.store import keys
from euclidesdb_server.store.reader import ItemRecord, unpack_item
from euclidesdb_server.store.verify import StoreReport, check_store
from euclidesdb_server.values.arrays import Vector
from tests.support.stores import vector

SPACES = {1: ["first", "fingerprint", 2, False], 2: ["second", "fingerprint", 2, False]}
DIGEST = b"digest"


def records(item: ItemRecord, **changes: bytes | None) -> dict[bytes, bytes]:
    """A store of one item "a" with label 1 in both spaces; changes: values of keys in hex."""
    row: Vector = vector(1, 2)
    made = {
        keys.DATABASE: msgpack.packb([1]),
        keys.LABELS_RESERVED: keys.pack_label(10),
        **{keys.space_key(number): msgpack.packb(fields) for number, fields in SPACES.items()},
        keys.item_key("a"): item.packed(),
        keys.label_key(1): b"a",
        keys.row_key(keys.VECTOR, 1, 1): row.tobytes(),
        keys.row_key(keys.VECTOR, 2, 1): row.tobytes(),
        keys.row_key(keys.PREDICTIONS, 2, 1): row.tobytes(),
    }
    for key, value in changes.items():
        if value is None:
            del made[bytes.fromhex(key)]
        else:
            made[bytes.fromhex(key)] = value
    return made


def checked(stored: dict[bytes, bytes]) -> StoreReport:
    return check_store(sorted(stored.items()), {})


def repaired_item(report: StoreReport) -> ItemRecord:
    return unpack_item(report.repaired[keys.item_key("a")], "the item")


@pytest.mark.parametrize("ready_made", [frozenset(), frozenset({2}), frozenset({1, 2})])
def test_a_store_without_problems_has_no_findings_and_stays_as_it_is(ready_made):
    stored = records(ItemRecord(labels={1: 1, 2: 1}, payload_digest=DIGEST, ready_made=ready_made))
    report = checked(stored)
    assert report.findings == []
    assert report.discarded == []
    assert report.repaired == stored
    assert report.live_labels == {1: {1: "a"}, 2: {1: "a"}}


def test_an_item_that_loses_a_vector_no_longer_lists_it_as_ready_made():
    item = ItemRecord(labels={1: 1, 2: 1}, payload_digest=DIGEST, ready_made=frozenset({1, 2}))
    stored = records(item, **{keys.row_key(keys.VECTOR, 1, 1).hex(): None})
    report = checked(stored)
    assert report.findings == [
        "item 'a' has no vector in space 1: the vector of label 1 is missing or unreadable"
    ]
    kept = repaired_item(report)
    assert (dict(kept.labels), kept.ready_made) == ({2: 1}, frozenset({2}))
    assert report.discarded == [(keys.item_key("a"), item.packed())]
    assert checked(report.repaired).findings == []


def test_a_ready_made_vector_that_is_not_there_is_found_and_repaired():
    item = ItemRecord(labels={2: 1}, payload_digest=DIGEST, ready_made=frozenset({1, 2}))
    stored = records(item, **{keys.row_key(keys.VECTOR, 1, 1).hex(): None})
    report = checked(stored)
    assert report.findings == [
        "item 'a' lists a ready-made vector in spaces [1], but has none there"
    ]
    assert repaired_item(report).ready_made == {2}
    assert checked(report.repaired).findings == []


def test_a_vector_without_an_item_is_discarded_with_its_predictions():
    stored = records(ItemRecord(labels={1: 1}))
    report = checked(stored)
    assert report.findings == ["the vector of label 1 in space 2 belongs to no item"]
    assert {key for key, _ in report.discarded} == {
        keys.row_key(keys.VECTOR, 2, 1),
        keys.row_key(keys.PREDICTIONS, 2, 1),
    }
    assert checked(report.repaired).findings == []
