"""InFlight: the batches that a worker was given and has not completed."""

from __future__ import annotations

import itertools
import threading
import time
from typing import Final, TypeAlias

from euclidesdb_server.inference.request_queue import Request
from euclidesdb_server.values.embedding import Embedding
from euclidesdb_server.values.payload import Payload

EmbedRequest: TypeAlias = Request[Payload, Embedding]

MAX_BATCHES: Final = 2
"""Batches with the worker at once: it decodes one while the other is in the forward pass."""

SMOOTHING: Final = 4
"""The number of batches over which the time per item is averaged."""
HEAD_START: Final = 0.15
"""The next batch is handed over this long before the current one is expected to end, as a share
of the time that the current one takes."""
GATHERING: Final = 0.03
"""A small batch may still grow this long after the last one ended, as a share of the time that
the last one took: callers that just got their results send their next requests."""


class InFlight:
    """Thread-safe: one thread adds batches, another completes them."""

    def __init__(self, max_batch_size: int, *, decodes_in_parallel: bool) -> None:
        """decodes_in_parallel: decoding and the forward pass do not compete for cores, so the
        worker gains from having any batch early. If they do compete, a ResNet-18 with 16 callers
        reached 0.82 of its best rate with two batches of 8 in flight, and 0.93 with one of 16.
        """
        self._max_batch_size = max_batch_size
        self._decodes_in_parallel = decodes_in_parallel
        self._condition = threading.Condition()
        self._batches: dict[int, list[EmbedRequest]] = {}
        self._numbers = itertools.count(1)
        self._seconds_per_item = 0.0
        self._last_seconds = 0.0
        self._progress = time.monotonic()
        self._down = False

    @property
    def down(self) -> bool:
        """Whether the worker is gone."""
        return self._down

    def wait_for_room(self, limit: int) -> None:
        """Wait until fewer than `limit` batches are in flight, or the worker is gone."""
        with self._condition:
            self._condition.wait_for(lambda: len(self._batches) < limit or self._down)

    def add(self, batch: list[EmbedRequest]) -> int | None:
        """Record a batch before it is sent; returns its number, or None if the worker is gone."""
        with self._condition:
            if self._down:
                return None
            if not self._batches:
                self._progress = time.monotonic()
            number = next(self._numbers)
            self._batches[number] = batch
            return number

    def complete(self, number: int) -> list[EmbedRequest]:
        """The requests of a batch that the worker completed. Raises KeyError for an unknown
        number.
        """
        with self._condition:
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
        with self._condition:
            if self._down:
                return 0.0
            may_grow = not self._decodes_in_parallel and 2 * waiting < self._max_batch_size
            if not self._batches:
                until = self._progress + self._last_seconds * GATHERING if may_grow else 0.0
                return until - time.monotonic()
            if may_grow:
                return threading.TIMEOUT_MAX  # until the batch in flight is completed
            items = sum(len(batch) for batch in self._batches.values())
            expected = items * self._seconds_per_item
            return self._progress + expected * (1 - HEAD_START) - time.monotonic()

    def stalled_for(self) -> float:
        """Seconds since the worker last made progress; 0 if nothing is in flight."""
        with self._condition:
            return time.monotonic() - self._progress if self._batches else 0.0

    def fail_all(self) -> list[EmbedRequest]:
        """Record that the worker is gone; returns the requests that it had, in order."""
        with self._condition:
            self._down = True
            lost = [request for batch in self._batches.values() for request in batch]
            self._batches.clear()
            self._condition.notify_all()
            return lost
