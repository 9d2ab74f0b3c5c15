"""InFlight: the batches that a worker was given and has not completed."""

from __future__ import annotations

import itertools
import math
import threading
import time
from typing import Final, TypeAlias

from euclidesdb_server.inference.taker import Request
from euclidesdb_server.values.embedding import Embedding
from euclidesdb_server.values.payload import Payload

EmbedRequest: TypeAlias = Request[Payload, Embedding]

MAX_BATCHES: Final = 2
"""Batches with the worker at once: it decodes one while the other is in the forward pass. While it
has an item that is retried alone, it has nothing else."""

SMOOTHING: Final = 4
"""The number of batches over which the time per item is averaged."""
HEAD_START: Final = 0.15
"""The next batch is handed over this long before the current one is expected to end, as a share
of the time that the current one takes."""
GATHERING: Final = 0.03
"""A small batch may still grow this long after the last one ended, as a share of the time that
the last one took: callers that just got their results send their next requests."""
MIN_GATHERING: Final = 0.0001
"""Seconds; a shorter time is not worth the change of threads."""
MIN_HEAD_START: Final = 0.005
"""Seconds after which a batch that was given to the worker may be followed by another one, however
short it is expected to be: for a short one, the next batch is given when it is completed."""


class InFlight:
    """Thread-safe."""

    def __init__(self, max_batch_size: int, *, decodes_in_parallel: bool) -> None:
        """decodes_in_parallel: decoding and the forward pass do not compete for cores, so the
        worker gains from having any batch early. If they do compete, a ResNet-18 with 16 callers
        reached 0.82 of its best rate with two batches of 8 in flight, and 0.93 with one of 16.
        """
        self._max_batch_size = max_batch_size
        self._decodes_in_parallel = decodes_in_parallel
        self._lock = threading.Lock()  # itself: `with` a condition takes twice as long
        self._condition = threading.Condition(self._lock)
        self._batches: dict[int, list[EmbedRequest]] = {}
        self._numbers = itertools.count(1)
        self._seconds_per_item = 0.0
        self._last_seconds = 0.0
        self._progress = time.monotonic()
        self._down = False
        self._is_alone = False  # the batch that was added last

    @property
    def down(self) -> bool:
        """Whether the worker is gone."""
        return self._down

    @property
    def is_idle(self) -> bool:
        """Whether the worker is there and has completed every batch."""
        return not self._batches and not self._down

    def has_room(self, *, alone: bool) -> bool:
        """Whether the worker may be given another batch. alone: of an item retried alone."""
        with self._lock:
            limit = 1 if alone or self._is_alone else MAX_BATCHES
            return len(self._batches) < limit and not self._down

    def wait_until_idle(self) -> None:
        """Wait until all batches are completed, or the worker is gone."""
        with self._condition:
            self._condition.wait_for(lambda: not self._batches or self._down)

    def add(self, batch: list[EmbedRequest]) -> int | None:
        """Record a batch before it is sent; returns its number, or None if the worker is gone."""
        with self._lock:
            if self._down:
                return None
            now = time.monotonic()
            if not self._batches:
                self._progress = now
            for request in batch:
                request.taken = now
            number = next(self._numbers)
            self._batches[number] = batch
            self._is_alone = batch[0].alone
            return number

    def complete(self, number: int) -> list[EmbedRequest]:
        """The requests of a batch that the worker completed. Raises KeyError for an unknown
        number.
        """
        with self._lock:
            batch = self._batches.pop(number)
            now = time.monotonic()
            self._last_seconds = now - self._progress
            measured = self._last_seconds / max(1, len(batch))
            self._seconds_per_item += (measured - self._seconds_per_item) / SMOOTHING
            self._progress = now
            self._condition.notify_all()
            return batch

    def busy_for(self, waiting: int) -> float:
        """Seconds until the worker should be given the next batch, if `waiting` items are queued.

        Early enough to have it decoded in time; but a batch that is less than half full grows as
        long as the worker loses nothing by it.
        """
        with self._lock:
            if self._down:
                return 0.0
            may_grow = not self._decodes_in_parallel and 2 * waiting < self._max_batch_size
            if not self._batches:
                gathering = self._last_seconds * GATHERING
                if not may_grow or gathering < MIN_GATHERING:
                    return 0.0
                return self._progress + gathering - time.monotonic()
            if may_grow:
                return math.inf  # until the batch in flight is completed
            items = sum(len(batch) for batch in self._batches.values())
            expected = items * self._seconds_per_item * (1 - HEAD_START)
            return self._progress + max(expected, MIN_HEAD_START) - time.monotonic()

    def stalled_for(self) -> float:
        """Seconds since the worker last made progress; 0 if nothing is in flight."""
        with self._lock:
            return time.monotonic() - self._progress if self._batches else 0.0

    def fail_all(self) -> list[EmbedRequest]:
        """Record that the worker is gone; returns the requests that it had, in order."""
        with self._lock:
            self._down = True
            lost = [request for batch in self._batches.values() for request in batch]
            self._batches.clear()
            self._condition.notify_all()
            return lost
