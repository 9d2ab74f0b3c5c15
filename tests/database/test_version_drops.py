"""A version is dropped: what is deleted, what stays, and what happens meanwhile."""

from __future__ import annotations

import shutil
import threading
from contextlib import contextmanager, nullcontext, suppress

import numpy as np
import pytest

from euclidesdb_server.database import SupersededSpace, VersionDrops
from euclidesdb_server.database.item_reads import Include
from euclidesdb_server.database.requests import AddVectorsRequest
from euclidesdb_server.errors import DiskFull, UnknownItem, UnknownModel
from euclidesdb_server.store import ColumnsWrite, FeatureStore, keys
from euclidesdb_server.values.item_change import ItemChange
from euclidesdb_server.values.vector_columns import VectorColumns
from tests.support.stores import write_labels
from tests.support.versions import MODEL, OLD, make, names, opened, vectors
from tests.support.waiting import wait_for

ROWS = 3000
"""More than one batch."""


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("versions") / "data"
    make(folder, rows=ROWS)
    return folder


@pytest.fixture
def data(filled, tmp_path):
    """A copy of a data folder as `make` fills it, with ROWS."""
    return shutil.copytree(filled, tmp_path / "data")


def found(versions, name=MODEL):
    space = versions.models.resolve(name).searchable_space()
    return set(space.search(vectors(1, seed=9), 2 * ROWS).ids)


def keys_of(store, number):
    """The keys, but for the record of the drop, that name a space."""
    prefixes = [keys.space_prefix(bytes([kind]), number) for kind in range(1, 12) if kind != 4]
    return [key for prefix in prefixes for key, _ in store.prefix(prefix)]


def embeddings(versions, item_id):
    item = versions.features.get(item_id, Include(vectors=True, predictions=True, payload=True))
    return [(each.fingerprint, each.vector.tolist()) for each in item.embeddings]


def test_nothing_is_left_of_a_dropped_version_and_everything_of_the_others(data):
    with opened(data) as versions:
        assert found(versions, OLD) == {*names(ROWS), "described"}
        number = versions.old.record.number
        assert keys_of(versions.store, number)
        versions.drop()
        with pytest.raises(UnknownModel):
            versions.old.open()
        assert versions.drops.wait_idle(60)
        # keys of labels look like those of small spaces
        assert [key for key in keys_of(versions.store, number) if key[:1] != keys.LABEL] == []
        assert not (versions.segments / str(number)).exists()
        kept = vectors(ROWS // 2, seed=2)
        for row in (0, 1, ROWS // 2 - 1):
            assert embeddings(versions, f"item {row}") == [("new", kept[row].tolist())]
        assert found(versions) == {*names(ROWS // 2)}


def test_an_item_keeps_its_current_and_its_first_label_over_a_drop(data):
    with opened(data) as versions:
        before = write_labels(versions.store)
        assert len({*before.values()}) == len(before) == ROWS + 1
        versions.drop()
        assert versions.drops.wait_idle(60)
        assert write_labels(versions.store) == before
        versions.add(["described", "item 1", "item 2000"], seed=7)
        after = write_labels(versions.store)
        assert {item_id for item_id in after if after[item_id] != before[item_id]} == {
            "described",
            "item 1",
            "item 2000",
        }
        assert all(after[item_id][0] == first for item_id, (first, _) in before.items())
    with opened(data) as versions:
        assert write_labels(versions.store) == after


def test_an_item_without_another_vector_stays_and_can_be_given_one(data):
    with opened(data) as versions:
        versions.drop()
        assert embeddings(versions, "described") == []  # at once
        assert versions.drops.wait_idle(60)
        item = versions.features.get(
            "described", Include(vectors=True, predictions=True, payload=True)
        )
        assert (item.attributes_json, item.metadata, item.embeddings) == ('{"a":1}', b"m", ())
        versions.add(["described", "item 2999"], seed=4)
        assert {"described", "item 2999"} <= found(versions)
        versions.features.remove("item 2000")
        with pytest.raises(UnknownItem):
            versions.features.remove("item 2000")


def test_a_write_to_a_version_that_is_dropped_meanwhile_is_refused(data):
    with opened(data) as versions:
        space = versions.old.open()  # as a call that began when it was in service
        versions.drop()
        writer = versions.features._writer
        columns = VectorColumns(["late", "later"], vectors(2, seed=5))
        outcomes = writer.write_columns(space, columns, {})
        assert [type(outcome) for outcome in outcomes] == [UnknownModel] * 2
        assert "version 'old' of model 'one' has been dropped" in str(outcomes[0])
        added = versions.features.add_vectors(AddVectorsRequest(MODEL, columns))
        assert added == [ItemChange.ADDED] * 2
        assert versions.drops.wait_idle(60)
        assert [fingerprint for fingerprint, _ in embeddings(versions, "late")] == ["new"]


def test_a_drop_waits_for_the_writes_that_have_not_seen_it(data):
    with opened(data) as versions:
        number = versions.old.record.number
        with versions.store.labels.allocate():
            versions.drop()
            assert not versions.drops.wait_idle(0.2)
            assert versions.store.space_data.labels_after(number, 0)
        assert versions.drops.wait_idle(60)


def test_a_drop_waits_for_the_locks_of_its_items(data):
    with opened(data) as versions:
        number = versions.old.record.number
        with versions.features.lock_items(["item 1"]):
            versions.drop()
            assert not versions.drops.wait_idle(0.2)
            assert 2 in versions.store.space_data.labels_after(number, 0)
        assert versions.drops.wait_idle(60)


def test_what_is_left_of_a_drop_is_deleted_after_a_restart(data):
    with opened(data) as versions:
        number = versions.old.record.number
        with versions.features.lock_items(["item 1500"]):
            versions.drop()
            closing = threading.Thread(target=versions.drops.close)
            closing.start()
        closing.join()
        assert versions.store.space_table.unfinished_drops()
    with opened(data) as versions:
        assert versions.old is None
        assert versions.drops.wait_idle(60)
        assert versions.store.space_data.labels_after(number, 0) == {}
        assert versions.store.space_table.unfinished_drops() == []
        assert found(versions) == {*names(ROWS // 2)}


def test_segments_left_by_a_late_build_are_deleted_at_the_next_start(data):
    with opened(data) as versions:
        number = versions.old.record.number
        versions.drop()
        assert versions.drops.wait_idle(60)
        late = versions.segments / str(number) / "7"
        late.mkdir(parents=True)
    with opened(data):
        wait_for(lambda: not late.parent.exists(), "the deletion")


class FailingDisk:
    """Locks items, or fails as a full disk does."""

    def __init__(self, features):
        self._features = features
        self.failures = 0

    @contextmanager
    def lock_items(self, ids):
        if ids and self.failures:
            self.failures -= 1
            raise DiskFull("no room")
        with self._features.lock_items(ids):
            yield


def test_a_drop_that_meets_a_full_disk_goes_on_when_there_is_room(data):
    with opened(data) as versions:
        disk = FailingDisk(versions.features)
        disk.failures = 2
        drops = VersionDrops(
            versions.store,
            disk.lock_items,
            versions.segments,
            stop_rewriting=versions.compactor.forget,
            retry_interval=0.05,
        )
        assert versions.old is not None
        drops.begin(versions.old)
        assert drops.wait_idle(60)
        assert disk.failures == 0
        assert versions.store.space_table.unfinished_drops() == []
        drops.close()
        drops.close()


def test_a_damaged_record_of_an_item_does_not_keep_a_version(data):
    with opened(data) as versions:
        batch = versions.store._leveldb.batch()
        batch.put(keys.item_key("item 5"), b"damaged")
        versions.store._leveldb.write(batch, "damaging")
        versions.drop()
        assert versions.drops.wait_idle(60)
        assert versions.store.space_table.unfinished_drops() == []


def test_a_space_that_is_being_built_is_deleted_after_the_build(data):
    with opened(data) as versions:
        number = versions.old.record.number
        space = versions.old.open()
        versions.compactor.request(space)
        versions.drop()
        assert versions.drops.wait_idle(60)
        assert versions.compactor.wait_idle(60)
    with opened(data) as versions:
        late = versions.segments / str(number)
        wait_for(lambda: not late.exists(), "the deletion")


def test_the_disk_space_of_a_version_comes_back(tmp_path):
    rows, dim = 20_000, 64
    with FeatureStore(tmp_path / "leveldb", sync=False) as store:
        old, new = (store.open_space("one", name, dim) for name in ("old", "new"))
        for record in (old, new):
            values = np.random.default_rng(record.number).normal(size=(rows, dim))
            ids = [f"{record.number} {row}" for row in range(rows)]
            with store.labels.allocate(rows) as labels:
                columns = VectorColumns(ids, values.astype(np.float32))
                store.write(columns=ColumnsWrite(record.number, labels, columns))
        before = bytes_in(tmp_path / "leveldb")
        drops = VersionDrops(
            store, lambda _: nullcontext(), tmp_path / "segments", stop_rewriting=NotImplemented
        )
        drops.begin(SupersededSpace(old, NotImplemented))
        assert drops.wait_idle(60)
        drops.close()
        wait_for(
            lambda: before - bytes_in(tmp_path / "leveldb") > 0.8 * rows * dim * 4, "disk space"
        )
        assert store.space_data.size_in_bytes(old.number) < 100_000
        assert store.space_data.size_in_bytes(new.number) > 0.9 * rows * dim * 4


def bytes_in(folder):
    size = 0
    for file in folder.iterdir():
        with suppress(FileNotFoundError):
            size += file.stat().st_size
    return size
