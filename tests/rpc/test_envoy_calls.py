"""Calls as Envoy hands them over, byte by byte: what is held of one that is still arriving."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.wrappers_pb2 import BytesValue

from euclidesdb_server.config.server import ServerConfig
from euclidesdb_server.rpc.answering import CONTROL_BYTES, Answerer
from euclidesdb_server.rpc.envoy_calls import EnvoyCalls
from euclidesdb_server.rpc.event_loop import event_loop, run
from euclidesdb_server.rpc.framing import prefix_of
from euclidesdb_server.rpc.methods import Lane, Method

LIMIT = 1 << 20
"""Of the bytes in flight."""


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """A socket where Envoy would hand over calls to methods that echo."""
    methods = [
        Method(f"/Test/{name}", BytesValue.FromString, lambda request, _: request, lane, _never)
        for name, lane in (("Call", Lane.CALLS), ("Control", Lane.CONTROL))
    ]
    config = ServerConfig(max_bytes_in_flight=LIMIT)
    answerer = Answerer(config)
    calls = EnvoyCalls(methods, answerer, config)
    path = str(tmp_path / "socket")

    async def serve() -> Any:
        return await event_loop().create_unix_server(calls.connection, path)

    server = run(serve())
    yield path
    event_loop().call_soon_threadsafe(server.close)
    answerer.close()


@pytest.fixture
def call(address: str) -> Iterator[Callable[[str, bytes], Caller]]:
    """Begins a call of a method, with a message."""
    with ExitStack() as opened:
        yield lambda method, sent: opened.enter_context(closing(Caller(address, method, sent)))


def _never(_: object) -> bool:
    return False


class Caller:
    """One call, whose message is sent in parts."""

    def __init__(self, address: str, method: str, message: bytes) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(60)
        self._socket.connect(address)
        self._rest = prefix_of(message) + message
        head = f"POST /Test/{method} HTTP/1.1\r\ncontent-type: application/grpc\r\n"
        self._socket.sendall(f"{head}content-length: {len(self._rest)}\r\n\r\n".encode())

    def send(self, size: int) -> None:
        self._socket.sendall(self._rest[:size])
        self._rest = self._rest[size:]

    def reply(self) -> bytes:
        """What is sent back at first."""
        return self._socket.recv(1 << 16)

    def close(self) -> None:
        """Leave."""
        self._socket.close()


def message(size: int) -> bytes:
    return BytesValue(value=bytes(size)).SerializeToString()


def test_bytes_of_requests_that_still_arrive_are_limited(call):
    size = LIMIT * 3 // 4
    first = call("Call", message(LIMIT))
    first.send(size)
    second = call("Call", message(LIMIT))
    second.send(size)
    refused = second.reply()
    assert b"grpc-status: 8" in refused
    assert b"max_bytes_in_flight" in refused
    first.send(LIMIT)
    assert b"transfer-encoding: chunked" in first.reply(), "the first one is not affected"
    third = call("Call", message(size))
    third.send(LIMIT)
    assert b"transfer-encoding: chunked" in third.reply(), "nothing is counted any more"


def test_what_a_caller_has_sent_counts_no_more_once_it_has_left(call):
    for _ in range(5):
        caller = call("Call", message(LIMIT))
        caller.send(LIMIT * 3 // 4)
        caller.close()
    caller = call("Control", message(10))  # answered after the ends before
    caller.send(LIMIT)
    assert b"transfer-encoding: chunked" in caller.reply()
    last = call("Call", message(LIMIT // 2))
    last.send(LIMIT)
    assert b"transfer-encoding: chunked" in last.reply()


def test_a_call_of_control_is_admitted_next_to_them_unless_it_is_long(call):
    first = call("Call", message(2 * LIMIT))
    first.send(LIMIT)
    short = call("Control", message(1000))
    short.send(500)
    short.send(LIMIT)
    assert b"transfer-encoding: chunked" in short.reply()
    long = call("Control", message(LIMIT))
    long.send(CONTROL_BYTES * 2)
    assert b"grpc-status: 8" in long.reply()
