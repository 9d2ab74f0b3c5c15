"""RecordColumns say of each record what it says itself."""

from __future__ import annotations

import numpy as np
import pytest

from euclidesdb_server.errors import CorruptRecord
from euclidesdb_server.store import ItemRecord
from euclidesdb_server.store.record_columns import record_columns

SPACE = 3
TEXTS = ['{"a":"%s"}' % ("é" * length) for length in (0, 1, 11, 12, 100, 125, 126, 300, 40_000)]
METADATA = [b"", b"m", bytes(255), bytes(256), bytes(70_000)]
LABELS = [1, 127, 128, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32, 2**40]


def plain(label, text="{}", metadata=b"", space=SPACE):
    """The record of an item that has a ready-made vector and nothing else."""
    return ItemRecord(text, metadata, {space: label}, None, b"", frozenset([space]))


OTHERS = [
    ItemRecord('{"other":1}', b"x", {SPACE: 7}, None, b"", frozenset()),
    ItemRecord("{}", b"", {SPACE: 7}, 7, b"d" * 32, frozenset()),
    ItemRecord("{}", b"", {SPACE: 7, 9: 8}, None, b"", frozenset([SPACE, 9])),
    ItemRecord("{}", b"", {9: 7}, None, b"", frozenset([9])),
    ItemRecord("{}", b"", {SPACE: 7}, None, b"", frozenset([SPACE]), 12),
    ItemRecord("{}", b"", {SPACE: 7}, None, b"", frozenset([SPACE]), None, 2),
    ItemRecord("{}", b"", {}, 5, b"d" * 32, frozenset(), None, None, {SPACE: 6}),
    ItemRecord("{}", b"", {}, None, b"", frozenset()),
]


def columns_of(records, labels=None):
    ids = [f"item-{row}" for row in range(len(records))]
    labels = [record.current_label for record in records] if labels is None else labels
    values = [record.packed() for record in records]
    return record_columns(ids, values, np.array(labels, np.int64))


def check(found, records):
    assert found.attributes_json.values() == [each.attributes_json.encode() for each in records]
    assert found.metadata.values() == [each.metadata for each in records]
    assert found.digests() == [each.payload_digest or None for each in records]
    for space in (SPACE, 9):
        assert found.vector_labels(space) == [each.labels.get(space) for each in records]
        assert found.ready_made(space) == [space in each.ready_made for each in records]
    assert found.sizes().tolist() == [
        len(each.attributes_json.encode()) + len(each.metadata) for each in records
    ]
    for row, record in enumerate(records):
        if row not in found.others:
            texts = record.attributes_json, record.metadata
            assert record == plain(found.labels[row], *texts, found.space)


def test_texts_of_every_length_are_found():
    records = [plain(row + 1, text) for row, text in enumerate(TEXTS)]
    records += [plain(100 + row, "{}", data) for row, data in enumerate(METADATA)]
    found = columns_of(records)
    assert (found.space, found.others) == (SPACE, {})
    check(found, records)


@pytest.mark.parametrize("label", LABELS)
def test_labels_of_every_length_are_compared(label):
    records = [plain(label), plain(label + 1), plain(label + 2)]
    found = columns_of(records)
    check(found, records)
    # a record that is not of the expected write is unpacked
    found = columns_of(records, [label, label, label + 2])
    assert {row: each.current_label for row, each in found.others.items() if row == 1} == {
        1: label + 1
    }
    check(found, records)


@pytest.mark.parametrize("other", OTHERS)
def test_other_records_are_unpacked(other):
    records = [plain(1, TEXTS[3]), other, plain(3), other, plain(70_000)]
    found = columns_of(records)
    assert {1, 3} <= {*found.others} <= {1, 3, 4}
    check(found, records)
    check(found[1:4], records[1:4])
    check(columns_of([other, other]), [other, other])


def test_a_part_is_as_if_it_had_been_read_alone():
    records = [plain(row + 1, TEXTS[row % 5], METADATA[row % 3]) for row in range(50)]
    records[20] = OTHERS[1]
    found = columns_of(records)
    for part in (slice(0, 10), slice(15, 25), slice(21, 50), slice(50, 50)):
        check(found[part], records[part])
    check(columns_of([]), [])


def test_every_byte_that_is_cut_off_or_changed_is_noticed_or_says_something_else():
    """No damage makes anything else fail, and none is read from the next record."""
    whole = [plain(1, TEXTS[2], b"metadata"), plain(2, TEXTS[3]), plain(3)]
    values = [record.packed() for record in whole]
    ids, labels = ["a", "b", "c"], np.arange(1, 4)
    named = set[tuple[str, bool]]()
    for row, value in enumerate(values):
        for place in range(len(value)):
            changed = [bytes([value[place] ^ bit]) for bit in (1, 0x10, 0x40, 0x80)]
            for damaged in (
                value[:place],
                *(value[:place] + each + value[place + 1 :] for each in changed),
            ):
                given = [*values]
                given[row] = damaged
                try:
                    found = record_columns(ids, given, labels)
                except CorruptRecord as error:
                    named.add((ids[row], repr(ids[row]) in str(error)))
                    continue
                for other in {0, 1, 2} - {row}:
                    part = found[other : other + 1]
                    check(part, whole[other : other + 1])
    assert named == {("a", True), ("b", True), ("c", True)}


def test_a_record_of_an_earlier_format_is_read():
    value = plain(7).packed()
    earlier = b"\x95" + value[1:-2]
    found = record_columns(["old", "new"], [earlier, plain(8).packed()], np.array([7, 8]))
    check(found, [plain(7), plain(8)])
