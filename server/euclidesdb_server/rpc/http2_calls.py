"""The calls on HTTP/2 connections: each stream is a call, answered by the `Answerer`."""

from __future__ import annotations

import asyncio
import functools
import re
import time
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, Final

import grpc

from euclidesdb_server.config.server import ServerConfig
from euclidesdb_server.errors import DeadlineExceeded, InvalidRequest, Overloaded, ShuttingDown
from euclidesdb_server.rpc import nghttp2
from euclidesdb_server.rpc.answering import CONTROL_BYTES, Answerer
from euclidesdb_server.rpc.call import RpcCall
from euclidesdb_server.rpc.connection_limit import ConnectionLimit
from euclidesdb_server.rpc.framing import (
    ENCODINGS,
    FramingError,
    MessageReader,
    inflated,
    prefix_of,
    seconds_of,
    status_headers,
)
from euclidesdb_server.rpc.http2_connection import Connection
from euclidesdb_server.rpc.methods import Lane, Method
from euclidesdb_server.rpc.status import Failure

_GRPC_TYPE: Final = b"application/grpc"
_CONTENT_TYPE: Final = re.compile(rb"application/grpc(?:[+;].*)?")
_GRPC: Final = ((b":status", b"200"), (b"content-type", _GRPC_TYPE))
_REPLY: Final = nghttp2.Headers(_GRPC)
_OK: Final = nghttp2.Headers([(b"grpc-status", b"0")])
_NOT_POST: Final = nghttp2.Headers([(b":status", b"405")])
_NOT_GRPC: Final = nghttp2.Headers([(b":status", b"415")])
STOP_INTERVAL: Final = 0.005
"""Seconds between looks whether all calls have been answered, when the server stops."""


class Http2Calls:
    """The calls of one server. All but the construction happens on the event loop."""

    def __init__(self, methods: Iterable[Method], answerer: Answerer, config: ServerConfig) -> None:
        self.methods = {method.path.encode(): method for method in methods}
        self.answerer = answerer
        self.message_timeout = config.message_timeout
        self.max_message_bytes = config.max_message_bytes
        self.stopping = False
        self.running: set[asyncio.Task[bytes]] = set()
        self._connections: set[Connection] = set()
        self._refused: set[Connection] = set()
        self._limit = ConnectionLimit(config.max_connections)

    def connection(self) -> Connection:
        """The protocol of one more connection."""
        refusal = self._limit.refusal(len(self._connections))
        group = self._refused if refusal else self._connections
        return Connection(functools.partial(_Calls, self), group, self.message_timeout, refusal)

    async def stop(self, grace: float) -> None:
        """Refuse new calls; return when the running ones have been answered, and the replies read.

        What still runs `grace` seconds later is refused, too, and what is unread is lost.
        """
        self.stopping = True
        for connection in [*self._connections, *self._refused]:
            connection.go_away()
        until = time.monotonic() + grace
        while time.monotonic() < until and (
            self.running or any(each.is_sending() for each in self._connections)
        ):
            await asyncio.sleep(STOP_INTERVAL)
        connections = [*self._connections, *self._refused]  # and those that were just accepted
        ended = [*self.running]
        for task in ended:
            task.cancel()
        await asyncio.gather(*ended, return_exceptions=True)
        await asyncio.gather(*(each.close() for each in connections))


@dataclass(slots=True)
class _Incoming:
    """A call that is not answered yet.

    message: None once it is complete. held: the bytes counted of one that is still arriving.
    """

    call: RpcCall
    method: Method
    encoding: str
    message: MessageReader | None
    task: asyncio.Task[bytes] | None = None
    timer: asyncio.TimerHandle | None = None
    held: int = 0

    def stop_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


class _Calls:
    """The calls on one connection, by stream."""

    def __init__(self, server: Http2Calls, connection: Connection) -> None:
        self._server = server
        self._connection = connection
        self._now: dict[int, _Incoming] = {}
        self._unread: dict[int, int] = {}
        self._begun: list[int] = []

    def headers(self, stream: int, values: dict[bytes, bytes]) -> None:
        """A call begins."""
        if values.get(b":method") != b"POST":
            return self._connection.respond(stream, _NOT_POST)
        content_type = values.get(b"content-type", b"")
        if content_type != _GRPC_TYPE and _CONTENT_TYPE.fullmatch(content_type) is None:
            return self._connection.respond(stream, _NOT_GRPC)
        if self._connection.refusal:
            return self._refuse(stream, Failure.of(Overloaded(self._connection.refusal)))
        method = self._server.methods.get(values.get(b":path", b""))
        if method is None:
            return self._refuse(stream, Failure(grpc.StatusCode.UNIMPLEMENTED, "Method not found!"))
        if self._server.stopping:
            return self._refuse(stream, Failure.of(ShuttingDown("the server is stopping")))
        timeout = values.get(b"grpc-timeout")
        self._now[stream] = _Incoming(
            RpcCall(None if timeout is None else seconds_of(timeout)),
            method,
            values.get(b"grpc-encoding", b"identity").decode("latin-1"),
            MessageReader(self._server.max_message_bytes),
        )
        self._begun.append(stream)
        return None

    def data(self, stream: int, piece: bytes) -> None:
        """A part of the call's message, or what follows it and is not read."""
        now = self._now.get(stream)
        if now is None or now.message is None:
            return
        try:
            data = now.message.take(piece)
            compressed = now.message.compressed
            if data is None or compressed:
                self._hold(now, now.message.received, len(piece))
            else:
                self._release(now)
            if data is not None:
                now.message = None
                now.stop_timer()
                self._begin(stream, now, data, compressed=compressed)
        except Exception as error:  # the outermost frame of our code in this call
            self._raised(stream, error)

    def end(self, stream: int) -> None:
        """The client has sent all that it will send."""
        now = self._now.get(stream)
        if now is not None and now.message is not None:
            self._raised(stream, InvalidRequest("the call ended without a message"))

    def closed(self, stream: int) -> None:
        """The call is answered, or its caller has left."""
        self._cancel(stream)
        self._server.answerer.uncount(self._unread.pop(stream, 0))

    def lost(self) -> None:
        """The connection is gone, and its callers with it."""
        for stream in [*self._now, *self._unread]:
            self.closed(stream)

    def received(self) -> None:
        """All that has arrived is read: what is missing of a message is waited for."""
        begun, self._begun = self._begun, []
        for stream in begun:
            now = self._now.get(stream)
            if now is None or now.message is None:
                continue
            timeout = self._server.message_timeout
            remaining = now.call.time_remaining()
            if remaining is not None and remaining < timeout:
                self._in(remaining, now, self._passed, stream)
            else:
                self._in(timeout, now, self._silent, stream)

    def unread(self, streams: dict[int, nghttp2.Reply]) -> None:
        """These replies wait for their clients: they count until they are read."""
        for stream in streams.keys() - self._unread.keys():
            self._unread[stream] = len(streams[stream].rest)
            self._server.answerer.count(self._unread[stream])

    def _hold(self, now: _Incoming, received: int, size: int) -> None:
        """Count a piece of `size` bytes. Raises Overloaded."""
        if now.method.lane is Lane.CALLS or received > CONTROL_BYTES:
            self._server.answerer.hold(size, now.held)
            now.held += size

    def _release(self, now: _Incoming) -> None:
        self._server.answerer.release(now.held)
        now.held = 0

    def _begin(self, stream: int, now: _Incoming, data: bytes, *, compressed: bool) -> None:
        remaining = now.call.time_remaining()
        if remaining == 0:
            self._passed(stream)
            return
        if compressed:
            outcome: bytes | Coroutine[Any, Any, bytes] = self._inflate_and_answer(now, data)
        else:
            outcome = self._server.answerer.begin(now.method, data, now.call)
        if isinstance(outcome, bytes):
            self._reply(stream, outcome)
            return
        now.task = asyncio.get_running_loop().create_task(outcome)
        self._server.running.add(now.task)
        now.task.add_done_callback(functools.partial(self._ended, stream, now))
        if remaining is not None:
            self._in(remaining, now, self._passed, stream)

    async def _inflate_and_answer(self, now: _Incoming, data: bytes) -> bytes:
        try:
            message = await asyncio.to_thread(
                inflated, data, now.encoding, self._server.max_message_bytes
            )
        finally:
            self._release(now)
        return await self._server.answerer.answer(now.method, message, now.call)

    def _ended(self, stream: int, of: _Incoming, task: asyncio.Task[bytes]) -> None:
        """The task of a call is done; the call may be over already."""
        self._server.running.discard(task)
        error = ShuttingDown("the server has stopped") if task.cancelled() else task.exception()
        if of is not self._now.get(stream):
            return
        if error is None:
            message = task.result()
            try:
                self._server.answerer.check_reply(of.method, len(message))
            except Overloaded as overloaded:
                error = overloaded
            else:
                self._reply(stream, message)
        if error is not None:
            self._raised(stream, error)

    def _silent(self, stream: int) -> None:
        self._raised(
            stream,
            DeadlineExceeded(
                "the call's message did not arrive within [server] message_timeout = "
                f"{self._server.message_timeout:g} s"
            ),
        )

    def _passed(self, stream: int) -> None:
        self._cancel(stream)
        self._refuse(stream, Failure(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded"))

    def _raised(self, stream: int, error: BaseException) -> None:
        if isinstance(error, FramingError):
            return self._refuse(stream, error.failure)
        if not isinstance(error, Exception):  # of the interpreter: not ours to answer
            raise error
        now = self._now.get(stream)
        path = "?" if now is None else now.method.path
        return self._refuse(stream, Failure.of_call(error, path))

    def _reply(self, stream: int, message: bytes) -> None:
        self._forget(stream)
        self._connection.respond_with_body(stream, _REPLY, (prefix_of(message), message), _OK)

    def _refuse(self, stream: int, failure: Failure) -> None:
        """End a call by headers only, so that its client may try again."""
        self._forget(stream)
        accepts = (b"grpc-accept-encoding", ENCODINGS)
        self._connection.respond(
            stream, nghttp2.Headers([*_GRPC, *status_headers(failure), accepts])
        )

    def _cancel(self, stream: int) -> None:
        now = self._now.get(stream)
        if now is not None:
            self._forget(stream)
            if now.task is not None:
                now.task.cancel()

    def _forget(self, stream: int) -> None:
        now = self._now.pop(stream, None)
        if now is not None:
            now.stop_timer()
            self._release(now)
            now.call.end()

    def _in(self, seconds: float, now: _Incoming, then: Callable[[int], None], stream: int) -> None:
        now.timer = asyncio.get_running_loop().call_later(seconds, then, stream)
