"""What one write of an item does to the store, and that it does all of it or nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgpack
import pytest

from euclidesdb_server.errors import CorruptRecord, ShuttingDown
from euclidesdb_server.store import FeatureStore, ItemRecord, StoreReader
from euclidesdb_server.store.item_writes import packed_payload
from euclidesdb_server.values.payload import Payload
from tests.support.stores import copy_of_crashed, embedding, stored_rows, vector, write_item

IMAGE = Payload("image", b"\x00\xffbytes")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FeatureStore]:
    with FeatureStore(tmp_path / "store") as opened:
        yield opened


def space(store: FeatureStore, model: str = "model", dim: int = 2) -> int:
    return store.open_space(model, "fingerprint", dim).number


def everything(reader: StoreReader) -> dict[bytes, bytes]:
    return dict(reader.prefix(b""))


def rows(reader: StoreReader, number: int) -> dict[int, list[float]]:
    return {label: row for label, (_, row) in stored_rows(reader, number, 2).items()}


def test_what_is_written_is_read_back_after_reopening(tmp_path):
    with FeatureStore(tmp_path) as store:
        number = space(store)
        written = write_item(
            store,
            "naïve/\0 id",
            {number: embedding(1.5, -2, predictions=vector(0.25, 0.75))},
            payload=IMAGE,
            attributes_json='{"a": 1}',
            metadata=b"\x80 meta",
        )
    with FeatureStore(tmp_path) as store:
        record = store.item("naïve/\0 id")
        assert record == written
        assert (record.attributes_json, record.metadata) == ('{"a": 1}', b"\x80 meta")
        label = record.labels[number]
        assert store.item_id(label) == "naïve/\0 id"
        found = store.embedding(number, label)
        assert found.vector.tolist() == [1.5, -2]
        assert found.predictions.tolist() == [0.25, 0.75]
        assert record.payload_label is not None
        assert store.payload(record.payload_label) == IMAGE
        assert store.space(number).feature_dim == 2


@pytest.mark.parametrize("length", [0, 31, 255, 256, 65_535, 65_536, 3_000_000])
def test_a_payload_is_stored_as_msgpack_of_any_length(length):
    payload = Payload("image", bytes(length))
    assert packed_payload(payload) == msgpack.packb(["image", bytes(length)])


@pytest.mark.parametrize("number", [0, 127, 128, 255, 256, 65_535, 65_536, (1 << 32) - 1, 1 << 32])
@pytest.mark.parametrize("length", [0, 31, 32, 255, 256, 65_536])
def test_a_record_is_stored_as_msgpack_packs_it(number, length):
    labels, ready_made = {1: number, 70_000: (1 << 63) - 1}, frozenset([70_000, 1])
    text, data = "ä" * length, bytes(length)
    record = ItemRecord(text, data, labels, number or None, data, ready_made)
    fields = [text, data, labels, number or None, data, [1, 70_000]]
    assert record.packed() == msgpack.packb(fields)


def test_missing_records_are_none(store):
    assert store.item("nobody") is None
    assert store.item_id(1) is None
    assert store.embedding(space(store), 1) is None
    assert store.payload(1) is None


def test_a_model_version_keeps_its_space_and_a_new_one_gets_another(tmp_path):
    with FeatureStore(tmp_path) as store:
        first = store.open_space("model", "v1", 2)
        second = store.open_space("model", "v2", 3)
        assert first.number != second.number
    with FeatureStore(tmp_path) as store:
        assert store.open_space("model", "v1", 2) == first
        assert store.open_space("model", "v2", 3) == second
        assert store.spaces() == [first, second]


def test_replacing_deletes_the_old_label_of_just_the_spaces_rewritten(store):
    one, other = space(store, "one"), space(store, "other")
    predicted = embedding(1, 1, predictions=vector(1))
    first = write_item(store, "a", {one: predicted, other: predicted}, payload=IMAGE)
    second = write_item(store, "a", {one: embedding(2, 2)})
    old, new = first.labels[one], second.labels[one]
    assert rows(store, one) == {new: [2, 2]}
    assert rows(store, other) == {old: [1, 1]}
    assert store.tombstones(one).tolist() == [old]
    assert store.tombstones(other).tolist() == []
    assert store.embedding(one, old) is None
    assert store.embedding(one, new).predictions is None
    assert store.embedding(other, old).predictions.tolist() == [1]
    assert store.payload(second.payload_label) == IMAGE


def test_a_label_names_its_item_as_long_as_the_record_names_the_label(store):
    one, other = space(store, "one"), space(store, "other")
    labels = [
        write_item(store, "a", {one: embedding(1, 1), other: embedding(1, 1)}).labels[one],
        write_item(store, "a", {one: embedding(2, 2)}).labels[one],
    ]
    assert [store.item_id(label) for label in labels] == ["a", "a"]
    labels.append(write_item(store, "a", {other: embedding(3, 3)}).labels[other])
    assert [store.item_id(label) for label in labels] == [None, "a", "a"]


def test_a_new_payload_takes_the_place_of_the_old_one(store):
    number = space(store)
    first = write_item(store, "a", {number: embedding(1, 1)}, payload=IMAGE)
    second = write_item(store, "a", {number: embedding(2, 2)}, payload=Payload("text", b"new"))
    assert store.payload(first.payload_label) is None
    assert store.payload(second.payload_label) == Payload("text", b"new")


def test_a_removal_leaves_nothing_but_tombstones(store):
    one, other = space(store, "one"), space(store, "other")
    empty = everything(store)
    first = write_item(
        store, "a", {one: embedding(1, 1, predictions=vector(1))}, payload=IMAGE
    ).labels[one]
    second = write_item(store, "a", {other: embedding(2, 2)})
    store.remove(("a", second))
    assert store.tombstones(one).tolist() == [first]
    assert store.tombstones(other).tolist() == [second.labels[other]]
    store.move_tombstones(one, store.tombstones(one).tolist(), {})
    store.move_tombstones(other, store.tombstones(other).tolist(), {})
    # what remains: the reservation of labels
    assert everything(store).keys() - empty.keys() == {b"\x02"}


def test_vectors_are_read_in_the_order_of_their_labels_from_any_label_on(store):
    number, neighbor = space(store), space(store, "neighbor")
    for index in range(300):  # beyond one byte of the label
        write_item(store, f"{index}", {number: embedding(index, 0), neighbor: embedding(9, 9)})
    labels = [*stored_rows(store, number, 2)]
    assert labels == sorted(labels)
    assert len(labels) == 300
    rest = stored_rows(store, number, 2, after=labels[254]).values()
    assert [*rest] == [(f"{index}", [index, 0]) for index in range(255, 300)]


def test_a_snapshot_stays_as_it_was(store):
    number = space(store)
    write_item(store, "a", {number: embedding(1, 1)})
    with store.snapshot() as snapshot:
        before = everything(snapshot)
        write_item(store, "a", {number: embedding(2, 2)})
        write_item(store, "b", {number: embedding(3, 3)})
        assert everything(snapshot) == before
    assert everything(store) != before


def test_a_torn_write_is_applied_whole_or_not_at_all(tmp_path):
    """A crash leaves any prefix of LevelDB's log; each must show the item before or after."""
    live = tmp_path / "live"
    with FeatureStore(live) as store:
        one, other = space(store, "one"), space(store, "other")
        predicted = embedding(1, 1, predictions=vector(1))
        write_item(store, "a", {one: predicted, other: predicted}, payload=IMAGE)
        before, start = everything(store), log_of(live).stat().st_size
        write_item(store, "a", {one: embedding(2, 2)}, payload=Payload("image", b"another"))
        after, end = everything(store), log_of(live).stat().st_size
        crashed = copy_of_crashed(live, tmp_path / "crashed")
    assert before != after
    seen = {}
    for cut in [*range(start, end, 23), end - 1, end]:
        folder = tmp_path / "cut"
        shutil.copytree(crashed, folder)
        os.truncate(log_of(folder), cut)
        with FeatureStore(folder) as store:
            seen[cut] = everything(store)
        shutil.rmtree(folder)
    assert seen.pop(end) == after
    assert all(found == before for found in seen.values())


def log_of(folder: Path) -> Path:
    (log,) = folder.glob("*.log")
    return log


def test_a_closed_store_reports_that_it_is_closed(store):
    number = space(store)
    store.close()
    store.close()
    with pytest.raises(ShuttingDown, match="closed"):
        store.item("a")
    with pytest.raises(ShuttingDown, match="closed"):
        write_item(store, "a", {number: embedding(1, 1)})
    with pytest.raises(ShuttingDown, match="closed"), store.snapshot():
        pass


def test_a_record_that_names_an_unknown_space_is_corrupt(store):
    with pytest.raises(CorruptRecord, match="space 7"):
        store.space(7)


def test_an_unsynced_store_keeps_its_writes_over_a_close(tmp_path):
    with FeatureStore(tmp_path, sync=False) as store:
        number = space(store)
        write_item(store, "a", {number: embedding(1, 2)})
    with FeatureStore(tmp_path) as store:
        assert rows(store, number) == {1: [1, 2]}
