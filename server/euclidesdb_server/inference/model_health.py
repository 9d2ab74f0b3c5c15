"""ModelHealth: the state of one model, derived from what happens to its workers.

A model is ready while at least one of its workers runs. While none does, it is loading or
restarting, with the reason of the last failure, and each seat tries again after a growing pause.
It is quarantined only for a reason that no further attempt would change.

Requests wait for a worker that is being started. If a start has failed and there has been no worker
for `MAX_WAIT`, the queue refuses them with the reason, until a worker runs: their callers should
not wait for what may take minutes.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

from euclidesdb_server.errors import ModelUnavailable
from euclidesdb_server.inference.request_queue import RequestQueue
from euclidesdb_server.values.embedding import Embedding
from euclidesdb_server.values.payload import Payload
from euclidesdb_server.values.status import ModelState

log = logging.getLogger(__name__)

MAX_WAIT: Final = 2.0
"""Seconds without a worker after which requests are refused once a start has failed."""


class ModelHealth:
    """Thread-safe. Seats are numbered from 0.

    tried: set once each seat had a worker or failed to start one, or the model is quarantined.
    started: set once, in addition, one of the workers was ready, or the model is quarantined.
    """

    def __init__(
        self,
        name: str,
        queue: RequestQueue[Payload, Embedding],
        *,
        workers: int,
        max_wait: float = MAX_WAIT,
    ) -> None:
        """workers: the number of seats. queue: refuses requests while there is no worker."""
        self.tried = threading.Event()
        self.started = threading.Event()
        self._name = name
        self._queue = queue
        self._max_wait = max_wait
        self._lock = threading.Lock()
        self._state = (ModelState.LOADING, "")
        self._seats = set(range(workers))
        self._untried = set(range(workers))
        self._ready: set[int] = set()
        self._was_ready = False
        self._down_since = time.monotonic()
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
        """The model is closed. From now on its queue is the caller's."""
        with self._lock:
            self._stopping.set()

    def wait(self, pause: float) -> None:
        """Wait for so many seconds, or until the model is closed."""
        self._stopping.wait(pause)

    def worker_ready(self, seat: int, warning: str = "") -> None:
        """A worker loaded the model. warning: what the load check found, though it serves."""
        if warning:
            log.warning("model %r: %s", self._name, warning)
        with self._lock:
            if self.stopped:
                return
            self._ready.add(seat)
            self._was_ready = True
            self._state = (ModelState.READY, warning and f"warning: {warning}")
            self._queue.accept()
            self._note_tried(seat)

    def worker_died(self, seat: int, how: str) -> None:
        """A worker that was ready died or hung, or is not served for another reason."""
        with self._lock:
            if seat not in self._ready:
                return
            self._ready.discard(seat)
            if self._ready or self.stopped:
                return
            self._down_since = time.monotonic()
            self._state = (ModelState.RESTARTING, how)

    def start_failed(self, seat: int, reason: str, pause: float) -> None:
        """A worker was not ready; it is started again after a pause."""
        with self._lock:
            if self.stopped:
                return
            self._note_tried(seat)
            if self._ready:
                return
            state = ModelState.RESTARTING if self._was_ready else ModelState.LOADING
            reason = f"{reason}; the next attempt begins after a pause of {pause:.3g} s"
            self._state = (state, reason)
            if time.monotonic() - self._down_since < self._max_wait:
                return
            error = ModelUnavailable(f"model {self._name!r} is {state}: {reason}")
            # under the lock: a worker that is ready meanwhile must find the queue refusing
            waiting = self._queue.shut(error)
        # not under the lock: it runs the callbacks of the futures
        self._queue.fail(waiting, error)

    def seat_ended(self, seat: int, reason: str) -> None:
        """A worker cannot be started any more. The others go on; the last one is given up."""
        with self._lock:
            self._seats.discard(seat)
            self._note_tried(seat)
            last = not self._seats
        if last:
            self.give_up(reason)
        else:
            log.error("a worker of model %r is not replaced: %s", self._name, reason)

    def reject(self, reason: str) -> bool:
        """A worker has shown that the model is at fault; False if another one has run it."""
        with self._lock:
            if self._was_ready:
                return False
        self.give_up(reason)
        return True

    def give_up(self, reason: str) -> None:
        """No further attempt is made: the model stays quarantined, and its workers end."""
        with self._lock:
            if self.stopped:
                return
            self._given_up = True
            self._state = (ModelState.QUARANTINED, reason)
            error = ModelUnavailable(f"model {self._name!r} is quarantined: {reason}")
            waiting = self._queue.shut(error)
        log.error("model %r is quarantined: %s", self._name, reason)
        self._queue.fail(waiting, error)
        self._stopping.set()
        self.tried.set()
        self.started.set()

    def _note_tried(self, seat: int) -> None:
        self._untried.discard(seat)
        if not self._untried:
            self.tried.set()
            if self._was_ready:
                self.started.set()
