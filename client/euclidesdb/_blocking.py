"""BlockingConnection: the connection of a `Client`. Threads may share it.

Its coroutines block and never suspend. The requests of a stream are made in a thread of gRPC.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from queue import SimpleQueue
from typing import Any, TypeVar, cast

import grpc

from euclidesdb import _checks as checks
from euclidesdb._channel import Target, blocking_channel
from euclidesdb._connection import Connection, StartedCall, Stream
from euclidesdb._operation import iterate, run
from euclidesdb_protos.v1 import database_pb2_grpc as pb_grpc

T = TypeVar("T")


class BlockingConnection(Connection):
    """See `Connection`."""

    def __init__(self, target: Target, timeout: float | None) -> None:
        super().__init__(target, timeout)
        # By process: gRPC's threads are not forked, so a forked process gets a channel of its own.
        # The parent's is kept, as its end would need these threads.
        self._channels: dict[int, tuple[grpc.Channel, Any]] = {}

    async def close(self) -> None:
        """See Connection."""
        self._closed = True
        if (opened := self._channels.get(os.getpid())) is not None:
            opened[0].close()

    async def call(
        self, method: str, request: Any, timeout: float | None, *, file: str = ""
    ) -> Any:
        """See Connection."""
        function = self._method(method)
        try:
            return function(request, timeout=timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            raise self._error(error, file) from None
        except ValueError as error:
            raise self._closed_meanwhile(error) from None

    def start(self, method: str, request: Any, timeout: float | None) -> StartedCall:
        """See Connection."""
        function = self._method(method)
        try:
            started: StartedCall = function.future(
                request, timeout=timeout, metadata=self._metadata
            )
        except ValueError as error:
            raise self._closed_meanwhile(error) from None
        return started

    async def finish(self, started: StartedCall) -> Any:
        """See Connection."""
        try:
            return cast("Any", started).result()
        except grpc.RpcError as error:
            raise self._error(error) from None

    def stream(self, method: str, requests: Any, timeout: float | None) -> Stream:
        """See Connection."""
        function = self._method(method)
        if isinstance(requests, AsyncGenerator):
            requests = iterate(requests)
        try:
            call = function(requests, timeout=timeout, metadata=self._metadata)
        except ValueError as error:
            raise self._closed_meanwhile(error) from None
        return _BlockingStream(call, self._error)

    def queue(self) -> _BlockingQueue:
        """See Connection."""
        return _BlockingQueue()

    def permits(self, count: int) -> _BlockingPermits:
        """See Connection."""
        return _BlockingPermits(count)

    def background(self, name: str, coroutine: Coroutine[Any, Any, None]) -> _Thread:
        """See Connection."""
        return _Thread(name, coroutine)

    async def offload(self, function: Callable[..., T], *arguments: Any) -> T:
        """See Connection."""
        return function(*arguments)

    async def pause(self, seconds: float) -> None:
        """See Connection."""
        time.sleep(seconds)

    def blocking_read(self, stream: Stream) -> Callable[[], Any]:
        """See Connection."""
        return lambda: run(stream.read())

    def each(self, values: Any, name: str, kind: str) -> AsyncGenerator[Any, None]:
        """See Connection."""
        return _each(checks.items(name, values, kind))

    def _method(self, name: str) -> Any:
        """A method of the stub. Raises ClientClosed."""
        self.check_open()
        opened = self._channels.get(os.getpid())
        if opened is None:
            channel = blocking_channel(self.target)
            made = (channel, cast("Any", pb_grpc.FeatureDatabaseStub)(channel))
            opened = self._channels.setdefault(os.getpid(), made)
            if opened is not made:  # another thread was faster
                channel.close()
            elif self._closed:  # by another thread, just now
                channel.close()
                self.check_open()
        return getattr(opened[1], name)

    def _closed_meanwhile(self, error: ValueError) -> Exception:
        """The error to raise for a ValueError of gRPC."""
        # gRPC raises it for a channel that another thread has just closed
        try:
            self.check_open()
        except Exception as closed:  # ClientClosed
            return closed
        return error


class _BlockingStream:
    """See Stream."""

    def __init__(self, call: Any, error: Callable[[grpc.RpcError], Exception]) -> None:
        self._call = call
        self._error = error

    async def read(self) -> Any:
        """See Stream."""
        try:
            return next(self._call)
        except StopIteration:
            return None
        except grpc.RpcError as error:
            raise self._error(error) from None

    def on_end(self, callback: Callable[[], object]) -> None:
        """See Stream."""
        self._call.add_done_callback(lambda _: callback())

    async def close(self) -> None:
        """See Stream."""
        self._call.cancel()


class _Thread:
    """See Background."""

    def __init__(self, name: str, coroutine: Coroutine[Any, Any, None]) -> None:
        self._thread = threading.Thread(target=run, args=[coroutine], name=name, daemon=True)
        self._thread.start()

    async def join(self, timeout: float | None) -> None:
        """See Background."""
        self._thread.join(timeout)

    async def cancel(self) -> None:
        """See Background."""


class _BlockingQueue:
    """See Queue."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[Any] = SimpleQueue()
        self.put = self._queue.put
        self.empty = self._queue.empty

    async def get(self) -> Any:
        """The oldest value."""
        return self._queue.get()


class _BlockingPermits:
    """See Permits."""

    def __init__(self, count: int) -> None:
        self._semaphore = threading.Semaphore(count)
        self.release = self._semaphore.release

    async def acquire(self) -> object:
        """Wait until there is one, and take it."""
        return self._semaphore.acquire()


async def _each(values: Iterable[Any]) -> AsyncGenerator[Any, None]:
    for value in values:
        yield value
