"""EnvoyCalls: the calls that Envoy hands over, each on one of its connections, one at a time.

When a caller leaves or its connection is lost, Envoy closes the connection that its call is on, so
a call is cancelled at once.
"""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, Final, cast

import grpc

from euclidesdb_server.config.server import ServerConfig
from euclidesdb_server.errors import DeadlineExceeded, InvalidRequest, ShuttingDown
from euclidesdb_server.rpc import http1
from euclidesdb_server.rpc.answering import CONTROL_BYTES, Answerer
from euclidesdb_server.rpc.call import RpcCall
from euclidesdb_server.rpc.framing import FramingError, MessageReader, inflated, seconds_of
from euclidesdb_server.rpc.methods import Lane, Method
from euclidesdb_server.rpc.status import Failure

_CONTENT_TYPE: Final = re.compile(rb"application/grpc(?:[+;].*)?")


class EnvoyCalls:
    """The calls of one server. All but the construction happens on the event loop."""

    def __init__(self, methods: Iterable[Method], answerer: Answerer, config: ServerConfig) -> None:
        self.methods = {method.path: method for method in methods}
        self.answerer = answerer
        self.message_timeout = config.message_timeout
        self.max_message_bytes = config.max_message_bytes
        self.stopping = False
        self.running: set[asyncio.Task[bytes]] = set()

    def connection(self) -> _Connection:
        """The protocol of one more connection of Envoy's."""
        return _Connection(self)

    async def stop(self, grace: float) -> None:
        """Refuse new calls; return when the running ones have ended, `grace` seconds later at most.

        Those that still run then are refused, too.
        """
        self.stopping = True
        if self.running:
            await asyncio.wait(self.running, timeout=grace)
        ended = [*self.running]
        for task in ended:
            task.cancel()
        await asyncio.gather(*ended, return_exceptions=True)


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
    held: int = 0


class _Connection(asyncio.Protocol):
    """One connection of Envoy's, from which calls come one after the other."""

    def __init__(self, calls: EnvoyCalls) -> None:
        self._calls = calls
        self._parser = http1.RequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._now: _Incoming | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Calls may come."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, _: Exception | None) -> None:
        """The caller has left, or Envoy closes a connection without a call."""
        self._transport = None
        self._cancel()

    def data_received(self, data: bytes) -> None:
        """Go on reading; from then on, what is missing of a message is waited for."""
        self._parser.feed(data)
        now = self._now
        if now is not None and now.message is not None and self._timer is None:
            timeout = self._calls.message_timeout
            remaining = now.call.time_remaining()
            if remaining is not None and remaining < timeout:
                self._in(remaining, self._passed)
            else:
                self._in(timeout, self._silent)

    def head(self, lines: bytes) -> None:
        """A call begins."""
        if not lines.startswith(b"POST "):
            return self._write(http1.http_error(b"405 Method Not Allowed"))
        if _CONTENT_TYPE.fullmatch(http1.header(lines, b"content-type") or b"") is None:
            return self._write(http1.http_error(b"415 Unsupported Media Type"))
        method = self._calls.methods.get(http1.path_of(lines))
        if method is None:
            return self._refuse(Failure(grpc.StatusCode.UNIMPLEMENTED, "Method not found!"))
        if self._calls.stopping:
            return self._refuse(Failure.of(ShuttingDown("the server is stopping")))
        timeout = http1.header(lines, b"grpc-timeout")
        self._now = _Incoming(
            RpcCall(None if timeout is None else seconds_of(timeout)),
            method,
            (http1.header(lines, b"grpc-encoding") or b"identity").decode("latin-1"),
            MessageReader(self._calls.max_message_bytes),
        )
        return None

    def body(self, piece: bytes) -> None:
        """A part of the call's message, or what follows it and is not read."""
        now = self._now
        if now is None or now.message is None:
            return
        try:
            data = now.message.take(piece)
            if data is None:
                self._hold(now, now.message.received, len(piece))
            else:
                self._release(now)
                compressed, now.message = now.message.compressed, None
                self._stop_timer()
                self._begin(now, data, compressed=compressed)
        except Exception as error:  # the outermost frame of our code in this call
            self._raised(error)

    def end(self) -> None:
        """The client has sent all that it will send."""
        if self._now is not None and self._now.message is not None:
            self._raised(InvalidRequest("the call ended without a message"))

    def _hold(self, now: _Incoming, received: int, size: int) -> None:
        """Count a piece of `size` bytes. Raises Overloaded."""
        if now.method.lane is Lane.CALLS or received > CONTROL_BYTES:
            self._calls.answerer.hold(size, now.held)
            now.held += size

    def _release(self, now: _Incoming) -> None:
        self._calls.answerer.release(now.held)
        now.held = 0

    def _begin(self, now: _Incoming, data: bytes, *, compressed: bool) -> None:
        remaining = now.call.time_remaining()
        if remaining == 0:
            self._passed()
            return
        if compressed:
            outcome: bytes | Coroutine[Any, Any, bytes] = self._inflate_and_answer(now, data)
        else:
            outcome = self._calls.answerer.begin(now.method, data, now.call)
        if isinstance(outcome, bytes):
            self._write(*http1.reply(outcome))
            return
        now.task = asyncio.get_running_loop().create_task(outcome)
        self._calls.running.add(now.task)
        now.task.add_done_callback(functools.partial(self._ended, now))
        if remaining is not None:
            self._in(remaining, self._passed)

    async def _inflate_and_answer(self, now: _Incoming, data: bytes) -> bytes:
        message = await asyncio.to_thread(
            inflated, data, now.encoding, self._calls.max_message_bytes
        )
        return await self._calls.answerer.answer(now.method, message, now.call)

    def _ended(self, of: _Incoming, task: asyncio.Task[bytes]) -> None:
        """The task of a call is done; the call may be over already."""
        self._calls.running.discard(task)
        error = ShuttingDown("the server has stopped") if task.cancelled() else task.exception()
        if of is not self._now:
            return
        if error is None:
            self._write(*http1.reply(task.result()))
        else:
            self._raised(error)

    def _silent(self) -> None:
        self._raised(
            DeadlineExceeded(
                "the call's message did not arrive within [server] message_timeout = "
                f"{self._calls.message_timeout:g} s"
            )
        )

    def _passed(self) -> None:
        self._cancel()
        self._refuse(Failure(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded"))

    def _raised(self, error: BaseException) -> None:
        if isinstance(error, FramingError):
            return self._refuse(error.failure)
        if not isinstance(error, Exception):  # of the interpreter: not ours to answer
            raise error
        path = "?" if self._now is None else self._now.method.path
        return self._refuse(Failure.of_call(error, path))

    def _refuse(self, failure: Failure) -> None:
        self._write(http1.refusal(failure))

    def _write(self, *pieces: bytes) -> None:
        """Answer; the call is over."""
        self._forget()
        if self._transport is not None:
            for piece in pieces:
                self._transport.write(piece)

    def _cancel(self) -> None:
        task = None if self._now is None else self._now.task
        self._forget()
        if task is not None:
            task.cancel()

    def _forget(self) -> None:
        self._stop_timer()
        now, self._now = self._now, None
        if now is not None:
            self._release(now)
            now.call.end()

    def _in(self, seconds: float, then: Callable[[], None]) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, then)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
