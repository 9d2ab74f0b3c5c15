"""StoreReader: what a reader sees of items that are written at the same time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from euclidesdb_server.errors import CorruptRecord
from euclidesdb_server.store import ItemRecord, keys
from euclidesdb_server.store.reader import StoreReader, unpack_item


class DeletedMeanwhile:
    """A source from which everything is deleted after so many reads."""

    def __init__(self, values, reads):
        self._values = values
        self._reads = reads

    def get(self, key):
        self._reads -= 1
        return self._values.get(key) if self._reads >= 0 else None


@pytest.mark.parametrize("reads", [0, 1, 2])
def test_an_embedding_is_never_read_in_part(reads):
    floats = np.ones(2, "<f4").tobytes()
    values = {keys.row_key(kind, 1, 7): floats for kind in (keys.VECTOR, keys.PREDICTIONS)}
    source: Any = DeletedMeanwhile(values, reads)
    embedding = StoreReader(source).embedding(1, 7)
    assert (embedding is None) == (reads < 2)
    if embedding is not None:
        assert embedding.predictions is not None


def test_a_record_without_the_list_of_ready_made_vectors_has_only_such():
    record = ItemRecord(labels={1: 5, 2: 6})
    packed = record.packed()
    without = b"\x95" + packed[1:-1]  # an array of five instead of six, without its last value
    assert unpack_item(without, "an item").ready_made == frozenset({1, 2})


def test_the_labels_of_writes_are_stored_only_if_no_other_field_tells_them():
    plain = ItemRecord(labels={1: 5, 2: 6}, payload_label=4)
    size = len(plain.packed())
    assert plain.with_labels(current=6, first=4) is plain
    assert (plain.current_label, plain.first_label) == (6, 4)
    changed = plain.with_labels(current=9, first=4)
    assert (changed.changed_label, changed.added_label) == (9, None)
    assert len(changed.packed()) == size + 1
    older = plain.with_labels(current=6, first=2)
    assert (older.changed_label, older.added_label) == (None, 2)
    both = plain.with_labels(current=9, first=2)
    for record in (plain, changed, older, both, ItemRecord().with_labels(current=3, first=3)):
        assert unpack_item(record.packed(), "an item") == record
    assert changed.with_labels(current=6, first=4) == plain


def test_a_field_of_another_type_is_damage():
    with pytest.raises(CorruptRecord, match="an item has a field of the wrong type"):
        unpack_item(b"\x96\xa2{}\xc4\x00\x80\xc0\xc4\x00\x01", "an item")


def test_the_labels_of_an_item_are_those_of_its_record():
    record = ItemRecord(metadata=b"m", labels={1: 5, 2: 1 << 40})
    source: Any = DeletedMeanwhile({keys.item_key("a"): record.packed()}, 2)
    assert StoreReader(source).vector_labels("a") == {1: 5, 2: 1 << 40}
    assert StoreReader(source).vector_labels("b") is None


def test_labels_of_another_type_are_damage():
    source: Any = DeletedMeanwhile(
        {keys.item_key("a"): b"\x96\xa2{}\xc4\x00\x07\xc0\xc4\x00\x90"}, 1
    )
    with pytest.raises(CorruptRecord, match="the record of item 'a' has no labels: 7"):
        StoreReader(source).vector_labels("a")
