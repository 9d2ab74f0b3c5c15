"""Recall, measured on live queries: what share of the true nearest the answers held.

A space offers a query now and then; one background thread answers it exactly, on the rows that
the search saw, and compares. So the figure is that of the users' own queries and data.
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
"""Queries that the running figure rests on."""
CLOSE_TIMEOUT: Final = 1.0
"""Seconds to wait for a measurement under way."""

Measurement: TypeAlias = Callable[[], tuple[int, int]]
"""How many of the true nearest were found, of how many."""


class RecallMeter:
    """The running recall of one space. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._latest: deque[tuple[int, int]] = deque(maxlen=WINDOW)

    def add(self, found: int, wanted: int) -> None:
        """Count a query."""
        with self._lock:
            self._latest.append((found, wanted))

    def reading(self) -> tuple[float | None, int]:
        """Recall over the latest queries, None before the first, and how many these are."""
        with self._lock:
            wanted = sum(wanted for _, wanted in self._latest)
            found = sum(found for found, _ in self._latest)
            return (found / wanted if wanted else None), len(self._latest)


class RecallSampler:
    """Takes samples in one thread of low priority. `close` is idempotent.

    interval: seconds between two samples of one space; 0: none are taken.
    """

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._due: dict[int, float] = {}
        self._condition = threading.Condition()
        # one waits while one is measured: a slow machine takes fewer samples, never a backlog
        self._waiting: tuple[RecallMeter, Measurement] | None = None
        self._closed = False
        # a daemon: an exact search that runs in C must not keep the process from ending
        self._thread = threading.Thread(target=self._run, name="recall", daemon=True)
        self._thread.start()

    def due(self, space: int) -> bool:
        """Whether a query of the space should be offered."""
        return self._interval > 0 and time.monotonic() >= self._due.get(space, 0.0)

    def offer(self, space: int, meter: RecallMeter, measure: Measurement) -> None:
        """Have a query measured, unless the thread is behind."""
        self._due[space] = time.monotonic() + self._interval
        with self._condition:
            if self._waiting is None:
                self._waiting = (meter, measure)
                self._condition.notify_all()

    def close(self) -> None:
        """Stop; what waits is not measured any more."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()
        self._thread.join(CLOSE_TIMEOUT)

    def _run(self) -> None:
        lower_thread_priority()
        while (taken := self._take()) is not None:
            meter, measure = taken
            try:
                meter.add(*measure())
            except Exception:  # the outermost loop of this thread
                log.exception("a query could not be answered exactly")
            # they hold a whole segment, which may be replaced long before the next sample
            del taken, measure

    def _take(self) -> tuple[RecallMeter, Measurement] | None:
        with self._condition:
            self._condition.wait_for(lambda: self._waiting is not None or self._closed)
            taken, self._waiting = self._waiting, None
            return None if self._closed else taken
