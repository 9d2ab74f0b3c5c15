"""gRPC's framing, piece by piece."""

from __future__ import annotations

import gzip
import zlib

import grpc
import pytest

from euclidesdb_server.rpc.framing import (
    FramingError,
    MessageReader,
    inflated,
    prefix_of,
    seconds_of,
    status_headers,
)
from euclidesdb_server.rpc.status import Failure

STATUS = grpc.StatusCode


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
    headers = status_headers(Failure(STATUS.NOT_FOUND, "ä 100%\r\nx: y", (("key", "value"),)))
    assert headers == [
        (b"grpc-status", b"5"),
        (b"grpc-message", b"%C3%A4 100%25%0D%0Ax: y"),
        (b"key", b"value"),
    ]


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
