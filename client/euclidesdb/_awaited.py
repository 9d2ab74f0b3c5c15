"""AwaitedConnection: the connection of an `AsyncClient`, over gRPC's channels for asyncio.

A task that is cancelled cancels its call. What blocks is done in asyncio's threads.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Coroutine, Iterable
from contextlib import aclosing, suppress
from typing import Any, TypeVar, cast
from weakref import WeakKeyDictionary

import grpc

from euclidesdb import _checks as checks
from euclidesdb._channel import Target, awaited_channel
from euclidesdb._connection import Connection, StartedCall, Stream
from euclidesdb._errors import Cancelled
from euclidesdb_protos.v1 import database_pb2_grpc as pb_grpc

T = TypeVar("T")

_processes: set[int] = set()
"""The process that has used gRPC's asyncio."""


class AwaitedConnection(Connection):
    """See `Connection`. Each event loop that uses it has a channel of its own."""

    def __init__(self, target: Target, timeout: float | None) -> None:
        super().__init__(target, timeout)
        self._channels: WeakKeyDictionary[
            asyncio.AbstractEventLoop, tuple[grpc.aio.Channel, Any]
        ] = WeakKeyDictionary()

    async def close(self) -> None:
        """See Connection."""
        self._closed = True
        for loop, (channel, _) in list(self._channels.items()):
            if _processes != {os.getpid()} or loop.is_closed():
                continue
            if loop is asyncio.get_running_loop():
                await channel.close()
            else:
                asyncio.run_coroutine_threadsafe(channel.close(), loop)

    async def call(
        self, method: str, request: Any, timeout: float | None, *, file: str = ""
    ) -> Any:
        """See Connection."""
        return await self.reply(
            self._method(method)(request, timeout=timeout, metadata=self._metadata), file
        )

    def start(self, method: str, request: Any, timeout: float | None) -> StartedCall:
        """See Connection."""
        started: StartedCall = self._method(method)(
            request, timeout=timeout, metadata=self._metadata
        )
        return started

    async def finish(self, started: StartedCall) -> Any:
        """See Connection."""
        return await self.reply(cast("Any", started), "")

    def stream(self, method: str, requests: Any, timeout: float | None) -> Stream:
        """See Connection."""
        function = self._method(method)
        if not isinstance(requests, AsyncGenerator):
            return _AwaitedStream(
                function(requests, timeout=timeout, metadata=self._metadata), self, None
            )
        call = function(timeout=timeout, metadata=self._metadata)
        feeder = asyncio.get_running_loop().create_task(_feed(call, requests))
        return _AwaitedStream(call, self, feeder)

    def queue(self) -> _AwaitedQueue:
        """See Connection."""
        return _AwaitedQueue()

    def permits(self, count: int) -> _AwaitedPermits:
        """See Connection."""
        return _AwaitedPermits(count)

    def background(self, name: str, coroutine: Coroutine[Any, Any, None]) -> _Task:
        """See Connection."""
        return _Task(asyncio.get_running_loop().create_task(coroutine, name=name))

    async def offload(self, function: Callable[..., T], *arguments: Any) -> T:
        """See Connection."""
        return await asyncio.to_thread(function, *arguments)

    async def pause(self, seconds: float) -> None:
        """See Connection."""
        await asyncio.sleep(seconds)

    def blocking_read(self, stream: Stream) -> Callable[[], Any]:
        """See Connection."""
        loop = asyncio.get_running_loop()
        return lambda: asyncio.run_coroutine_threadsafe(stream.read(), loop).result()

    def each(self, values: Any, name: str, kind: str) -> AsyncGenerator[Any, None]:
        """See Connection."""
        return _each(
            values if isinstance(values, AsyncIterable) else checks.items(name, values, kind)
        )

    async def reply(self, answer: Any, file: str = "") -> Any:
        """What a call of gRPC answers. Raises EuclidesDBError."""
        try:
            return await answer
        except grpc.RpcError as error:
            raise self._error(error, file) from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._closed and task is not None and not task.cancelling():
                raise Cancelled("the client was closed during the call", "cancelled") from None
            raise

    def _begun(self, method: str, request: Any, timeout: float | None) -> Any:
        """A call of gRPC, which has begun."""
        return self._method(method)(request, timeout=timeout, metadata=self._metadata)

    def _method(self, name: str) -> Any:
        """A method of the stub. Raises ClientClosed."""
        self.check_open()
        _check_not_forked()
        loop = asyncio.get_running_loop()
        opened = self._channels.get(loop)
        if opened is None:
            channel = awaited_channel(self.target)
            stub = cast("Any", pb_grpc.FeatureDatabaseStub)(channel)
            opened = self._channels[loop] = (channel, stub)
        return getattr(opened[1], name)


class _AwaitedStream:
    """See Stream. feeder: the task that sends the requests."""

    def __init__(
        self, call: Any, connection: AwaitedConnection, feeder: asyncio.Task[None] | None
    ) -> None:
        self._call = call
        self._connection = connection
        self._feeder = feeder

    async def read(self) -> Any:
        """See Stream."""
        reply = await self._connection.reply(self._call.read())
        return None if reply is grpc.aio.EOF else reply

    def on_end(self, callback: Callable[[], object]) -> None:
        """See Stream."""
        self._call.add_done_callback(lambda _: callback())

    async def close(self) -> None:
        """See Stream."""
        self._call.cancel()
        if self._feeder is not None:
            self._feeder.cancel()
            await asyncio.wait([self._feeder])


class _Task:
    """See Background."""

    def __init__(self, task: asyncio.Task[None]) -> None:
        self._task = task

    async def join(self, timeout: float | None) -> None:
        """See Background."""
        await asyncio.wait([self._task], timeout=timeout)

    async def cancel(self) -> None:
        """See Background."""
        self._task.cancel()
        await asyncio.wait([self._task])


class _AwaitedQueue:
    """See Queue."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Any] = asyncio.Queue()
        self.put = self._queue.put_nowait
        self.empty = self._queue.empty
        self.get = self._queue.get


class _AwaitedPermits:
    """See Permits."""

    def __init__(self, count: int) -> None:
        self._semaphore = asyncio.Semaphore(count)
        self.acquire = self._semaphore.acquire

    def release(self, count: int) -> None:
        """Give back so many."""
        for _ in range(count):
            self._semaphore.release()


async def _feed(call: Any, requests: AsyncGenerator[Any, None]) -> None:
    """Send the requests of a stream. What ends the call is for its reader."""
    async with aclosing(requests):
        with suppress(grpc.RpcError, asyncio.InvalidStateError):
            async for request in requests:
                await call.write(request)
            await call.done_writing()


async def _each(values: AsyncIterable[Any] | Iterable[Any]) -> AsyncGenerator[Any, None]:
    if isinstance(values, AsyncIterable):
        async for value in values:
            yield value
    else:
        for value in values:
            yield value


def _check_not_forked() -> None:
    """Raise RuntimeError in a process that was forked from one that has used gRPC's asyncio.

    gRPC has one thread for all event loops, which is not forked: calls would wait forever.
    """
    _processes.add(os.getpid())
    if len(_processes) > 1:
        _processes.remove(os.getpid())
        raise RuntimeError(
            "this process was forked from one that has used an AsyncClient, where gRPC cannot "
            "serve asyncio: use a Client in it, or start it without fork "
            '(multiprocessing.get_context("spawn"))'
        )
