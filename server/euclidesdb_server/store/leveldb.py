"""LevelDB with what a server needs around it: group commit, and a way back from a failed write.

**Group commit.** Writers that wait while one is on its way to disk go together in the next
batch, with one sync. LevelDB would do this by itself, but then a failed write could have
others right behind it. LevelDB goes on after a write that failed for want of room, and puts
the next record behind the torn one, where the next start cannot read it: an acknowledged
write would be lost. Here one batch is under way at a time, and after a failure none.

**The way back.** After a failed write nothing is written until `reopen`: opening LevelDB again
replays its log up to the torn record and starts a new one. Reads go on all the time, but for
the moment of the exchange.
"""

from __future__ import annotations

import functools
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Protocol

import plyvel

from euclidesdb_server.errors import (
    DatabaseError,
    DataFolderError,
    DiskFull,
    ShuttingDown,
    StorageError,
    disk_error,
)
from euclidesdb_server.store.clean_shutdown import forget_closed, note_closed, was_closed
from euclidesdb_server.store.leveldb_errors import (
    LEVELDB_ERRORS,
    NO_SPACE,
    storage_error,
    storage_errors,
    storage_text,
    translated,
)
from euclidesdb_server.store.shared_lock import SharedLock
from euclidesdb_server.store.torn_writes import cut_torn_ends
from euclidesdb_server.system.fsync import make_folder, sync

OPTIONS: Final[Mapping[str, Any]] = {
    "write_buffer_size": 16 << 20,
    "lru_cache_size": 32 << 20,
    "bloom_filter_bits": 10,  # most ids that are added are new: spares a disk read each
    # Without it LevelDB verifies neither a table's index and filter nor what a compaction reads
    # (which then gets a new, valid checksum), and skips damaged writes when it replays its log.
    "paranoid_checks": True,
}

REPAIRED: Final = "leveldb.repaired"
"""The store that a repair is about to put in the old one's place (`euclidesdb verify`)."""

GROUP_BYTES: Final = 1 << 20
"""A group commit takes waiting writes up to about this size, and at least one."""
SCAN_ROWS: Final = 1024
"""Records read at a time: how long an exchange of the database may have to wait for a scan."""
REOPEN_INTERVAL: Final = 0.5
"""Seconds between attempts to take up writing again."""
REOPEN_SPARE_BYTES: Final = 4 << 20
"""Room that opening needs besides what it makes of the log."""


class Readable(Protocol):
    """The database, or one moment of it."""

    def get(self, key: bytes) -> bytes | None:
        """The value of a key. Raises CorruptRecord, StorageError, ShuttingDown."""

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of many keys."""

    def scan(self, first: bytes, last: bytes) -> Iterator[list[tuple[bytes, bytes]]]:
        """Keys and values from `first` to `last`, both included, a list at a time."""


class LevelDB:
    """An open LevelDB. Thread-safe. `close` is idempotent."""

    def __init__(self, folder: Path, *, sync: bool) -> None:
        """Open it; made where there is none. sync: a write returns when it is on disk.

        Raises DataFolderError.
        """
        self._folder = folder
        self._sync = sync
        self._lock = SharedLock()
        self._database: Any = _open(folder, sync_writes=sync)
        self._closed = False
        self._failure: StorageError | None = None
        self._reopening = threading.Lock()
        self._next_attempt = 0.0
        self._mutex = threading.Lock()
        self._waiting: list[_Write] = []
        self._led = False

    @property
    def failure(self) -> StorageError | None:
        """The failed write since which nothing can be written; None: all is well."""
        return self._failure

    def get(self, key: bytes) -> bytes | None:
        """As `Readable.get`."""
        self._back_again()
        with self._lock:
            return _get(self._opened(), key)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """As `Readable.get_many`."""
        self._back_again()
        with self._lock:
            database = self._opened()
            get = functools.partial(database.get, verify_checksums=True)
            try:
                return [*map(get, keys)]
            except LEVELDB_ERRORS as error:
                raise translated(error, "reading") from error

    def scan(self, first: bytes, last: bytes) -> Iterator[list[tuple[bytes, bytes]]]:
        """As `Readable.scan`."""
        self._back_again()
        with self._lock:
            source = self._opened()
        return _scan(self._lock, source, first, last)

    def snapshot(self) -> Snapshot:
        """The database as it is now; close it."""
        self._back_again()
        with self._lock, storage_errors("reading"):
            return Snapshot(self._lock, self._opened().snapshot())

    def batch(self) -> Any:
        """An empty plyvel.WriteBatch, for `write`."""
        self._back_again()
        with self._lock, storage_errors("writing"):
            return self._opened().write_batch()

    def write(self, batch: Any, doing: str, *, sync: bool | None = None) -> None:
        """Write a batch, atomically; returns when it is on disk (with `sync`).

        doing: what an error says was under way. sync: None: as the database was opened.
        A synced write takes all that was written before it to disk.

        Raises DiskFull or StorageError (it may be on disk or not: a read after `reopen` shows
        which), ShuttingDown.
        """
        write = _Write(batch, self._sync if sync is None else sync)
        with self._mutex:
            self._waiting.append(write)
            follows, self._led = self._led, True
        if follows:
            write.woken.acquire()
        if not write.done:
            self._lead(write)
        if write.error is None:
            return
        if isinstance(write.error, DatabaseError):
            raise type(write.error)(f"{doing}: {write.error}") from write.error
        raise translated(write.error, doing) from write.error

    def reopen(self, before_writing: Callable[[], None] | None = None) -> None:
        """Take up writing again after a failure; `before_writing` is called just before.

        Raises the failure again while that cannot be done: there is no room for it, another
        thread is about it, or the last attempt was a moment ago.
        """
        if not self._reopening.acquire(blocking=False):
            raise self._failed_before()
        try:
            if self._failure is None:
                return
            if time.monotonic() < self._next_attempt:
                raise self._failed_before()
            self._next_attempt = time.monotonic() + REOPEN_INTERVAL
            if self._database is not None:
                self._make_sure_of_room()
            self._exchange()
            if before_writing is not None:
                before_writing()
                self._failure = None
        finally:
            self._reopening.release()

    def close(self) -> None:
        """Wait for the calls under way, and close. Later ones raise ShuttingDown.

        All must have been synced.
        """
        with self._lock.exclusive():
            if self._closed:
                return
            self._closed = True
            if self._database is not None:
                self._database.close()
                if self._failure is None:
                    with suppress(OSError):  # without the note a start is just less strict
                        note_closed(self._folder)

    def _lead(self, write: _Write) -> None:
        """Write what waits, `write` first; then let the next one lead."""
        with self._mutex:
            group: list[_Write] = []
            size = 0
            while self._waiting and (not group or size < GROUP_BYTES):
                size += self._waiting[0].batch.approximate_size()
                group.append(self._waiting.pop(0))
        error = self._commit(group)
        with self._mutex:
            self._led = bool(self._waiting)
            if self._led:
                self._waiting[0].woken.release()
        for member in group:
            member.error, member.done = error, True
            if member is not write:
                member.woken.release()

    def _commit(self, group: list[_Write]) -> Exception | None:
        with self._lock:
            if self._failure is not None:
                return self._failed_before()
            try:
                sync = any(member.sync for member in group)
                batch = self._database.write_batch(sync=sync)
                for member in group:
                    batch.append(member.batch)
                batch.write()
            except plyvel.Error as error:
                self._failure = storage_error(error, "a write failed")
                return self._failure
            except Exception as error:  # whatever it is, those who wait must be told
                return error
            return None

    def _failed_before(self) -> DatabaseError:
        failure = self._failure
        if failure is None:
            return ShuttingDown("the store is being opened again; try again")
        return type(failure)(f"nothing can be written for now: {failure}")

    def _back_again(self) -> None:
        """Where the last exchange closed the database and could not open it: try again."""
        with self._lock:  # an exchange under way is waited for
            missing = self._database is None
        if missing:
            self.reopen()

    def _opened(self) -> Any:
        """The database; for those inside the lock."""
        if self._database is None:
            raise self._failed_before()
        return self._database

    def _make_sure_of_room(self) -> None:
        """Raise DiskFull unless there is room for what opening makes of the log.

        Once the old database is closed, and the new one cannot be opened, nothing can be read.
        """
        needed = REOPEN_SPARE_BYTES
        for log in self._folder.glob("*.log"):
            with suppress(FileNotFoundError):  # LevelDB deletes them when it likes
                needed += log.stat().st_size
        probe = self._folder.with_name(self._folder.name + ".probe")
        block = bytes(1 << 20)
        try:
            with probe.open("wb", buffering=0) as file:
                for _ in range(0, needed, len(block)):
                    if file.write(block) != len(block):
                        raise self._failed_before()
        except OSError as error:
            raise disk_error(error, "nothing can be written for now") from error
        finally:
            probe.unlink(missing_ok=True)

    def _exchange(self) -> None:
        with self._lock.exclusive():
            if self._closed:
                raise ShuttingDown("the store is closed")
            if self._database is not None:
                self._database.close()
                self._database = None
            try:
                self._database = _open(self._folder, sync_writes=self._sync)
            except DataFolderError as error:
                full = any(reason in str(error) for reason in NO_SPACE)
                kind = DiskFull if full else StorageError
                raise kind(f"the store cannot be opened again: {error}") from error


class Snapshot:
    """One moment of the database. Close it; its database may be closed before."""

    def __init__(self, lock: SharedLock, snapshot: Any) -> None:
        self._lock = lock
        self._snapshot = snapshot

    def get(self, key: bytes) -> bytes | None:
        """As `Readable.get`."""
        with self._lock:
            return _get(self._snapshot, key)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """As `Readable.get_many`."""
        with self._lock:
            return [_get(self._snapshot, key) for key in keys]

    def scan(self, first: bytes, last: bytes) -> Iterator[list[tuple[bytes, bytes]]]:
        """As `Readable.scan`."""
        return _scan(self._lock, self._snapshot, first, last)

    def close(self) -> None:
        """Let go of it."""
        with self._lock:
            self._snapshot.close()


class _Write:
    """A batch on its way. woken: released when it is done, or is to lead the next group."""

    __slots__ = ("batch", "done", "error", "sync", "woken")

    def __init__(self, batch: Any, sync: bool) -> None:
        self.batch = batch
        self.sync = sync
        self.done = False
        self.error: Exception | None = None
        self.woken = threading.Lock()
        self.woken.acquire()


def _get(source: Any, key: bytes) -> bytes | None:
    try:
        value: bytes | None = source.get(key, verify_checksums=True)
    except LEVELDB_ERRORS as error:
        raise translated(error, "reading") from error
    return value


def _scan(
    lock: SharedLock, source: Any, first: bytes, last: bytes
) -> Iterator[list[tuple[bytes, bytes]]]:
    # plyvel's other iterator ends at a damaged block as if nothing came after it
    with lock, storage_errors("reading"):
        iterator = source.raw_iterator(verify_checksums=True, fill_cache=False)
        iterator.seek(first)
    try:
        while True:
            rows: list[tuple[bytes, bytes]] = []
            with lock, storage_errors("reading"):
                while len(rows) < SCAN_ROWS and iterator.valid():
                    row = iterator.item()
                    if row[0] > last:
                        break
                    rows.append(row)
                    iterator.next()
            if rows:
                yield rows
            if len(rows) < SCAN_ROWS:
                return
    finally:
        with lock:
            iterator.close()


def _make(folder: Path) -> None:
    """Make an empty database that survives a power cut as a whole or not at all."""
    if folder.with_name(REPAIRED).exists():
        raise DataFolderError(
            f"a repair of {folder} was interrupted: finish it with `euclidesdb verify --repair`"
        )
    making = folder.with_name(folder.name + ".making")
    shutil.rmtree(making, ignore_errors=True)
    make_folder(folder.parent)
    plyvel.DB(str(making), create_if_missing=True, **OPTIONS).close()
    for file in making.iterdir():
        sync(file)
    sync(making)
    making.rename(folder)
    sync(folder.parent)


def _open(folder: Path, *, sync_writes: bool) -> Any:
    try:
        if not folder.is_dir() or not any(folder.iterdir()):
            _make(folder)
        elif not (folder / "CURRENT").is_file():
            # LevelDB would begin anew, and delete what is there
            raise DataFolderError(f"the store in {folder} is damaged: it has no file CURRENT")
        torn = folder.with_name(folder.name + ".torn")
        folder.with_name(folder.name + ".probe").unlink(missing_ok=True)
        cut_torn_ends(folder, torn, in_order=was_closed(folder), synced=sync_writes)
        database = plyvel.DB(str(folder), create_if_missing=False, **OPTIONS)
        forget_closed(folder)
        # LevelDB leaves it to luck whether CURRENT names its new MANIFEST after a power cut
        sync(folder)
        return database
    except plyvel.CorruptionError as error:
        raise DataFolderError(
            f"the store in {folder} is damaged: {storage_text(error)}; "
            "`euclidesdb verify` says what is, and can repair it"
        ) from error
    except (plyvel.Error, OSError) as error:
        text = storage_text(error)
        if "IO error: lock " in text:
            raise DataFolderError(
                f"the data folder {folder} is in use by another server: {text}"
            ) from error
        raise DataFolderError(f"cannot open the data folder {folder}: {text}") from error
