"""Answerer: from the bytes of a request to the bytes of its reply, whatever the transport.

A quick call is answered on the event loop. Others run in threads, a pool for each lane; while one
waits for a model it holds no thread, so thousands of them can wait.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, Final, TypeVar

from euclidesdb_server.config.server import ServerConfig
from euclidesdb_server.database.steps import Wait
from euclidesdb_server.errors import InvalidRequest, Overloaded, ShuttingDown
from euclidesdb_server.monitoring.stats import Traffic
from euclidesdb_server.rpc.answers import Pause, StreamAnswer, UnaryAnswer, first_step, parsed
from euclidesdb_server.rpc.call import RpcCall
from euclidesdb_server.rpc.call_measures import CallMeasures
from euclidesdb_server.rpc.caller import Caller
from euclidesdb_server.rpc.methods import Lane, Method
from euclidesdb_server.rpc.open_streams import OpenStreams
from euclidesdb_server.rpc.reply_stream import ReplyStream
from euclidesdb_server.rpc.request_stream import RequestStream

QUICK_BYTES: Final = 64 << 10
"""A longer request is parsed in a thread."""
CONTROL_BYTES: Final = 64 << 10
"""The longest request that is admitted whatever else is being answered."""
MAX_OPEN_STREAMS: Final = 100
MAX_OPEN_STREAMS_PER_CLIENT: Final = 10
"""Of methods that require no role. They do not count for [server] max_streams, so that callers
without a key take no stream from those with one."""
CONTROL_THREADS: Final = 4
EXPORT_THREADS: Final = 2
CHANGE_THREADS: Final = 2

T = TypeVar("T")


class Answerer:
    """Answers calls. For one event loop; `close` and `traffic` may be called from any thread.

    measures: of the calls that the transport has begun and ended. open_streams: those that stream.
    """

    def __init__(self, config: ServerConfig, measures: CallMeasures) -> None:
        self.measures = measures
        self.open_streams = OpenStreams()
        self._max_calls = config.max_calls
        self._max_bytes = config.max_bytes_in_flight
        self._max_streams = config.max_streams
        self._max_calls_per_client = config.max_calls_per_client
        self._max_streams_per_client = config.max_streams_per_client
        self._calls = self._streams = self._open_streams = self._bytes = self._unread = 0
        threads = {
            Lane.CALLS: config.threads,
            Lane.CONTROL: CONTROL_THREADS,
            Lane.EXPORTS: EXPORT_THREADS,
            Lane.CHANGES: CHANGE_THREADS,
        }
        self._pools = {
            lane: ThreadPoolExecutor(count, thread_name_prefix=lane.value)
            for lane, count in threads.items()
        }

    async def answer(self, method: Method, data: bytes, call: RpcCall) -> bytes:
        """The reply to a request. Raises DatabaseError, and what else a handler raises.

        If it is cancelled, a step that has begun is finished in its thread.
        """
        outcome = self.begin(method, data, call)
        return outcome if isinstance(outcome, bytes) else await outcome

    async def answer_stream(
        self, method: Method, requests: RequestStream, replies: ReplyStream, call: RpcCall
    ) -> None:
        """Answer a call of a method that streams; the replies go to `replies`. Else as `answer`."""
        counted = self._open_stream if method.is_open else self._stream
        with counted(call.caller), self.open_streams.hold(call):
            pool = self._pools[method.lane]
            answer = StreamAnswer(method, requests, replies, call)
            try:
                while (outcome := await _submit(pool, answer.step)) is not None:
                    if isinstance(outcome, Wait):
                        await _until(outcome)
                    elif outcome is Pause.FULL:
                        await replies.room()
            finally:
                _give_up(pool, answer)

    def begin(
        self, method: Method, data: bytes, call: RpcCall
    ) -> bytes | Coroutine[Any, Any, bytes]:
        """The reply to a quick request, or what must be awaited for it; otherwise as `answer`."""
        call.request_bytes = len(data)
        if method.lane is not Lane.CALLS:  # always admitted
            if len(data) > CONTROL_BYTES:
                raise InvalidRequest(
                    f"the request has {len(data):,} bytes: {method.path} takes at most "
                    f"{CONTROL_BYTES:,}"
                )
            return self._in_threads(method, UnaryAnswer(method, data, call), call)
        if len(data) <= QUICK_BYTES:
            return self._begin_small(method, data, call)
        self._admit(len(data), call.caller)
        call.on_done(functools.partial(self._leave, len(data), call.caller))
        return self._in_threads(method, UnaryAnswer(method, data, call), call)

    def traffic(self, connections: int | None) -> Traffic:
        """What is being answered now, on so many connections."""
        return Traffic(self._calls, self._streams, self._bytes, self._unread, connections)

    def close(self) -> None:
        """Start nothing more. Returns at once: a call past its grace may wait for a model."""
        for pool in self._pools.values():
            pool.shutdown(wait=False)

    def hold(self, size: int, held: int) -> None:
        """Count bytes of a request that is still arriving. Raises Overloaded.

        held: what has been counted of the same request. Give both back by `release`.
        """
        if self._bytes > held and self._bytes + size > self._max_bytes:
            raise self._too_many_bytes(size)
        self._bytes += size

    def count(self, size: int) -> None:
        """Count bytes of a reply that its client has yet to read.

        They limit large replies alone: clients that do not read keep no other from its call.
        """
        self._unread += size

    def uncount(self, size: int) -> None:
        """Take back what `count` has counted."""
        self._unread -= size

    def check_reply(self, method: Method, size: int) -> None:
        """Raise Overloaded if a large reply would be too much, and its call has changed nothing."""
        if method.reads and size > QUICK_BYTES and 0 < self._unread > self._max_bytes - size:
            raise Overloaded(
                f"replies of {self._unread:,} bytes wait for their clients to read them, and "
                f"{size:,} more would exceed [server] max_bytes_in_flight = {self._max_bytes:,}"
            )

    def release(self, size: int) -> None:
        """Count bytes no more."""
        self._bytes -= size

    @contextmanager
    def _stream(self, caller: Caller) -> Iterator[None]:
        """Count a stream while it is open. Raises Overloaded."""
        if self._streams >= self._max_streams:
            raise Overloaded(
                f"{self._streams:,} streams are open: [server] max_streams permits no more"
            )
        if caller.streams >= self._max_streams_per_client:
            raise Overloaded(
                f"{caller.streams:,} streams of the client {caller.name} are open: [server] "
                "max_streams_per_client permits no more"
            )
        self._streams += 1
        caller.streams += 1
        try:
            yield
        finally:
            self._streams -= 1
            caller.streams -= 1

    @contextmanager
    def _open_stream(self, caller: Caller) -> Iterator[None]:
        """As `_stream`, of a method that requires no role."""
        if self._open_streams >= MAX_OPEN_STREAMS:
            raise Overloaded(
                f"{self._open_streams} streams without a role are open: {MAX_OPEN_STREAMS} may be"
            )
        if caller.open_streams >= MAX_OPEN_STREAMS_PER_CLIENT:
            raise Overloaded(
                f"{caller.open_streams} streams without a role of the client {caller.name} are "
                f"open: {MAX_OPEN_STREAMS_PER_CLIENT} may be"
            )
        self._open_streams += 1
        caller.open_streams += 1
        try:
            yield
        finally:
            self._open_streams -= 1
            caller.open_streams -= 1

    def _admit(self, size: int, caller: Caller) -> None:
        """Count a request of `size` bytes until `_leave`. Raises Overloaded."""
        if self._calls >= self._max_calls:
            raise Overloaded(
                f"{self._calls:,} calls are being answered: [server] max_calls permits no more"
            )
        if caller.calls >= self._max_calls_per_client:
            raise Overloaded(
                f"{caller.calls:,} calls of the client {caller.name} are being answered: [server] "
                "max_calls_per_client permits no more"
            )
        if self._bytes and self._bytes + size > self._max_bytes:
            raise self._too_many_bytes(size)
        self._calls += 1
        caller.calls += 1
        self._bytes += size

    def _leave(self, size: int, caller: Caller) -> None:
        self._calls -= 1
        caller.calls -= 1
        self._bytes -= size

    def _too_many_bytes(self, size: int) -> Overloaded:
        return Overloaded(
            f"calls with {self._bytes:,} bytes are being answered, and {size:,} more would exceed "
            f"[server] max_bytes_in_flight = {self._max_bytes:,}"
        )

    def _begin_small(
        self, method: Method, data: bytes, call: RpcCall
    ) -> bytes | Coroutine[Any, Any, bytes]:
        """As `begin`. If the request is a quick one, its first step is taken at once."""
        self._admit(len(data), call.caller)
        leave = functools.partial(self._leave, len(data), call.caller)
        try:
            request = parsed(method, data, call)
            outcome = first_step(method, request, call) if method.is_quick(request) else None
        except BaseException:
            leave()
            raise
        if isinstance(outcome, bytes):
            leave()
            return outcome
        call.on_done(leave)
        if outcome is None:
            return self._in_threads(method, UnaryAnswer(method, request, call), call)
        answer, wait = outcome
        call.on_done(answer.close)
        return _on_loop(answer, wait)

    def _in_threads(
        self, method: Method, answer: UnaryAnswer, call: RpcCall
    ) -> Coroutine[Any, Any, bytes]:
        pool = self._pools[method.lane]
        call.on_done(functools.partial(_give_up, pool, answer))
        return _in_threads(pool, answer)


async def _on_loop(answer: UnaryAnswer, wait: Wait) -> bytes:
    await _until(wait)
    while not isinstance(outcome := answer.step(), bytes):
        await _until(outcome)
    return outcome


async def _in_threads(pool: ThreadPoolExecutor, answer: UnaryAnswer) -> bytes:
    while not isinstance(outcome := await _submit(pool, answer.step), bytes):
        await _until(outcome)
    return outcome


async def _submit(pool: ThreadPoolExecutor, work: Callable[[], T]) -> T:
    try:
        future = pool.submit(work)
    except RuntimeError as error:
        raise ShuttingDown("the server is stopping") from error
    return await asyncio.wrap_future(future)


def _give_up(pool: ThreadPoolExecutor, answer: StreamAnswer | UnaryAnswer) -> None:
    """Close an answer unless it has ended: at once, or in a thread once its step is done."""
    if not (answer.ended or answer.close_if_idle()):
        with suppress(RuntimeError):  # the pool is shut down
            pool.submit(answer.close)


async def _until(wait: Wait) -> None:
    """Wait without a thread; returns, whatever became of the future."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    wait.future.add_done_callback(lambda _: loop.call_soon_threadsafe(_set, done))
    timer = None if wait.timeout is None else loop.call_later(wait.timeout, _set, done)
    try:
        await done
    finally:
        if timer is not None:
            timer.cancel()


def _set(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)
