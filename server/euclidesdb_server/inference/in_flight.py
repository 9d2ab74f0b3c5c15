"""InFlight: the batches that a worker has been given and has not answered."""

from __future__ import annotations

import itertools
import threading
import time
from typing import Final, TypeAlias

from euclidesdb_server.inference.request_queue import Request
from euclidesdb_server.values.embedding import Embedding
from euclidesdb_server.values.payload import Payload

EmbedRequest: TypeAlias = Request[Payload, Embedding]

WINDOW: Final = 2
"""Batches with the worker at once: it decodes one while the other is in the forward pass."""


SMOOTHING: Final = 4
"""Batches over which the time that an item takes is averaged."""
HEAD_START: Final = 0.15
"""Of the time that a batch takes: so long before its end the next one is handed over."""
GATHERING: Final = 0.03
"""Of the time that the last batch took: so long after its end a small one may still grow, as those
who were just answered ask again."""


class InFlight:
    """Thread-safe: one thread launches, one lands."""

    def __init__(self, most: int, *, decodes_beside: bool) -> None:
        """most: items of a batch.

        decodes_beside: whether the forward pass leaves the cores that decode alone, so that the
        worker gains by having any batch early. Where it does not, a ResNet-18 with 16 callers did
        0.82 of its best with two batches of 8 in flight, and 0.93 with one of 16.
        """
        self._most = most
        self._decodes_beside = decodes_beside
        self._condition = threading.Condition()
        self._batches: dict[int, list[EmbedRequest]] = {}
        self._numbers = itertools.count(1)
        self._seconds_per_item = 0.0
        self._last_took = 0.0
        self._progress = time.monotonic()
        self._down = False

    @property
    def down(self) -> bool:
        """Whether the worker is gone."""
        return self._down

    def wait_for_room(self, most: int) -> None:
        """Wait until fewer than `most` batches are in flight, or the worker is gone."""
        with self._condition:
            self._condition.wait_for(lambda: len(self._batches) < most or self._down)

    def add(self, batch: list[EmbedRequest]) -> int | None:
        """Note a batch before it is sent; returns its number, None where the worker is gone."""
        with self._condition:
            if self._down:
                return None
            if not self._batches:
                self._progress = time.monotonic()
            number = next(self._numbers)
            self._batches[number] = batch
            return number

    def complete(self, number: int) -> list[EmbedRequest]:
        """The requests of a batch that was answered. Raises KeyError for one never launched."""
        with self._condition:
            batch = self._batches.pop(number)
            now = time.monotonic()
            self._last_took = now - self._progress
            measured = self._last_took / max(1, len(batch))
            self._seconds_per_item += (measured - self._seconds_per_item) / SMOOTHING
            self._progress = now
            self._condition.notify_all()
            return batch

    def busy_for(self, waiting: int) -> float:
        """Seconds until the worker should be given the next batch, of so many items as it stands:
        in time to have it decoded, but one less than half full grows where nothing is lost by it.
        """
        with self._condition:
            if self._down:
                return 0.0
            patient = not self._decodes_beside and 2 * waiting < self._most
            if not self._batches:
                until = self._progress + self._last_took * GATHERING if patient else 0.0
                return until - time.monotonic()
            if patient:
                return threading.TIMEOUT_MAX  # until it lands
            items = sum(len(batch) for batch in self._batches.values())
            takes = items * self._seconds_per_item
            return self._progress + takes * (1 - HEAD_START) - time.monotonic()

    def stalled_for(self) -> float:
        """Seconds since the last answer while there is something to answer; else 0."""
        with self._condition:
            return time.monotonic() - self._progress if self._batches else 0.0

    def fail_all(self) -> list[EmbedRequest]:
        """The worker is gone: returns the requests that it took with it, in order."""
        with self._condition:
            self._down = True
            lost = [request for batch in self._batches.values() for request in batch]
            self._batches.clear()
            self._condition.notify_all()
            return lost
