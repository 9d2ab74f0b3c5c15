"""The queue in which requests for one model meet and become batches.

Knows nothing of images, torch or processes. While the worker is busy a batch grows; where items
have sizes, those of like size share one. Promises: bounded (one more is refused at once,
not made to wait); a request whose caller has gone is never handed out; every request that is
accepted gets an answer, at the latest when the queue is closed.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from euclidesdb_server.errors import DatabaseError, Overloaded, copy_of

Work = TypeVar("Work")
Answer = TypeVar("Answer")


@dataclass(slots=True, eq=False)
class Request(Generic[Work, Answer]):
    """One item on its way through a model.

    alone: it was in a batch that killed its worker; it is tried once more, by itself.
    """

    work: Work
    future: Future[Answer] = field(default_factory=Future)
    arrived: float = field(default_factory=time.monotonic)
    alone: bool = False


class RequestQueue(Generic[Work, Answer]):
    """Thread-safe."""

    def __init__(self, name: str, limit: int, size: Callable[[Work], int] | None = None) -> None:
        """size: of what an item costs, where items differ; None: any may share a batch."""
        self._name = name
        self._limit = limit
        self._size = size
        self._last_was_alone = False
        self._condition = threading.Condition()
        self._waiting: deque[Request[Work, Answer]] = deque()
        self._refusal: DatabaseError | None = None

    def __len__(self) -> int:
        with self._condition:
            return len(self._waiting)

    def put(self, work: Work) -> Future[Answer]:
        """Queue an item. Raises Overloaded where the queue is full, or why it is closed."""
        with self._condition:
            if self._refusal is not None:
                raise copy_of(self._refusal)
            if len(self._waiting) >= self._limit:
                self._forget_cancelled()
            if len(self._waiting) >= self._limit:
                raise Overloaded(f"{self._name} has {self._limit} items waiting; try again later")
            request: Request[Work, Answer] = Request(work)
            self._waiting.append(request)
            self._condition.notify_all()
            return request.future

    def put_back(self, requests: Iterable[Request[Work, Answer]]) -> None:
        """Queue requests that were taken again, before all others, each to be tried alone."""
        back = [*requests]
        for request in back:
            request.alone = True
        with self._condition:
            refusal = self._refusal
            if refusal is None:
                self._waiting.extendleft(reversed(back))
            self._condition.notify_all()
        if refusal is not None:
            for request in back:
                request.future.set_exception(copy_of(refusal))

    def take(
        self,
        most: int,
        max_wait: float,
        give_up: Callable[[], bool],
        busy: Callable[[int], float] = lambda _waiting: 0.0,
    ) -> list[Request[Work, Answer]]:
        """Wait for a request, then up to `max_wait` seconds, counted from its arrival, for more.

        busy: for how many more seconds a batch should rather grow than be handed over, told how
        many wait; a lone request after another counts as a full batch.

        Returns 1 to `most` requests; none where `give_up` became true (see `wake`). With
        `max_wait` 0 a batch is still all that queued up during the last one.
        """
        with self._condition:
            while True:
                self._condition.wait_for(lambda: self._waiting or give_up())
                if give_up():
                    return []
                if not self._waiting[0].alone:
                    self._grow(most, max_wait, give_up, busy)
                    if give_up():
                        return []
                batch = self._pop(most)
                if batch:
                    self._last_was_alone = len(batch) == 1
                    return batch

    def _grow(
        self,
        most: int,
        max_wait: float,
        give_up: Callable[[], bool],
        busy: Callable[[int], float],
    ) -> None:
        while self._waiting and len(self._waiting) < most and not give_up():
            lone = self._last_was_alone and len(self._waiting) == 1
            worth = 0.0 if lone else max_wait
            growing = busy(most if lone else len(self._waiting))
            remaining = max(self._waiting[0].arrived + worth - time.monotonic(), growing)
            if remaining <= 0:
                return
            self._condition.wait(remaining)

    def wake(self) -> None:
        """Have `take` look at `give_up` and `busy` again."""
        with self._condition:
            self._condition.notify_all()

    def refuse(self, error: DatabaseError) -> None:
        """Fail what waits, and all that comes, with `error`, until `accept`."""
        with self._condition:
            self._refusal = error
            waiting, self._waiting = self._waiting, deque()
            self._condition.notify_all()
        for request in waiting:
            if request.alone or request.future.set_running_or_notify_cancel():
                request.future.set_exception(copy_of(error))

    def accept(self) -> None:
        """Take requests again."""
        with self._condition:
            self._refusal = None

    def _forget_cancelled(self) -> None:
        self._waiting = deque(
            request for request in self._waiting if not request.future.cancelled()
        )

    def _pop(self, most: int) -> list[Request[Work, Answer]]:
        if self._size is not None and len(self._waiting) > most:
            self._bring_together(self._size, most)
        batch: list[Request[Work, Answer]] = []
        while self._waiting and len(batch) < most:
            if self._waiting[0].alone:
                return batch or [self._waiting.popleft()]
            request = self._waiting.popleft()
            if request.future.set_running_or_notify_cancel():
                batch.append(request)
        return batch

    def _bring_together(self, size: Callable[[Work], int], most: int) -> None:
        """Put behind the oldest request those nearest to it in size, as many as share its batch."""
        oldest = self._waiting[0]
        if oldest.alone:
            return
        wanted = size(oldest.work)
        others = [
            request for request in self._waiting if not request.alone and request is not oldest
        ]
        others.sort(key=lambda request: abs(size(request.work) - wanted))
        near = {id(request) for request in (oldest, *others[: most - 1])}
        first = [request for request in self._waiting if id(request) in near]
        rest = [request for request in self._waiting if id(request) not in near]
        self._waiting = deque(first + rest)
