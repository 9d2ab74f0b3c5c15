"""Labels: int64, ascending, never reused, each given to one write of an item.

They are reserved on disk in runs, so that taking one costs no write, and a crash only skips
what was left of a run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final

RUN: Final = 1 << 16


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
        self._in_doubt: set[int] = set()

    @contextmanager
    def take(self, count: int = 1) -> Iterator[range]:
        """The next labels, for the writes made in this block.

        Where the block fails, they stay in doubt until `resolve`: LevelDB cannot tell whether
        they will be there after a restart, so no segment may claim to cover them.
        """
        with self._condition:
            if self._next + count > self._reserved:
                end = self._next + count + RUN
                self._reserve(end)
                self._reserved = end
            labels = range(self._next, self._next + count)
            self._next += count
            self._under_way.update(labels)
        try:
            yield labels
        except BaseException:
            self._end(labels, failed=True)
            raise
        self._end(labels, failed=False)

    def resolve(self, labels: Iterable[int]) -> None:
        """It is known now, and published, whether these labels in doubt were written."""
        with self._condition:
            self._in_doubt.difference_update(labels)

    def low_watermark(self) -> int:
        """The greatest label such that it and all below are written and published, or unused.

        Writes finish out of order: a segment that covers "all up to L" must take L from here
        *before* it takes its rows.
        """
        with self._condition:
            return min(self._under_way | self._in_doubt, default=self._next) - 1

    def wait_for_writes(self) -> None:
        """Wait until every write that is under way now is published, or has failed."""
        with self._condition:
            now = set(self._under_way)
            self._condition.wait_for(lambda: now.isdisjoint(self._under_way))

    def _end(self, labels: range, *, failed: bool) -> None:
        with self._condition:
            self._under_way.difference_update(labels)
            if failed:
                self._in_doubt.update(labels)
            self._condition.notify_all()
