"""LevelDB with group commit, and the lock that lets it be exchanged."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from euclidesdb_server.errors import ShuttingDown
from euclidesdb_server.store.leveldb import LevelDB
from euclidesdb_server.store.leveldb_reads import SCAN_BYTES, SCAN_ROWS
from euclidesdb_server.store.shared_lock import SharedLock


@pytest.fixture
def database(tmp_path: Path) -> Iterator[LevelDB]:
    made = LevelDB(tmp_path / "leveldb", sync=True)
    yield made
    made.close()


def put(database: LevelDB, key: bytes, value: bytes = b"") -> None:
    batch = database.batch()
    batch.put(key, value)
    database.write(batch, "putting")


def test_writers_that_wait_go_to_disk_together(database, monkeypatch):
    """The first one is held on its way; the others wait behind it, and go in one group."""
    groups: list[int] = []
    held, begun = threading.Event(), threading.Event()
    commits = database.group_commit
    commit = commits._commit

    def slow_commit(group: list[object]) -> object:
        groups.append(len(group))
        begun.set()
        assert held.wait(30)
        return commit(group)

    monkeypatch.setattr(commits, "_commit", slow_commit)
    threads = [
        threading.Thread(target=put, args=(database, b"%d" % number)) for number in range(20)
    ]
    threads[0].start()
    assert begun.wait(30)
    for thread in threads[1:]:
        thread.start()
    while len(commits._waiting) < 19:
        threading.Event().wait(0.001)
    held.set()
    for thread in threads:
        thread.join()
    assert groups == [1, 19]
    assert all(database.get(b"%d" % number) == b"" for number in range(20))


def test_a_batch_begun_before_the_database_is_replaced_is_written_to_the_new_one(database):
    batch = database.batch()
    batch.put(b"a", b"begun")
    assert database._replace_database() is None
    database.write(batch, "putting")
    assert database.get(b"a") == b"begun"


def test_a_batch_is_written_with_a_sync_if_it_alone_asks_for_one(tmp_path, monkeypatch):
    synced: list[Path] = []
    monkeypatch.setattr("euclidesdb_server.store.leveldb.sync_logs", synced.append)
    unsynced = LevelDB(tmp_path / "unsynced", sync=False)
    put(unsynced, b"a")
    assert synced == []
    batch = unsynced.batch()
    batch.put(b"b", b"")
    unsynced.write(batch, "putting", sync=True)
    assert synced == [tmp_path / "unsynced"]
    assert [unsynced.get(key) for key in (b"a", b"b")] == [b"", b""]
    unsynced.close()


def test_a_group_is_bounded_and_everyone_behind_it_has_a_turn(database, monkeypatch):
    monkeypatch.setattr("euclidesdb_server.store.group_commit.GROUP_BYTES", 1000)
    threads = [
        threading.Thread(target=put, args=(database, b"%d" % number, bytes(600)))
        for number in range(50)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sum(len(rows) for rows in database.scan(b"0", b"9" * 9)) == 50


def test_a_scan_goes_on_over_every_piece_and_stops_at_its_end(database):
    keys = [b"k%06d" % number for number in range(2 * SCAN_ROWS + 5)]
    batch = database.batch()
    for key in [*keys, b"l"]:
        batch.put(key, key)
    database.write(batch, "filling")
    found = [key for rows in database.scan(b"k", b"k999999") for key, _ in rows]
    assert found == keys
    assert [len(rows) for rows in database.scan(keys[0], keys[SCAN_ROWS - 1])] == [SCAN_ROWS]
    assert [*database.scan(b"m", b"n")] == []


def test_a_scan_of_keys_finds_those_that_are_stored_however_far_apart(database):
    batch = database.batch()
    for number in range(3000):
        batch.put(b"k%06d" % number, b"%d" % number)
    database.write(batch, "filling")
    for step in (1, 2, 3, 7, 100, 2999):
        wanted = [b"k%06d" % number for number in range(0, 3000, step)]
        asked = sorted([b"", *wanted, b"k000000x", b"k000007x", b"k002998x", b"z"])
        found = [row for rows in database.scan_keys(asked) for row in rows]
        assert found == [(key, b"%d" % int(key[1:])) for key in wanted]
    assert [*database.scan_keys([])] == []
    assert [*database.scan_keys([b"a", b"j"])] == []


def test_a_scan_of_keys_reads_few_large_records_at_a_time(database):
    keys = [b"large-%d" % number for number in range(6)]
    for key in keys:
        put(database, key, bytes(SCAN_BYTES // 2))
    assert [len(rows) for rows in database.scan_keys(keys)] == [2, 2, 2]


def test_neighbors_are_read_up_to_a_number_and_a_size(database):
    keys = [b"k%06d" % number for number in range(100)]
    batch = database.batch()
    for key in keys:
        batch.put(key, key)
    database.write(batch, "filling")
    assert database.neighbors(keys[10], keys[19], 50) == [(key, key) for key in keys[10:20]]
    assert database.neighbors(keys[10], keys[19], 5) == [(key, key) for key in keys[10:15]]
    assert database.neighbors(keys[10], keys[19], 50, 14) == [(key, key) for key in keys[10:13]]
    with closing(database.snapshot()) as snapshot:
        put(database, b"k000010x")
        assert snapshot.neighbors(keys[10], keys[11], 50) == [(key, key) for key in keys[10:12]]
        assert [*snapshot.scan_keys([keys[10], b"k000010x"])] == [[(keys[10], keys[10])]]


def test_a_scan_reads_few_large_records_at_a_time(database):
    sizes = [SCAN_BYTES // 2, SCAN_BYTES // 2, 1, 2 * SCAN_BYTES, 1, 1]
    for number, size in enumerate(sizes):
        put(database, b"large-%d" % number, bytes(size))
    found = [*database.scan(b"large-0", b"large-9")]
    assert [len(rows) for rows in found] == [2, 2, 2]
    assert [len(value) for rows in found for _, value in rows] == sizes


def test_using_a_closed_store_raises(database):
    scan = database.scan(b"a", b"z")
    snapshot = database.snapshot()
    put(database, b"k")
    database.close()
    database.close()
    for use in (
        lambda: database.get(b"k"),
        lambda: put(database, b"k"),
        lambda: snapshot.get(b"k"),
        lambda: next(scan),
        lambda: next(database.scan_keys([b"k"])),
        lambda: database.neighbors(b"a", b"z", 1),
        lambda: snapshot.neighbors(b"a", b"z", 1),
        database.snapshot,
    ):
        with pytest.raises(ShuttingDown, match="closed"):
            use()


def test_a_shared_lock_lets_many_in_or_one_alone():
    lock = SharedLock()
    inside, alone, leave = threading.Event(), threading.Event(), threading.Event()

    def stay() -> None:
        with lock:
            inside.set()
            assert leave.wait(30)

    def be_alone() -> None:
        with lock.exclusive():
            alone.set()

    first = threading.Thread(target=stay)
    first.start()
    assert inside.wait(30)
    with lock:
        pass  # a second one comes and goes meanwhile
    second = threading.Thread(target=be_alone)
    second.start()
    assert not alone.wait(0.05)
    leave.set()
    assert alone.wait(30)
    for thread in (first, second):
        thread.join()
    with lock:
        pass
