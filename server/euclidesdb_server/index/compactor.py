"""Compactor: the one thread that builds segments, so that no call waits for one."""

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
"""Seconds to wait for a build under way; it is lost and made again after the next start."""
RETRY_INTERVAL: Final = 10.0
"""Seconds that a space rests after a failed build, unless one is requested."""


class Compactor:
    """Compacts spaces in one thread of low priority, one after the other. Thread-safe.

    A build that fails is logged; searches go on, and a later write asks again.
    """

    def __init__(self, config: IndexConfig) -> None:
        self._config = config
        self._condition = threading.Condition()
        self._wanted: dict[int, ModelSpace] = {}
        self._building: ModelSpace | None = None
        self._resting: dict[int, float] = {}
        self._closed = False
        # a daemon: a build that runs in C++ must not keep the process from ending
        self._thread = threading.Thread(target=self._run, name="compactor", daemon=True)
        self._thread.start()

    def consider(self, space: ModelSpace) -> None:
        """Compact the space if its backlog has outgrown the configured share."""
        if space is self._building:
            return  # its backlog shrinks when that build is taken into use
        backlog, indexed = space.backlog()
        limit = max(self._config.compact_rows, self._config.compact_share * indexed)
        rested = time.monotonic() >= self._resting.get(space.record.number, 0.0)
        if backlog >= limit and rested:
            self.request(space)

    def request(self, space: ModelSpace) -> None:
        """Compact the space, soon; returns at once."""
        with self._condition:
            if not self._closed:
                self._wanted[space.record.number] = space
                self._condition.notify_all()

    def wait_idle(self, timeout: float | None = None) -> bool:
        """Wait until nothing is wanted or under way; False where `timeout` passed first."""
        with self._condition:
            return self._condition.wait_for(
                lambda: not self._wanted and self._building is None, timeout
            )

    def close(self) -> None:
        """Start no more builds, and wait a while for the one under way. Idempotent."""
        with self._condition:
            self._closed = True
            self._wanted.clear()
            self._condition.notify_all()
        self._thread.join(CLOSE_TIMEOUT)

    def _run(self) -> None:
        lower_thread_priority()
        while (space := self._next()) is not None:
            try:
                space.compact(threads=self._config.build_threads)
                self._resting.pop(space.record.number, None)
            except ShuttingDown as error:
                self._rest(space)
                log.info("space %d: build given up: %s", space.record.number, error)
            except StorageError as error:
                self._rest(space)
                log.error(
                    "space %d: the segment could not be built: %s", space.record.number, error
                )
            except Exception:  # the outermost loop of this thread
                self._rest(space)
                log.exception("space %d: the segment could not be built", space.record.number)
            finally:
                with self._condition:
                    self._building = None
                # what came during the build may be more than the segment is to lack
                self.consider(space)
                with self._condition:
                    self._condition.notify_all()

    def _rest(self, space: ModelSpace) -> None:
        self._resting[space.record.number] = time.monotonic() + RETRY_INTERVAL

    def _next(self) -> ModelSpace | None:
        with self._condition:
            self._condition.wait_for(lambda: self._wanted or self._closed)
            if self._closed:
                return None
            number = next(iter(self._wanted))
            self._building = self._wanted.pop(number)
            return self._building
