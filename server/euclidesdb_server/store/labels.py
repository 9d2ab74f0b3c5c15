"""Labels: int64, ascending, never reused, each given to one write of an item.

They are reserved on disk in runs, so that taking one costs no write, and a crash only skips
what was left of a run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

RUN: Final = 4096


class LabelSequence:
    """Hands out labels; knows which writes are still under way. Thread-safe.

    first: the first label free, and not yet reserved. reserve(n): makes it durable that all
    labels below n may be in use; returns once it is.
    """

    def __init__(self, first: int, reserve: Callable[[int], None]) -> None:
        self._condition = threading.Condition()
        self._next = self._reserved = first
        self._reserve = reserve
        self._under_way: set[int] = set()
        self._failed: set[int] = set()

    @contextmanager
    def take(self) -> Iterator[int]:
        """The next label, for the write made in this block.

        A write that fails leaves its label unsettled for good: LevelDB cannot tell whether it
        will be there after a restart, so no segment may claim to cover it.
        """
        with self._condition:
            if self._next == self._reserved:
                self._reserve(self._next + RUN)
                self._reserved = self._next + RUN
            label = self._next
            self._next += 1
            self._under_way.add(label)
        try:
            yield label
        except BaseException:
            self._end(label, failed=True)
            raise
        self._end(label, failed=False)

    def settled(self) -> int:
        """The greatest label such that it and all below are written and published, or unused.

        Writes finish out of order: a segment that covers "all up to L" must take L from here
        *before* it takes its rows.
        """
        with self._condition:
            return min(self._under_way | self._failed, default=self._next) - 1

    def wait_for_writes(self) -> None:
        """Wait until every write that is under way now is published, or has failed."""
        with self._condition:
            now = set(self._under_way)
            self._condition.wait_for(lambda: now.isdisjoint(self._under_way))

    def _end(self, label: int, *, failed: bool) -> None:
        with self._condition:
            self._under_way.discard(label)
            if failed:
                self._failed.add(label)
            self._condition.notify_all()
