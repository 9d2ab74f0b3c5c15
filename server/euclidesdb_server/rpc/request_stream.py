"""RequestStream: the requests of a call, from its transport to its handler, as they arrive.

The transport, on the event loop, puts in what has arrived and reads no further than `is_empty`
permits. The handler takes the requests, in any thread. Their bytes count for [server]
max_bytes_in_flight until it has finished with them.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final, Protocol

from google.protobuf.message import Message

from euclidesdb_server.database.steps import Wait
from euclidesdb_server.errors import InvalidRequest, Overloaded
from euclidesdb_server.rpc.framing import PREFIX_BYTES

REQUEST_BYTES: Final = 64
"""Counted for each request in addition to its own: a hostile client sends millions of empty
ones."""


class Budget(Protocol):
    """What counts the bytes of all requests."""

    def hold(self, size: int, held: int) -> None:
        """Count bytes, unless there are too many. Raises Overloaded.

        held: what has been counted of the same call. If that is all, any number may be added.
        """

    def release(self, size: int) -> None:
        """Count bytes no more."""


class RequestStream:
    """The requests of one call. Iterating asynchronously gives them one by one, as messages.

    A request counts as finished when the next one is asked for; a handler that works on several
    uses `arrival`, `take` and `finished`.
    """

    def __init__(
        self,
        budget: Budget,
        read: Callable[[bytes, bool], tuple[Message, int]],
        on_taken: Callable[[], None],
    ) -> None:
        """For the running event loop.

        read: makes a message of bytes, which may be compressed, in the handler's thread; returns
        the size of those that it was parsed from, too. on_taken: called on the loop after requests
        have been taken.
        """
        self._loop = asyncio.get_running_loop()
        self._budget = budget
        self._read = read
        self._on_taken = on_taken
        self._lock = threading.Lock()
        self._waiting: deque[tuple[bytes, bool]] = deque()
        self._waiting_bytes = 0
        self._over = False
        self._error: BaseException | None = None
        self._arrival: Future[None] | None = None
        self._held = 0  # counted by the budget
        self._change = 0  # of what is held, to be passed to the budget
        self._notified = False
        self._is_closed = False
        self._iterated = 0  # the size of what was returned last

    # for the transport

    def hold(self, size: int) -> None:
        """Count bytes that arrive. Raises Overloaded."""
        # a request that is the only one may have any size, but not a queue of them
        self._budget.hold(size, -1 if self._waiting else self._held)
        self._held += size

    def put(self, data: bytes, *, counted: int = 0, is_compressed: bool = False) -> None:
        """A request has arrived; what is after the end is dropped.

        counted: bytes of it that have been passed to `hold`. Raises Overloaded.
        """
        if self._over:
            return
        self.hold(len(data) + REQUEST_BYTES - counted)
        with self._lock:
            self._waiting.append((data, is_compressed))
            self._waiting_bytes += PREFIX_BYTES + len(data)
            arrival, self._arrival = self._arrival, None
        if arrival is not None:
            arrival.set_result(None)

    def end(self, error: BaseException | None = None) -> None:
        """Nothing more comes. error: why, if something is wrong: raised after what has arrived."""
        with self._lock:
            if self._over:
                return
            self._over, self._error = True, error
            arrival, self._arrival = self._arrival, None
        if arrival is not None:
            arrival.set_result(None)

    def close(self) -> None:
        """The call is over: give back what is counted. Called on the loop."""
        self.end()
        with self._lock:
            self._waiting.clear()
            self._waiting_bytes = 0
            held, self._held = self._held, 0
            self._is_closed = True
        self._budget.release(held)

    @property
    def waiting_bytes(self) -> int:
        """Of requests that have arrived and have not been taken, with what is before each."""
        return self._waiting_bytes

    def is_empty(self) -> bool:
        """Whether the handler has taken all that has arrived."""
        return not self._waiting

    # for the handler

    def arrival(self) -> Future[None]:
        """Done when `take` returns a request or raises, or `is_over`."""
        with self._lock:
            if self._arrival is None:
                arrival: Future[None] = Future()
                if not (self._waiting or self._over):
                    self._arrival = arrival
                    return arrival
            else:
                return self._arrival
        arrival.set_result(None)
        return arrival

    def take(self) -> tuple[Any, int] | None:
        """The next request and its size in bytes, if one has arrived.

        Raises InvalidRequest for bytes that are not a request, and the transport's error once all
        before it are taken.
        """
        with self._lock:
            if not self._waiting:
                if self._error is not None:
                    raise self._error
                return None
            data, is_compressed = self._waiting.popleft()
            self._waiting_bytes -= PREFIX_BYTES + len(data)
        try:
            message, size = self._read(data, is_compressed)
        except Exception:
            self._changed(-len(data) - REQUEST_BYTES)
            raise
        self._changed(size - len(data))
        return message, size + REQUEST_BYTES

    def finished(self, size: int) -> None:
        """Count the bytes of a request that was taken no more."""
        self._changed(-size)

    def is_over(self) -> bool:
        """Whether all has been taken, and the client has ended the stream."""
        return self._over and not self._waiting and self._error is None

    async def only(self) -> Any:
        """The first request, of a method that takes one. Raises InvalidRequest if there is none."""
        async for request in self:
            self.finished(self._iterated)
            self._iterated = 0
            return request
        raise InvalidRequest("the call ended without a message")

    def __aiter__(self) -> RequestStream:
        return self

    async def __anext__(self) -> Any:
        if self._iterated:
            self.finished(self._iterated)
            self._iterated = 0
        while (taken := self.take()) is None:
            if self.is_over():
                raise StopAsyncIteration
            await Wait(self.arrival(), None)
        message, self._iterated = taken
        return message

    def _changed(self, size: int) -> None:
        """Tell the loop that something was taken, and by how much more or less is held."""
        with self._lock:
            self._change += size
            if self._notified or self._is_closed:
                return
            self._notified = True
        self._loop.call_soon_threadsafe(self._update)

    def _update(self) -> None:
        with self._lock:
            self._notified = False
            change, self._change = self._change, 0
            if self._is_closed:
                return
        try:
            if change > 0:
                self.hold(change)
            elif change < 0:
                self._held += change
                self._budget.release(-change)
        except Overloaded as error:
            with self._lock:
                self._waiting.clear()
                self._waiting_bytes = 0
            self.end(error)
        self._on_taken()
