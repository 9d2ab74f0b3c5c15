"""Checking the records of a store, and what a repair makes of them."""

from __future__ import annotations

import io
import json

import msgpack
import pytest

from euclidesdb_server.errors import StorageError
from euclidesdb_server.store import keys
from euclidesdb_server.store.parsed_records import StoreReport
from euclidesdb_server.store.reader import ItemRecord, unpack_item
from euclidesdb_server.store.repair import write_discarded
from euclidesdb_server.store.verify import check_store
from euclidesdb_server.values.arrays import Vector
from tests.support.stores import vector

SPACES = {1: ["first", "fingerprint", 2, False], 2: ["second", "fingerprint", 2, False]}
DIGEST = b"digest"


def records(item: ItemRecord, **changes: bytes | None) -> dict[bytes, bytes]:
    """A store of one item "a" with label 1 in both spaces; changes: values of keys in hex."""
    row: Vector = vector(1, 2)
    made = {
        keys.DATABASE: msgpack.packb([2]),
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


def repaired(
    stored: dict[bytes, bytes], report: StoreReport
) -> tuple[dict[bytes, bytes], dict[bytes, bytes]]:
    """The records of the repaired store, and those that were discarded."""
    discarded: dict[bytes, bytes] = {}
    kept = dict(report.repair.applied_to(sorted(stored.items()), discarded.__setitem__))
    return kept, discarded


def repaired_item(kept: dict[bytes, bytes]) -> ItemRecord:
    return unpack_item(kept[keys.item_key("a")], "the item")


@pytest.mark.parametrize("ready_made", [frozenset(), frozenset({2}), frozenset({1, 2})])
def test_a_store_without_problems_has_no_findings_and_stays_as_it_is(ready_made):
    stored = records(ItemRecord(labels={1: 1, 2: 1}, payload_digest=DIGEST, ready_made=ready_made))
    report = checked(stored)
    assert report.findings == []
    assert repaired(stored, report) == (stored, {})
    assert report.live_labels == {1: {1: "a"}, 2: {1: "a"}}


def test_columns_are_checked_and_left_out_of_a_repaired_store():
    item = ItemRecord("{}", b"", {1: 1, 2: 1}, ready_made=frozenset({1}))
    stored = records(item) | {keys.COLUMNS: msgpack.packb([[[1, 99]], 5])}
    report = checked(stored)
    assert not report.findings
    kept, discarded = repaired(stored, report)
    assert kept.keys() == stored.keys() - {keys.COLUMNS}
    assert not discarded
    damaged = checked(stored | {keys.COLUMNS: msgpack.packb([["x"], 5])})
    assert len(damaged.findings) == 1


def test_an_item_that_loses_a_vector_no_longer_lists_it_as_ready_made():
    item = ItemRecord(labels={1: 1, 2: 1}, payload_digest=DIGEST, ready_made=frozenset({1, 2}))
    stored = records(item, **{keys.row_key(keys.VECTOR, 1, 1).hex(): None})
    report = checked(stored)
    assert report.findings == [
        "item 'a' has no vector in space 1: the vector of label 1 is missing or unreadable"
    ]
    kept, discarded = repaired(stored, report)
    record = repaired_item(kept)
    assert (dict(record.labels), record.ready_made) == ({2: 1}, frozenset({2}))
    assert discarded == {keys.item_key("a"): item.packed()}
    assert checked(kept).findings == []


def test_a_ready_made_vector_that_is_not_there_is_found_and_repaired():
    item = ItemRecord(labels={2: 1}, payload_digest=DIGEST, ready_made=frozenset({1, 2}))
    stored = records(item, **{keys.row_key(keys.VECTOR, 1, 1).hex(): None})
    report = checked(stored)
    assert report.findings == [
        "item 'a' lists a ready-made vector in spaces [1], but has none there"
    ]
    kept, _ = repaired(stored, report)
    assert repaired_item(kept).ready_made == {2}
    assert checked(kept).findings == []


def test_a_vector_without_an_item_is_discarded_with_its_predictions():
    stored = records(ItemRecord(labels={1: 1}))
    report = checked(stored)
    assert report.findings == ["the vector of label 1 in space 2 belongs to no item"]
    kept, discarded = repaired(stored, report)
    assert discarded.keys() == {
        keys.row_key(keys.VECTOR, 2, 1),
        keys.row_key(keys.PREDICTIONS, 2, 1),
    }
    assert checked(kept).findings == []


def test_an_item_that_loses_its_only_vector_keeps_its_current_label():
    stored = records(ItemRecord(labels={1: 1}))
    for number in (1, 2):
        del stored[keys.row_key(keys.VECTOR, number, 1)]
    del stored[keys.row_key(keys.PREDICTIONS, 2, 1)]
    report = checked(stored)
    assert report.findings == [
        "item 'a' has no vector in space 1: the vector of label 1 is missing or unreadable"
    ]
    kept, _ = repaired(stored, report)
    assert repaired_item(kept) == ItemRecord(changed_label=1)
    assert kept[keys.label_key(1)] == b"a"
    assert checked(kept).findings == []


def test_an_item_of_format_1_that_loses_its_only_vector_leaves_no_label_behind():
    stored = records(ItemRecord(labels={1: 1})) | {keys.DATABASE: msgpack.packb([1])}
    for number in (1, 2):
        del stored[keys.row_key(keys.VECTOR, number, 1)]
    del stored[keys.row_key(keys.PREDICTIONS, 2, 1)]
    report = checked(stored)
    assert report.findings == [
        "item 'a' has no vector in space 1: the vector of label 1 is missing or unreadable",
        "label 1 of item 'a' is not in use",
    ]
    kept, _ = repaired(stored, report)
    assert repaired_item(kept) == ItemRecord()  # a start of the server gives it one
    assert checked(kept).findings == []


@pytest.mark.parametrize(
    ("lost", "expected"),
    [
        (2, ItemRecord(labels={1: 1}, changed_label=5)),
        (1, ItemRecord(labels={2: 5}, added_label=1)),
    ],
)
def test_an_item_keeps_the_labels_of_its_writes_whatever_vector_it_loses(lost, expected):
    stored = records(ItemRecord(labels={1: 1, 2: 5}), **{keys.label_key(5).hex(): b"a"})
    stored[keys.row_key(keys.VECTOR, 2, 5)] = stored.pop(keys.row_key(keys.VECTOR, 2, 1))
    del stored[keys.row_key(keys.PREDICTIONS, 2, 1)]
    assert checked(stored).findings == []
    del stored[keys.row_key(keys.VECTOR, lost, {1: 1, 2: 5}[lost])]
    kept, _ = repaired(stored, checked(stored))
    record = repaired_item(kept)
    assert record == expected
    assert (record.current_label, record.first_label) == (5, 1)
    assert kept[keys.label_key(5)] == b"a"
    assert checked(kept).findings == []


@pytest.mark.parametrize("item", [ItemRecord(), ItemRecord(labels={1: 1}, changed_label=1)])
def test_an_item_without_a_label_of_its_own_is_given_a_new_one(item):
    stored = records(ItemRecord(labels={1: 1, 2: 1}))
    stored[keys.item_key("0")] = item.packed()  # "a" has label 1, as it comes last
    report = checked(stored)
    assert "item '0' has no current label of its own" in report.findings
    kept, _ = repaired(stored, report)
    other = unpack_item(kept[keys.item_key("0")], "the item")
    assert (dict(other.labels), other.current_label) == ({}, 10)
    assert kept[keys.label_key(10)] == b"0"
    assert keys.unpack_label(kept[keys.LABELS_RESERVED]) == 11
    assert checked(kept).findings == []


def test_a_label_of_a_change_is_checked_as_that_of_a_vector():
    stored = records(ItemRecord(labels={1: 1, 2: 1}, changed_label=7))
    report = checked(stored)
    assert report.findings == ["label 7 does not name its item 'a'"]
    kept, _ = repaired(stored, report)
    assert kept[keys.label_key(7)] == b"a"
    assert checked(kept).findings == []


def test_a_failure_is_checked_and_stays():
    item = ItemRecord(labels={1: 1}, failed={2: 7})
    stored = records(
        item,
        **{
            keys.row_key(keys.VECTOR, 2, 1).hex(): None,
            keys.row_key(keys.PREDICTIONS, 2, 1).hex(): None,
            keys.row_key(keys.FAILURE, 2, 7).hex(): FAILURE,
            keys.label_key(7).hex(): b"a",
        },
    )
    report = checked(stored)
    assert report.findings == []
    kept, _ = repaired(stored, report)
    assert kept == stored
    assert repaired_item(kept) == item
    assert (item.current_label, item.first_label) == (7, 1)


def test_an_item_that_was_added_after_its_last_change_is_found_and_repaired():
    stored = records(ItemRecord(labels={1: 1, 2: 1}, added_label=4))
    report = checked(stored)
    assert report.findings == ["item 'a' has label 1, but was added by a later write, 4"]
    kept, _ = repaired(stored, report)
    assert repaired_item(kept).first_label == 1
    assert checked(kept).findings == []


BOTH = ItemRecord(labels={1: 1, 2: 1})
PAYLOAD = msgpack.packb(["text", b"hello"])
FAILURE = msgpack.packb(["raised", "it is too dark", 1_700_000_000_000])


@pytest.mark.parametrize(
    ("key", "value", "finding"),
    [
        (keys.label_key(1), None, "label 1 does not name its item 'a'"),
        (keys.label_key(1), b"b", "label 1 does not name its item 'a'"),
        (keys.label_key(1), b"\xff", "label 1 does not name its item 'a'"),
        (keys.label_key(7), b"a", "label 7 of item 'a' is not in use"),
        (keys.label_key(7) + b"more", b"a", "cannot be parsed"),
        (keys.item_key("b"), msgpack.packb([1]), "should have 5 to 9 fields"),
        (keys.item_key("b"), ItemRecord(labels={9: 1}).packed(), "there is no such space"),
        (keys.item_key("b"), ItemRecord(labels={1: -1}).packed(), "labels that cannot exist: [-1]"),
        (keys.item_key("b"), ItemRecord(added_label=-1).packed(), "labels that cannot exist: [-1]"),
        (keys.item_key("0"), ItemRecord(labels={1: 1}).packed(), "also belongs to item 'a'"),
        (keys.item_key("a"), ItemRecord(labels={1: 1, 2: 1}, payload_label=3).packed(), "payload"),
        (keys.payload_key(3), PAYLOAD, "the payload of label 3 belongs to no item"),
        (keys.row_key(keys.TOMBSTONE, 1, 1), b"", "label 1 is deleted"),
        (keys.row_key(keys.PREDICTIONS, 1, 5), b"1234", "without a vector"),
        (keys.row_key(keys.VECTOR, 1, 1), b"1234", "4 bytes; a vector in space 1 has 8"),
        (keys.row_key(keys.VECTOR, 1, 1), vector(1, float("nan")).tobytes(), "NaN or infinity"),
        (keys.row_key(keys.VECTOR, 3, 1), b"12345678", "space 3, which does not exist"),
        (keys.row_key(keys.FAILURE, 1, 5), FAILURE, "the failure of label 5 in space 1 belongs to"),
        (keys.row_key(keys.FAILURE, 3, 5), FAILURE, "a failure in space 3, which does not exist"),
        (keys.row_key(keys.FAILURE, 1, 5), b"\x90", "the failure of label 5 in space 1: Expected"),
        (
            keys.item_key("a"),
            ItemRecord(labels={1: 1}, failed={2: 1}).packed(),
            "label 1 is missing",
        ),
        (
            keys.item_key("a"),
            ItemRecord(labels={1: 1, 2: 1}, failed={2: 1}).packed(),
            "a vector, too",
        ),
        (keys.item_key("0"), ItemRecord(failed={1: 1}).packed(), "also belongs to item 'a'"),
        (keys.job_key(3), msgpack.packb([4]), "the record of job 3 cannot be parsed"),
        (keys.LABELS_RESERVED, keys.pack_label(1), "only labels below 1 are reserved"),
        (keys.DATABASE, None, "the record of the store's format is missing"),
        (b"\x7fodd", b"", "a record of unknown kind"),
    ],
)
def test_each_kind_of_damage_is_found_and_repaired(key, value, finding):
    stored = records(BOTH, **{key.hex(): value})
    report = checked(stored)
    assert any(finding in each for each in report.findings), report.findings
    kept, discarded = repaired(stored, report)
    assert checked(kept).findings == []
    lost = {name: content for name, content in stored.items() if kept.get(name) != content}
    assert discarded == lost


def test_records_of_spaces_that_are_lost_are_restored_from_the_segments():
    stored = records(BOTH, **{keys.space_key(2).hex(): None})
    report = check_store(sorted(stored.items()), SPACES)
    assert report.findings == ["the record of space 2 is missing"]
    kept, discarded = repaired(stored, report)
    assert kept == records(BOTH)
    assert discarded == {}


def test_a_store_that_changes_between_its_two_readings_is_not_repaired():
    stored = records(BOTH)
    report = checked(stored)
    stored[keys.item_key("a")] = ItemRecord(metadata=b"other", labels={1: 1, 2: 1}).packed()
    with pytest.raises(StorageError, match="other content when it was read again"):
        repaired(stored, report)


def test_a_discarded_record_is_a_line_of_json():
    stream = io.StringIO()
    large = bytes(range(256)) * 10_000
    write_discarded(stream, b"\x04a", large)
    write_discarded(stream, b"\x05", b"")
    first, second = stream.getvalue().splitlines()
    assert json.loads(first) == {"key": "0461", "value": large.hex()}
    assert json.loads(second) == {"key": "05", "value": ""}
