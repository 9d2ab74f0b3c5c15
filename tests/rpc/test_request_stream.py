"""RequestStream and ReplyStream: what is counted, when, and what a handler is given."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from google.protobuf.wrappers_pb2 import BytesValue

from euclidesdb_server.config.server import ServerConfig
from euclidesdb_server.database.steps import finish
from euclidesdb_server.errors import InvalidRequest, Overloaded
from euclidesdb_server.rpc.answering import Answerer
from euclidesdb_server.rpc.call_measures import CallMeasures
from euclidesdb_server.rpc.framing import PREFIX_BYTES
from euclidesdb_server.rpc.reply_stream import MAX_UNREAD_BYTES, ReplyStream
from euclidesdb_server.rpc.request_stream import REQUEST_BYTES, RequestStream

LIMIT = 10_000
INFLATION = 50


def read(data: bytes, is_compressed: bool) -> tuple[BytesValue, int]:
    data = data * INFLATION if is_compressed else data
    if data == b"bad":
        raise InvalidRequest("it is bad")
    return BytesValue(value=data), len(data)


class Scene:
    """An answerer whose counts are looked at, and a stream of requests."""

    def __init__(self) -> None:
        self.answerer = Answerer(
            ServerConfig(threads=2, max_bytes_in_flight=LIMIT), CallMeasures([])
        )
        self.taken = 0
        self.requests = RequestStream(self.answerer, read, self._on_taken)

    def _on_taken(self) -> None:
        self.taken += 1

    @property
    def counted(self) -> int:
        return self.answerer._bytes


def in_loop(scenario: Callable[[Scene], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        scene = Scene()
        try:
            await scenario(scene)
        finally:
            scene.requests.close()
            scene.answerer.close()
        assert scene.counted == 0

    asyncio.run(run())


async def turn() -> None:
    """Let the loop do what was asked of it."""
    for _ in range(3):
        await asyncio.sleep(0)


def test_requests_count_until_they_are_finished():
    async def scenario(scene: Scene) -> None:
        scene.requests.put(bytes(100))
        scene.requests.put(bytes(200))
        assert scene.counted == 300 + 2 * REQUEST_BYTES
        assert scene.requests.waiting_bytes == 300 + 2 * PREFIX_BYTES
        message, size = scene.requests.take() or (None, 0)
        assert message == BytesValue(value=bytes(100))
        await turn()
        assert (scene.counted, scene.taken) == (300 + 2 * REQUEST_BYTES, 1)
        scene.requests.finished(size)
        await turn()
        assert scene.counted == 200 + REQUEST_BYTES

    in_loop(scenario)


def test_bytes_that_the_transport_has_counted_are_counted_once():
    async def scenario(scene: Scene) -> None:
        scene.requests.hold(PREFIX_BYTES + 100)
        scene.requests.put(bytes(100), counted=PREFIX_BYTES + 100)
        assert scene.counted == 100 + REQUEST_BYTES

    in_loop(scenario)


def test_what_a_compressed_request_becomes_is_counted():
    async def scenario(scene: Scene) -> None:
        scene.requests.put(bytes(100), is_compressed=True)
        scene.requests.take()
        await turn()
        assert scene.counted == 100 * INFLATION + REQUEST_BYTES

    in_loop(scenario)


def test_compressed_requests_that_become_too_much_end_the_stream():
    async def scenario(scene: Scene) -> None:
        for _ in range(5):
            scene.requests.put(bytes(100), is_compressed=True)
        for _ in range(2):
            scene.requests.take()
            await turn()
        with pytest.raises(Overloaded, match="max_bytes_in_flight"):
            scene.requests.take()

    in_loop(scenario)


def test_one_request_may_be_larger_than_the_limit_but_not_a_queue_of_them():
    async def scenario(scene: Scene) -> None:
        scene.requests.put(bytes(2 * LIMIT))
        with pytest.raises(Overloaded):
            scene.requests.put(b"x")

    in_loop(scenario)


def test_an_error_comes_after_the_requests_before_it():
    async def scenario(scene: Scene) -> None:
        scene.requests.put(b"first")
        scene.requests.end(InvalidRequest("cut off"))
        scene.requests.put(b"dropped")
        assert scene.requests.arrival().done()
        assert scene.requests.take() is not None
        assert scene.requests.arrival().done()
        with pytest.raises(InvalidRequest, match="cut off"):
            scene.requests.take()
        assert not scene.requests.is_over()

    in_loop(scenario)


def test_a_request_that_cannot_be_read_is_counted_no_more():
    async def scenario(scene: Scene) -> None:
        scene.requests.put(b"bad")
        with pytest.raises(InvalidRequest, match="it is bad"):
            scene.requests.take()
        await turn()
        assert scene.counted == 0

    in_loop(scenario)


def test_iterating_gives_each_request_and_counts_only_the_last():
    async def scenario(scene: Scene) -> None:
        for value in (b"a", b"b"):
            scene.requests.put(value)
        scene.requests.end()

        async def collect() -> list[bytes]:
            return [request.value async for request in scene.requests]

        assert finish(collect()) == [b"a", b"b"]
        await turn()
        assert scene.counted == 0

    in_loop(scenario)


def test_what_is_finished_after_the_end_of_the_call_is_counted_once():
    async def scenario(scene: Scene) -> None:
        scene.requests.put(bytes(100))
        _, size = scene.requests.take() or (None, 0)
        scene.requests.close()
        scene.requests.finished(size)
        await turn()
        assert scene.counted == 0

    in_loop(scenario)


def test_replies_count_until_they_are_taken_and_not_after_the_end():
    async def scenario(scene: Scene) -> None:
        sent: list[bytes] = []
        replies = ReplyStream(scene.answerer, lambda _: None, sent.extend)
        replies.put(bytes(MAX_UNREAD_BYTES))
        assert replies.is_full()
        await turn()
        assert scene.answerer._unread == MAX_UNREAD_BYTES + PREFIX_BYTES
        room = asyncio.create_task(replies.room())
        await turn()
        assert not room.done()
        replies.taken(MAX_UNREAD_BYTES // 2 + PREFIX_BYTES)
        await room
        assert not replies.is_full()
        replies.close()
        replies.put(b"late")
        await turn()
        assert (scene.answerer._unread, len(sent)) == (0, 1)

    in_loop(scenario)
