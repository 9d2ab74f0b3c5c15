"""StreamCall: a call by HTTP/2 that streams its requests, its replies or both.

The client may send as much as the handler takes, and STREAM_WINDOW more; the handler makes as many
replies as the client reads, and MAX_UNREAD_BYTES more. Between two messages a stream may be idle,
but the parts of one must arrive in time.
"""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import grpc
from google.protobuf.message import Message

from euclidesdb_server.errors import Overloaded, ShuttingDown
from euclidesdb_server.rpc.answers import parsed
from euclidesdb_server.rpc.call import RpcCall
from euclidesdb_server.rpc.framing import (
    PREFIX_BYTES,
    FramingError,
    MessagesReader,
    inflated,
    prefix_of,
)
from euclidesdb_server.rpc.http2_connection import Connection
from euclidesdb_server.rpc.http2_shared import Shared
from euclidesdb_server.rpc.http2_statuses import (
    DEADLINE_PASSED,
    OK_WITHOUT_REPLIES,
    REPLY,
    failure_of,
    failure_trailers,
    ok_trailers,
    refusal_headers,
)
from euclidesdb_server.rpc.methods import Method
from euclidesdb_server.rpc.reply_stream import ReplyStream
from euclidesdb_server.rpc.request_stream import RequestStream
from euclidesdb_server.rpc.status import Failure, late_message


class StreamCall:
    """One call, from its headers until `close`. For the event loop's thread."""

    def __init__(
        self,
        server: Shared,
        route: tuple[Connection, int],
        method: Method,
        call: RpcCall,
        encoding: str,
    ) -> None:
        """route: the connection and its stream. encoding: of messages that are compressed."""
        self._server = server
        self._connection, self._stream = route
        self._method = method
        self._call = call
        self._encoding = encoding
        self._max_bytes = method.max_bytes(server.max_message_bytes)
        self._reader = MessagesReader(self._max_bytes)
        self._owed = 0  # bytes that have arrived, and that the client may not yet send again
        self._reads = True
        self._has_sent = False
        self._is_over = False
        self._timer: asyncio.TimerHandle | None = None
        loop = asyncio.get_running_loop()
        answerer = server.answerer
        self._requests = RequestStream(answerer, self._message, self.received)
        self._replies = ReplyStream(
            answerer, functools.partial(answerer.check_reply, method), self._send
        )
        self._task = loop.create_task(
            answerer.answer_stream(method, self._requests, self._replies, call)
        )
        server.running.add(self._task)
        self._task.add_done_callback(self._ended)
        remaining = call.time_remaining()
        self._deadline = None if remaining is None else loop.call_later(remaining, self._passed)

    def data(self, piece: bytes) -> None:
        """A part of the requests. `received` follows."""
        self._owed += len(piece)
        if not self._reads:
            return
        try:
            self._requests.hold(len(piece))
            for data, is_compressed in self._reader.take(piece):
                self._stop_timer()
                self._requests.put(
                    data, counted=PREFIX_BYTES + len(data), is_compressed=is_compressed
                )
                if not self._method.streams_requests:
                    self._end_requests()
                    break
        except (FramingError, Overloaded) as error:
            self._end_requests(error)

    def end(self) -> None:
        """The client has sent all that it will send."""
        incomplete = self._reader.incomplete
        if self._reads and incomplete:
            code = grpc.StatusCode.INTERNAL
            self._end_requests(
                FramingError(code, f"the call ended after {incomplete} bytes of a message")
            )
        elif self._reads:
            self._end_requests()

    def received(self) -> None:
        """What has arrived is read, or the handler has taken some of it: ask for more."""
        if self._is_over:
            return
        waiting = self._requests.waiting_bytes
        incomplete = self._reader.incomplete
        # while requests wait, the rest of the next one may not be permitted to come
        kept = waiting + incomplete if waiting else 0
        if self._reads and self._owed > kept:
            size, self._owed = self._owed - kept, kept
            self._connection.take(self._stream, size)
        is_awaited = (
            self._reads and not waiting and (incomplete or not self._method.streams_requests)
        )
        if not is_awaited:
            self._stop_timer()
        elif self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._server.message_timeout, self._silent)

    def close(self) -> None:
        """The call is answered, or its caller has left."""
        self._end()
        self._task.cancel()
        self._replies.close()

    def _message(self, data: bytes, is_compressed: bool) -> tuple[Message, int]:
        """A request that has arrived, and its size. In a thread of its handler."""
        if is_compressed:
            data = inflated(data, self._encoding, self._max_bytes)
        return parsed(self._method, data), len(data)

    def _end_requests(self, error: Exception | None = None) -> None:
        self._reads = False
        self._stop_timer()
        self._requests.end(error)

    def _send(self, replies: list[bytes]) -> None:
        if self._is_over:
            return
        self._has_sent = True
        part = b"".join([part for reply in replies for part in (prefix_of(reply), reply)])
        self._connection.stream(self._stream, REPLY, part, self._replies.taken)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._server.running.discard(task)
        if self._is_over:
            return
        error = ShuttingDown("the server has stopped") if task.cancelled() else task.exception()
        self._replies.flush()
        self._finish(
            None if error is None else failure_of(error, self._method.path, self._call.request_id)
        )

    def _finish(self, failure: Failure | None) -> None:
        """End the call after the replies that have been sent."""
        self._end(grpc.StatusCode.OK if failure is None else failure.code)
        if self._has_sent:
            given_id = self._call.given_id
            trailers = ok_trailers(given_id) if failure is None else failure_trailers(failure)
            self._connection.end(self._stream, trailers)
        else:
            headers = OK_WITHOUT_REPLIES if failure is None else refusal_headers(failure)
            self._connection.respond(self._stream, headers)

    def _passed(self) -> None:
        if not self._is_over:
            self._finish(DEADLINE_PASSED)
            self._task.cancel()

    def _silent(self) -> None:
        self._timer = None
        self._end_requests(late_message(self._server.message_timeout))

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self, status: grpc.StatusCode = grpc.StatusCode.CANCELLED) -> None:
        """Nothing more is read or made."""
        self._is_over, self._reads = True, False
        self._stop_timer()
        if self._deadline is not None:
            self._deadline.cancel()
        self._requests.close()
        self._call.end(status)
