"""Spaces are created, dropped and never mistaken for one another."""

from __future__ import annotations

import pytest

from euclidesdb_server.errors import CorruptRecord, StorageError
from euclidesdb_server.store import FeatureStore
from euclidesdb_server.store.space_table import SpaceTable


def test_a_dropped_space_is_gone_at_once_and_after_a_restart(tmp_path):
    with FeatureStore(tmp_path / "db") as store:
        first = store.open_space("m", "f1", 2)
        second = store.open_space("m", "f2", 2)
        store.space_table.drop(second.number)
        assert store.spaces() == [first]
        assert store.space_table.is_dropped(second.number)
        assert store.space_table.unfinished_drops() == [second]
    with FeatureStore(tmp_path / "db") as store:
        assert store.spaces() == [first]
        assert store.space_table.unfinished_drops() == [second]
        store.space_table.finish_drop(second.number)
        assert store.space_table.unfinished_drops() == []
        with pytest.raises(CorruptRecord):
            store.space(second.number)


def test_the_number_of_a_dropped_space_is_not_given_again(tmp_path):
    with FeatureStore(tmp_path / "db") as store:
        dropped = store.open_space("m", "f1", 2)
        store.space_table.drop(dropped.number)
        again = store.open_space("m", "f1", 3)  # the same version: from now on another space
        assert again.number > dropped.number
        store.space_table.finish_drop(dropped.number)
        store.space_table.drop(again.number)
        store.space_table.finish_drop(again.number)
    with FeatureStore(tmp_path / "db") as store:
        assert store.open_space("m", "f1", 2).number > again.number
        assert store.space_table.dropped() == [dropped.number, again.number]


class Disk:
    """Keeps records, or fails after it has kept one, as a disk may."""

    def __init__(self, store):
        self.records = {}
        self.fails = False
        self.table = SpaceTable(store, self.put, self.put)

    def put(self, key, value, _):
        self.records[key] = value
        if self.fails:
            raise StorageError("it may be on disk or not")


def test_a_drop_that_failed_is_undone_before_the_space_is_used_again(tmp_path):
    with FeatureStore(tmp_path / "db") as store:
        disk = Disk(store)
        number = disk.table.open("m", "f1", 2, adopted=False).number
        disk.table.keep(number)
        assert len(disk.records) == 1
        disk.fails = True
        with pytest.raises(StorageError):
            disk.table.drop(number)
        assert not disk.table.is_dropped(number)
        with pytest.raises(StorageError):
            disk.table.keep(number)
        disk.fails = False
        disk.table.keep(number)
        assert sorted(value is None for value in disk.records.values()) == [False, True]
        disk.table.drop(number)
        assert disk.table.is_dropped(number)
