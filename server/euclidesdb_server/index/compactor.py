"""Compactor: decides when the segments of spaces are written, and has it done in the background.

It promises:

- Unindexed rows are written as a segment once there are `compact_rows` of them; segments are
  merged as `MergePolicy` says; a space in which nothing has been written for a while becomes one
  segment.
- No space waits for another one: each has threads of its own while it has something to do.
- A build that fails is tried again, after a wait that doubles each time. Meanwhile the space is
  served without the index, and its status says why.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from euclidesdb_server.config.server import IndexConfig
from euclidesdb_server.errors import CorruptRecord, ShuttingDown, StorageError
from euclidesdb_server.index.indexed_segment import IndexedSegment
from euclidesdb_server.index.merge_policy import Candidate, MergePolicy
from euclidesdb_server.index.segment_builder import BuildFailed
from euclidesdb_server.index.space import ModelSpace
from euclidesdb_server.index.space_work import SpaceWork
from euclidesdb_server.system.thread_priority import lower_thread_priority

log = logging.getLogger(__name__)

CLOSE_TIMEOUT: Final = 5.0
"""Seconds to wait for rewrites in progress to stop; each is repeated at the next start."""
TICK: Final = 1.0
"""Seconds between checks of what time alone makes due: retries, and spaces that are idle."""
FIRST_RETRY: Final = 10.0
"""Seconds to wait after a failed build, the first time."""
UNINDEXED_FACTOR: Final = 4
"""With this many times `compact_rows` unindexed rows, a flush that is still building its index is
given up for one without an index: rows must not fill the memory meanwhile."""
IDLE_FACTOR: Final = 4
"""A space must have been idle this many times longer than its last rewrite as a whole took, so
that a load with pauses does not spend most of its time on that."""
TOMBSTONES: Final = 4096
"""Deletions after which tombstones are moved into bitmaps."""


class Compactor:
    """Rewrites the segments of spaces. Thread-safe. `close` is idempotent."""

    def __init__(self, config: IndexConfig, *, first_retry: float | None = None) -> None:
        """first_retry: seconds to wait after a failed build, the first time; None: FIRST_RETRY."""
        self._config = config
        self._first_retry = FIRST_RETRY if first_retry is None else first_retry
        self._policy = MergePolicy(
            config.compact_rows, config.merge_factor, config.max_deleted_share
        )
        self._condition = threading.Condition()
        self._works: dict[int, SpaceWork] = {}
        self._due: set[int] = set()
        self._forgotten: set[int] = set()
        self._recover: Callable[[], None] = lambda: None
        self._threads: set[threading.Thread] = set()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="compactor", daemon=True)
        self._thread.start()

    def consider(self, space: ModelSpace, *, deleted: int = 0) -> None:
        """Look after a space, which has just been opened or written to; returns at once.

        deleted: how many rows were deleted.
        """
        work = self._works.get(space.record.number)
        if work is None or work.space is not space:
            if space.record.number in self._forgotten:
                return
            work = self._added(space)
        work.changed_at = time.monotonic()
        work.deletions += deleted
        if work.deletions >= TOMBSTONES:
            self._wake(work, merge=True)
        elif space.unindexed >= self._config.compact_rows and "flush" not in work.running:
            self._wake(work, merge=False)

    def request(self, space: ModelSpace) -> None:
        """Have the space become one segment as soon as possible; returns at once."""
        work = self._works.get(space.record.number) or self._added(space)
        work.requested = True
        work.paused_until = work.retry_at = 0.0
        self._wake(work, merge=True)

    def forget(self, space: ModelSpace) -> None:
        """Stop rewriting a space permanently, and wait until nothing of it is running."""
        with self._condition:
            self._forgotten.add(space.record.number)
            work = self._works.get(space.record.number)
            if work is not None and work.space is space:
                work.cancelled.set()
                work.flushing.set()
                self._condition.wait_for(lambda: not work.running)
                del self._works[space.record.number]

    def recover_with(self, recover: Callable[[], None]) -> None:
        """Call this before each rewrite: after a failed write, it makes writing possible again.

        It raises StorageError as long as that is not possible.
        """
        self._recover = recover

    def wait_idle(self, timeout: float | None = None) -> bool:
        """Wait until nothing is due or running; False if `timeout` passed first."""
        with self._condition:
            return self._condition.wait_for(
                lambda: (
                    not self._due
                    and not any(work.running or work.requested for work in self._works.values())
                ),
                timeout,
            )

    def close(self) -> None:
        """Cancel what is running, and wait for it up to CLOSE_TIMEOUT."""
        with self._condition:
            self._closed = True
            for work in self._works.values():
                work.cancelled.set()
                work.flushing.set()
            self._condition.notify_all()
            threads = [self._thread, *self._threads]
        end = time.monotonic() + CLOSE_TIMEOUT
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))

    def _added(self, space: ModelSpace) -> SpaceWork:
        with self._condition:
            work = SpaceWork(space, time.monotonic(), self._first_retry)
            self._works[space.record.number] = work
            if self._closed:
                work.cancelled.set()
            self._due.add(space.record.number)
            self._condition.notify_all()
            return work

    def _wake(self, work: SpaceWork, *, merge: bool) -> None:
        with self._condition:
            work.merge_due |= merge
            self._due.add(work.space.record.number)
            self._condition.notify_all()

    def _run(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._due or self._closed, TICK)
                if self._closed:
                    return
                # all of them: what time makes due is found by looking
                for work in list(self._works.values()):
                    self._start(work)
                self._due.clear()
                self._condition.notify_all()

    def _start(self, work: SpaceWork) -> None:
        """Start what is due for a space. The caller holds the condition."""
        now = time.monotonic()
        space, limit = work.space, self._config.compact_rows
        if work.cancelled.is_set() or now < work.paused_until:
            return
        if "flush" not in work.running:
            if space.unindexed >= limit:
                self._begin(work, "flush", self._flush)
        elif space.unindexed >= UNINDEXED_FACTOR * limit:
            work.flushing.set()
        if "merge" in work.running:
            return
        if work.blocked and now >= work.retry_at:
            work.blocked.clear()
            work.failed.add("merge")
            work.merge_due = True
        if not work.verified:
            self._begin(work, "merge", self._verify)
        elif work.deletions >= TOMBSTONES:
            self._begin(work, "merge", self._move_tombstones)
        elif work.requested or (
            now >= work.retry_at and (work.unfinished or self._is_idle(work, now))
        ):
            self._begin(work, "merge", self._compact)
        elif work.merge_due:
            sources = self._next_merge(work)
            if sources:
                self._begin(work, "merge", lambda work: self._merge(work, sources))
            else:
                work.merge_due = False
                work.note_end("merge")

    def _is_idle(self, work: SpaceWork, now: float) -> bool:
        """Whether nothing has been written for so long that the space should be one segment."""
        rest = max(self._config.idle_seconds, IDLE_FACTOR * work.rewritten_in)
        return now - work.changed_at >= rest and len(work.space.segments) > 1

    def _next_merge(self, work: SpaceWork) -> Sequence[IndexedSegment]:
        segments = work.space.segments
        run = self._policy.next_merge(
            [
                Candidate(
                    segment.alive,
                    len(segment) - segment.alive,
                    segment.outdated,
                    segment.record.generation in work.blocked,
                )
                for segment in segments
            ]
        )
        return () if run is None else segments[run.start : run.stop]

    def _verify(self, work: SpaceWork) -> None:
        work.verified = True
        try:
            work.space.rewriter.verify(work.cancelled)
        except CorruptRecord:
            raise
        except StorageError:  # a damaged segment could not be rebuilt now
            work.verified = False
            raise

    def _move_tombstones(self, work: SpaceWork) -> None:
        moved = work.deletions
        work.space.rewriter.move_tombstones()
        work.deletions -= moved

    def _flush(self, work: SpaceWork) -> None:
        rewriter = work.space.rewriter
        try:
            if not rewriter.flush(work.flushing):
                # the labels of a write in doubt hold them back: the next one has recovered it
                work.pause(TICK)
        except (BuildFailed, ShuttingDown) as error:
            if work.cancelled.is_set():
                raise
            rewriter.flush(work.cancelled, build=False)
            if isinstance(error, BuildFailed):
                work.note_failure(error, work.space.segments[-1:])

    def _merge(self, work: SpaceWork, sources: Sequence[IndexedSegment]) -> None:
        try:
            work.space.rewriter.merge(sources, work.cancelled)
        except BuildFailed as error:
            work.note_failure(error, sources)

    def _compact(self, work: SpaceWork) -> None:
        started = time.monotonic()
        work.requested, work.unfinished = False, True
        try:
            work.space.rewriter.compact(work.cancelled)
        except BuildFailed as error:
            work.note_failure(error, ())
        else:
            work.unfinished = False
            work.blocked.clear()
            work.failed.clear()
        work.rewritten_in = time.monotonic() - started

    def _begin(self, work: SpaceWork, lane: str, rewrite: Callable[[SpaceWork], None]) -> None:
        def run() -> None:
            lower_thread_priority()
            self._attempt(work, lane, rewrite)
            with self._condition:
                work.running.discard(lane)
                work.merge_due = True
                self._threads.discard(threading.current_thread())
                self._due.add(work.space.record.number)
                self._condition.notify_all()

        # a daemon thread: it must not keep the process from exiting
        thread = threading.Thread(
            target=run, name=f"{lane}-{work.space.record.number}", daemon=True
        )
        if lane == "flush":
            work.flushing = threading.Event()
        work.running.add(lane)
        self._threads.add(thread)
        thread.start()

    def _attempt(self, work: SpaceWork, lane: str, rewrite: Callable[[SpaceWork], None]) -> None:
        record = work.space.record
        try:
            self._recover()
            rewrite(work)
            work.note_end(lane)
            return
        except ShuttingDown as error:
            log.info("space %d: a rewrite was abandoned: %s", record.number, error)
        except StorageError as error:
            work.note_error(lane, error)
            log.error("space %d: a segment could not be written: %s", record.number, error)
        except Exception as error:  # the outermost function of this thread
            work.note_error(lane, error)
            log.exception("space %d: a segment could not be written", record.number)
        work.pause(self._first_retry)  # the same would fail again at once
