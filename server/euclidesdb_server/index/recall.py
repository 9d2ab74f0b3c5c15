"""Recall, measured on live queries: the share of the true nearest neighbors that were found.

From time to time a space offers a query as a sample; a background thread repeats it exactly, on
the rows that the search saw, and compares. So the figure is for the users' own queries and data.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final, TypeAlias

from euclidesdb_server.system.thread_priority import lower_thread_priority

log = logging.getLogger(__name__)

WINDOW: Final = 1000
"""The latest samples, on which the recall of a space is computed."""
CLOSE_TIMEOUT: Final = 1.0
"""Seconds to wait for a measurement in progress."""

Measurement: TypeAlias = Callable[[], tuple[int, int]]
"""Returns how many of the true nearest neighbors were found, and how many there are."""


class RecallMeter:
    """The recall of one space over its latest samples. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._latest: deque[tuple[int, int]] = deque(maxlen=WINDOW)

    def add(self, found: int, expected: int) -> None:
        """Add a sample: the number of true nearest neighbors found, and their number."""
        with self._lock:
            self._latest.append((found, expected))

    def reading(self) -> tuple[float | None, int]:
        """The recall over the latest samples (None before the first), and their number."""
        with self._lock:
            expected = sum(expected for _, expected in self._latest)
            found = sum(found for found, _ in self._latest)
            return (found / expected if expected else None), len(self._latest)


class RecallSampler:
    """Measures samples in one low-priority thread. Thread-safe. `close` is idempotent.

    interval: seconds between two samples of one space; 0: no samples are taken.
    """

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._next_sample: dict[int, float] = {}
        self._condition = threading.Condition()
        # at most one is pending: a slow machine takes fewer samples and builds up no backlog
        self._pending: tuple[RecallMeter, Measurement] | None = None
        self._closed = False
        # a daemon thread: an exact search that runs in C must not keep the process from exiting
        self._thread = threading.Thread(target=self._run, name="recall", daemon=True)
        self._thread.start()

    def due(self, space: int) -> bool:
        """Whether the next query of the space should be offered as a sample."""
        return self._interval > 0 and time.monotonic() >= self._next_sample.get(space, 0.0)

    def offer(self, space: int, meter: RecallMeter, measure: Measurement) -> None:
        """Have a query measured, unless the thread has not finished the last ones."""
        self._next_sample[space] = time.monotonic() + self._interval
        with self._condition:
            if self._pending is None:
                self._pending = (meter, measure)
                self._condition.notify_all()

    def close(self) -> None:
        """Stop; a pending sample is discarded."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()
        self._thread.join(CLOSE_TIMEOUT)

    def _run(self) -> None:
        lower_thread_priority()
        while (sample := self._next()) is not None:
            meter, measure = sample
            try:
                meter.add(*measure())
            except Exception:  # the outermost loop of this thread
                log.exception("the recall of a query could not be measured")
            # these hold a whole segment, which may be replaced long before the next sample
            del sample, measure

    def _next(self) -> tuple[RecallMeter, Measurement] | None:
        with self._condition:
            self._condition.wait_for(lambda: self._pending is not None or self._closed)
            sample, self._pending = self._pending, None
            return None if self._closed else sample
