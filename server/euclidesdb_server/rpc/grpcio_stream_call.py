"""A call by grpcio that streams its requests, its replies or both.

gRPC's own flow control holds back a client whose requests are not read, and `write` returns when
the client's window permits. How much of a message has arrived is gRPC's secret: an idle client and
one in the middle of a message look alike.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from typing import Any, Final, TypeAlias

import grpc
import grpc.aio
from google.protobuf.message import Message

from euclidesdb_server.errors import Overloaded, ShuttingDown
from euclidesdb_server.rpc.answering import Answerer
from euclidesdb_server.rpc.answers import parsed
from euclidesdb_server.rpc.call import RpcCall
from euclidesdb_server.rpc.caller import Caller
from euclidesdb_server.rpc.departed_callers import ending_with_the_call
from euclidesdb_server.rpc.framing import PREFIX_BYTES
from euclidesdb_server.rpc.methods import OPEN_BYTES, Method
from euclidesdb_server.rpc.reply_stream import ReplyStream
from euclidesdb_server.rpc.request_ids import KEY, given_id
from euclidesdb_server.rpc.request_stream import RequestStream
from euclidesdb_server.rpc.status import Failure, check_length, late_message, unread_replies

READ_AHEAD_BYTES: Final = 1 << 20
"""Of requests that the handler has not taken."""

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

log = logging.getLogger(__name__)


def new_call(context: Context, caller: Caller) -> RpcCall:
    """A call that has begun. The request id of its caller is sent back with its end."""
    call = RpcCall(context.time_remaining(), caller)
    for name, value in context.invocation_metadata() or ():
        if name == KEY:
            call.given_id = given_id(value)
        elif name == "traceparent":
            call.traceparent = value if isinstance(value, str) else value.decode("latin-1")
    if call.given_id:
        context.set_trailing_metadata(((KEY, call.given_id),))
    return call


class GrpcioStreamCall:
    """One call. For the event loop's thread."""

    def __init__(
        self,
        answerer: Answerer,
        method: Method,
        context: Context,
        call: RpcCall,
        message_timeout: float,
    ) -> None:
        self._call = call
        self._answerer = answerer
        self._method = method
        self._context = context
        self._timeout = message_timeout
        self._unsent: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._taken = asyncio.Event()
        self._requests = RequestStream(answerer, self._message, self._taken.set)
        check = functools.partial(answerer.check_reply, method)
        self._replies = ReplyStream(answerer, check, self._send)

    async def serve(self, answering: set[asyncio.Task[None]]) -> Failure | None:
        """Answer it, and send the replies; why it fails, which is to be sent after them.

        answering: has the task that answers it; to cancel that is to end the call with UNAVAILABLE.
        """
        call = self._call
        self._answerer.measures.begun(self._method, call)
        answer = asyncio.create_task(
            self._answerer.answer_stream(self._method, self._requests, self._replies, call)
        )
        reading = asyncio.create_task(self._read())
        writing = asyncio.create_task(self._write())
        answering.add(answer)
        try:
            await asyncio.wait((answer, writing), return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                self._replies.flush()
                self._unsent.put_nowait(None)
            with ending_with_the_call():
                unread = not await writing
            failure = (
                Failure.of(unread_replies(self._timeout), call.request_id)
                if unread
                else self._failure(answer, call.request_id)
            )
            call.status = grpc.StatusCode.OK if failure is None else failure.code
            return failure
        finally:
            answering.discard(answer)
            for task in (answer, reading, writing):
                task.cancel()
            await asyncio.gather(answer, reading, writing, return_exceptions=True)
            self._requests.close()
            self._replies.close()
            call.end()

    def _failure(self, answer: asyncio.Task[None], request_id: str) -> Failure | None:
        if answer.cancelled():
            return Failure.of(ShuttingDown("the server has stopped"), request_id)
        error = answer.exception()
        if error is None:
            return None
        if not isinstance(error, Exception):  # of the interpreter: not ours to answer
            raise error
        return Failure.of_call(error, self._method.path, request_id)

    def _message(self, data: bytes, _: bool) -> tuple[Message, int]:
        return parsed(self._method, data), len(data)

    def _send(self, replies: list[bytes]) -> None:
        for reply in replies:
            self._unsent.put_nowait(reply)

    async def _read(self) -> None:
        """Read requests, as the handler takes them."""
        is_stream = self._method.streams_requests
        try:
            with ending_with_the_call():
                while True:
                    async with asyncio.timeout(None if is_stream else self._timeout):
                        data = await self._context.read()
                    if not isinstance(data, bytes):
                        break
                    if self._method.is_open:
                        check_length(data, OPEN_BYTES)
                    self._requests.put(data)
                    if not is_stream:
                        break
                    while self._requests.waiting_bytes > READ_AHEAD_BYTES:
                        self._taken.clear()
                        await self._taken.wait()
        except TimeoutError:
            self._requests.end(late_message(self._timeout))
        except Overloaded as error:
            self._requests.end(error)
        else:
            self._requests.end()

    async def _write(self) -> bool:
        """Send replies until there are no more; False: the client does not read them."""
        while (reply := await self._unsent.get()) is not None:
            try:
                async with asyncio.timeout(self._timeout):
                    await self._context.write(reply)
            except TimeoutError:
                log.info("a reply is given up, as its client does not read it")
                return False
            self._replies.taken(PREFIX_BYTES + len(reply))
        return True
