"""ItemLocks: one writer at a time per item, any number of items at once."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

STRIPES: Final = 1 << 16
"""Enough that a bulk load, which holds a thousand of them, rarely makes others wait."""


class ItemLocks:
    """A fixed set of locks, chosen by the hash of an id; ids that share one wait for each other."""

    def __init__(self) -> None:
        self._locks = tuple(threading.Lock() for _ in range(STRIPES))

    @contextmanager
    def of(self, *ids: str) -> Iterator[None]:
        """Hold the locks of these items while reading and rewriting them."""
        held = self._in_order(ids)
        for lock in held:
            lock.acquire()
        try:
            yield
        finally:
            for lock in held:
                lock.release()

    def _in_order(self, ids: Iterable[str]) -> list[threading.Lock]:
        # always in the same order, so that there is no deadlock
        return [self._locks[stripe] for stripe in sorted({hash(each) % STRIPES for each in ids})]
