"""Connection: calls of one server, as operations make them; each raises the client's own errors.

There are two: `BlockingConnection`, whose coroutines block and never suspend, and
`AwaitedConnection`, which needs a running event loop.
"""

from __future__ import annotations

import numbers
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, Final, Protocol, TypeVar

import grpc

from euclidesdb._channel import Target
from euclidesdb._errors import ClientClosed, EuclidesDBError
from euclidesdb._translation import translated

T = TypeVar("T")

BULK_TIMEOUT_FACTOR: Final = 10.0
"""A bulk call does the work of many; its default timeout is this many times the client's."""
MAX_TIMEOUT: Final = 1e9
"""Seconds, 32 years, from which on a timeout is not a limit: gRPC fails with one of 9e9 at once."""


class StartedCall(Protocol):
    """A call in flight; `Connection.finish` waits for its reply."""

    def cancel(self) -> bool:
        """Give the call up."""


class Stream(Protocol):
    """A call that streams its replies. Close it."""

    async def read(self) -> Any:
        """The next reply; None: there are no more. Raises EuclidesDBError."""

    def on_end(self, callback: Callable[[], object]) -> None:
        """Call `callback` when the call ends, for whatever reason."""

    async def close(self) -> None:
        """End the call, and what sends its requests."""


class Queue(Protocol[T]):
    """Values from what sends a stream's requests to what reads its replies."""

    def put(self, value: T) -> None: ...
    def empty(self) -> bool: ...
    async def get(self) -> T: ...


class Permits(Protocol):
    """A semaphore."""

    async def acquire(self) -> object: ...
    def release(self, count: int) -> None: ...


class Background(Protocol):
    """A coroutine that runs by the side of what has begun it."""

    async def join(self, timeout: float | None) -> None:
        """Wait until it has ended, for at most `timeout` seconds; None: no limit."""

    async def cancel(self) -> None:
        """End it, if it is a task; a thread ends by itself."""


class Connection(ABC):
    """A connection to one server, which opens when it is first used, and whether it is closed.

    timeout: seconds that a call may take unless it has its own timeout; None: no limit.
    """

    def __init__(self, target: Target, timeout: float | None) -> None:
        self.target = target
        self.timeout = _seconds(timeout)
        self._metadata = target.credentials.metadata
        self._closed = False

    @property
    def is_closed(self) -> bool:
        """Whether `close` has been called."""
        return self._closed

    def check_open(self) -> None:
        """Raise ClientClosed if `close` has been called."""
        if self._closed:
            raise ClientClosed("this client is closed; open another", reason="client_closed")

    def call_timeout(self, timeout: float | None) -> float | None:
        """The seconds that a call may take; None: no limit. timeout: None: the client's."""
        return self.timeout if timeout is None else _seconds(timeout)

    def bulk_timeout(self, timeout: float | None) -> float | None:
        """As `call_timeout`, for a bulk call."""
        if timeout is not None:
            return _seconds(timeout)
        return None if self.timeout is None else _seconds(BULK_TIMEOUT_FACTOR * self.timeout)

    def stream_timeout(self, timeout: float | None) -> float | None:
        """As `call_timeout`, for a stream, which has no limit by default."""
        return None if timeout is None else _seconds(timeout)

    @abstractmethod
    async def close(self) -> None:
        """End the calls in progress and the connection. May be called again."""

    @abstractmethod
    async def call(
        self, method: str, request: Any, timeout: float | None, *, file: str = ""
    ) -> Any:
        """Make one call of at most `timeout` seconds, retries included; returns the reply.

        file: the name of the image file in the request, for errors about what it contains.
        """

    @abstractmethod
    def start(self, method: str, request: Any, timeout: float | None) -> StartedCall:
        """Begin a call of at most `timeout` seconds; `finish` waits for its reply."""

    @abstractmethod
    async def finish(self, started: StartedCall) -> Any:
        """Wait for the reply to a call that `start` began."""

    @abstractmethod
    def stream(self, method: str, requests: Any, timeout: float | None) -> Stream:
        """Begin a call that streams its replies.

        requests: an asynchronous generator of them if it streams these, too; else the request.
        """

    @abstractmethod
    def queue(self) -> Queue[Any]:
        """A queue between the requests of a stream and its replies."""

    @abstractmethod
    def permits(self, count: int) -> Permits:
        """A semaphore between the requests of a stream and its replies."""

    @abstractmethod
    def background(self, name: str, coroutine: Coroutine[Any, Any, None]) -> Background:
        """Begin a coroutine in a thread or task of its own."""

    @abstractmethod
    async def offload(self, function: Callable[..., T], *arguments: Any) -> T:
        """The result of a function that blocks: reads or writes a file, encodes an image."""

    @abstractmethod
    async def pause(self, seconds: float) -> None:
        """Wait so long."""

    @abstractmethod
    def blocking_read(self, stream: Stream) -> Callable[[], Any]:
        """`stream.read` for a function that is offloaded."""

    @abstractmethod
    def each(self, values: Any, name: str, kind: str) -> AsyncGenerator[Any, None]:
        """What an iterable, or for an `AsyncClient` also an asynchronous one, yields.

        name: of the argument; kind: what the values should be. Raises TypeError at once.
        """

    def _error(self, error: grpc.RpcError, file: str = "") -> EuclidesDBError:
        """The client's own error for one that a call raised."""
        return translated(error, closed=self._closed, target=self.target, file=file)


def _seconds(timeout: float | None) -> float | None:
    """`timeout` as gRPC takes it; None: no limit."""
    if timeout is None:
        return None
    if not isinstance(timeout, numbers.Real) or isinstance(timeout, bool):
        raise TypeError(
            f"timeout must be a number of seconds or None, not {type(timeout).__name__}: "
            f"{timeout!r}"
        )
    if not timeout > 0:
        raise ValueError(f"timeout must be a positive number of seconds or None, not {timeout!r}")
    return float(timeout) if timeout < MAX_TIMEOUT else None
