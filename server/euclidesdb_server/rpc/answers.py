"""Answers: calls that are answered step by step, one step at a time, each in any thread."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Coroutine, Generator
from contextlib import suppress
from enum import Enum
from typing import Any, Final, TypeAlias

from google.protobuf.message import Message

from euclidesdb_server.database.steps import Steps, Wait
from euclidesdb_server.errors import InvalidRequest
from euclidesdb_server.rpc.call import RpcCall
from euclidesdb_server.rpc.methods import Method
from euclidesdb_server.rpc.reply_stream import ReplyStream
from euclidesdb_server.rpc.request_stream import RequestStream

STEP_SECONDS: Final = 0.05
"""After which a stream lets other calls have its thread."""


class Pause(Enum):
    """Why a stream does not go on at once."""

    FULL = "its client must read first"
    TURN = "others have a turn"


Events: TypeAlias = Generator[Message | Wait, None, None]
"""The replies of a stream, and what must be waited for before the next one."""


class _Answer:
    """A call that is answered step by step.

    ended: whether nothing is left to do.
    """

    def __init__(self, method: Method, call: RpcCall) -> None:
        self.ended = False
        self._method = method
        self._call = call
        self._lock = threading.Lock()

    def close(self) -> None:
        """Give up; waits for the step that runs."""
        with self._lock:
            self._close()

    def close_if_idle(self) -> bool:
        """`close`, unless a step runs; whether it was done. Never waits."""
        if not self._lock.acquire(blocking=False):
            return False
        try:
            self._close()
        finally:
            self._lock.release()
        return True

    def _close(self) -> None:
        raise NotImplementedError


class UnaryAnswer(_Answer):
    """A call with one request and one reply."""

    def __init__(
        self,
        method: Method,
        request: bytes | Message,
        call: RpcCall,
        steps: Steps[Message] | None = None,
    ) -> None:
        """request: its bytes are parsed in the first step. steps: if that has been taken."""
        super().__init__(method, call)
        self._request = request
        self._steps = steps

    def step(self) -> bytes | Wait:
        """Go on, up to the reply or to what must be waited for."""
        with self._lock:
            if self.ended:  # it was given up just before
                return b""
            try:
                if self._steps is None:
                    request, self._request = self._request, b""
                    if isinstance(request, bytes):
                        request = parsed(self._method, request, self._call)
                    reply = self._method.handle(request, self._call)
                    if isinstance(reply, Message):
                        self.ended = True
                        return reply.SerializeToString()
                    self._steps = reply
                waits: Wait = self._steps.send(None)
            except StopIteration as end:
                self.ended = True
                message: Message = end.value
                return message.SerializeToString()
            except BaseException:
                self.ended = True
                raise
            return waits

    def _close(self) -> None:
        self.ended, self._request = True, b""
        if self._steps is not None:
            self._steps.close()


class StreamAnswer(_Answer):
    """A call that streams its requests, its replies or both."""

    def __init__(
        self, method: Method, requests: RequestStream, replies: ReplyStream, call: RpcCall
    ) -> None:
        super().__init__(method, call)
        self._replies = replies
        self._events = self._begin(requests)

    def step(self) -> Wait | Pause | None:
        """Go on, and put what there is into the replies; None once the call is answered."""
        with self._lock:
            if self.ended:
                return None
            until = time.monotonic() + STEP_SECONDS
            try:
                while not self._replies.is_full():
                    event = next(self._events)
                    if isinstance(event, Wait):
                        return event
                    self._replies.put(event.SerializeToString())
                    if time.monotonic() > until:
                        return Pause.TURN
            except StopIteration:
                self.ended = True
                return None
            except BaseException:
                self._close()
                raise
            return Pause.FULL

    def _begin(self, requests: RequestStream) -> Events:
        if self._method.streams_requests:
            handled = self._method.handle(requests, self._call)
        else:
            request = yield from requests.only().__await__()
            handled = self._method.handle(request, self._call)
        if isinstance(handled, Message):
            yield handled
        elif isinstance(handled, AsyncGenerator):
            yield from _events_of(handled)
        elif isinstance(handled, Coroutine):
            yield (yield from handled.__await__())
        else:
            yield from handled

    def _close(self) -> None:
        self.ended = True
        self._events.close()


def first_step(method: Method, request: Message, call: RpcCall) -> bytes | tuple[UnaryAnswer, Wait]:
    """Take the first step of an answer: the reply, or what remains and what it waits for."""
    reply = method.handle(request, call)
    if isinstance(reply, Message):
        return reply.SerializeToString()
    try:
        waits: Wait = reply.send(None)
    except StopIteration as end:
        message: Message = end.value
        return message.SerializeToString()
    return UnaryAnswer(method, b"", call, reply), waits


def _events_of(replies: AsyncGenerator[Message]) -> Events:
    """Those of an asynchronous generator, which is closed with this one.

    `yield from` is not enough: before Python 3.13, to close the step of an asynchronous generator
    does not end the generator.
    """
    step: Any = None
    try:
        while True:
            step = replies.__anext__()
            while True:
                try:
                    waits: Wait = step.send(None)
                except StopIteration as made:
                    reply: Message = made.value
                    break
                except StopAsyncIteration:
                    step = None
                    return
                except BaseException:
                    step = None
                    raise
                yield waits
            step = None
            yield reply
    finally:
        # not GeneratorExit: before Python 3.13, it would not end the generators that this one reads
        with suppress(asyncio.CancelledError, StopIteration, StopAsyncIteration):
            if step is not None:
                step.throw(asyncio.CancelledError())
            else:
                replies.aclose().send(None)


def parsed(method: Method, data: bytes, call: RpcCall | None = None) -> Message:
    """The message in `data`. Raises InvalidRequest. call: notes it, if it is traced."""
    try:
        if call is None or not call.is_traced:
            return method.parse(data)
        begun = time.monotonic()
        message = method.parse(data)
        call.note("decode", begun, time.monotonic())
        return message
    except InvalidRequest:
        raise
    except Exception as error:  # DecodeError or anything else: the bytes come from outside
        reason = "its messages are nested too deeply" if "MaxDepth" in str(error) else error
        raise InvalidRequest(f"the request cannot be parsed: {reason}") from error
