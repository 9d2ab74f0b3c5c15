"""LevelDB as a server needs it: group commit, and recovery from a failed write.

- A write returns when it is on disk, if it is synced; writes of many threads share a sync
  (`group_commit.py`).
- After a failed write, nothing is written until `reopen` has succeeded: LevelDB would append to
  the torn record, and lose what follows it. Opening the database again replays its log up to the
  torn record and starts a new log. Reads after that show whether the failed write is there.
- Reads continue throughout, except for the moment in which the database is replaced. On a disk
  that is full or fails, it is opened for reading only, and reopened as after a failed write. If
  not even that is possible, each read and write tries again (at most every `REOPEN_INTERVAL`
  seconds).

Knows keys and values, not what they mean. `leveldb_folder.py` opens the folder,
`leveldb_reads.py` reads.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar

import plyvel

from euclidesdb_server.errors import (
    DatabaseError,
    DataFolderError,
    DiskFull,
    ShuttingDown,
    StorageError,
    WriteInDoubt,
    disk_error,
)
from euclidesdb_server.store.group_commit import GroupCommit, PendingWrite
from euclidesdb_server.store.leveldb_errors import (
    LEVELDB_ERRORS,
    is_no_space_error,
    storage_error,
    storage_errors,
    translated,
)
from euclidesdb_server.store.leveldb_folder import (
    WRITE_BUFFER_BYTES,
    OpenLevelDB,
    has_room_to_reopen,
    open_leveldb,
    sync_logs,
)
from euclidesdb_server.store.leveldb_reads import Reads, Snapshot
from euclidesdb_server.store.shared_lock import SharedLock

REOPEN_INTERVAL: Final = 0.5
"""Seconds between attempts to reopen the database after a failed write."""

A = TypeVar("A")
T = TypeVar("T")


class LevelDB(Reads):
    """An open LevelDB; `Readable`. Thread-safe. `close` is idempotent."""

    def __init__(
        self, folder: Path, *, sync: bool, write_buffer_bytes: int = WRITE_BUFFER_BYTES
    ) -> None:
        """Open the database in `folder`, or create an empty one.

        sync: by default a write returns when it is on disk.
        write_buffer_bytes: how much LevelDB keeps in memory, and in a log, before it writes a
            table; at least 64 KiB.

        Raises DataFolderError.
        """
        self._folder = folder
        self._sync = sync
        self._write_buffer_bytes = write_buffer_bytes
        self._lock = SharedLock()
        self._opened: OpenLevelDB | None = self._open()
        self._closed = False
        self._failure = self._opened.failure
        self._reopening = threading.Lock()
        self._next_attempt = 0.0
        self.group_commit = GroupCommit(self._commit)

    @property
    def failure(self) -> StorageError | None:
        """Why nothing can be written: a failed write, or the disk when the database was opened.

        None while writes are possible.
        """
        return self._failure

    def snapshot(self) -> Snapshot:
        """The database as it is now; close it."""
        self._ensure_open()
        with self._lock, storage_errors("reading"):
            return Snapshot(self._lock, self._open_database().snapshot())

    def snapshot_during(self, work: Callable[[], None]) -> Snapshot:
        """The database as it is during `work`: nothing is written meanwhile. Close it.

        Raises DiskFull or StorageError if a write has failed before, and what `work` raises.
        """
        self._ensure_open()
        with self.group_commit.held(), self._lock:
            if self._failure is not None:
                raise self._writes_stopped()
            work()
            with storage_errors("reading"):
                return Snapshot(self._lock, self._open_database().snapshot())

    def size_in_bytes(self, first: bytes, last: bytes) -> int:
        """About how many bytes the tables take for the keys from `first` to `last`."""
        self._ensure_open()
        with self._lock, storage_errors("reading"):
            return int(self._open_database().approximate_size(first, last))

    def compact(self, first: bytes, last: bytes) -> None:
        """Rewrite the tables of a range without what has been deleted or replaced.

        The database is not closed or reopened in the meantime, so the range should not be large.
        LevelDB reports no error of a compaction; the next write fails then.
        """
        self._ensure_open()
        with self._lock, storage_errors("compacting"):
            self._open_database().compact_range(start=first, stop=last)

    def batch(self) -> Any:
        """An empty plyvel.WriteBatch, for `write`, which uses it up."""
        return self._use(_new_batch, self._sync)

    def write(self, batch: Any, operation: str, *, sync: bool | None = None) -> None:
        """Write a batch, atomically; returns when it is on disk (with `sync`).

        operation: what the batch does, for error messages ("writing item 'a'").
        sync: None: as the database was opened. A synced write also takes to disk all that was
            written before it.

        Raises WriteInDoubt if the batch may be on disk or not (a read after `reopen` tells); any
        other error means that nothing was written: DiskFull or StorageError after an earlier write
        failed, ShuttingDown.
        """
        error = self.group_commit.write(batch, sync=self._sync if sync is None else sync)
        if error is None:
            return
        if isinstance(error, DatabaseError):
            raise type(error)(f"{operation}: {error}") from error
        raise translated(error, operation) from error

    def reopen(self, before_writing: Callable[[], None] | None = None) -> None:
        """Reopen the database after a failed write, and allow writes again.

        before_writing: called when the database is open again, just before writes are allowed.
            Without it the database is opened so that it can be read, and writes still fail.

        Raises the failure again if that is not possible now: there is no disk space for it,
        another thread is doing it, or the last attempt was less than REOPEN_INTERVAL ago.
        """
        if not self._reopening.acquire(blocking=False):
            raise self._writes_stopped()
        try:
            if self._failure is None:
                return
            if time.monotonic() < self._next_attempt:
                raise self._writes_stopped()
            self._next_attempt = time.monotonic() + REOPEN_INTERVAL
            # or the database would be closed for nothing, and perhaps not be opened again
            if self._opened is not None and not has_room_to_reopen(self._folder):
                raise self._writes_stopped()
            failure = self._replace_database()
            if failure is not None:
                self._failure = failure
            if before_writing is not None:
                if failure is not None:
                    raise self._writes_stopped()
                before_writing()
                self._failure = None
        finally:
            self._reopening.release()

    def close(self) -> None:
        """Wait for the calls in progress, and close. Later calls raise ShuttingDown.

        All writes must have been synced.
        """
        with self._lock.exclusive():
            if self._closed:
                return
            self._closed = True
            if self._opened is not None:
                self._opened.close(intact=self._failure is None)

    def _commit(self, group: Sequence[PendingWrite]) -> Exception | None:
        with self._lock:
            if self._failure is not None:
                return self._writes_stopped()
            try:
                sync = any(member.sync for member in group)
                self._write_group(group, sync)
                if sync and not self._sync:
                    sync_logs(self._folder)
            except plyvel.Error as error:
                self._failure = storage_error(error, "a write failed")
                return WriteInDoubt(f"{self._failure}; it may be on disk or not")
            except OSError as error:
                self._failure = disk_error(error, "a write could not be synced")
                return WriteInDoubt(f"{self._failure}; it may be on disk or not")
            except Exception as error:  # whatever it is, every thread of the group must get it
                return error
            return None

    def _write_group(self, group: Sequence[PendingWrite], sync: bool) -> None:
        database = self._open_database()
        if len(group) == 1 and sync == self._sync:
            # A batch of a database that has been replaced since raises this, and is copied.
            with suppress(RuntimeError):
                group[0].batch.write()
                return
        batch = database.write_batch(sync=sync)
        for member in group:
            batch.append(member.batch)
        batch.write()

    def _writes_stopped(self) -> DatabaseError:
        """The error of a call that cannot write because a write failed before."""
        failure = self._failure
        if failure is None:
            return ShuttingDown("the store is being reopened; try again")
        return type(failure)(f"nothing can be written for now: {failure}")

    def _use(self, work: Callable[[Any, A], T], argument: A) -> T:
        """`work(database, argument)`, with the lock."""
        with self._lock:
            if self._opened is not None:
                return work(self._opened.database, argument)
        self._ensure_open()
        with self._lock:
            return work(self._open_database(), argument)

    def _source(self) -> Any:
        self._ensure_open()
        with self._lock:
            return self._open_database()

    def _ensure_open(self) -> None:
        """Reopen the database if the last attempt closed it and could not open it again."""
        with self._lock:  # waits for a replacement in progress
            missing = self._opened is None
        if missing:
            self.reopen()

    def _open_database(self) -> Any:
        """The plyvel database. The caller holds the lock."""
        if self._opened is None:
            raise self._writes_stopped()
        return self._opened.database

    def _replace_database(self) -> StorageError | None:
        """Close the database and open it again; returns why it is open for reading only, if so."""
        with self._lock.exclusive():
            if self._closed:
                raise ShuttingDown("the store is closed")
            if self._opened is not None:
                self._opened.close(intact=False)
                self._opened = None
            try:
                self._opened = self._open()
            except DataFolderError as error:
                kind = DiskFull if is_no_space_error(str(error)) else StorageError
                raise kind(f"the store cannot be reopened: {error}") from error
            return self._opened.failure

    def _open(self) -> OpenLevelDB:
        return open_leveldb(
            self._folder, sync_writes=self._sync, write_buffer_bytes=self._write_buffer_bytes
        )


def _new_batch(database: Any, sync: bool) -> Any:
    try:
        return database.write_batch(sync=sync)
    except LEVELDB_ERRORS as error:
        raise translated(error, "writing") from error
