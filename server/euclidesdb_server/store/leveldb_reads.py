"""Reads of a LevelDB: single keys, scans, and snapshots, with checksums verified.

Every read takes the `SharedLock` that reopening the database takes exclusively, so no read ever
meets a database that is being closed. A scan takes it for `SCAN_ROWS` records at a time: that is
how long reopening may have to wait for it. A scan or snapshot of a database that has been closed
in the meantime raises ShuttingDown.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, Protocol

from euclidesdb_server.store.leveldb_errors import LEVELDB_ERRORS, storage_errors, translated
from euclidesdb_server.store.shared_lock import SharedLock

SCAN_ROWS: Final = 1024
SCAN_BYTES: Final = 4 << 20
"""Records that a scan reads at a time; one that is larger is read alone."""


class Readable(Protocol):
    """The database, or a snapshot of it."""

    def get(self, key: bytes) -> bytes | None:
        """The value of a key. Raises CorruptRecord, StorageError, ShuttingDown."""

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values of many keys. Raises as `get` does."""

    def scan(self, first: bytes, last: bytes) -> Iterator[list[tuple[bytes, bytes]]]:
        """Keys and values from `first` to `last`, both included, in lists of up to SCAN_ROWS.

        Raises as `get` does.
        """


class Snapshot:
    """The database as it was at one moment. Close it; its database may be closed before."""

    def __init__(self, lock: SharedLock, snapshot: Any) -> None:
        self._lock = lock
        self._snapshot = snapshot

    def get(self, key: bytes) -> bytes | None:
        """As `Readable.get`."""
        with self._lock:
            return read_value(self._snapshot, key)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """As `Readable.get_many`."""
        with self._lock:
            return read_values(self._snapshot, keys)

    def scan(self, first: bytes, last: bytes) -> Iterator[list[tuple[bytes, bytes]]]:
        """As `Readable.scan`."""
        return scan_range(self._lock, self._snapshot, first, last)

    def close(self) -> None:
        """Release the snapshot."""
        with self._lock:
            self._snapshot.close()


def read_value(source: Any, key: bytes) -> bytes | None:
    """The value of a key. source: a plyvel database or snapshot; the caller holds its lock."""
    try:
        value: bytes | None = source.get(key, verify_checksums=True)
    except LEVELDB_ERRORS as error:
        raise translated(error, "reading") from error
    return value


def read_values(source: Any, keys: Sequence[bytes]) -> list[bytes | None]:
    """The values of many keys, as `read_value`."""
    get = source.get
    try:  # functools.partial would take twice as long
        return [get(key, verify_checksums=True) for key in keys]
    except LEVELDB_ERRORS as error:
        raise translated(error, "reading") from error


def scan_range(
    lock: SharedLock, source: Any, first: bytes, last: bytes
) -> Iterator[list[tuple[bytes, bytes]]]:
    """As `Readable.scan`. The caller does not hold `lock`: the scan takes it for each list."""
    # plyvel's higher-level iterator stops at a damaged block as if it were the end
    with lock, storage_errors("reading"):
        iterator = source.raw_iterator(verify_checksums=True, fill_cache=False)
        iterator.seek(first)
    valid, item, advance = iterator.valid, iterator.item, iterator.next
    try:
        while True:
            rows: list[tuple[bytes, bytes]] = []
            size, is_over = 0, False
            with lock, storage_errors("reading"):
                while len(rows) < SCAN_ROWS and size < SCAN_BYTES:
                    if not valid() or (row := item())[0] > last:
                        is_over = True
                        break
                    rows.append(row)
                    size += len(row[1])
                    advance()
            if rows:
                yield rows
            if is_over:
                return
    finally:
        with lock:
            iterator.close()
