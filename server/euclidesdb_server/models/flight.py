"""Flight: the batches that a worker has been given and has not answered."""

from __future__ import annotations

import itertools
import threading
import time
from typing import Final, TypeAlias

from euclidesdb_server.models.batching import Request
from euclidesdb_server.types import Embedding, Payload

EmbedRequest: TypeAlias = Request[Payload, Embedding]

WINDOW: Final = 2
"""Batches with the worker at once: it decodes one while the other is in the forward pass."""


SMOOTHING: Final = 4
"""Batches over which the time that an item takes is averaged."""
HEAD_START: Final = 0.15
"""Of the time that a batch takes: so long before its end the next one is handed over."""


class Flight:
    """Thread-safe: one thread launches, one lands."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._batches: dict[int, list[EmbedRequest]] = {}
        self._numbers = itertools.count(1)
        self._seconds_per_item = 0.0
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

    def launch(self, batch: list[EmbedRequest]) -> int | None:
        """Note a batch before it is sent; returns its number, None where the worker is gone."""
        with self._condition:
            if self._down:
                return None
            if not self._batches:
                self._progress = time.monotonic()
            number = next(self._numbers)
            self._batches[number] = batch
            return number

    def land(self, number: int) -> list[EmbedRequest]:
        """The requests of a batch that was answered. Raises KeyError for one never launched."""
        with self._condition:
            batch = self._batches.pop(number)
            now = time.monotonic()
            measured = (now - self._progress) / max(1, len(batch))
            self._seconds_per_item += (measured - self._seconds_per_item) / SMOOTHING
            self._progress = now
            self._condition.notify_all()
            return batch

    def busy_for(self) -> float:
        """Seconds until the worker should be given the next batch, to have it decoded in time."""
        with self._condition:
            if not self._batches or self._down:
                return 0.0
            items = sum(len(batch) for batch in self._batches.values())
            takes = items * self._seconds_per_item
            return self._progress + takes * (1 - HEAD_START) - time.monotonic()

    def stalled_for(self) -> float:
        """Seconds since the last answer while there is something to answer; else 0."""
        with self._condition:
            return time.monotonic() - self._progress if self._batches else 0.0

    def crash(self) -> list[EmbedRequest]:
        """The worker is gone: returns the requests that it took with it, in order."""
        with self._condition:
            self._down = True
            lost = [request for batch in self._batches.values() for request in batch]
            self._batches.clear()
            self._condition.notify_all()
            return lost
