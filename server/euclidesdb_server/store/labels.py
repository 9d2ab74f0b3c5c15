"""Labels: int64, ascending, never reused, each given to one write of an item.

They are reserved on disk many at a time, so that allocating one costs no write; a crash only
skips the rest of a reservation.

The **low watermark** is the greatest label such that it and all labels below it belong to writes
that are finished and published, or to none: no row with such a label can still appear. Writes
finish out of order; one in flight, or one whose outcome is unknown, holds the low watermark below
its labels.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Final

RESERVATION: Final = 1 << 16
"""Labels that one write to disk reserves, in addition to those needed at once."""


class LabelSequence:
    """Allocates labels, and tracks the writes that use them. Thread-safe.

    first: the first label that is neither used nor reserved. reserve(n): records durably that
    labels below n may be in use; returns once that is on disk.
    """

    def __init__(self, first: int, reserve: Callable[[int], None]) -> None:
        self._condition = threading.Condition()
        self._next = self._reserved = first
        self._reserve = reserve
        self._in_flight: set[int] = set()  # the first label of each write
        self._in_doubt: set[int] = set()

    def allocate(self, count: int = 1) -> AbstractContextManager[range]:
        """The next labels, for the writes made and published in this block. count: at least 1.

        If the block fails, they stay in doubt until `resolve`: LevelDB cannot tell whether the
        write will be there after a restart, so no segment may claim to cover these labels.
        """
        return _Allocation(self, count)

    def resolve(self, labels: Iterable[int]) -> None:
        """Labels are no longer in doubt: reads have shown what was written, and it is published."""
        with self._condition:
            self._in_doubt.difference_update(labels)

    def low_watermark(self) -> int:
        """The low watermark, as defined above.

        A segment that covers all labels up to L must take L from here *before* it reads its rows.
        """
        with self._condition:
            return min(self._in_flight | self._in_doubt, default=self._next) - 1

    def last(self) -> int:
        """The last label given out: no write that is published has a greater one."""
        with self._condition:
            return self._next - 1

    def wait_for_writes(self) -> None:
        """Wait until every write that is in flight now is published or has failed."""
        with self._condition:
            now = set(self._in_flight)
            self._condition.wait_for(lambda: now.isdisjoint(self._in_flight))

    def take(self, count: int) -> range:
        """The next labels; they are in flight until `finish`. See `allocate`."""
        with self._condition:
            if self._next + count > self._reserved:
                end = self._next + count + RESERVATION
                self._reserve(end)
                self._reserved = end
            labels = range(self._next, self._next + count)
            self._next += count
            self._in_flight.add(labels[0])
            return labels

    def finish(self, labels: range, *, failed: bool) -> None:
        """The write that took these labels is done, or they are in doubt if it failed."""
        with self._condition:
            self._in_flight.discard(labels[0])
            if failed:
                self._in_doubt.update(labels)
            self._condition.notify_all()


class _Allocation(AbstractContextManager[range]):
    """Labels that are in flight while the block runs."""

    __slots__ = ("_count", "_labels", "_sequence")

    def __init__(self, sequence: LabelSequence, count: int) -> None:
        self._sequence = sequence
        self._count = count

    def __enter__(self) -> range:
        self._labels = self._sequence.take(self._count)
        return self._labels

    def __exit__(self, kind: object, *_: object) -> None:
        self._sequence.finish(self._labels, failed=kind is not None)
