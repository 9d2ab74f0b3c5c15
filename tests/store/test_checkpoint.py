"""A checkpoint holds the data folder of one moment, whatever is written meanwhile and later."""

from __future__ import annotations

import random
import shutil
import threading

import pytest

from euclidesdb_server.errors import StorageError
from euclidesdb_server.store import FeatureStore
from euclidesdb_server.store.checkpoint import Checkpoints
from euclidesdb_server.store.layout import CHECKPOINT_FOLDER
from euclidesdb_server.store.leveldb import LevelDB
from tests.proofs.store_writer import COUNT, KEPT, value_of, writes_in
from tests.support.stores import embedding, write_item

SMALL = 64 << 10


def write(database: LevelDB, number: int) -> None:
    """Write n of a history: what is left of it can be checked to be a prefix."""
    batch = database.batch()
    batch.put(COUNT, b"%d" % number)
    batch.put(b"item %d" % number, value_of(number, SMALL))
    batch.delete(b"item %d" % (number - KEPT))
    database.write(batch, "writing")


@pytest.mark.parametrize("sync", [True, False])
def test_a_checkpoint_taken_during_writes_and_compactions_is_a_prefix_of_history(tmp_path, sync):
    database = LevelDB(tmp_path / "data" / "leveldb", sync=sync, write_buffer_bytes=SMALL)
    stop = threading.Event()
    done = 0

    def write_on() -> None:
        nonlocal done
        while not stop.is_set():
            write(database, done + 1)
            done += 1
            if random.Random(done).random() < 0.01:
                database.compact(b"item", b"item~")

    thread = threading.Thread(target=write_on)
    thread.start()
    checkpoints = Checkpoints(database, tmp_path / "data")
    try:
        for number in range(25):
            before = done
            checkpoint = checkpoints.take()
            after = done
            copy = tmp_path / f"copy {number}"
            assert checkpoint.folder == tmp_path / "data" / CHECKPOINT_FOLDER
            for name in checkpoint.files:
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(checkpoint.folder / name, copy / name)
            checkpoint.close()
            left = writes_in(copy / "leveldb", sync=True, buffer=SMALL)
            assert before <= left <= after + 1
    finally:
        stop.set()
        thread.join()
        database.close()
    assert done > 100
    assert not (tmp_path / "data" / CHECKPOINT_FOLDER).exists()


def test_what_is_written_and_compacted_later_changes_nothing_in_a_checkpoint(tmp_path):
    database = LevelDB(tmp_path / "data" / "leveldb", sync=True, write_buffer_bytes=SMALL)
    for number in range(1, 301):
        write(database, number)
    checkpoint = Checkpoints(database, tmp_path / "data").take()
    contents = {name: (checkpoint.folder / name).read_bytes() for name in checkpoint.files}
    for number in range(301, 701):
        write(database, number)
    database.compact(b"", b"\xff")
    assert {name: (checkpoint.folder / name).read_bytes() for name in checkpoint.files} == contents
    assert writes_in(checkpoint.folder / "leveldb", sync=True, buffer=SMALL) == 300
    database.close()


def test_writes_wait_while_a_checkpoint_is_taken(tmp_path):
    database = LevelDB(tmp_path / "leveldb", sync=True)
    write(database, 1)
    thread = threading.Thread(target=write, args=(database, 2))

    def begin_to_write() -> None:
        thread.start()
        thread.join(0.2)
        assert thread.is_alive()

    snapshot = database.snapshot_during(begin_to_write)
    thread.join()
    assert (snapshot.get(COUNT), database.get(COUNT)) == (b"1", b"2")
    snapshot.close()
    database.close()


def test_the_folders_of_a_store_that_was_killed_during_a_checkpoint_are_removed(tmp_path):
    with FeatureStore(tmp_path / "leveldb") as store:
        store.checkpoints.take()
    assert (tmp_path / CHECKPOINT_FOLDER).exists()
    with FeatureStore(tmp_path / "leveldb"):
        assert not (tmp_path / CHECKPOINT_FOLDER).exists()


def test_no_checkpoint_is_taken_while_a_write_may_be_torn(tmp_path, monkeypatch):
    with FeatureStore(tmp_path / "leveldb") as store:
        space = store.open_space("model", "fingerprint", 1).number
        write_item(store, "a", {space: embedding(1)})
        database = store._leveldb
        monkeypatch.setattr(database, "_failure", StorageError("the disk failed"))
        with pytest.raises(StorageError, match="the disk failed"):
            store.checkpoints.take()
        assert not (tmp_path / CHECKPOINT_FOLDER).exists()
        monkeypatch.undo()
        checkpoint = store.checkpoints.take()
        assert checkpoint.held_seconds < 5
        checkpoint.close()
        checkpoint.close()
