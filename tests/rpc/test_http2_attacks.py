"""Frames that HTTP/2 forbids, floods and noise cost their own connection, and nothing else."""

from __future__ import annotations

import random
import resource
import threading
from collections.abc import Iterator

import hpack
import psutil
import pytest
from google.protobuf.wrappers_pb2 import BytesValue

from euclidesdb_server.access import Certificates
from euclidesdb_server.config.access import TlsConfig
from euclidesdb_server.config.server import ServerConfig
from euclidesdb_server.rpc.http2_listener import Http2Listener
from euclidesdb_server.rpc.methods import Lane, Method
from euclidesdb_server.rpc.nghttp2 import RESETS_AT_ONCE
from euclidesdb_server.rpc.nghttp2_callbacks import MAX_HEADER_BYTES
from euclidesdb_server.system.file_watch import FileWatch
from tests.support.http2_peer import Http2Peer
from tests.support.tls import Authority
from tests.support.waiting import wait_for

MIB = 1 << 20
MESSAGE = BytesValue(value=b"x").SerializeToString()
PATH = "/Test/Echo"
GOOD = [
    (":method", "POST"),
    (":scheme", "http"),
    (":authority", "test"),
    (":path", PATH),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
]
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW, CONTINUATION = (
    range(10)
)
END_STREAM, END_HEADERS, PADDED = 0x1, 0x4, 0x8


def frame(kind: int, body: bytes = b"", *, flags: int = 0, stream: int = 0) -> bytes:
    """One frame, right or wrong."""
    return len(body).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + body


def headers(
    pairs: list[tuple[str, str]] | bytes = GOOD, *, flags: int = END_HEADERS, stream: int = 1
) -> bytes:
    """A frame of headers; bytes are a block that is encoded already."""
    block = pairs if isinstance(pairs, bytes) else hpack.Encoder().encode(pairs)
    return frame(HEADERS, block, flags=flags, stream=stream)


@pytest.fixture(scope="module", params=["plain", "tls"])
def listener(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Http2Listener]:
    """One that echoes; all peers speak with it as it expects."""
    echo = Method(
        PATH, BytesValue.FromString, lambda request, _: request, Lane.CALLS, lambda _: True
    )
    config = ServerConfig(address="127.0.0.1:0", shutdown_grace=0)
    certificates = None
    with FileWatch() as watch, pytest.MonkeyPatch.context() as patch:
        if request.param == "tls":
            authority = Authority(tmp_path_factory.mktemp("tls"))
            files = TlsConfig(*authority.issue())
            certificates = Certificates(files, lambda section, key: f"[{section}] {key}", watch)
            patch.setattr(Http2Peer, "tls", authority.client_context())
        served = Http2Listener([echo], config, certificates=certificates)
        yield served
        served.close()


def is_serving(listener: Http2Listener) -> bool:
    with Http2Peer(listener.address) as peer:
        return peer.call(PATH, MESSAGE).message == MESSAGE


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(frame(DATA, b"x"), id="data without a stream"),
        pytest.param(frame(DATA, b"x", stream=1), id="data of a stream that is not open"),
        pytest.param(
            headers() + frame(DATA, b"\xff", flags=PADDED, stream=1), id="more padding than data"
        ),
        pytest.param(frame(DATA, bytes(MIB), stream=1), id="a frame that is too long"),
        pytest.param(headers(stream=2), id="headers on an even stream"),
        pytest.param(headers(stream=0), id="headers without a stream"),
        pytest.param(headers(b"\xff\xff\xff\xff\xff\xff"), id="headers that cannot be decoded"),
        pytest.param(headers(b"\xbf"), id="an entry that no table has"),
        pytest.param(headers(b"\x3f\xe1\xff\x03"), id="a table that is too large"),
        pytest.param(
            headers(flags=0) + frame(PING, bytes(8)), id="a frame between parts of headers"
        ),
        pytest.param(frame(CONTINUATION, b"", stream=1), id="a part of headers that never began"),
        pytest.param(
            headers(flags=0) + b"".join(frame(CONTINUATION, b"", stream=1) for _ in range(100_000)),
            id="headers in endless parts",
        ),
        pytest.param(
            headers(flags=0)
            + b"".join(frame(CONTINUATION, bytes(16_000), stream=1) for _ in range(1000)),
            id="headers without end",
        ),
        pytest.param(frame(PRIORITY, bytes(4), stream=1), id="a short priority"),
        pytest.param(frame(RST_STREAM, bytes(4), stream=1), id="a reset of no stream"),
        pytest.param(frame(RST_STREAM, bytes(3), stream=1), id="a short reset"),
        pytest.param(frame(SETTINGS, bytes(5)), id="settings of a wrong length"),
        pytest.param(frame(SETTINGS, b"\0\4\xff\xff\xff\xff"), id="a window that is too large"),
        pytest.param(frame(SETTINGS, b"\0\5\0\0\0\1"), id="frames that are too short"),
        pytest.param(frame(SETTINGS, bytes(6), flags=1), id="an acknowledgment with settings"),
        pytest.param(frame(PUSH_PROMISE, bytes(4), flags=4, stream=1), id="a client that pushes"),
        pytest.param(frame(PING, bytes(7)), id="a short ping"),
        pytest.param(frame(PING, bytes(8), stream=1), id="a ping on a stream"),
        pytest.param(frame(WINDOW, bytes(4)), id="a window that does not grow"),
        pytest.param(frame(WINDOW, b"\x7f\xff\xff\xff") * 2, id="a window that overflows"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n" * 3, id="another protocol"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00" + bytes(500), id="TLS"),
    ],
)
def test_what_breaks_the_connection_closes_it(listener, sent):
    with Http2Peer(listener.address) as peer:
        peer.send_bytes(sent)
        peer.wait_until_closed()
    assert is_serving(listener)


@pytest.mark.parametrize(
    "pairs",
    [
        pytest.param(GOOD[1:], id="no method"),
        pytest.param([each for each in GOOD if each[0] != ":path"], id="no path"),
        pytest.param([*GOOD, (":path", PATH)], id="two paths"),
        pytest.param([*GOOD, (":status", "200")], id="a header of replies"),
        pytest.param([("te", "trailers"), *GOOD[:-1]], id="in the wrong order"),
        pytest.param([*GOOD, ("Upper", "x")], id="a name in upper case"),
        pytest.param([*GOOD, ("connection", "close")], id="a header of HTTP/1.1"),
        pytest.param([*GOOD, ("te", "gzip")], id="a wrong te"),
        pytest.param([*GOOD, ("x", "a\r\nb")], id="a line break"),
        pytest.param([*GOOD, ("content-length", "5"), ("content-length", "6")], id="two lengths"),
        pytest.param([*GOOD, ("x", "y" * MAX_HEADER_BYTES)], id="too long"),
    ],
)
def test_headers_that_are_wrong_cost_their_call(listener, pairs):
    encoder = hpack.Encoder()
    with Http2Peer(listener.address) as peer:
        block = encoder.encode(pairs)
        parts = [block[at : at + 16_000] for at in range(0, len(block), 16_000)]
        peer.send_bytes(headers(parts[0], flags=END_STREAM | END_HEADERS * (len(parts) == 1)))
        for part in parts[1:]:
            peer.send_bytes(frame(CONTINUATION, part, flags=END_HEADERS, stream=1))
        assert peer.answer(1).reset is not None or peer.closed
    assert is_serving(listener)


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(frame(PING, bytes(8)), id="pings"),
        pytest.param(frame(SETTINGS), id="settings"),
        pytest.param(frame(SETTINGS, b"\0\4\0\0\0\1\0\4\0\0\0\2"), id="changing settings"),
        pytest.param(frame(PRIORITY, b"\0\0\0\0\1", stream=5), id="priorities"),
        pytest.param(frame(WINDOW, bytes(3) + b"\1"), id="windows"),
        pytest.param(frame(200, bytes(100)), id="frames of no known kind"),
    ],
)
def test_a_flood_that_its_sender_does_not_read_is_bounded(listener, sent):
    process = psutil.Process()
    before = process.memory_info().rss
    with Http2Peer(listener.address) as peer:
        flood = threading.Thread(target=peer.send_bytes, args=(sent * 1_000_000,), daemon=True)
        flood.start()
        for _ in range(20):
            assert is_serving(listener)
        # what is read of its own data is in this process, too
        assert process.memory_info().rss - before < 64 * MIB + len(sent) * 1_000_000
    flood.join(60)
    assert is_serving(listener)


def test_streams_that_are_reset_at_once_do_no_harm(listener):
    encoder = hpack.Encoder()
    with Http2Peer(listener.address) as peer:
        for first in range(1, 4 * RESETS_AT_ONCE, 2000):
            streams = range(first, first + 2000, 2)
            peer.send_bytes(
                b"".join(
                    headers(encoder.encode(GOOD), stream=stream)
                    + frame(RST_STREAM, bytes(3) + b"\x08", stream=stream)
                    for stream in streams
                )
            )
    assert is_serving(listener)
    wait_for(lambda: not listener._calls._connections, "its connection is gone")


def test_noise_ends_its_connection(listener):
    chance = random.Random(0)
    for _ in range(300):
        with Http2Peer(listener.address) as peer:
            for _ in range(chance.randint(1, 20)):
                kind, stream = chance.randint(0, 11), chance.choice([0, 1, 1, 3, 2, 1 << 30])
                body = chance.randbytes(chance.choice([0, 1, 4, 5, 6, 8, 100]))
                right = chance.random() < 0.3
                peer.send_bytes(
                    headers(stream=chance.choice([1, 3, 5]))
                    if right
                    else frame(kind, body, flags=chance.randrange(256), stream=stream)
                )
    assert is_serving(listener)
    wait_for(lambda: not listener._calls._connections, "their connections are gone")


def test_idle_connections_cost_little(listener):
    count = min(500, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4)
    before = psutil.Process().memory_info().rss
    peers = [Http2Peer(listener.address) for _ in range(count)]
    assert is_serving(listener)
    # both ends are in this process
    assert psutil.Process().memory_info().rss - before < count * 200 * 1024
    for peer in peers:
        peer.close()
