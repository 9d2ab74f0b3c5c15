"""SpaceWork: what the compactor knows of one space."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from typing import Final

from euclidesdb_server.config.server import IndexConfig
from euclidesdb_server.index.indexed_segment import IndexedSegment
from euclidesdb_server.index.merge_policy import Candidate
from euclidesdb_server.index.space import ModelSpace

log = logging.getLogger(__name__)

MAX_RETRY: Final = 3600.0
"""Seconds to wait after a failed build, at most."""

IDLE_FACTOR: Final = 4
"""A space must have been idle this many times longer than its last rewrite as a whole took, so
that a load with pauses does not spend most of its time on that."""


class SpaceWork:
    """Not thread-safe: `Compactor` guards it.

    running: the lanes, "flush", "merge" and "tombstones", that have a thread now. failed: those
    with something to repeat. cancelled: ends all of them; flushing: the flush that runs.
    changed_at: when it was written to last. requested: to become one segment. requested_again: a
    request that has failed, and is to be repeated. unfinished: the last rewrite into one segment
    has not ended well, or not yet. merge_due: whether there may be segments to merge. verified:
    whether the vectors on disk have been. blocked: the generations of segments that could not be
    built, until `retry_at`. paused_until: nothing is tried before. deletions: about how many
    tombstones there are. rewritten_in: seconds that the last rewrite of the whole took.
    """

    def __init__(self, space: ModelSpace, now: float, first_retry: float) -> None:
        """first_retry: seconds to wait after a failed build, the first time."""
        self.space = space
        self.cancelled = threading.Event()
        self.flushing = threading.Event()
        self.running: set[str] = set()
        self.failed: set[str] = set()
        self.changed_at = now
        self.requested = False
        self.requested_again = False
        self.unfinished = False
        self.merge_due = True
        self.verified = False
        self.blocked: set[int] = set()
        self.retry_at = 0.0
        self.paused_until = 0.0
        self.deletions = space.tombstones
        self.rewritten_in = 0.0
        self._first_retry = first_retry
        self._retry_wait = first_retry

    def candidates(self, segments: Sequence[IndexedSegment], now: float) -> list[Candidate]:
        """What the merge policy must know of segments."""
        blocked = self.blocked if now < self.retry_at else set()
        return [
            Candidate(
                segment.alive,
                len(segment) - segment.alive,
                segment.outdated,
                segment.record.generation in blocked,
            )
            for segment in segments
        ]

    def is_idle(self, now: float, config: IndexConfig) -> bool:
        """Whether nothing has been written for so long that the space should be one segment.

        A single one counts if it holds more deleted rows than it may.
        """
        rest = max(config.idle_seconds, IDLE_FACTOR * self.rewritten_in)
        if now - self.changed_at < rest:
            return False
        segments = self.space.segments
        shares = [segment.deleted_share for segment in segments]
        return len(segments) > 1 or max(shares, default=0.0) > config.max_deleted_share

    def pause(self, seconds: float) -> None:
        """Try nothing for some time."""
        self.paused_until = time.monotonic() + seconds

    def note_failure(self, error: Exception, sources: Sequence[IndexedSegment]) -> None:
        """Leave what could not be built alone for a while; searches go on without an index."""
        record = self.space.record
        log.error(
            "space %d (%s): its index could not be built, and is tried again in %g s: %s",
            record.number, record.model, self._retry_wait, error,
        )  # fmt: skip
        self.space.failure = str(error)
        self.blocked.update(segment.record.generation for segment in sources)
        self.postpone()

    def postpone(self) -> None:
        """Repeat what has failed later, each time after twice as long a wait."""
        self.retry_at = time.monotonic() + self._retry_wait
        self._retry_wait = min(2 * self._retry_wait, MAX_RETRY)

    def note_error(self, lane: str, error: Exception) -> None:
        """A rewrite has failed for a reason other than its build."""
        self.space.failure = str(error)
        self.failed.add(lane)

    def note_end(self, lane: str, *, nothing_to_repeat: bool = False) -> None:
        """A rewrite has ended; if none that failed is waiting to be repeated, all is well again.

        nothing_to_repeat: the segments that could not be built need not be built again.
        """
        self.failed.discard(lane)
        if nothing_to_repeat:
            self.blocked.clear()
        self.blocked &= {segment.record.generation for segment in self.space.segments}
        if self.verified and not (self.failed or self.blocked or self.unfinished):
            self.space.failure = ""
            self._retry_wait = self._first_retry
