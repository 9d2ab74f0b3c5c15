"""Calls by nghttp2, frame by frame: what is held of a call, and what ends one."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from google.protobuf.wrappers_pb2 import BytesValue

from euclidesdb_server.config.server import ServerConfig
from euclidesdb_server.rpc.answering import CONTROL_BYTES
from euclidesdb_server.rpc.event_loop import run
from euclidesdb_server.rpc.http2_listener import Http2Listener
from euclidesdb_server.rpc.methods import Lane, Method
from euclidesdb_server.rpc.nghttp2 import CANCEL
from tests.support.http2_peer import Http2Peer
from tests.support.waiting import wait_for

pytest.importorskip("h2")

LIMIT = 1 << 20
"""Of the bytes in flight."""
WINDOW_UPDATE = b"\0\0\4\x08\0"
DATA_WITHOUT_A_STREAM = bytes(2) + b"\1" + bytes(6) + b"x"
REFUSED = b"8"
"""The status RESOURCE_EXHAUSTED."""
GATE = threading.Event()
"""What the method "Held" waits for."""


def echo(request: Any, _: object) -> Any:
    return request


def read(_: object, __: object) -> Any:
    """A reply that is much larger than the request; three are within the limit."""
    return BytesValue(value=bytes(LIMIT // 3 - 10))


def never(_: object) -> bool:
    return False


def held(request: Any, _: object) -> Any:
    """Answer once the gate is open."""
    assert GATE.wait(60)
    return request


@pytest.fixture
def serve() -> Iterator[Callable[..., Http2Listener]]:
    """Starts a listener of methods that echo; keywords are those of its configuration."""
    GATE.clear()
    methods = [
        Method(f"/Test/{name}", BytesValue.FromString, handle, lane, is_quick, name == "Read")
        for name, handle, lane, is_quick in (
            ("Call", echo, Lane.CALLS, never),
            ("Quick", echo, Lane.CALLS, bool),
            ("Control", echo, Lane.CONTROL, never),
            ("Held", held, Lane.CALLS, never),
            ("Read", read, Lane.CALLS, never),
        )
    ]
    with ExitStack() as opened:

        def start(**config: Any) -> Http2Listener:
            listener = Http2Listener(
                methods,
                ServerConfig(
                    **{"address": "127.0.0.1:0", "max_bytes_in_flight": LIMIT, **config},
                    shutdown_grace=0,
                ),
            )
            opened.callback(listener.close)
            return listener

        opened.callback(GATE.set)
        yield start


def bytes_in_flight(listener: Http2Listener) -> int:
    return listener._calls.answerer._bytes


def unread_bytes(listener: Http2Listener) -> int:
    return listener._calls.answerer._unread


def message(size: int) -> bytes:
    return BytesValue(value=bytes(size)).SerializeToString()


def test_bytes_of_requests_that_still_arrive_are_limited(serve):
    with Http2Peer(serve().address) as peer:
        first, second = (peer.begin("/Test/Call", message(LIMIT)) for _ in range(2))
        first.send(LIMIT * 3 // 4)
        second.send(LIMIT * 3 // 4)
        refused = second.answer()
        assert refused.headers[b"grpc-status"] == REFUSED
        assert b"max_bytes_in_flight" in refused.headers[b"grpc-message"]
        first.send()
        assert first.answer().message == message(LIMIT), "the first one is not affected"
        third = peer.call("/Test/Call", message(LIMIT))
        assert third.message == message(LIMIT), "nothing is counted any more"


@pytest.mark.parametrize("leaves", [Http2Peer.close, lambda peer: peer.reset(1)])
def test_what_a_caller_has_sent_counts_no_more_once_it_has_left(serve, leaves):
    listener = serve()
    for _ in range(5):
        peer = Http2Peer(listener.address)
        peer.begin("/Test/Call", message(LIMIT)).send(LIMIT * 3 // 4)
        wait_for(lambda: bytes_in_flight(listener) >= LIMIT // 2, "most of it has arrived")
        leaves(peer)
        wait_for(lambda: bytes_in_flight(listener) == 0, "nothing is held any more")
        peer.close()


def test_a_call_of_control_is_admitted_next_to_them_unless_it_is_long(serve):
    with Http2Peer(serve().address) as peer:
        peer.begin("/Test/Call", message(2 * LIMIT)).send(LIMIT)
        short = peer.begin("/Test/Control", message(1000))
        short.send(500)
        short.send()
        assert short.answer().message == message(1000)
        long = peer.begin("/Test/Control", message(LIMIT))
        long.send(CONTROL_BYTES * 2)
        assert long.answer().headers[b"grpc-status"] == REFUSED


def test_large_replies_are_refused_while_others_are_not_read(serve):
    listener = serve(message_timeout=60.0)
    with Http2Peer(listener.address) as reader, Http2Peer(listener.address, window=100) as peer:
        for _ in range(5):
            peer.begin("/Test/Read", message(1)).send()
        wait_for(lambda: unread_bytes(listener) == 3 * len(message(LIMIT // 3 - 10)), "replies")
        refused = reader.call("/Test/Read", message(1))
        assert refused.headers[b"grpc-status"] == REFUSED
        assert reader.call("/Test/Call", message(LIMIT // 2)).message == message(LIMIT // 2)
    wait_for(lambda: unread_bytes(listener) == 0, "nothing is held any more")
    with Http2Peer(listener.address) as reader:
        assert len(reader.call("/Test/Read", message(1)).message) > LIMIT // 4


def test_a_reply_of_which_nothing_is_read_is_given_up(serve):
    listener = serve(message_timeout=0.3)
    with Http2Peer(listener.address, window=100) as peer:
        unread = peer.begin("/Test/Call", message(LIMIT // 2))
        unread.send()
        wait_for(lambda: unread_bytes(listener) > 0, "a reply")
        wait_for(lambda: unread_bytes(listener) == 0, "it is given up")
        assert unread.answer().reset == CANCEL
        assert peer.call("/Test/Quick", message(1)).message == message(1)


def test_a_reply_that_is_read_a_byte_at_a_time_is_given_up(serve):
    listener = serve(message_timeout=0.5)
    with Http2Peer(listener.address, window=100) as peer:
        unread = peer.begin("/Test/Call", message(LIMIT // 2))
        unread.send()
        wait_for(lambda: unread_bytes(listener) > 0, "a reply")

        def is_given_up():
            peer.send_bytes(WINDOW_UPDATE + unread.stream.to_bytes(4, "big") + b"\0\0\0\1")
            return unread_bytes(listener) == 0

        wait_for(is_given_up, "the end of it")


def test_replies_on_a_slow_connection_need_only_move_together(serve):
    listener = serve(message_timeout=600.0)
    with Http2Peer(listener.address, window=100) as peer:
        for _ in range(2):
            peer.begin("/Test/Read", message(1)).send()
        wait_for(lambda: unread_bytes(listener) > LIMIT // 2, "both replies")
        (connection,) = listener._calls._connections

        def sent() -> list[int]:
            session = connection._session
            assert session is not None
            return sorted(reply.sent for reply in session.replies.values())

        wait_for(lambda: sent() == [100, 100], "what the windows allow")
        call_on_loop(connection._look)
        more = (40 << 10).to_bytes(4, "big")  # together more than MIN_READ_BYTES
        for stream in (0, 0, 1, 3):
            peer.send_bytes(WINDOW_UPDATE + stream.to_bytes(4, "big") + more)
        wait_for(lambda: sent() == [100 + (40 << 10)] * 2, "that they move")
        call_on_loop(connection._look)
        assert unread_bytes(listener) > LIMIT // 2
        call_on_loop(connection._look)
        wait_for(lambda: unread_bytes(listener) == 0, "that they are given up")


def call_on_loop(work: Callable[[], None]) -> None:
    async def call() -> None:
        work()

    run(call())


def test_an_error_of_a_client_that_does_not_read_frees_its_reply(serve):
    listener = serve(message_timeout=60.0)
    with Http2Peer(listener.address, window=100) as peer:
        peer.begin("/Test/Call", message(LIMIT // 2)).send()
        wait_for(lambda: unread_bytes(listener) > 0, "a reply")
        peer.send_bytes(DATA_WITHOUT_A_STREAM)
        wait_for(lambda: unread_bytes(listener) == 0, "nothing is held any more")
        peer.wait_until_closed()


def test_compressed_messages_count_until_they_are_inflated(serve, monkeypatch):
    listener = serve()
    begun, gate = threading.Event(), threading.Event()

    def inflated(*_: object) -> bytes:
        begun.set()
        assert gate.wait(60)
        return message(1)

    monkeypatch.setattr("euclidesdb_server.rpc.http2_calls.inflated", inflated)
    with Http2Peer(listener.address) as peer:
        call = peer.begin("/Test/Call", bytes(1000), is_compressed=True)
        call.send()
        assert begun.wait(60)
        assert bytes_in_flight(listener) >= 1000
        gate.set()
        assert call.answer().message == message(1)
        assert bytes_in_flight(listener) == 0


def test_a_connection_that_takes_nothing_is_closed(serve):
    listener = serve(message_timeout=0.5, max_bytes_in_flight=64 * LIMIT)
    with Http2Peer(listener.address, window=1 << 30) as peer:
        calls = [peer.begin("/Test/Held", message(LIMIT * 3 // 4)) for _ in range(16)]
        for call in calls:
            call.send()
        wait_for(lambda: listener._calls.answerer._calls == len(calls), "all have arrived")
        GATE.set()
        wait_for(lambda: unread_bytes(listener) > LIMIT, "their replies")
        wait_for(lambda: unread_bytes(listener) == 0, "its replies are given up")
        with Http2Peer(listener.address) as other:
            assert other.call("/Test/Quick", message(1)).message == message(1)


@pytest.mark.parametrize("sent", [b"", b"PRI * HTTP"])
def test_a_connection_that_never_begins_is_closed(serve, sent):
    listener = serve(message_timeout=0.2)
    host, _, port = listener.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=60) as silent:
        silent.sendall(sent)
        while silent.recv(1 << 16):  # the server's settings come first
            pass


def test_an_idle_connection_stays(serve):
    with Http2Peer(serve(message_timeout=0.1).address) as peer:
        assert peer.call("/Test/Quick", message(1)).message == message(1)
        assert not threading.Event().wait(0.5)  # for longer than anything is waited for
        assert peer.call("/Test/Quick", message(2)).message == message(2)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({":method": "GET"}, b"405"),
        ({":method": "PUT"}, b"405"),
        ({"content_type": "text/html"}, b"415"),
        ({"content_type": "application/grpcx"}, b"415"),
    ],
)
def test_what_is_not_a_call_of_grpc_gets_a_status_of_http(serve, headers, status):
    with Http2Peer(serve().address) as peer:
        answer = peer.call("/Test/Quick", b"", **headers)
        assert answer.headers[b":status"] == status
        assert peer.call("/Test/Quick", message(1)).message == message(1)


def test_a_deadline_that_has_passed_on_the_way_ends_the_call(serve):
    with Http2Peer(serve().address) as peer:
        answer = peer.call("/Test/Quick", message(1), grpc_timeout="0n")
        assert answer.headers[b"grpc-status"] == b"4"
