"""Reads of a LevelDB: single keys, scans, and snapshots, with checksums verified.

Every read takes the `SharedLock` that reopening the database takes exclusively, so no read ever
meets a database that is being closed. A scan takes it for `SCAN_ROWS` records at a time: that is
how long reopening may have to wait for it. A scan or snapshot of a database that has been closed
in the meantime raises ShuttingDown.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, Final, Protocol, TypeVar

from euclidesdb_server.store.leveldb_errors import LEVELDB_ERRORS, storage_errors, translated
from euclidesdb_server.store.shared_lock import SharedLock

A = TypeVar("A")
T = TypeVar("T")

SCAN_ROWS: Final = 1024
SCAN_BYTES: Final = 4 << 20
"""Records that a scan reads at a time; one that is larger is read alone."""
STEPS: Final = 4
"""A record that so many lie before is searched for: to find one takes as long as to read four."""


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

    def scan_keys(self, keys: Sequence[bytes]) -> Iterator[list[tuple[bytes, bytes]]]:
        """As `scan`, of those of some keys that are stored. keys: ascending.

        Quicker than `get_many` even if the keys are far apart. Raises as `get` does.
        """

    def neighbors(
        self, first: bytes, last: bytes, count: int, max_bytes: int | None = None
    ) -> list[tuple[bytes, bytes]]:
        """Up to `count` keys and values from `first` to `last`, both included, at once.

        In two thirds of the time of `scan`. It ends after the record with which the values have
        more than `max_bytes`. It also ends early, without an error, where it meets damage: for
        callers that know how many there should be, and scan otherwise. Raises StorageError,
        ShuttingDown.
        """


class Reads(ABC):
    """What a database and a snapshot have in common."""

    _lock: SharedLock

    def get(self, key: bytes) -> bytes | None:
        """As `Readable.get`."""
        return self._use(read_value, key)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """As `Readable.get_many`."""
        return self._use(read_values, keys)

    def neighbors(
        self, first: bytes, last: bytes, count: int, max_bytes: int | None = None
    ) -> list[tuple[bytes, bytes]]:
        """As `Readable.neighbors`."""
        return self._use(read_neighbors, (first, last, count, max_bytes))

    def scan(self, first: bytes, last: bytes) -> Iterator[list[tuple[bytes, bytes]]]:
        """As `Readable.scan`."""
        return scan_range(self._lock, self._source(), first, last)

    def scan_keys(self, keys: Sequence[bytes]) -> Iterator[list[tuple[bytes, bytes]]]:
        """As `Readable.scan_keys`."""
        return scan_keys(self._lock, self._source(), keys)

    @abstractmethod
    def _use(self, work: Callable[[Any, A], T], argument: A) -> T:
        """`work(source, argument)`, with the lock. source: a plyvel database or snapshot."""

    @abstractmethod
    def _source(self) -> Any:
        """The source, for a scan, which takes the lock itself."""


class Snapshot(Reads):
    """The database as it was at one moment. Close it; its database may be closed before."""

    def __init__(self, lock: SharedLock, snapshot: Any) -> None:
        self._lock = lock
        self._snapshot = snapshot

    def close(self) -> None:
        """Release the snapshot."""
        with self._lock:
            self._snapshot.close()

    def _use(self, work: Callable[[Any, A], T], argument: A) -> T:
        with self._lock:
            return work(self._snapshot, argument)

    def _source(self) -> Any:
        return self._snapshot


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


def read_neighbors(
    source: Any, wanted: tuple[bytes, bytes, int, int | None]
) -> list[tuple[bytes, bytes]]:
    """As `Readable.neighbors`. source: a plyvel database or snapshot; the caller holds its lock."""
    first, last, count, max_bytes = wanted
    with (
        storage_errors("reading"),
        source.iterator(
            start=first, stop=last, include_stop=True, verify_checksums=True, fill_cache=False
        ) as iterator,
    ):
        if max_bytes is None:
            return [*islice(iterator, count)]
        rows, size = list[tuple[bytes, bytes]](), 0
        for row in islice(iterator, count):
            rows.append(row)
            size += len(row[1])
            if size > max_bytes:
                break
        return rows


def scan_keys(
    lock: SharedLock, source: Any, keys: Sequence[bytes]
) -> Iterator[list[tuple[bytes, bytes]]]:
    """As `Readable.scan_keys`. The caller does not hold `lock`."""
    if not keys:
        return
    with lock, storage_errors("reading"):
        iterator = source.raw_iterator(verify_checksums=True)
        iterator.seek(keys[0])
    wanted = iter(keys)
    key: bytes | None = next(wanted)
    try:
        while key is not None:
            rows: list[tuple[bytes, bytes]] = []
            with lock, storage_errors("reading"):
                key = _next_of(iterator, key, wanted, rows)
            if rows:
                yield rows
    finally:
        with lock:
            iterator.close()


def _next_of(
    iterator: Any, first: bytes, wanted: Iterator[bytes], rows: list[tuple[bytes, bytes]]
) -> bytes | None:
    """Append the next rows that are wanted; returns the key to go on with, None at the end.

    iterator: at the first record that is not before `first`, or up to STEPS before it.
    """
    valid, item, advance, seek = iterator.valid, iterator.item, iterator.next, iterator.seek
    key: bytes | None = first
    size, limit = 0, STEPS
    while key is not None and len(rows) < SCAN_ROWS and size < SCAN_BYTES:
        if not valid():
            return None
        row = item()
        steps = 0
        while row[0] < key:
            steps += 1
            if steps > limit:
                seek(key)
                limit = 0  # those that follow are probably as far apart
            else:
                advance()
            if not valid():
                return None
            row = item()
        if not steps:
            limit = STEPS
        if row[0] == key:
            rows.append(row)
            size += len(row[1])
            advance()
        key = next(wanted, None)
    return key
