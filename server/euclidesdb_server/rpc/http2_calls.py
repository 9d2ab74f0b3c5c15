"""The calls on an HTTP/2 connection: each stream is a call, answered by the `Answerer`.

Unary calls are here, those that stream in `http2_stream_call`.
"""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

import grpc

from euclidesdb_server.errors import DatabaseError, InvalidRequest, Overloaded, ShuttingDown
from euclidesdb_server.rpc.answering import CONTROL_BYTES
from euclidesdb_server.rpc.call import RpcCall
from euclidesdb_server.rpc.caller import Caller
from euclidesdb_server.rpc.framing import MessageReader, inflated, prefix_of, seconds_of
from euclidesdb_server.rpc.http2_bodies import Headers, Reply, StreamedReply
from euclidesdb_server.rpc.http2_connection import Connection
from euclidesdb_server.rpc.http2_shared import Shared
from euclidesdb_server.rpc.http2_statuses import (
    DEADLINE_PASSED,
    GRPC_TYPE,
    REPLY,
    failure_of,
    ok_trailers,
    refusal_headers,
)
from euclidesdb_server.rpc.http2_stream_call import StreamCall
from euclidesdb_server.rpc.methods import Lane, Method
from euclidesdb_server.rpc.request_ids import given_id
from euclidesdb_server.rpc.status import Failure, late_message

_CONTENT_TYPE: Final = re.compile(rb"application/grpc(?:[+;].*)?")
_NOT_POST: Final = Headers([(b":status", b"405")])
_NOT_GRPC: Final = Headers([(b":status", b"415")])


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


class ConnectionCalls:
    """The calls on one connection, by stream."""

    def __init__(self, server: Shared, connection: Connection) -> None:
        self._server = server
        self._connection = connection
        self._now: dict[int, _Incoming] = {}
        self._unread: dict[int, int] = {}
        self._begun: list[int] = []
        self._streams: dict[int, StreamCall] = {}
        self._read: set[StreamCall] = set()

    def headers(self, stream: int, values: dict[bytes, bytes]) -> None:
        """A call begins."""
        if values.get(b":method") != b"POST":
            return self._connection.respond(stream, _NOT_POST)
        content_type = values.get(b"content-type", b"")
        if content_type != GRPC_TYPE and _CONTENT_TYPE.fullmatch(content_type) is None:
            return self._connection.respond(stream, _NOT_GRPC)
        method = self._server.methods.get(values.get(b":path", b""))
        try:
            if method is not None:
                caller = self._admitted(method, values)
                return self._begin_call(stream, method, values, caller)
            failure = Failure(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
        except DatabaseError as error:
            failure = Failure.of(error)
        self._server.answerer.measures.refused(method, failure.code)
        return self._refuse(stream, failure)

    def _admitted(self, method: Method, values: dict[bytes, bytes]) -> Caller:
        """Who makes a call. Raises Overloaded, ShuttingDown, Unauthenticated, RoleRequired."""
        if self._connection.refusal:
            raise Overloaded(self._connection.refusal)
        if self._server.stopping:
            raise ShuttingDown("the server is stopping")
        authorization = values.get(b"authorization")
        return self._server.access.admit(method.path, authorization, self._connection.host)

    def _begin_call(
        self, stream: int, method: Method, values: dict[bytes, bytes], caller: Caller
    ) -> None:
        timeout = values.get(b"grpc-timeout")
        call = RpcCall(None if timeout is None else seconds_of(timeout), caller)
        if b"x-request-id" in values:
            call.given_id = given_id(values[b"x-request-id"])
        if b"traceparent" in values:
            call.traceparent = values[b"traceparent"].decode("latin-1")
        self._server.answerer.measures.begun(method, call)
        encoding = values.get(b"grpc-encoding", b"identity").decode("latin-1")
        if not method.is_unary:
            given = (method.path, values.get(b"authorization"), self._connection.host)
            call.check = functools.partial(self._server.access.admit, *given)
            route = (self._connection, stream)
            self._streams[stream] = StreamCall(self._server, route, method, call, encoding)
            self._read.add(self._streams[stream])
            return
        limit = method.max_bytes(self._server.max_message_bytes)
        self._now[stream] = _Incoming(call, method, encoding, MessageReader(limit))
        self._begun.append(stream)

    def data(self, stream: int, piece: bytes) -> bool:
        """A part of the call's message, or what follows it and is not read."""
        now = self._now.get(stream)
        if now is None or now.message is None:
            if now is None and (streaming := self._streams.get(stream)) is not None:
                streaming.data(piece)
                self._read.add(streaming)
                return False
            return True
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
        return True

    def end(self, stream: int) -> None:
        """The client has sent all that it will send."""
        now = self._now.get(stream)
        if now is not None and now.message is not None:
            self._raised(stream, InvalidRequest("the call ended without a message"))
        elif now is None and (streaming := self._streams.get(stream)) is not None:
            streaming.end()

    def closed(self, stream: int) -> None:
        """The call is answered, or its caller has left."""
        self._cancel(stream)
        self._server.answerer.uncount(self._unread.pop(stream, 0))
        if (streaming := self._streams.pop(stream, None)) is not None:
            streaming.close()

    def lost(self) -> None:
        """The connection is gone, and its callers with it."""
        for stream in [*self._now, *self._unread, *self._streams]:
            self.closed(stream)

    def received(self) -> None:
        """All that has arrived is read: what is missing of a message is waited for."""
        if self._read:
            read, self._read = self._read, set()
            for streaming in read:
                streaming.received()
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

    def unread(self, streams: dict[int, Reply | StreamedReply]) -> None:
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
            self._reply(stream, now, outcome)
            return
        now.task = asyncio.get_running_loop().create_task(outcome)
        self._server.running.add(now.task)
        now.task.add_done_callback(functools.partial(self._ended, stream, now))
        if remaining is not None:
            self._in(remaining, now, self._passed, stream)

    async def _inflate_and_answer(self, now: _Incoming, data: bytes) -> bytes:
        limit = now.method.max_bytes(self._server.max_message_bytes)
        try:
            message = await asyncio.to_thread(inflated, data, now.encoding, limit)
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
                self._reply(stream, of, message)
        if error is not None:
            self._raised(stream, error)

    def _silent(self, stream: int) -> None:
        self._raised(
            stream,
            late_message(self._server.message_timeout),
        )

    def _passed(self, stream: int) -> None:
        self._cancel(stream, DEADLINE_PASSED.code)
        self._refuse(stream, DEADLINE_PASSED)

    def _raised(self, stream: int, error: BaseException) -> None:
        now = self._now.get(stream)
        if now is None:
            self._refuse(stream, failure_of(error, "?"))
        else:
            self._refuse(stream, failure_of(error, now.method.path, now.call.request_id))

    def _reply(self, stream: int, now: _Incoming, message: bytes) -> None:
        now.call.reply_bytes = len(message)
        self._forget(stream, grpc.StatusCode.OK)
        trailers = ok_trailers(now.call.given_id)
        self._connection.respond_with_body(stream, REPLY, (prefix_of(message), message), trailers)

    def _refuse(self, stream: int, failure: Failure) -> None:
        """End a call by headers only, so that its client may try again."""
        self._forget(stream, failure.code)
        self._connection.respond(stream, refusal_headers(failure))

    def _cancel(self, stream: int, status: grpc.StatusCode = grpc.StatusCode.CANCELLED) -> None:
        now = self._now.get(stream)
        if now is not None:
            self._forget(stream, status)
            if now.task is not None:
                now.task.cancel()

    def _forget(self, stream: int, status: grpc.StatusCode) -> None:
        now = self._now.pop(stream, None)
        if now is not None:
            now.stop_timer()
            self._release(now)
            now.call.end(status)

    def _in(self, seconds: float, now: _Incoming, then: Callable[[int], None], stream: int) -> None:
        now.timer = asyncio.get_running_loop().call_later(seconds, then, stream)
