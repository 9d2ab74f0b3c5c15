"""The end of a log is missing though the next one is there: what follows it is dropped.

LevelDB syncs only the log that it writes to. If the power fails after it has begun a new one, and
writes are not synced, the end of the old log may be gone while the new one survived.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from euclidesdb_server.errors import DataFolderError
from euclidesdb_server.store.leveldb import LevelDB
from tests.support.leveldb_logs import contents, encoded, log_of, replaced, split_log
from tests.support.stores import copy_of_crashed

WRITES = 12


def crashed_copy(tmp_path: Path, *, sync: bool) -> Path:
    """A LevelDB with WRITES writes in its log; each counts further, and the last ones delete."""
    database = LevelDB(tmp_path / "live", sync=sync)
    for number in range(WRITES):
        batch = database.batch()
        batch.put(b"count", b"%d" % (number + 1))
        if number < 8:
            batch.put(b"item %d" % number, bytes(100))
        else:
            batch.delete(b"item %d" % (number - 8))
        database.write(batch, "counting")
    copy = copy_of_crashed(tmp_path / "live", tmp_path / "crashed")
    database.close()
    return copy


def state(folder: Path, *, sync: bool) -> tuple[int, list[int]]:
    """How many writes there are, and the items; the items must be those after that many writes."""
    database = LevelDB(folder, sync=sync)
    count = int(database.get(b"count") or b"0")
    items = [number for number in range(8) if database.get(b"item %d" % number) is not None]
    database.close()
    assert items == [*range(max(0, count - 8), min(count, 8))]
    return count, items


@pytest.mark.parametrize(
    ("ends", "missing"),
    [
        ([5], {0: 4}),  # the old log ends after the fourth write instead of the fifth
        ([9], {0: 0}),  # nothing of the old log is left
        ([3, 9], {1: 1}),
        ([3, 9], {1: 0}),
        ([3, 9], {0: 2, 1: 4}),
    ],
)
def test_writes_after_missing_ones_are_dropped_and_kept_aside(tmp_path, ends, missing):
    crashed = crashed_copy(tmp_path, sync=False)
    logs = split_log(crashed, ends)
    for number, count in missing.items():
        logs[number].write_bytes(encoded(contents(logs[number])[:count]))
    first = min(missing)
    dropped = {file.name: file.read_bytes() for file in logs[first + 1 :]}
    left = ([0, *ends])[first] + missing[first]
    assert state(crashed, sync=False)[0] == left
    kept = {file.name: file.read_bytes() for file in tmp_path.glob("crashed.torn/*")}
    assert kept == {f"{name}-from-0": content for name, content in dropped.items()}
    assert state(crashed, sync=False)[0] == left


def test_writes_after_a_torn_one_are_dropped_though_a_newer_log_is_there(tmp_path):
    crashed = crashed_copy(tmp_path, sync=False)
    old, _ = split_log(crashed, [6])
    os.truncate(old, old.stat().st_size - 7)
    assert state(crashed, sync=False)[0] == 5


def test_whole_logs_are_read_one_after_the_other(tmp_path):
    crashed = crashed_copy(tmp_path, sync=True)
    split_log(crashed, [3, 4, 9])
    assert state(crashed, sync=True)[0] == WRITES
    assert not (tmp_path / "crashed.torn").exists()


def test_if_every_write_was_synced_a_missing_one_is_damage(tmp_path):
    crashed = crashed_copy(tmp_path, sync=True)
    for count in (0, 4):
        folder = replaced(crashed, tmp_path / "gap")
        old, new = split_log(folder, [5])
        old.write_bytes(encoded(contents(old)[:count]))
        before = old.read_bytes(), new.read_bytes()
        with pytest.raises(DataFolderError, match=f"{new.name} at byte 0: the writes before it"):
            LevelDB(folder, sync=True)
        assert (old.read_bytes(), new.read_bytes()) == before


@pytest.mark.parametrize("sync", [True, False])
def test_what_a_crash_may_have_left_depends_on_how_the_store_was_written(tmp_path, sync):
    """The configuration that it is opened with next may be another one."""
    crashed = crashed_copy(tmp_path, sync=not sync)
    old, _ = split_log(crashed, [5])
    old.write_bytes(encoded(contents(old)[:4]))
    if sync:
        assert state(crashed, sync=True)[0] == 4
    else:
        with pytest.raises(DataFolderError, match="damaged"):
            LevelDB(crashed, sync=False)


def test_once_a_store_is_synced_its_writes_are_all_expected(tmp_path):
    crashed = crashed_copy(tmp_path, sync=False)
    assert (crashed / "UNSYNCED").exists()
    assert state(crashed, sync=True)[0] == WRITES
    assert not (crashed / "UNSYNCED").exists()


def test_a_log_that_the_database_needs_and_that_is_missing_is_damage(tmp_path):
    for sync in (True, False):
        crashed = crashed_copy(tmp_path / str(sync), sync=sync)
        log = log_of(crashed)
        log.unlink()
        with pytest.raises(DataFolderError, match=f"{log.name} is missing"):
            LevelDB(crashed, sync=sync)


def test_an_old_log_that_a_power_cut_brought_back_is_left_alone(tmp_path):
    crashed = crashed_copy(tmp_path, sync=True)
    old = log_of(crashed)
    content = old.read_bytes()
    LevelDB(crashed, sync=True).close()  # moves its writes to a table, and deletes it
    old.write_bytes(content[:-20])
    (crashed / "CLOSED").unlink()
    assert state(crashed, sync=True)[0] == WRITES
