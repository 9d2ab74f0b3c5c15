"""Recall, measured on live queries: the share of the true nearest neighbors that were found.

From time to time a space offers a query as a sample; a background thread repeats it exactly, on
the rows that the search saw, and compares. So the figure is for the users' own queries and data,
and for the segments that are searched now: it begins anew whenever they change.

Repeating a query exactly may take long: half a second for ten million rows. After each sample the
thread rests so long that sampling takes no more than `MAX_SHARE` of a core.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final, TypeAlias

from euclidesdb_server.system.thread_priority import lower_thread_priority

log = logging.getLogger(__name__)

WINDOW: Final = 1000
"""The latest samples, on which the recall of a space is computed."""
MAX_SHARE: Final = 0.01
"""Of the time of one core."""
CLOSE_TIMEOUT: Final = 1.0
"""Seconds to wait for a measurement in progress."""

Measurement: TypeAlias = Callable[[], None]
"""Repeats a query exactly, and adds the outcome to a RecallMeter."""


class RecallMeter:
    """The recall of one space over its latest samples. Thread-safe.

    version: of the segments that were searched (`View.version`).
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._latest: deque[tuple[int, int]] = deque(maxlen=WINDOW)
        self._version = 0

    def add(self, version: int, found: int, expected: int) -> None:
        """Add a sample, unless it is of other segments than the latest searches.

        found, expected: how many true nearest neighbors were found, and how many there are.
        """
        with self._lock:
            if version == self._version:
                self._latest.append((found, expected))

    def begin(self, version: int) -> None:
        """A search of these segments is sampled: samples of others no longer count."""
        with self._lock:
            if version != self._version:
                self._version = version
                self._latest.clear()

    def reading(self, version: int) -> tuple[float | None, int]:
        """The recall over the latest samples of these segments, and their number.

        None before the first sample.
        """
        with self._lock:
            if version != self._version:
                return None, 0
            expected = sum(expected for _, expected in self._latest)
            found = sum(found for found, _ in self._latest)
            return (found / expected if expected else None), len(self._latest)


class RecallSampler:
    """Measures samples in one low-priority thread. Thread-safe. `close` is idempotent.

    interval: least seconds between two samples of one space; 0: no samples are taken. max_share:
    of the time of one core.
    """

    def __init__(self, interval: float, *, max_share: float = MAX_SHARE) -> None:
        self._interval = interval
        self._max_share = max_share
        self._next_sample: dict[int, float] = {}
        self._resume_at = 0.0
        self._random = random.Random()  # noqa: S311  # not for secrets
        self._condition = threading.Condition()
        # at most one is pending: a slow machine takes fewer samples and builds up no backlog
        self._pending: Measurement | None = None
        self._closed = False
        # a daemon thread: an exact search that runs in C must not keep the process from exiting
        self._thread = threading.Thread(target=self._run, name="recall", daemon=True)
        self._thread.start()

    def due(self, space: int) -> bool:
        """Whether the next query of the space should be offered as a sample."""
        if self._interval <= 0:
            return False
        now = time.monotonic()
        return now >= self._resume_at and now >= self._next_sample.get(space, 0.0)

    def choose(self, queries: int) -> int:
        """Which query of a search to sample: any of them is as likely."""
        return self._random.randrange(queries)

    def offer(self, space: int, measure: Measurement) -> None:
        """Have a query measured, unless the thread has not finished the last ones."""
        self._next_sample[space] = time.monotonic() + self._interval
        with self._condition:
            if self._pending is None:
                self._pending = measure
                self._condition.notify_all()

    def close(self) -> None:
        """Stop; a pending sample is discarded."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()
        self._thread.join(CLOSE_TIMEOUT)

    def _run(self) -> None:
        lower_thread_priority()
        while (measure := self._next()) is not None:
            started = time.thread_time()
            try:
                measure()
            except Exception:  # the outermost loop of this thread
                log.exception("the recall of a query could not be measured")
            # it holds whole segments, which may be replaced long before the next sample
            del measure
            used = time.thread_time() - started
            self._resume_at = time.monotonic() + used * (1 / self._max_share - 1)

    def _next(self) -> Measurement | None:
        with self._condition:
            self._condition.wait_for(lambda: self._pending is not None or self._closed)
            sample, self._pending = self._pending, None
            return None if self._closed else sample
