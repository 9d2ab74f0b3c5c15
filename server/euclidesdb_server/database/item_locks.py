"""ItemLocks: one writer at a time per item, any number of items at once.

The ids that are being written are a set, so locking a thousand of them for a bulk load takes one
comparison of sets, not a thousand locks. A write that finds one of its ids in use waits, and later
writes of any of its ids wait behind it, so none waits forever. A write takes all of its ids at
once, so there is no deadlock.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable


class ItemLocks:
    """The items that are being written, and the writes that wait for them. Thread-safe."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._held: set[str] = set()
        self._waiting: list[ItemLock] = []

    def of(self, ids: Iterable[str]) -> ItemLock:
        """A context manager: hold these items while reading and rewriting them."""
        return ItemLock(self, {*ids})

    def acquire(self, lock: ItemLock) -> None:
        """Wait until no earlier lock holds or wants any of the items, and hold them."""
        with self._mutex:
            if self._are_free(lock, self._waiting):
                self._held |= lock.ids
                return
            lock.granted = threading.Lock()
            lock.granted.acquire()
            self._waiting.append(lock)
        lock.granted.acquire()

    def release(self, lock: ItemLock) -> None:
        """Release the items, and grant what is possible now to the locks that wait."""
        with self._mutex:
            self._held -= lock.ids
            if not self._waiting:
                return
            waiting: list[ItemLock] = []
            for each in self._waiting:
                if self._are_free(each, waiting):
                    self._held |= each.ids
                    each.granted.release()
                else:
                    waiting.append(each)
            self._waiting = waiting

    def _are_free(self, lock: ItemLock, before: Iterable[ItemLock]) -> bool:
        """Whether the items are not held, and none of the locks `before` waits for one."""
        return lock.ids.isdisjoint(self._held) and all(
            lock.ids.isdisjoint(other.ids) for other in before
        )


class ItemLock:
    """Holds some items while its block runs. Not reentrant.

    granted: of one that has to wait: released once it holds them.
    """

    __slots__ = ("_locks", "granted", "ids")

    granted: threading.Lock

    def __init__(self, locks: ItemLocks, ids: set[str]) -> None:
        self._locks = locks
        self.ids = ids

    def __enter__(self) -> None:
        self._locks.acquire(self)

    def __exit__(self, *_: object) -> None:
        self._locks.release(self)
