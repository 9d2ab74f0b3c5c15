"""The folder of a LevelDB: created durably, checked after a crash, then opened.

- `open_leveldb` opens it. A new folder is written under another name and renamed, so a crash leaves
  either no database or a complete one. Of an existing one, what a crash has left unfinished is cut
  off (`torn_writes.py`); any other damage is refused. If the disk is full or fails, the database
  is opened for reading only (`read_only_copy.py`).
- `has_room_to_reopen` tells whether the disk has room for what opening writes.
- `sync_logs` syncs the writes that LevelDB does not sync itself.

Knows nothing of the records in it.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import plyvel

from euclidesdb_server.errors import DataFolderError, DiskFull, StorageError, disk_error
from euclidesdb_server.store.clean_shutdown import (
    clear_clean_shutdown,
    record_clean_shutdown,
    was_shut_down_cleanly,
)
from euclidesdb_server.store.folder_lock import FolderInUse, FolderLock, in_use
from euclidesdb_server.store.leveldb_errors import (
    is_disk_error,
    is_lock_error,
    is_no_space_error,
    storage_text,
)
from euclidesdb_server.store.read_only_copy import ReadOnlyCopy, remove_leftover
from euclidesdb_server.store.torn_writes import UsableFiles, cut_torn_writes, usable_files
from euclidesdb_server.store.unsynced_writes import mark_synced, mark_unsynced, may_be_unsynced
from euclidesdb_server.system.fsync import make_folder, sync

log = logging.getLogger(__name__)

WRITE_BUFFER_BYTES: Final = 16 << 20
"""How much LevelDB keeps in memory, and in a log, before it writes a table; the default."""

OPTIONS: Final[Mapping[str, Any]] = {
    "write_buffer_size": WRITE_BUFFER_BYTES,
    "lru_cache_size": 32 << 20,
    "bloom_filter_bits": 10,  # most ids that are added are new: the filter saves a disk read each
    # Without it LevelDB verifies neither a table's index and filter nor what a compaction reads
    # (which then gets a new, valid checksum), and skips damaged writes when it replays its log.
    "paranoid_checks": True,
}

REPAIRED: Final = "leveldb.repaired"
"""The folder of a repaired store that is about to replace the old one (`euclidesdb verify`)."""

RESTORING: Final = "restoring.tmp"
"""What `euclidesdb restore` writes into before it renames it (`backup/restore.py`)."""

REOPEN_SPARE_BYTES: Final = 4 << 20
"""Disk space that opening needs in addition to the table that it writes from the log."""


class OpenLevelDB:
    """An open LevelDB.

    database: its plyvel.DB. failure: why it is open for reading only; None if it is not.
    """

    def __init__(
        self,
        folder: Path,
        lock: FolderLock,
        database: Any,
        copy: ReadOnlyCopy | None = None,
        failure: StorageError | None = None,
    ) -> None:
        self.database = database
        self.failure = failure
        self._folder = folder
        self._lock = lock
        self._copy = copy

    def close(self, *, intact: bool) -> None:
        """Close it. All writes must have been synced.

        intact: no write failed since it was opened, so the clean shutdown can be recorded.
        """
        if self._copy is not None:
            self._copy.close()
        else:
            self.database.close()
            if intact:
                # without the record, the next start only checks less strictly
                with suppress(OSError, FolderInUse):
                    self._lock.take()
                    record_clean_shutdown(self._folder)
        self._lock.release()


def open_leveldb(
    folder: Path, *, sync_writes: bool, write_buffer_bytes: int = WRITE_BUFFER_BYTES
) -> OpenLevelDB:
    """Open the LevelDB in `folder`, or create an empty one.

    sync_writes: every write will be synced.

    Raises DataFolderError: the folder is damaged, in use, or cannot be created or read.
    """
    options = {**OPTIONS, "write_buffer_size": write_buffer_bytes}
    try:
        if not folder.is_dir() or not any(folder.iterdir()):
            _create(folder)
        elif not (folder / "CURRENT").is_file():
            # LevelDB would create a new database and delete the files that are there
            raise DataFolderError(f"the store in {folder} is damaged: it has no file CURRENT")
        lock = FolderLock(folder)
        try:
            return _open_locked(folder, lock, options, sync_writes=sync_writes)
        except BaseException:
            lock.release()
            raise
    except plyvel.CorruptionError as error:
        raise DataFolderError(
            f"the store in {folder} is damaged: {storage_text(error)}; "
            "run `euclidesdb verify` to list the damage, with --repair to repair it"
        ) from error
    except (plyvel.Error, OSError) as error:
        text = storage_text(error)
        if is_lock_error(text):
            raise in_use(folder, text) from error
        raise DataFolderError(f"cannot open the data folder {folder}: {text}") from error


def has_room_to_reopen(folder: Path) -> bool:
    """Whether the disk has room for the tables that opening would write from the logs.

    It is tried by writing a file of that size, and syncing it. Raises DiskFull or StorageError if
    that fails.
    """
    needed = REOPEN_SPARE_BYTES
    for log_file in folder.glob("*.log"):
        with suppress(FileNotFoundError):  # LevelDB may delete a log at any time
            needed += log_file.stat().st_size
    probe = _probe_file(folder)
    block = bytes(1 << 20)
    try:
        with probe.open("wb", buffering=0) as file:
            has_room = all(file.write(block) == len(block) for _ in range(0, needed, len(block)))
            os.fsync(file.fileno())
            return has_room
    except OSError as error:
        raise disk_error(error, "nothing can be written for now") from error
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)


def sync_logs(folder: Path) -> None:
    """Sync all logs: LevelDB syncs only the one that it writes to, and forgets those before.

    A log that it deletes meanwhile is no longer needed: its writes are in a synced table.

    Raises OSError.
    """
    for file in folder.glob("*.log"):
        with suppress(FileNotFoundError):
            sync(file)
    sync(folder)


def _open_locked(
    folder: Path, lock: FolderLock, options: Mapping[str, Any], *, sync_writes: bool
) -> OpenLevelDB:
    """Open an existing folder. Raises DataFolderError, plyvel.Error, OSError."""
    remove_leftover(folder)
    clean_shutdown = was_shut_down_cleanly(folder)
    synced = not may_be_unsynced(folder)
    files = usable_files(folder, clean_shutdown=clean_shutdown, synced=synced)
    try:
        database = _open_for_writing(files, options, sync_writes=sync_writes)
    except (plyvel.IOError, OSError) as error:
        text = storage_text(error)
        if is_lock_error(text) or not is_disk_error(text):
            raise
        return _open_for_reading(files, lock, options, text)
    return OpenLevelDB(folder, lock, database)


def _open_for_writing(files: UsableFiles, options: Mapping[str, Any], *, sync_writes: bool) -> Any:
    folder = files.folder
    _probe_file(folder).unlink(missing_ok=True)
    cut_torn_writes(files, folder.with_name(folder.name + ".torn"))
    if not sync_writes:
        mark_unsynced(folder)
    database = plyvel.DB(str(folder), create_if_missing=False, **options)
    try:
        if sync_writes:
            mark_synced(folder)
        # This also syncs the folder. LevelDB does not, so after a power cut CURRENT could be the
        # old one.
        clear_clean_shutdown(folder)
    except BaseException:
        database.close()
        raise
    return database


def _open_for_reading(
    files: UsableFiles, lock: FolderLock, options: Mapping[str, Any], reason: str
) -> OpenLevelDB:
    lock.take()  # LevelDB gave it up when it failed
    # what failed may have changed files before it did
    files = usable_files(
        files.folder,
        clean_shutdown=was_shut_down_cleanly(files.folder),
        synced=not may_be_unsynced(files.folder),
    )
    copy = ReadOnlyCopy(files, options)
    kind = DiskFull if is_no_space_error(reason) else StorageError
    failure = kind(f"the store is open for reading only: {reason}")
    log.error("%s; nothing can be written to %s until that is over", failure, files.folder)
    return OpenLevelDB(files.folder, lock, copy.database, copy, failure)


def _probe_file(folder: Path) -> Path:
    return folder.with_name(folder.name + ".probe")


def _create(folder: Path) -> None:
    """Create an empty database; a power cut leaves either all of it or nothing."""
    if folder.with_name(REPAIRED).exists():
        raise DataFolderError(
            f"a repair of {folder} was interrupted: finish it with `euclidesdb verify --repair`"
        )
    if folder.with_name(RESTORING).exists():
        raise DataFolderError(
            f"a restore into {folder.parent} was interrupted: finish it with `euclidesdb restore`"
        )
    unfinished = folder.with_name(folder.name + ".making")
    shutil.rmtree(unfinished, ignore_errors=True)
    make_folder(folder.parent)
    plyvel.DB(str(unfinished), create_if_missing=True, **OPTIONS).close()
    for file in unfinished.iterdir():
        sync(file)
    sync(unfinished)
    unfinished.rename(folder)
    sync(folder.parent)
