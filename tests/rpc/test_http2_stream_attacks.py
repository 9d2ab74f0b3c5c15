"""Streams by nghttp2, frame by frame: what is held of one, what ends it, and what a hostile one
costs others."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from typing import Any

import psutil
import pytest
from google.protobuf.wrappers_pb2 import BytesValue

from euclidesdb_server.config.server import ServerConfig
from euclidesdb_server.database.steps import Wait
from euclidesdb_server.rpc.framing import prefix_of
from euclidesdb_server.rpc.http2_listener import Http2Listener
from euclidesdb_server.rpc.methods import Lane, Method
from euclidesdb_server.rpc.nghttp2 import CANCEL, STREAM_WINDOW
from euclidesdb_server.rpc.reply_stream import MAX_UNREAD_BYTES
from tests.support.http2_peer import Call, Http2Peer
from tests.support.waiting import wait_for

pytest.importorskip("h2")

LIMIT = 4 << 20
"""Of the bytes in flight."""
SMALL = BytesValue(value=b"x").SerializeToString()
REFUSED, DEADLINE, INTERNAL = b"8", b"4", b"13"
TIMEOUT = 60


class Streams:
    """A listener of methods that stream, and what has become of their calls."""

    def __init__(self, **config: Any) -> None:
        self.made = 0
        self.ended = threading.Semaphore(0)
        methods = [
            Method("/Test/Unary", BytesValue.FromString, self._unary, Lane.CALLS, bool),
            self._method("Echo", self._echo),
            self._method("Ignore", self._ignore),
            self._method("Endless", self._endless, streams_requests=False),
        ]
        defaults = {"address": "127.0.0.1:0", "max_bytes_in_flight": LIMIT, "shutdown_grace": 0}
        self.listener = Http2Listener(methods, ServerConfig(**{**defaults, **config}))
        self.answerer = self.listener._calls.answerer

    @staticmethod
    def _method(name: str, handle: Any, **kinds: bool) -> Method:
        kinds = {"streams_requests": True, "streams_replies": True, **kinds}
        return Method(
            f"/Test/{name}", BytesValue.FromString, handle, Lane.CALLS, lambda _: False, **kinds
        )

    def peer(self, **options: Any) -> Http2Peer:
        return Http2Peer(self.listener.address, **options)

    def is_serving(self) -> bool:
        with self.peer() as peer:
            return peer.call("/Test/Unary", SMALL).message == SMALL

    @staticmethod
    def _unary(request: Any, _: object) -> Any:
        return request

    async def _echo(self, requests: Any, call: Any) -> Any:
        call.on_done(self.ended.release)
        async for request in requests:
            yield request

    async def _ignore(self, requests: Any, call: Any) -> Any:
        """Read one request, and then wait for ever."""
        call.on_done(self.ended.release)
        async for request in requests:
            yield request
            break
        await Wait(Future(), None)

    def _endless(self, _: object, call: Any) -> Any:
        call.on_done(self.ended.release)
        while True:
            self.made += 1
            yield BytesValue(value=bytes(1000))


@pytest.fixture
def serve() -> Iterator[Callable[..., Streams]]:
    """Starts a listener; keywords are those of its configuration."""
    with ExitStack() as opened:

        def start(**config: Any) -> Streams:
            streams = Streams(**config)
            opened.callback(streams.listener.close)
            return streams

        yield start


def framed(message: bytes) -> bytes:
    return prefix_of(message) + message


def send(call: Call, data: bytes) -> None:
    call.peer.send_data(call.stream, data)


def opened(peer: Http2Peer, path: str, **headers: str) -> Call:
    """A stream, of which nothing but its headers is sent."""
    return peer.begin(path, b"", is_compressed=False, **headers)


def test_a_stream_of_replies_whose_window_is_never_opened_is_bounded_and_given_up(serve):
    streams = serve(message_timeout=0.5)
    with streams.peer(window=100) as peer:
        call = opened(peer, "/Test/Endless")
        send(call, framed(SMALL))
        wait_for(lambda: streams.made * 1000 >= MAX_UNREAD_BYTES * 0.9, "that they are made")
        assert streams.ended.acquire(timeout=TIMEOUT)
        assert call.answer().reset == CANCEL
        assert streams.made * 1000 < MAX_UNREAD_BYTES * 1.2
        assert streams.answerer._unread == 0
        assert peer.call("/Test/Unary", SMALL).message == SMALL


def test_requests_that_their_handler_does_not_take_are_held_back(serve):
    streams = serve(message_timeout=0.3)
    with streams.peer() as peer:
        call = opened(peer, "/Test/Ignore")
        message = framed(BytesValue(value=bytes(1000)).SerializeToString())
        send(call, message * (STREAM_WINDOW // len(message)))
        wait_for(lambda: streams.answerer._bytes > STREAM_WINDOW * 0.9, "what the window permits")
        assert peer.call("/Test/Unary", SMALL).message == SMALL
        assert peer.window(call.stream) < len(message), "no more is permitted"
        assert streams.answerer._bytes < STREAM_WINDOW * 1.2
        peer.reset(call.stream)
        assert streams.ended.acquire(timeout=TIMEOUT)
        wait_for(lambda: streams.answerer._bytes == 0, "nothing is held")
        assert streams.is_serving()


def test_streams_that_are_reset_in_the_middle_of_everything_leave_nothing(serve):
    streams = serve()
    with streams.peer() as peer:
        for size in (0, 3, 8, 20, 50_000):
            for path in ("/Test/Echo", "/Test/Ignore", "/Test/Endless"):
                call = opened(peer, path)
                send(call, (framed(SMALL) + framed(bytes(60_000)))[:size])
                peer.reset(call.stream)
        assert peer.call("/Test/Unary", SMALL).message == SMALL
    wait_for(lambda: streams.answerer._streams == 0, "the end of all")
    wait_for(lambda: streams.answerer._bytes == 0 == streams.answerer._unread, "nothing is held")


def test_a_message_that_arrives_a_byte_at_a_time_is_given_up(serve):
    streams = serve(message_timeout=0.5)
    with streams.peer() as peer:
        call = opened(peer, "/Test/Echo")
        send(call, framed(SMALL))
        data = iter(framed(bytes(1000)))

        def is_given_up() -> bool:
            send(call, bytes([next(data)]))
            return streams.ended.acquire(timeout=0.02)

        wait_for(is_given_up, "the end of it")
        answer = call.answer()
        assert answer.headers[b"grpc-status"] == DEADLINE
        assert answer.data == framed(SMALL), "what was complete is answered"


def test_a_stream_that_ends_in_the_middle_of_a_message_fails(serve):
    streams = serve()
    with streams.peer() as peer:
        call = opened(peer, "/Test/Echo")
        send(call, framed(SMALL) + b"\0\0")
        peer.end(call.stream)
        answer = call.answer()
        assert answer.headers[b"grpc-status"] == INTERNAL
        assert answer.data == framed(SMALL)


@pytest.mark.parametrize("noise", [b"\7\0\0\0\1x", b"\1\0\0\0\1x", b"\0\xff\xff\xff\xff"])
def test_what_is_not_a_message_ends_the_stream_after_those_before_it(serve, noise):
    streams = serve()
    with streams.peer() as peer:
        call = opened(peer, "/Test/Echo")
        send(call, framed(SMALL) * 2 + noise + framed(SMALL))
        answer = call.answer()
        assert answer.headers[b"grpc-status"] in (INTERNAL, REFUSED)
        assert answer.data == framed(SMALL) * 2


def test_bytes_of_all_streams_together_are_limited(serve):
    streams = serve()
    with streams.peer() as peer:
        half = prefix_of(bytes(900_000)) + bytes(800_000)
        calls = [opened(peer, "/Test/Echo") for _ in range(6)]
        for call in calls:
            send(call, half)
        refused = [call for call in calls[:5] if call.answer_so_far().over]
        last = calls[5].answer()
        assert last.headers[b"grpc-status"] == REFUSED
        assert b"max_bytes_in_flight" in last.headers[b"grpc-message"]
        assert len(refused) <= 1
        assert streams.answerer._bytes <= LIMIT


def test_many_empty_requests_are_counted(serve):
    limit = 8 << 20
    streams = serve(max_bytes_in_flight=limit)
    process = psutil.Process()
    with streams.peer() as peer:
        call = opened(peer, "/Test/Ignore")
        data = framed(b"") * (STREAM_WINDOW // 5)
        before = process.memory_info().rss
        send(call, data)
        wait_for(lambda: streams.answerer._bytes > 0.9 * limit, "that they have arrived")
        assert streams.answerer._bytes <= limit
        # a part of them; both ends are in this process
        assert process.memory_info().rss - before < 4 * limit
        peer.reset(call.stream)
    wait_for(lambda: streams.answerer._bytes == 0, "nothing is held")


def test_thousands_of_streams_cost_little_and_keep_no_other_from_its_call(serve):
    streams = serve(max_streams=2000, max_streams_per_client=2000)
    process = psutil.Process()
    before = process.memory_info().rss
    with streams.peer() as peer:
        calls = [opened(peer, "/Test/Echo") for _ in range(3000)]
        wait_for(lambda: streams.answerer._streams == 2000, "as many as permitted")
        assert calls[-1].answer().headers[b"grpc-status"] == REFUSED
        for call in calls[:2000]:
            send(call, framed(SMALL))
        assert streams.is_serving()
        # both ends are in this process
        assert process.memory_info().rss - before < 3000 * 40 * 1024
    wait_for(lambda: streams.answerer._streams == 0, "the end of all")


def test_a_deadline_that_has_passed_on_the_way_ends_the_stream(serve):
    with serve().peer() as peer:
        answer = opened(peer, "/Test/Echo", grpc_timeout="0n").answer()
        assert answer.headers[b"grpc-status"] == DEADLINE


def test_noise_on_streams_ends_with_its_connection(serve):
    streams = serve(max_streams=50)
    chance = random.Random(0)
    for _ in range(100):
        with streams.peer() as peer:
            calls = [
                opened(peer, chance.choice(["/Test/Echo", "/Test/Ignore", "/Test/Endless"]))
                for _ in range(5)
            ]
            for _ in range(chance.randint(1, 30)):
                call = chance.choice(calls)
                data = chance.choice([framed(SMALL), framed(bytes(3)), chance.randbytes(7)])
                size = chance.randint(0, len(data))
                kind, body = chance.choice(
                    [(0, data[:size]), (0, data), (3, b"\0\0\0\x08"), (8, b"\0\0\1\0"), (0, b"")]
                )
                head = len(body).to_bytes(3, "big") + bytes((kind, chance.choice([0, 0, 0, 1])))
                peer.send_bytes(head + call.stream.to_bytes(4, "big") + body)
    assert streams.is_serving()
    wait_for(lambda: streams.answerer._streams == 0, "the end of all")
    wait_for(lambda: streams.answerer._bytes == 0 == streams.answerer._unread, "nothing is held")
