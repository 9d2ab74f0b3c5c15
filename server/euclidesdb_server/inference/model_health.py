"""ModelHealth: the state of one model, derived from what happens to its workers.

A model is ready while at least one of its workers runs, and restarting while none does. It is
quarantined if a worker cannot be started, and for a while if its workers keep crashing. While a
model is quarantined its queue refuses requests with the reason.
"""

from __future__ import annotations

import logging
import threading
from typing import Final

from euclidesdb_server.errors import ModelUnavailable
from euclidesdb_server.inference.request_queue import RequestQueue
from euclidesdb_server.values.embedding import Embedding
from euclidesdb_server.values.payload import Payload
from euclidesdb_server.values.status import ModelState

log = logging.getLogger(__name__)

CRASHES_TO_QUARANTINE: Final = 10
"""Crashes in a row, with no item embedded in between, after which a model is quarantined."""
QUARANTINE_SECONDS: Final = 60.0
"""The length of such a quarantine. The model passed its load check each time, so the cause may be
the items: it gets another chance."""


class ModelHealth:
    """Thread-safe.

    started: set once every worker was ready, or the model is quarantined.
    """

    def __init__(
        self,
        name: str,
        queue: RequestQueue[Payload, Embedding],
        *,
        workers: int,
        quarantine_seconds: float,
    ) -> None:
        """workers: how many the model has. queue: refuses requests while it is quarantined."""
        self.started = threading.Event()
        self._name = name
        self._queue = queue
        self._workers = workers
        self._quarantine_seconds = quarantine_seconds
        self._lock = threading.Lock()
        self._state = (ModelState.LOADING, "")
        self._ready_workers = 0
        self._crashes = 0
        self._quarantines = 0
        self._in_quarantine = False
        self._given_up = False
        self._stopping = threading.Event()

    @property
    def state(self) -> tuple[ModelState, str]:
        """The state, and why the model is not ready, or a warning about one that is."""
        return self._state

    @property
    def stopped(self) -> bool:
        """Whether no worker is needed any more."""
        return self._given_up or self._stopping.is_set()

    def stop(self) -> None:
        """The model is closed."""
        self._stopping.set()

    def worker_ready(self, warning: str = "") -> None:
        """A worker loaded the model. warning: what the load check found, though it serves."""
        if warning:
            log.warning("model %r: %s", self._name, warning)
        with self._lock:
            self._ready_workers += 1
            if not (self._given_up or self._in_quarantine):
                self._state = (ModelState.READY, warning and f"warning: {warning}")
            if self._ready_workers == self._workers:
                self.started.set()

    def item_embedded(self) -> None:
        """A worker embedded an item: reset the count of consecutive crashes."""
        with self._lock:
            self._crashes = 0

    def worker_crashed(self, how: str) -> None:
        """A worker that was ready died or hung."""
        with self._lock:
            self._crashes += 1
            self._ready_workers -= 1
            if self._given_up:
                return
            if not self._in_quarantine and self._crashes < CRASHES_TO_QUARANTINE:
                if self._ready_workers == 0:
                    self._state = (ModelState.RESTARTING, how)
                return
            reason = (
                f"its worker died {self._crashes} times in a row: {how}; it is started again "
                f"after {self._quarantine_seconds:g} s"
            )
            self._in_quarantine = True
            self._quarantines += 1
            self._state = (ModelState.QUARANTINED, reason)
        self._refuse(reason)

    def wait_out_quarantine(self) -> bool:
        """Wait until the model is not quarantined; False if it stopped before that."""
        while True:
            with self._lock:
                if not self._in_quarantine:
                    return not self.stopped
                quarantine = self._quarantines
            if self._stopping.wait(self._quarantine_seconds):
                return False
            with self._lock:
                if self._given_up:
                    return False
                # unless another worker ended it, or began a new one
                if self._in_quarantine and self._quarantines == quarantine:
                    self._crashes, self._in_quarantine = 0, False
                    self._queue.accept()

    def give_up(self, reason: str) -> None:
        """A worker cannot be started, and no other is tried: the model stays quarantined."""
        with self._lock:
            self._given_up = True
            self._state = (ModelState.QUARANTINED, reason)
        self._refuse(reason)
        self._queue.wake()

    def _refuse(self, reason: str) -> None:
        # not under the lock: it runs the callbacks of the futures that wait
        log.error("model %r is quarantined: %s", self._name, reason)
        self._queue.refuse(ModelUnavailable(f"model {self._name!r} is quarantined: {reason}"))
        self.started.set()
