"""gRPC's framing: a call's headers, the bounds of its message, and how its status is written.

As in gRPC's document "gRPC over HTTP2" (PROTOCOL-HTTP2.md); HTTP itself is not known here.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote

import grpc

from euclidesdb_server.rpc.status import Failure

PREFIX_BYTES: Final = 5
"""Of each message: whether it is compressed, and its length in four bytes."""
MAX_DETAILS: Final = 1000
"""Of an error's characters: a header must not be longer than clients take."""
ENCODINGS: Final = b"identity, deflate, gzip"
"""How a client may compress its messages."""

_UNITS: Final = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_TIMEOUT: Final = re.compile(rb"(\d{1,8})([HMSmun])")
_WINDOW_BITS: Final = {"deflate": zlib.MAX_WBITS, "gzip": zlib.MAX_WBITS | 16}
# All of printable ASCII but "%".
_UNESCAPED: Final = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")


class FramingError(Exception):
    """The call ends with `failure`: its message cannot be read."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(details)
        self.failure = Failure(code, details[:MAX_DETAILS])


def seconds_of(timeout: bytes) -> float | None:
    """The value of the header `grpc-timeout`; None if it has none, as if it were not there."""
    found = _TIMEOUT.fullmatch(timeout)
    return None if found is None else int(found[1]) * _UNITS[found[2]]


def prefix_of(message: bytes) -> bytes:
    """What stands before a message that is not compressed."""
    return b"\0" + len(message).to_bytes(4, "big")


def size_of(prefix: bytes | bytearray, limit: int) -> int:
    """The length of a message. Raises FramingError."""
    size = int.from_bytes(prefix[1:PREFIX_BYTES], "big")
    if prefix[0] > 1:
        raise FramingError(
            grpc.StatusCode.INTERNAL, f"the first byte of the message is {prefix[0]}: not a flag"
        )
    if size > limit:
        # gRPC's own words, which clients know
        raise FramingError(
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            f"Received message larger than max ({size} vs. {limit})",
        )
    return size


def status_headers(failure: Failure) -> list[tuple[bytes, bytes]]:
    """The status of a call that failed, with its metadata, as names and values of headers."""
    pairs = [
        ("grpc-status", str(failure.code.value[0])),
        ("grpc-message", quote(failure.details, safe=_UNESCAPED)),
        *failure.trailing_metadata,
    ]
    return [(key.encode("ascii"), value.encode("ascii")) for key, value in pairs]


class MessageReader:
    """Collects the first message of a call, from pieces as they arrive.

    compressed: whether it must go through `inflated`; once it is complete.
    """

    __slots__ = ("_buffer", "_limit", "_size", "_wanted", "compressed")

    def __init__(self, limit: int) -> None:
        """limit: the most bytes that a message may have."""
        self.compressed = False
        self._limit = limit
        self._buffer = bytearray()  # not a list: a hostile client sends pieces of a byte
        self._size = 0
        self._wanted = PREFIX_BYTES

    @property
    def received(self) -> int:
        """Bytes so far."""
        return self._size

    def take(self, piece: bytes) -> bytes | None:
        """The message, if it is complete with this piece. Raises FramingError."""
        data: bytes | bytearray = piece
        if self._size or len(piece) < PREFIX_BYTES:
            self._buffer += piece
            data = self._buffer
        self._size += len(piece)
        if self._size < self._wanted:
            return None
        if self._wanted == PREFIX_BYTES:
            self._read_prefix(data)
            if self._size < self._wanted:
                if data is piece:
                    self._buffer += piece
                return None
        message = bytes(memoryview(data)[PREFIX_BYTES : self._wanted])
        self._buffer = bytearray()
        return message

    def _read_prefix(self, data: bytes | bytearray) -> None:
        self._wanted = PREFIX_BYTES + size_of(data, self._limit)
        self.compressed = data[0] == 1


class MessagesReader:
    """Cuts a call's messages out of pieces, as they arrive."""

    __slots__ = ("_buffer", "_limit", "_size")

    def __init__(self, limit: int) -> None:
        """limit: the most bytes that a message may have."""
        self._buffer = bytearray()
        self._limit = limit
        self._size: int | None = None  # of the next message, once its prefix is there

    @property
    def incomplete(self) -> int:
        """Bytes of a message of which more is to come."""
        return len(self._buffer)

    def take(self, piece: bytes) -> Iterator[tuple[bytes, bool]]:
        """The messages that are complete with this piece, and whether each is compressed.

        To be iterated to its end. Raises FramingError.
        """
        buffer, start = self._buffer, 0
        buffer += piece
        try:
            while len(buffer) - start >= PREFIX_BYTES:
                if self._size is None:
                    self._size = size_of(buffer[start : start + PREFIX_BYTES], self._limit)
                end = start + PREFIX_BYTES + self._size
                if len(buffer) < end:
                    break
                self._size = None
                is_compressed, at, start = buffer[start] == 1, start + PREFIX_BYTES, end
                yield bytes(memoryview(buffer)[at:end]), is_compressed
        finally:
            del buffer[:start]


def inflated(data: bytes, encoding: str, limit: int) -> bytes:
    """A message that was compressed by the encoding of its call. Raises FramingError."""
    bits = _WINDOW_BITS.get(encoding)
    if bits is None:
        code = grpc.StatusCode.INTERNAL if encoding == "identity" else grpc.StatusCode.UNIMPLEMENTED
        raise FramingError(code, f"the message is compressed, and grpc-encoding is {encoding!r}")
    reader = zlib.decompressobj(bits)
    try:
        message = reader.decompress(data, limit + 1)
    except zlib.error as error:
        raise FramingError(
            grpc.StatusCode.INTERNAL, f"the message is not valid {encoding}: {error}"
        ) from error
    if len(message) > limit:
        raise FramingError(
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            f"Received message larger than max (more than {limit} when decompressed)",
        )
    if not reader.eof:
        raise FramingError(grpc.StatusCode.INTERNAL, f"the message is not complete {encoding}")
    return message
