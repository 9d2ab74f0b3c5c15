"""Calls that stream, by whichever transport: every test runs with each of them."""

from __future__ import annotations

import queue
import threading
from concurrent.futures import Future
from ctypes.util import find_library
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import BytesValue

from euclidesdb_server.config.server import ServerConfig, Transport
from euclidesdb_server.database.steps import Wait
from euclidesdb_server.errors import InvalidRequest
from euclidesdb_server.rpc.http2_listener import Http2Listener
from euclidesdb_server.rpc.methods import Lane, Method
from euclidesdb_server.rpc.reply_stream import MAX_UNREAD_BYTES
from euclidesdb_server.rpc.transport import listen
from tests.support.waiting import wait_for

TIMEOUT = 100
MIB = 1 << 20
STATUS = grpc.StatusCode

needs_nghttp2 = pytest.mark.skipif(
    find_library("nghttp2") is None, reason="the library nghttp2 is not installed"
)


@pytest.fixture(scope="module", params=["grpcio", pytest.param("nghttp2", marks=needs_nghttp2)])
def transport(request):
    return Transport(request.param)


def number(value: int) -> BytesValue:
    return BytesValue(value=value.to_bytes(8, "big"))


def numbers(count: int) -> list[BytesValue]:
    return [number(each) for each in range(count)]


class Service:
    """Methods of every kind, and what has become of their calls."""

    def __init__(self) -> None:
        self.made = 0
        self.taken = 0
        self.ended = threading.Semaphore(0)
        self.gate = threading.Event()
        self.futures: queue.SimpleQueue[Future[None]] = queue.SimpleQueue()

    def methods(self):
        def method(name, handle, *, requests=False, replies=False):
            path, parse = f"/test.Test/{name}", BytesValue.FromString
            streams = {"streams_requests": requests, "streams_replies": replies}
            return Method(path, parse, handle, Lane.CALLS, lambda _: False, **streams)

        return [
            method("Unary", lambda request, _: request),
            method("Count", self._count, replies=True),
            method("Large", self._large, replies=True),
            method("Sum", self._sum, requests=True),
            method("First", self._first, requests=True),
            method("Echo", self._echo, requests=True, replies=True),
            method("Held", self._held, requests=True, replies=True),
            method("Fail", self._fail, requests=True, replies=True),
            method("Waits", self._waits, replies=True),
        ]

    def _count(self, request, call):
        """So many numbers, made in a thread."""
        call.on_done(self.ended.release)
        for each in range(int.from_bytes(request.value, "big")):
            self.made += 1
            yield number(each)

    def _large(self, request, _):
        """Replies of the size that was requested, without end."""
        try:
            while True:
                self.made += 1
                yield BytesValue(value=bytes(int.from_bytes(request.value, "big")))
        finally:
            self.ended.release()

    async def _sum(self, requests, _):
        total = 0
        async for request in requests:
            self.taken += 1
            total += int.from_bytes(request.value, "big")
        return number(total)

    async def _first(self, requests, _):
        async for request in requests:
            return request
        raise InvalidRequest("nothing was sent")

    async def _echo(self, requests, call):
        call.on_done(self.ended.release)
        async for request in requests:
            self.taken += 1
            yield request

    async def _held(self, requests, _):
        """Take one request; the others once the gate is open."""
        try:
            async for request in requests:
                self.taken += 1
                yield request
                while not self.gate.is_set():
                    future: Future[None] = Future()
                    self.futures.put(future)
                    await Wait(future, None)
        finally:
            self.ended.release()

    async def _fail(self, requests, _):
        """Echo until a request is empty."""
        async for request in requests:
            if not request.value:
                raise InvalidRequest("it is empty")
            yield request

    async def _waits(self, *_):
        try:
            yield number(0)
            await Wait(Future(), None)
            yield number(1)
        finally:
            self.ended.release()

    def release(self) -> None:
        self.gate.set()
        while not self.futures.empty():
            self.futures.get().set_result(None)


class Served:
    """A listener of a `Service`, and a channel to it."""

    def __init__(self, transport, **config):
        self.service = Service()
        config = {"address": "127.0.0.1:0", "threads": 2, "shutdown_grace": 0.0, **config}
        self.listener = listen(self.service.methods(), ServerConfig(transport=transport, **config))
        self.channel = self.new_channel()

    def new_channel(self, *options):
        wanted = [
            *options,
            ("grpc.max_send_message_length", -1),
            ("grpc.max_receive_message_length", -1),
            ("grpc.use_local_subchannel_pool", 1),
        ]
        return grpc.insecure_channel(self.listener.address, options=wanted)

    def method(self, name, kind, channel=None) -> Any:
        make = getattr(channel or self.channel, kind)
        return make(f"/test.Test/{name}", BytesValue.SerializeToString, BytesValue.FromString)

    def both(self, name, requests, channel=None, **options) -> Any:
        return self.method(name, "stream_stream", channel)(
            iter(requests), timeout=options.pop("timeout", TIMEOUT), **options
        )

    def replies(self, name, request, **options) -> Any:
        return self.method(name, "unary_stream")(request, timeout=TIMEOUT, **options)

    @property
    def answerer(self):
        listener = self.listener
        return (
            listener._calls.answerer if isinstance(listener, Http2Listener) else listener._answerer
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.channel.close()
        self.service.release()
        self.listener.close()


@pytest.fixture
def served(transport):
    with Served(transport) as served:
        yield served
        wait_for(lambda: served.answerer._streams == 0, "the end of all streams")
        wait_for(lambda: served.answerer._bytes == 0, "that no bytes are counted")
        wait_for(lambda: served.answerer._unread == 0, "that no replies are counted")


def held_open(requests, done):
    """Send requests, and do not end the stream before `done`."""
    yield from requests
    done.wait(TIMEOUT)


def failure_of(replies) -> tuple[list[int], Any]:
    """The replies before the error, and the error."""
    got: list[int] = []
    with pytest.raises(grpc.RpcError) as caught:
        got.extend(int.from_bytes(reply.value, "big") for reply in replies)
    return got, caught.value


def steady(value) -> int:
    """What `value` returns once it has stopped growing."""
    last = -1
    while (now := value()) != last:
        last = now
        assert not threading.Event().wait(0.3)
    return now


@pytest.mark.parametrize("count", [0, 1, 1000])
def test_a_stream_of_replies_arrives_in_order(served, count):
    assert [*served.replies("Count", number(count))] == numbers(count)


@pytest.mark.parametrize("count", [0, 1, 1000])
def test_a_stream_of_requests_gets_one_reply(served, count):
    summed = served.method("Sum", "stream_unary")(iter(numbers(count)), timeout=TIMEOUT)
    assert summed == number(sum(range(count)))


@pytest.mark.parametrize("count", [0, 1, 5000])
def test_both_may_stream(served, count):
    assert [*served.both("Echo", numbers(count))] == numbers(count)


def test_each_request_can_be_answered_before_the_next_one_is_sent(served):
    requests: queue.SimpleQueue[BytesValue | None] = queue.SimpleQueue()
    replies = served.both("Echo", iter(requests.get, None))
    for each in numbers(50):
        requests.put(each)
        assert next(replies) == each
    requests.put(None)
    assert [*replies] == []


def test_a_reply_may_come_before_the_requests_end(served):
    done = threading.Event()
    try:
        first = served.method("First", "stream_unary")(held_open(numbers(3), done), timeout=TIMEOUT)
        assert first == number(0)
    finally:
        done.set()


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_compressed_requests_are_read(served, compression):
    sent = [BytesValue(value=bytes([each]) * 10_000) for each in range(100)]
    assert [*served.both("Echo", sent, compression=compression)] == sent


def test_large_messages_pass_in_both_directions(served):
    sent = [BytesValue(value=bytes(size)) for size in (8 * MIB, 0, 3 * MIB, 1, 20 * MIB)]
    assert [*served.both("Echo", sent)] == sent


def test_a_failure_after_replies_has_its_status_reason_and_message(served):
    got, error = failure_of(served.both("Fail", [number(1), number(2), BytesValue(), number(3)]))
    assert got == [1, 2]
    assert (error.code(), error.details()) == (STATUS.INVALID_ARGUMENT, "it is empty")
    assert ("euclidesdb-reason", "invalid_request") in [*error.trailing_metadata()]


def test_a_failure_before_any_reply_has_no_message_so_that_it_may_be_retried(served):
    got, error = failure_of(served.both("Fail", [BytesValue()]))
    assert (got, error.code(), error.initial_metadata()) == ([], STATUS.INVALID_ARGUMENT, ())


def test_an_unparsable_request_ends_the_stream(served):
    replies = served.channel.stream_stream("/test.Test/Echo")(iter([b"", b"\xff"]))
    assert next(replies) == b""
    with pytest.raises(grpc.RpcError, match="cannot be parsed") as caught:
        next(replies)
    assert caught.value.code() is STATUS.INVALID_ARGUMENT


def test_a_request_that_is_too_long_ends_the_stream(transport):
    with Served(transport, max_message_bytes=MIB) as served:
        got, error = failure_of(served.both("Echo", [number(1), BytesValue(value=bytes(2 * MIB))]))
        assert error.code() is STATUS.RESOURCE_EXHAUSTED
        assert "larger than max" in error.details()
        assert got in ([], [1])  # grpcio ends the call at once


def test_a_request_that_is_too_long_only_when_decompressed_ends_the_stream(transport):
    with Served(transport, max_message_bytes=MIB) as served:
        sent = [BytesValue(value=bytes(8 * MIB))]
        _, error = failure_of(served.both("Echo", sent, compression=grpc.Compression.Gzip))
        assert error.code() is STATUS.RESOURCE_EXHAUSTED


def test_a_stream_of_replies_needs_a_request(served):
    replies = served.method("Count", "stream_stream")(iter(()), timeout=TIMEOUT)
    _, error = failure_of(replies)
    assert (error.code(), error.details()) == (
        STATUS.INVALID_ARGUMENT,
        "the call ended without a message",
    )


def test_a_server_makes_no_more_replies_than_its_client_reads(served):
    size = 10_000
    replies = served.replies("Large", number(size))
    assert len(next(replies).value) == size
    made = steady(lambda: served.service.made)
    # what the client's gRPC and the sockets hold
    assert made * size < MAX_UNREAD_BYTES + 16 * MIB
    for _ in range(2 * made):
        next(replies)
    assert served.service.made > made
    replies.cancel()
    assert served.service.ended.acquire(timeout=TIMEOUT)


def test_a_server_reads_no_further_than_it_keeps_up_with(served):
    sent = 0

    def endless():
        nonlocal sent
        while True:
            sent += 1
            yield BytesValue(value=bytes(10_000))

    replies = served.both("Held", endless())
    next(replies)
    before = steady(lambda: sent)
    assert served.service.taken == 1
    assert sent * 10_000 < 16 * MIB
    assert served.answerer._bytes < 3 * MIB
    served.service.release()
    for _ in range(2 * before):
        next(replies)
    replies.cancel()
    assert served.service.ended.acquire(timeout=TIMEOUT)


def test_an_idle_stream_holds_no_thread_and_stays(transport):
    done = threading.Event()
    with Served(transport, message_timeout=0.2) as served:
        idle = [served.both("Echo", held_open(numbers(1), done)) for _ in range(20)]
        assert [next(replies) for replies in idle] == [number(0)] * 20
        assert served.method("Unary", "unary_unary")(number(7), timeout=TIMEOUT) == number(7)
        assert not threading.Event().wait(0.6)  # for longer than anything is waited for
        done.set()
        assert [[*replies] for replies in idle] == [[]] * 20


def test_more_streams_than_permitted_are_refused(transport):
    done = threading.Event()
    with Served(transport, max_streams=2) as served:
        open_ones = [served.both("Echo", held_open(numbers(1), done)) for _ in range(2)]
        for replies in open_ones:
            next(replies)
        _, error = failure_of(served.both("Echo", numbers(1)))
        assert (error.code(), "max_streams" in error.details()) == (STATUS.RESOURCE_EXHAUSTED, True)
        assert served.method("Unary", "unary_unary")(number(7), timeout=TIMEOUT) == number(7)
        done.set()
        assert [[*replies] for replies in open_ones] == [[], []]
        assert [*served.both("Echo", numbers(1))] == numbers(1)


def test_a_client_that_does_not_read_is_given_up(transport):
    with Served(transport, message_timeout=0.5) as served:
        replies = served.replies("Large", number(100_000))
        next(replies)
        assert served.service.ended.acquire(timeout=TIMEOUT)
        wait_for(lambda: served.answerer._unread == 0, "that nothing is held")
        _, error = failure_of(replies)
        assert error.code() in (STATUS.CANCELLED, STATUS.DEADLINE_EXCEEDED)


def test_a_client_that_reads_slowly_is_served(transport):
    # otherwise gRPC reads megabytes at a time
    small = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 1 << 16)]
    with Served(transport, message_timeout=0.5) as served, served.new_channel(*small) as channel:
        replies = served.method("Large", "unary_stream", channel)(number(100_000))
        for _ in range(20):
            next(replies)
            assert not threading.Event().wait(0.1)


@pytest.mark.parametrize("name", ["Echo", "Held"])
def test_a_deadline_ends_the_stream_on_both_sides(served, name):
    done = threading.Event()
    replies = served.both(name, held_open(numbers(1), done), timeout=0.5)
    got, error = failure_of(replies)
    done.set()
    assert (got, error.code()) == ([0], STATUS.DEADLINE_EXCEEDED)
    assert served.service.ended.acquire(timeout=TIMEOUT)


def test_a_deadline_ends_a_stream_of_replies(served):
    call = served.method("Waits", "unary_stream")(number(0), timeout=0.5)
    got, error = failure_of(call)
    assert (got, error.code()) == ([0], STATUS.DEADLINE_EXCEEDED)
    assert served.service.ended.acquire(timeout=TIMEOUT)


@pytest.mark.parametrize("name", ["Echo", "Held", "Waits"])
@pytest.mark.parametrize("way", ["cancelled", "lost"])
def test_a_client_that_leaves_ends_its_stream(served, name, way):
    done = threading.Event()
    with served.new_channel() as channel:
        if name == "Waits":
            replies = served.method(name, "unary_stream", channel)(number(0))
        else:
            replies = served.both(name, held_open(numbers(1), done), channel)
        next(replies)
        if way == "cancelled":
            replies.cancel()
            assert served.service.ended.acquire(timeout=TIMEOUT)
    if way == "lost":
        assert served.service.ended.acquire(timeout=TIMEOUT)
    done.set()


def test_streams_that_end_within_the_grace_period_are_answered(transport):
    requests: queue.SimpleQueue[BytesValue | None] = queue.SimpleQueue()
    with Served(transport, shutdown_grace=60.0) as served:
        replies = served.both("Echo", iter(requests.get, None))
        requests.put(number(1))
        assert next(replies) == number(1)
        closing = threading.Thread(target=served.listener.close)
        closing.start()

        def refused():
            with served.new_channel() as channel:
                call = served.method("Unary", "unary_unary", channel)
                return call.future(number(0)).exception(TIMEOUT) is not None

        wait_for(refused, "a refusal")
        requests.put(number(2))
        assert next(replies) == number(2)
        requests.put(None)
        assert [*replies] == []
        closing.join()


def test_streams_past_the_grace_period_end_with_unavailable(transport):
    done = threading.Event()
    with Served(transport, shutdown_grace=0.1) as served:
        replies = served.both("Echo", held_open(numbers(1), done))
        next(replies)
        served.listener.close()
        got, error = failure_of(replies)
        done.set()
        assert (got, error.code()) == ([], STATUS.UNAVAILABLE)
        assert ("euclidesdb-reason", "shutting_down") in [*error.trailing_metadata()]
        assert served.service.ended.acquire(timeout=TIMEOUT)


def test_many_streams_share_the_threads(served):
    streams = [served.both("Echo", numbers(100)) for _ in range(50)]
    assert [[*replies] for replies in streams] == [numbers(100)] * 50
