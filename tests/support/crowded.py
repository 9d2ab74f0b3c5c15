"""A model whose queue callers keep full, without a program or a pause."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Self

import numpy as np

from euclidesdb_server.errors import Overloaded, ShuttingDown
from euclidesdb_server.inference.request_queue import RequestQueue
from euclidesdb_server.inference.taker import Request
from euclidesdb_server.values.embedding import Embedding
from euclidesdb_server.values.payload import Payload

CALLERS = None
"""The work of a caller's request; that of a job is its payload."""

Work = Payload | None


class OneAtATime:
    """A taker of one item at a time, which no caller sends anything."""

    max_size = 1
    max_wait = 0.0
    is_idle = False

    def has_room(self, *, alone: bool) -> bool:
        del alone
        return True

    def busy_for(self, waiting: int) -> float:
        del waiting
        return 0.0

    def may_block(self, works: Iterable[Work]) -> bool:
        del works
        return True

    def add(self, batch: list[Request[Work, Embedding]]) -> int:
        return len(batch)

    def send(self, number: int, batch: list[Request[Work, Embedding]]) -> None:
        raise AssertionError((number, batch))


class Crowded:
    """In place of a model with a program; its features are zeros.

    callers: the limit of its queue; before each item it runs, there are so many of callers. 0: it
    has none. run: what it has run. before: called before each item of a job.
    """

    def __init__(
        self, model: Any, *, callers: int = 0, before: Callable[[Payload], object] | None = None
    ) -> None:
        self.run: list[Work] = []
        self._model = model
        self._callers = callers
        self._before = before
        self._queue: RequestQueue[Work, Embedding] = RequestQueue("model 'm'", callers or 1000)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def embed(self, payload: Payload, **options: Any) -> Future[Embedding]:
        return self._queue.put(payload, **options)

    @property
    def run_counts(self) -> tuple[int, int]:
        return len(self.run), len(self.run)

    @property
    def queue_length(self) -> int:
        return len(self._queue)

    def fill(self) -> None:
        """Let callers send as many items as the queue takes."""
        with suppress(Overloaded):
            while self._callers:
                self._queue.put(CALLERS)

    def __enter__(self) -> Self:
        self.fill()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._queue.refuse(ShuttingDown("the test is over"))
        self._thread.join()

    def _work(self) -> None:
        conf = self._model.folder.conf
        features = np.zeros(conf.feature_dim, np.float32)
        predictions = np.zeros(conf.prediction_dim, np.float32)
        taker = OneAtATime()
        while not self._closed.is_set():
            with suppress(ShuttingDown):
                self.fill()
            taken = self._queue.take(taker, self._closed.is_set)
            if taken is None:
                return
            ((request,),) = taken[1:]
            if request.work is not CALLERS and self._before is not None:
                self._before(request.work)
            self.run.append(request.work)
            request.future.set_result(Embedding(features, predictions))
