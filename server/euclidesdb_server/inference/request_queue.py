"""The queue in which requests for one model become batches.

Bounded: a request beyond the limit is refused at once and does not wait, unless its caller has only
a few and must go on (an embedding job). A request whose caller canceled it is never handed out.
Every request that is accepted gets a result, at the latest when the queue is closed. While the
worker is busy a batch grows; if items differ in cost, items of similar cost share a batch.

A batch is handed to a taker, a worker's side of the queue, by the thread that makes it due: that of
a caller if the worker is idle, that which received the last results, or the taker's own, which
waits in `take` for what is not due yet. A change of threads takes longer than a small model.

Does not know models, torch or processes.
"""

from __future__ import annotations

import functools
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Generic

from euclidesdb_server.errors import DatabaseError, Overloaded, copy_of
from euclidesdb_server.inference.taker import Request, Result, Taker, Work


class RequestQueue(Generic[Work, Result]):
    """Thread-safe."""

    def __init__(self, name: str, limit: int, cost: Callable[[Work], int] | None = None) -> None:
        """cost: estimates what an item costs; None: all cost the same, and any may share a batch.

        name: begins the message of Overloaded.
        """
        self._name = name
        self._limit = limit
        self._cost = cost
        self._last_size: float = math.inf
        self._lock = threading.Lock()  # itself: `with` a condition takes twice as long
        self._condition = threading.Condition(self._lock)
        self._waiting: deque[Request[Work, Result]] = deque()
        self._refusal: DatabaseError | None = None
        self._takers: list[Taker[Work, Result]] = []
        self._sleeping: dict[Taker[Work, Result], float] = {}
        """Until when each waits in `take`."""
        self._being_sent_to: set[Taker[Work, Result]] = set()
        """Those that another thread sends a batch: it must not wait until `take`'s thread has sent
        one that may block."""

    def __len__(self) -> int:
        with self._lock:
            return len(self._waiting)

    def attach(self, taker: Taker[Work, Result]) -> None:
        """Let callers send their requests to this taker themselves while it is idle."""
        with self._lock:
            self._takers.append(taker)

    def detach(self, taker: Taker[Work, Result]) -> None:
        """Undo `attach`."""
        with self._lock:
            self._takers.remove(taker)

    def put(self, work: Work, *, beyond_limit: bool = False) -> Future[Result]:
        """Queue an item. Raises Overloaded if the queue is full, or the error that closed it.

        beyond_limit: queue it even then, and leave all places of the limit to others.
        """
        with self._lock:
            if self._refusal is not None:
                raise copy_of(self._refusal)
            if not beyond_limit and self._is_full():
                raise Overloaded(f"{self._name} has {self._limit} items waiting; try again later")
            request: Request[Work, Result] = Request(work, beyond_limit=beyond_limit)
            self._waiting.append(request)
            send = next(filter(None, map(self._sending, self._takers)), None)
            if send is None:
                self._wake_sleeping()
        if send is not None:
            send()
        return request.future

    def hand_over(self, taker: Taker[Work, Result]) -> None:
        """After a taker has completed a batch: send it the next one if that is due; wake those
        that wait in `take` if it is not.
        """
        with self._lock:
            send = self._sending(taker)
            if self._waiting:
                self._wake_sleeping()
        if send is not None:
            send()

    def put_back(self, requests: Iterable[Request[Work, Result]]) -> None:
        """Queue requests that were handed out, ahead of all others, each in a batch of one."""
        retried = [*requests]
        for request in retried:
            request.alone = True
        with self._lock:
            refusal = self._refusal
            if refusal is None:
                self._waiting.extendleft(reversed(retried))
            self._condition.notify_all()
        if refusal is not None:
            for request in retried:
                request.future.set_exception(copy_of(refusal))

    def take(
        self, taker: Taker[Work, Result], give_up: Callable[[], bool]
    ) -> tuple[int, list[Request[Work, Result]]] | None:
        """Wait for a request, then up to `max_wait` seconds, counted from its arrival, for more.

        A batch that is as large as the last one does not wait: there may be no more callers.

        Returns the number of a batch that was added to the taker, and its 1 to `max_size`
        requests; None if `give_up` became true (see `wake`). With `max_wait` 0, a batch is still
        all that was queued during the last one.
        """
        with self._lock:
            while not give_up():
                due = self._due_in(taker)
                if due <= 0:
                    taken = self._taken(taker)
                    if taken is not None:
                        return taken
                    continue
                self._sleeping[taker] = time.monotonic() + due
                self._condition.wait(None if due == math.inf else due)
                del self._sleeping[taker]
        return None

    def wake(self) -> None:
        """Make `take` evaluate `give_up` and the taker's state again."""
        with self._lock:
            self._condition.notify_all()

    def refuse(self, error: DatabaseError) -> None:
        """Fail all waiting and all future requests with `error`, until `accept`."""
        self.fail(self.shut(error), error)

    def shut(self, error: DatabaseError) -> Iterable[Request[Work, Result]]:
        """Fail all future requests with `error`, until `accept`.

        Returns those that wait, to be passed to `fail`. Runs no code of their callers.
        """
        with self._lock:
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
        with self._lock:
            self._refusal = None

    def _due_in(self, taker: Taker[Work, Result]) -> float:
        """Seconds until the taker should be given a batch; infinite if something must happen
        before.
        """
        waiting = len(self._waiting)
        if (
            not waiting
            or taker in self._being_sent_to
            or not taker.has_room(alone=self._waiting[0].alone)
        ):
            return math.inf
        if waiting >= taker.max_size or self._waiting[0].alone:
            return 0.0
        is_enough = waiting >= self._last_size
        wait = 0.0 if is_enough else taker.max_wait
        # a single request after a single one counts as a full batch
        busy = taker.busy_for(taker.max_size if is_enough and waiting == 1 else waiting)
        return max(self._waiting[0].arrived + wait - time.monotonic(), busy)

    def _sending(self, taker: Taker[Work, Result]) -> Callable[[], None] | None:
        """What sends an idle taker a batch that is due, and that any thread may send."""
        if (
            not self._waiting
            or not taker.is_idle
            or self._waiting[0].alone
            or self._due_in(taker) > 0
            or taker.may_block(request.work for request in self._waiting)
        ):
            return None
        taken = self._taken(taker)
        if taken is None:
            return None
        self._being_sent_to.add(taker)
        return functools.partial(self._send, taker, *taken)

    def _send(
        self, taker: Taker[Work, Result], number: int, batch: list[Request[Work, Result]]
    ) -> None:
        try:
            taker.send(number, batch)
        finally:
            with self._lock:
                self._being_sent_to.discard(taker)
                if self._waiting:
                    self._wake_sleeping()

    def _taken(self, taker: Taker[Work, Result]) -> tuple[int, list[Request[Work, Result]]] | None:
        """A batch, added to the taker; None if it takes none, or all requests were canceled."""
        batch = self._pop(taker.max_size)
        if not batch:
            return None
        self._last_size = len(batch)
        number = taker.add(batch)
        if number is None:
            for request in batch:
                request.alone = True
            self._waiting.extendleft(reversed(batch))
            return None
        return number, batch

    def _wake_sleeping(self) -> None:
        """Wake the takers in `take` if one of them must wait less long than it meant to."""
        now = time.monotonic()
        for taker, until in self._sleeping.items():
            if now + self._due_in(taker) < until:
                self._condition.notify_all()
                return

    def _is_full(self) -> bool:
        if len(self._waiting) < self._limit:
            return False
        self._remove_canceled()
        return sum(not request.beyond_limit for request in self._waiting) >= self._limit

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
