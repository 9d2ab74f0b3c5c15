"""A store of format 1 is upgraded when it is opened, and answers as before.

The folder format_1 was made by the last server of that format.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import msgpack
import pytest

from euclidesdb_server.errors import DataFolderError, StorageError
from euclidesdb_server.store import FeatureStore, keys
from euclidesdb_server.store.leveldb import LevelDB
from euclidesdb_server.store.records import RecordScan
from euclidesdb_server.store.verify import check_store
from euclidesdb_server.values.payload import Payload
from tests.support.stores import copy_of_crashed, stored_rows

FORMAT_1 = Path(__file__).with_name("format_1")
WITHOUT_LABEL = ["1234", "without a version"]


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(FORMAT_1, tmp_path / "data") / "leveldb"


def findings(folder: Path) -> tuple[int | None, list[str]]:
    records = RecordScan.open(folder)
    try:
        report = check_store(records, {})
        return report.format_version, report.findings
    finally:
        records.close()


def records_of(store: FeatureStore) -> dict[bytes, bytes]:
    return dict(store.prefix(b""))


def test_an_upgraded_store_answers_as_before(folder):
    with FeatureStore(folder) as store:
        embedded = store.item("embedded")
        assert embedded is not None
        assert embedded.attributes_json == '{"price":10}'
        assert embedded.payload_label is not None
        assert store.payload(embedded.payload_label) == Payload("text", "naïve".encode())
        found = store.embedding(1, embedded.labels[1])
        assert (found.vector.tolist(), found.predictions.tolist()) == ([1, 2], [0.25, 0.75])
        assert dict(stored_rows(store, 2, 2).values()) == {
            "embedded": [3, 4],
            "row 0": [0, 1],
            "row 1": [2, 3],
            "é": [4, 5],
            "described": [5, 5],
            "replaced": [7, 7],
            "with another version": [9, 8],
        }
        row = store.item("row 1")
        assert (row.attributes_json, row.metadata) == ('{"n":1}', b"m")
        described = store.item("described")
        assert (described.attributes_json, described.metadata) == ('{"a":1}', b"later")
        assert store.item("five fields").ready_made == {1}
        assert store.item("removed") is None
        kept = store.item("without a version")
        assert (kept.attributes_json, kept.metadata, kept.labels) == ('{"kept":true}', b"k", {})
        assert len(store.tombstones(2)) == 2


def test_every_item_of_an_upgraded_store_has_a_label_that_names_it(folder):
    assert findings(folder) == (1, [])
    with FeatureStore(folder) as store:
        items = {key[1:].decode() for key, _ in store.prefix(keys.ITEM)}
        assert len(items) == 10
        labels = {item_id: store.item(item_id).current_label for item_id in items}
        assert {store.item_id(label) for label in labels.values()} == items
        assert min(labels[item_id] for item_id in WITHOUT_LABEL) > 1 << 16  # above all others
        assert {item_id for item_id in items if store.item(item_id).changed_label} == {
            *WITHOUT_LABEL
        }
    assert findings(folder) == (2, [])


def test_a_store_is_upgraded_once(folder):
    with FeatureStore(folder) as store:
        first = records_of(store)
    with FeatureStore(folder) as store:
        assert records_of(store) == first


def test_an_upgrade_that_is_interrupted_is_continued(folder, tmp_path, monkeypatch):
    def fail(*_: object) -> None:
        raise StorageError("the disk is gone")

    with monkeypatch.context() as patch:
        patch.setattr(FeatureStore, "_put_version", fail)
        with pytest.raises(DataFolderError, match=r"leveldb cannot be upgraded .* disk is gone"):
            FeatureStore(folder)
    crashed = copy_of_crashed(folder, tmp_path / "crashed")
    assert findings(folder) == (1, [])
    with FeatureStore(crashed) as store:
        assert store.item("1234").current_label > 0
        assert store.value(keys.DATABASE) == msgpack.packb([2])
    assert findings(crashed) == (2, [])


def test_a_damaged_record_does_not_keep_a_store_from_being_upgraded(folder):
    database = LevelDB(folder, sync=True)
    batch = database.batch()
    batch.put(keys.item_key("damaged"), b"\xc1")
    database.write(batch, "damaging")
    database.close()
    with FeatureStore(folder) as store:
        assert store.value(keys.item_key("damaged")) == b"\xc1"
        assert store.item("1234").current_label > 0
