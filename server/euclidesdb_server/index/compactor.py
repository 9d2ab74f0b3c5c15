"""Compactor: builds segments in a background thread, so that no call waits for a build.

It promises that a space whose backlog has outgrown the configured limit gets a new segment, one
space at a time. A build that fails is logged, and searches continue without it.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

from euclidesdb_server.config.server import IndexConfig
from euclidesdb_server.errors import ShuttingDown, StorageError
from euclidesdb_server.index.space import ModelSpace
from euclidesdb_server.system.thread_priority import lower_thread_priority

log = logging.getLogger(__name__)

CLOSE_TIMEOUT: Final = 3.0
"""Seconds to wait for a build in progress; otherwise it is lost, and repeated at the next start."""
RETRY_INTERVAL: Final = 10.0
"""Seconds after a failed build before the backlog alone starts another one."""


class Compactor:
    """Compacts spaces in one low-priority thread, one after the other. Thread-safe.

    After a failed build, a later write to the space starts the next one. `close` is idempotent.
    """

    def __init__(self, config: IndexConfig) -> None:
        self._config = config
        self._condition = threading.Condition()
        self._requested: dict[int, ModelSpace] = {}
        self._building: ModelSpace | None = None
        self._retry_at: dict[int, float] = {}
        self._closed = False
        # a daemon thread: a build that runs in C++ must not keep the process from exiting
        self._thread = threading.Thread(target=self._run, name="compactor", daemon=True)
        self._thread.start()

    def consider(self, space: ModelSpace) -> None:
        """Compact the space if its backlog has outgrown the configured limit; returns at once."""
        if space is self._building:
            return  # its backlog shrinks when the segment being built replaces the current one
        backlog, indexed = space.backlog()
        limit = max(self._config.compact_rows, self._config.compact_share * indexed)
        may_retry = time.monotonic() >= self._retry_at.get(space.record.number, 0.0)
        if backlog >= limit and may_retry:
            self.request(space)

    def request(self, space: ModelSpace) -> None:
        """Compact the space as soon as possible; returns at once."""
        with self._condition:
            if not self._closed:
                self._requested[space.record.number] = space
                self._condition.notify_all()

    def wait_idle(self, timeout: float | None = None) -> bool:
        """Wait until no build is requested or in progress; False if `timeout` passed first."""
        with self._condition:
            return self._condition.wait_for(
                lambda: not self._requested and self._building is None, timeout
            )

    def close(self) -> None:
        """Start no more builds, and wait up to CLOSE_TIMEOUT for the one in progress."""
        with self._condition:
            self._closed = True
            self._requested.clear()
            self._condition.notify_all()
        self._thread.join(CLOSE_TIMEOUT)

    def _run(self) -> None:
        lower_thread_priority()
        while (space := self._next()) is not None:
            try:
                space.compact(threads=self._config.build_threads)
                self._retry_at.pop(space.record.number, None)
            except ShuttingDown as error:
                self._delay_retry(space)
                log.info("space %d: build abandoned: %s", space.record.number, error)
            except StorageError as error:
                self._delay_retry(space)
                log.error(
                    "space %d: the segment could not be built: %s", space.record.number, error
                )
            except Exception:  # the outermost loop of this thread
                self._delay_retry(space)
                log.exception("space %d: the segment could not be built", space.record.number)
            finally:
                with self._condition:
                    self._building = None
                # the rows written during the build may already exceed the limit
                self.consider(space)
                with self._condition:
                    self._condition.notify_all()

    def _delay_retry(self, space: ModelSpace) -> None:
        self._retry_at[space.record.number] = time.monotonic() + RETRY_INTERVAL

    def _next(self) -> ModelSpace | None:
        with self._condition:
            self._condition.wait_for(lambda: self._requested or self._closed)
            if self._closed:
                return None
            number = next(iter(self._requested))
            self._building = self._requested.pop(number)
            return self._building
