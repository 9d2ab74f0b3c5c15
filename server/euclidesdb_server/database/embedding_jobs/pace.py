"""Pace: how many items of jobs a model gets at a time, so that those of callers need not wait."""

from __future__ import annotations

import time
from typing import Final

from euclidesdb_server.inference import Model

MAX_ITEMS: Final = 32
"""Items of jobs that are with a model at a time, however large its batches are."""
CHUNK_SECONDS: Final = 0.05
"""About how long a model may work on items of jobs while no caller uses it: the first item of a
caller waits for these."""
STEP_SECONDS: Final = 0.5
"""About how long a step of a job may take: its progress is written, and other jobs have a turn."""
CALLERS_STAY: Final = 2.0
"""Seconds after the last item of a caller for which there may be further ones."""
CALLERS_PER_ITEM: Final = 16
"""A job may have one item in the queue for each so many items of callers that wait there."""
MAX_REST: Final = 1.0
"""Seconds."""


class Pace:
    """Of one model; for one thread.

    While callers use the model, it gets one item of a job at a time, and has as long to itself
    afterwards as that took: so an item of a caller seldom waits, for less than one item of a job,
    and a job has up to half of the model's time, but always goes on. If many callers wait, a job
    has one item for each CALLERS_PER_ITEM of theirs: it makes about one item in 32, however many
    they are, and their wait grows by that much.

    rest: for how many seconds to leave the model to others before the next chunk.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.rest = 0.0
        self._runs = model.run_counts[0]
        """Items that it had run, of jobs and others, when that was last looked at."""
        self._callers_until = 0.0
        self._size = 0
        self._seconds = 0.0
        """That an item took in the last chunk; 0: not known yet."""

    @property
    def step_size(self) -> int:
        """At most, of the next step: 1 to MAX_ITEMS."""
        if not self._seconds:
            return 1
        share = 2 if self._has_callers else 1
        return max(1, min(MAX_ITEMS, int(STEP_SECONDS / self._seconds / share)))

    def next_chunk(self) -> int:
        """How many items the model may be given now: 1 to MAX_ITEMS."""
        self._look(own=0)
        if self._has_callers:
            self._size = max(1, min(MAX_ITEMS, self.model.queue_length // CALLERS_PER_ITEM))
        elif not self._seconds:
            self._size = 1
        else:
            fitting = int(CHUNK_SECONDS / self._seconds)
            self._size = max(1, min(MAX_ITEMS, 2 * self._size, fitting))
        return self._size

    def note(self, count: int, seconds: float) -> None:
        """So many items took so long."""
        self._look(own=count)
        self._seconds = max(seconds / count, 1e-6)
        self.rest = min(seconds, MAX_REST) if self._has_callers else 0.0

    def _look(self, *, own: int) -> None:
        """Find out whether it has had items of callers. own: those of jobs since last time."""
        runs = self.model.run_counts[0]
        if self.model.queue_length or runs > self._runs + own:
            self._callers_until = time.monotonic() + CALLERS_STAY
        self._runs = runs

    @property
    def _has_callers(self) -> bool:
        return time.monotonic() < self._callers_until
