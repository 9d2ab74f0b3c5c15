"""The queue in which requests for one model become batches.

Bounded: a request beyond the limit is refused at once and does not wait. A request whose caller
canceled it is never handed out. Every request that is accepted gets a result, at the latest when
the queue is closed. While the worker is busy a batch grows; if items differ in cost, items of
similar cost share a batch.

Does not know models, torch or processes.
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
Result = TypeVar("Result")


@dataclass(slots=True, eq=False)
class Request(Generic[Work, Result]):
    """One item on its way through a model.

    alone: it was in a batch that killed its worker; it is retried once, in a batch of one.
    """

    work: Work
    future: Future[Result] = field(default_factory=Future)
    arrived: float = field(default_factory=time.monotonic)
    alone: bool = False


class RequestQueue(Generic[Work, Result]):
    """Thread-safe."""

    def __init__(self, name: str, limit: int, cost: Callable[[Work], int] | None = None) -> None:
        """cost: estimates what an item costs; None: all cost the same, and any may share a batch.

        name: begins the message of Overloaded.
        """
        self._name = name
        self._limit = limit
        self._cost = cost
        self._last_was_single = False
        self._condition = threading.Condition()
        self._waiting: deque[Request[Work, Result]] = deque()
        self._refusal: DatabaseError | None = None

    def __len__(self) -> int:
        with self._condition:
            return len(self._waiting)

    def put(self, work: Work) -> Future[Result]:
        """Queue an item. Raises Overloaded if the queue is full, or the error that closed it."""
        with self._condition:
            if self._refusal is not None:
                raise copy_of(self._refusal)
            if len(self._waiting) >= self._limit:
                self._remove_canceled()
            if len(self._waiting) >= self._limit:
                raise Overloaded(f"{self._name} has {self._limit} items waiting; try again later")
            request: Request[Work, Result] = Request(work)
            self._waiting.append(request)
            self._condition.notify_all()
            return request.future

    def put_back(self, requests: Iterable[Request[Work, Result]]) -> None:
        """Queue requests that were handed out, ahead of all others, each in a batch of one."""
        retried = [*requests]
        for request in retried:
            request.alone = True
        with self._condition:
            refusal = self._refusal
            if refusal is None:
                self._waiting.extendleft(reversed(retried))
            self._condition.notify_all()
        if refusal is not None:
            for request in retried:
                request.future.set_exception(copy_of(refusal))

    def take(
        self,
        max_size: int,
        max_wait: float,
        give_up: Callable[[], bool],
        busy: Callable[[int], float] = lambda _waiting: 0.0,
    ) -> list[Request[Work, Result]]:
        """Wait for a request, then up to `max_wait` seconds, counted from its arrival, for more.

        busy: given the number of waiting requests, for how many more seconds the worker is too
        busy to gain from a batch. A single request that follows a single one counts as a full
        batch.

        Returns 1 to `max_size` requests; none if `give_up` became true (see `wake`). With
        `max_wait` 0, a batch is still all that was queued during the last one.
        """
        with self._condition:
            while True:
                self._condition.wait_for(lambda: self._waiting or give_up())
                if give_up():
                    return []
                if not self._waiting[0].alone:
                    self._grow(max_size, max_wait, give_up, busy)
                    if give_up():
                        return []
                batch = self._pop(max_size)
                if batch:
                    self._last_was_single = len(batch) == 1
                    return batch

    def _grow(
        self,
        max_size: int,
        max_wait: float,
        give_up: Callable[[], bool],
        busy: Callable[[int], float],
    ) -> None:
        """Wait until the batch should be handed over, or `give_up` became true."""
        while self._waiting and len(self._waiting) < max_size and not give_up():
            single = self._last_was_single and len(self._waiting) == 1
            wait = 0.0 if single else max_wait
            busy_for = busy(max_size if single else len(self._waiting))
            remaining = max(self._waiting[0].arrived + wait - time.monotonic(), busy_for)
            if remaining <= 0:
                return
            self._condition.wait(remaining)

    def wake(self) -> None:
        """Make `take` evaluate `give_up` and `busy` again."""
        with self._condition:
            self._condition.notify_all()

    def refuse(self, error: DatabaseError) -> None:
        """Fail all waiting and all future requests with `error`, until `accept`."""
        self.fail(self.shut(error), error)

    def shut(self, error: DatabaseError) -> Iterable[Request[Work, Result]]:
        """Fail all future requests with `error`, until `accept`.

        Returns those that wait, to be passed to `fail`. Runs no code of their callers.
        """
        with self._condition:
            self._refusal = error
            waiting, self._waiting = self._waiting, deque()
            self._condition.notify_all()
        return waiting

    @staticmethod
    def fail(requests: Iterable[Request[Work, Result]], error: DatabaseError) -> None:
        """Fail requests that waited; runs the callbacks of their futures."""
        for request in requests:
            if request.alone or request.future.set_running_or_notify_cancel():
                request.future.set_exception(copy_of(error))

    def accept(self) -> None:
        """Accept requests again."""
        with self._condition:
            self._refusal = None

    def _remove_canceled(self) -> None:
        self._waiting = deque(
            request for request in self._waiting if not request.future.cancelled()
        )

    def _pop(self, max_size: int) -> list[Request[Work, Result]]:
        if self._cost is not None and len(self._waiting) > max_size:
            self._move_similar_forward(self._cost, max_size)
        batch: list[Request[Work, Result]] = []
        while self._waiting and len(batch) < max_size:
            if self._waiting[0].alone:
                return batch or [self._waiting.popleft()]
            request = self._waiting.popleft()
            if request.future.set_running_or_notify_cancel():
                batch.append(request)
        return batch

    def _move_similar_forward(self, cost: Callable[[Work], int], max_size: int) -> None:
        """Move the requests nearest in cost to the oldest one forward, so that they share a batch
        with it.
        """
        oldest = self._waiting[0]
        if oldest.alone:
            return
        target = cost(oldest.work)
        others = [
            request for request in self._waiting if not request.alone and request is not oldest
        ]
        others.sort(key=lambda request: abs(cost(request.work) - target))
        similar = {id(request) for request in (oldest, *others[: max_size - 1])}
        first = [request for request in self._waiting if id(request) in similar]
        rest = [request for request in self._waiting if id(request) not in similar]
        self._waiting = deque(first + rest)
