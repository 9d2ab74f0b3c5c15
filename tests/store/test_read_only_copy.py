"""A LevelDB on a disk that cannot be written to is opened for reading, in memory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from euclidesdb_server.store.clean_shutdown import was_shut_down_cleanly
from euclidesdb_server.store.leveldb import LevelDB
from euclidesdb_server.store.leveldb_folder import OPTIONS
from euclidesdb_server.store.read_only_copy import ReadOnlyCopy, remove_leftover
from euclidesdb_server.store.torn_writes import UsableFiles, usable_files
from tests.support.leveldb_logs import log_of, split_log
from tests.support.stores import copy_of_crashed
from tests.support.waiting import wait_for

BUFFER = 64 << 10
WRITES = 700
LAST = b"~"


def put(database: LevelDB, number: int) -> None:
    batch = database.batch()
    batch.put(LAST, b"")  # so the tables overlap, and are not just moved to another level
    batch.put(b"%05d" % (number * 7919 % 100_000), b"%d" % number * 200)
    database.write(batch, "filling", sync=False)


@pytest.fixture(scope="module")
def crashed(tmp_path_factory) -> Path:
    """A LevelDB of tables and logs, as a crash leaves it."""
    folder = tmp_path_factory.mktemp("many tables")
    database = LevelDB(folder / "live", sync=True, write_buffer_bytes=BUFFER)
    for number in range(WRITES):
        put(database, number)
    copy = copy_of_crashed(folder / "live", folder / "copy")
    database.close()
    return copy


def files_of(folder: Path) -> UsableFiles:
    clean_shutdown = was_shut_down_cleanly(folder)
    return usable_files(folder, clean_shutdown=clean_shutdown, synced=True)


def content_of(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in folder.iterdir()}


def numbers_in(copy: ReadOnlyCopy) -> set[int]:
    rows = dict(copy.database.iterator(stop=LAST, verify_checksums=True))
    numbers = {int(value[: len(value) // 200]) for value in rows.values()}
    assert rows == {b"%05d" % (n * 7919 % 100_000): b"%d" % n * 200 for n in numbers}
    return numbers


def folder_of(copy: ReadOnlyCopy) -> Path:
    return Path(copy.database.name)


def test_everything_can_be_read_and_nothing_in_the_folder_changes(crashed):
    before = content_of(crashed)
    copy = ReadOnlyCopy(files_of(crashed), OPTIONS)
    assert numbers_in(copy) == {*range(WRITES)}
    folder = folder_of(copy)
    assert folder.is_dir()
    copy.close()
    assert not folder.exists()
    assert content_of(crashed) == before


@pytest.mark.parametrize("ends", [[], [2], [2, 2], [1, 1, 2, 3, 3, 4, 5]])
def test_several_logs_are_read_and_not_compacted(tmp_path, ends):
    """LevelDB would compact many tables, and fill the memory with others."""
    database = LevelDB(tmp_path / "live", sync=True)
    for number in range(6):
        put(database, number)
    folder = copy_of_crashed(tmp_path / "live", tmp_path / "crashed")
    database.close()
    split_log(folder, ends)
    copy = ReadOnlyCopy(files_of(folder), OPTIONS)
    assert numbers_in(copy) == {*range(6)}
    log = folder_of(copy) / "LOG"
    if len(ends) > 3:
        wait_for(lambda: "Compaction error" in log.read_text(), "an attempt to compact", 20)
    assert numbers_in(copy) == {*range(6)}
    tables = [file for file in folder_of(copy).glob("*.ldb") if file.is_file()]
    assert len(tables) == len({*ends, 6})
    logs = sum(file.stat().st_size for file in folder.glob("*.log"))
    assert sum(file.stat().st_size for file in tables) <= logs + 1000 * len(tables)
    copy.close()


def test_a_torn_write_is_left_out(tmp_path):
    database = LevelDB(tmp_path / "live", sync=True)
    for number in range(6):
        put(database, number)
    folder = copy_of_crashed(tmp_path / "live", tmp_path / "crashed")
    database.close()
    log = log_of(folder)
    os.truncate(log, log.stat().st_size - 3)
    before = content_of(folder)
    copy = ReadOnlyCopy(files_of(folder), OPTIONS)
    assert numbers_in(copy) == {*range(5)}
    copy.close()
    assert content_of(folder) == before


def test_what_a_killed_process_left_is_replaced_and_removed(crashed):
    left = ReadOnlyCopy(files_of(crashed), OPTIONS)
    folder = folder_of(left)
    left.database.close()
    copy = ReadOnlyCopy(files_of(crashed), OPTIONS)
    assert folder_of(copy) == folder
    copy.database.close()
    remove_leftover(crashed)
    assert not folder.exists()


def test_a_folder_of_that_name_that_is_a_link_is_not_touched(crashed, tmp_path):
    copy = ReadOnlyCopy(files_of(crashed), OPTIONS)
    folder = folder_of(copy)
    copy.close()
    (tmp_path / "precious").touch()
    folder.symlink_to(tmp_path)
    try:
        remove_leftover(crashed)
        with pytest.raises(FileExistsError):
            ReadOnlyCopy(files_of(crashed), OPTIONS)
    finally:
        folder.unlink()
    assert (tmp_path / "precious").exists()
