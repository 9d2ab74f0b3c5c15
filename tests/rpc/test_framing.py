"""gRPC's framing and Envoy's HTTP/1.1, piece by piece."""

from __future__ import annotations

import gzip
import zlib

import grpc
import pytest

from euclidesdb_server.rpc.framing import (
    FramingError,
    MessageReader,
    header_lines,
    inflated,
    prefix_of,
    seconds_of,
)
from euclidesdb_server.rpc.http1 import LARGE_BYTES, RequestParser, path_of, reply
from euclidesdb_server.rpc.status import Failure

STATUS = grpc.StatusCode
HEAD = b"POST /a.B/C HTTP/1.1\r\nhost: x\r\n"
CHUNKED = (
    HEAD + b"transfer-encoding: chunked\r\n\r\n5\r\nabcde\r\nc\r\n\r\n\r\n0\r\n\r\nxyz\r\n0\r\n\r\n"
)
SIZED = HEAD + b"content-length: 3\r\n\r\n\r\nx"
EMPTY = HEAD + b"content-length: 0\r\n\r\n"
TRAILED = HEAD + b"transfer-encoding: chunked\r\n\r\n0\r\na: b\r\n\r\n"


class Received:
    """The requests that a parser has handed over, the last one perhaps in part."""

    def __init__(self):
        self.bodies, self.ended = [], 0

    def head(self, lines):
        assert path_of(lines) == "/a.B/C"
        self.bodies.append(b"")

    def body(self, piece):
        self.bodies[-1] += piece

    def end(self):
        self.ended += 1


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50, 10_000])
def test_requests_are_the_same_in_pieces_of_any_size(size):
    data = CHUNKED + SIZED + EMPTY + TRAILED + CHUNKED
    received = Received()
    parser = RequestParser(received)
    for start in range(0, len(data), size):
        parser.feed(data[start : start + size])
    chunked = b"abcde\r\n\r\n0\r\n\r\nxyz"
    assert received.bodies == [chunked, b"\r\nx", b"", b"", chunked]
    assert received.ended == 5


def test_what_is_not_a_size_of_a_chunk_is_an_error():
    parser = RequestParser(Received())
    with pytest.raises(ValueError, match="invalid literal"):
        parser.feed(HEAD + b"transfer-encoding: chunked\r\n\r\nxy\r\n")


@pytest.mark.parametrize("size", [0, 5, LARGE_BYTES, LARGE_BYTES + 1])
def test_a_reply_is_one_chunk_and_the_status(size):
    head, _, rest = b"".join(reply(bytes(size))).partition(b"\r\n\r\n")
    assert b"transfer-encoding: chunked" in head
    length, _, rest = rest.partition(b"\r\n")
    assert int(length, 16) == size + 5
    assert rest == prefix_of(bytes(size)) + bytes(size) + b"\r\n0\r\ngrpc-status: 0\r\n\r\n"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (b"2H", 7200.0),
        (b"1M", 60.0),
        (b"99999999S", 99999999.0),
        (b"20m", 0.02),
        (b"5000000u", 5.0),
        (b"0n", 0.0),
        (b"", None),
        (b"1", None),
        (b"-1S", None),
        (b"123456789S", None),
        (b"1x", None),
    ],
)
def test_a_timeout_is_read_or_ignored(text, seconds):
    assert seconds_of(text) == seconds


def test_a_status_is_escaped():
    lines = header_lines(Failure(STATUS.NOT_FOUND, "ä 100%\r\nx: y", (("key", "value"),)))
    assert lines == (b"grpc-status: 5\r\ngrpc-message: %C3%A4 100%25%0D%0Ax: y\r\nkey: value\r\n")


@pytest.mark.parametrize("size", [1, 4, 5, 6, 100])
def test_a_message_is_the_same_in_pieces_of_any_size(size):
    data = prefix_of(b"message") + b"message" + b"what follows is not read"
    reader, found = MessageReader(7), None
    for start in range(0, len(data), size):
        found = reader.take(data[start : start + size])
        if found is not None:
            break
    assert found == b"message"
    assert not reader.compressed


@pytest.mark.parametrize(
    ("prefix", "code", "words"),
    [
        (b"\0\0\0\0\x08", STATUS.RESOURCE_EXHAUSTED, "larger than max (8 vs. 7)"),
        (b"\0\xff\xff\xff\xff", STATUS.RESOURCE_EXHAUSTED, "larger than max"),
        (b"\x02\0\0\0\x01", STATUS.INTERNAL, "not a flag"),
    ],
)
def test_a_message_that_cannot_be_read_is_refused_by_its_prefix(prefix, code, words):
    with pytest.raises(FramingError) as caught:
        MessageReader(7).take(prefix)
    assert caught.value.failure.code is code
    assert words in caught.value.failure.details


def test_compressed_messages_are_inflated_up_to_the_limit():
    assert inflated(gzip.compress(b"x" * 100), "gzip", 100) == b"x" * 100
    assert inflated(zlib.compress(b"x" * 100), "deflate", 100) == b"x" * 100
    for data, encoding, code in (
        (gzip.compress(b"x" * 101), "gzip", STATUS.RESOURCE_EXHAUSTED),
        (gzip.compress(b"x")[:-1], "gzip", STATUS.INTERNAL),
        (b"x", "deflate", STATUS.INTERNAL),
        (b"x", "identity", STATUS.INTERNAL),
        (b"x", "brotli", STATUS.UNIMPLEMENTED),
    ):
        with pytest.raises(FramingError) as caught:
            inflated(data, encoding, 100)
        assert caught.value.failure.code is code
