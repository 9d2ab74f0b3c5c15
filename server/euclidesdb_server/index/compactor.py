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
from euclidesdb_server.index.merge_policy import MergePolicy
from euclidesdb_server.index.segment_builder import BuildFailed
from euclidesdb_server.index.space import ModelSpace
from euclidesdb_server.index.space_work import SpaceWork

log = logging.getLogger(__name__)

CLOSE_TIMEOUT: Final = 5.0
"""Seconds to wait for rewrites in progress to stop; each is repeated at the next start."""
TICK: Final = 1.0
"""Seconds between checks of what time alone makes due: retries, and spaces that are idle."""
FIRST_RETRY: Final = 10.0
"""Seconds to wait after a failed build, the first time, and after other errors of a rewrite."""
UNINDEXED_FACTOR: Final = 4
"""With this many times `compact_rows` unindexed rows, a flush that is still building its index is
given up for one without an index: rows must not fill the memory meanwhile."""
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
        if deleted:
            with self._condition:
                work.deletions += deleted
        if work.deletions >= TOMBSTONES and "tombstones" not in work.running:
            self._wake(work, merge=True)
        elif space.unindexed >= self._config.compact_rows and "flush" not in work.running:
            self._wake(work, merge=False)

    def request(self, space: ModelSpace) -> None:
        """Have the space become one segment as soon as possible; returns at once."""
        work = self._added(space)
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
            works = self._works.values()
            return self._condition.wait_for(
                lambda: not self._due and not any(w.running or w.requested for w in works), timeout
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
            known = self._works.get(space.record.number)
            if known is not None and known.space is space:
                return known
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
                    try:
                        self._start(work)
                    except Exception:  # the outermost function of this thread
                        log.exception("space %d: no rewrite could begin", work.space.record.number)
                        work.pause(self._first_retry)
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
        if work.deletions >= TOMBSTONES and "tombstones" not in work.running:
            self._begin(work, "tombstones", self._move_tombstones)
        if "merge" not in work.running:
            self._start_merge(work, now)

    def _start_merge(self, work: SpaceWork, now: float) -> None:
        may_repeat = now >= work.retry_at
        if not work.verified and may_repeat:
            self._begin(work, "merge", self._verify)
        elif work.requested or (
            may_repeat and (work.requested_again or work.is_idle(now, self._config))
        ):
            self._begin(work, "merge", self._compact)
        elif work.merge_due or (work.blocked and may_repeat):
            segments = work.space.segments
            run = self._policy.next_merge(work.candidates(segments, now))
            if run is not None:
                sources = segments[run.start : run.stop]
                self._begin(work, "merge", lambda work: self._merge(work, sources))
                return
            work.merge_due = False
            work.note_end("merge", nothing_to_repeat=may_repeat)

    def _verify(self, work: SpaceWork) -> None:
        try:
            work.space.rewriter.verify(work.cancelled)
        except (BuildFailed, CorruptRecord) as error:  # a damaged segment could not be rebuilt
            self._note_failure(work, error, ())
        else:
            work.verified = True

    def _move_tombstones(self, work: SpaceWork) -> None:
        moved = work.deletions
        work.space.rewriter.move_tombstones(work.cancelled)
        with self._condition:
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
                self._note_failure(work, error, work.space.segments[-1:])

    def _merge(self, work: SpaceWork, sources: Sequence[IndexedSegment]) -> None:
        try:
            work.space.rewriter.merge(sources, work.cancelled)
        except BuildFailed as error:
            self._note_failure(work, error, sources)

    def _compact(self, work: SpaceWork) -> None:
        started, failed = time.monotonic(), set(work.failed)
        requested = work.requested or work.requested_again
        work.requested, work.requested_again, work.unfinished = False, requested, True
        try:
            work.space.rewriter.compact(work.cancelled)
        except BuildFailed as error:
            self._note_failure(work, error, ())
        except StorageError:
            with self._condition:
                work.postpone()  # not as soon as other rewrites: it writes everything
            raise
        else:
            with self._condition:
                work.requested_again = work.unfinished = False
                work.failed -= failed
        finally:
            work.rewritten_in = time.monotonic() - started

    def _note_failure(
        self, work: SpaceWork, error: Exception, sources: Sequence[IndexedSegment]
    ) -> None:
        with self._condition:
            work.note_failure(error, sources)

    def _begin(self, work: SpaceWork, lane: str, rewrite: Callable[[SpaceWork], None]) -> None:
        def run() -> None:
            # not at low priority: LevelDB may start its own thread here, which would inherit it
            self._attempt(work, lane, rewrite)
            with self._condition:
                work.running.discard(lane)
                work.merge_due = True
                self._threads.discard(threading.current_thread())
                self._due.add(work.space.record.number)
                self._condition.notify_all()

        # a daemon thread: it must not keep the process from exiting
        name = f"{lane}-{work.space.record.number}"
        thread = threading.Thread(target=run, name=name, daemon=True)
        if lane == "flush":
            work.flushing = threading.Event()
        work.running.add(lane)
        self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError:  # the system has no thread left
            work.running.discard(lane)
            self._threads.discard(thread)
            raise

    def _attempt(self, work: SpaceWork, lane: str, rewrite: Callable[[SpaceWork], None]) -> None:
        record = work.space.record
        try:
            self._recover()
            rewrite(work)
            with self._condition:
                work.note_end(lane)
            return
        except ShuttingDown as error:
            log.info("space %d: a rewrite was abandoned: %s", record.number, error)
        except StorageError as error:
            with self._condition:
                work.note_error(lane, error)
            log.error("space %d: a segment could not be written: %s", record.number, error)
        except Exception as error:  # the outermost function of this thread
            with self._condition:
                work.note_error(lane, error)
            log.exception("space %d: a segment could not be written", record.number)
        work.pause(self._first_retry)  # the same would fail again at once
