"""The HTTP/1.1 of requests that Envoy hands over, and of replies to them.

The other end is always our own Envoy, which has read and checked what a client sent: a request has
a head in lower case, and a body in chunks or of a given length. What else arrives is a fault of
ours, and ends the connection.
"""

from __future__ import annotations

from typing import Final, Protocol

from euclidesdb_server.rpc.framing import (
    ENCODINGS,
    OK_TRAILERS,
    PREFIX_BYTES,
    header_lines,
    prefix_of,
)
from euclidesdb_server.rpc.status import Failure

_GRPC: Final = b"HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\n"
_REPLY: Final = _GRPC + b"transfer-encoding: chunked\r\n\r\n%x\r\n"
_REPLY_END: Final = b"\r\n0\r\n" + OK_TRAILERS + b"\r\n"
_END: Final = b"\r\n\r\n"
LARGE_BYTES: Final = 64 << 10
"""A longer message is not copied into one piece with what is around it."""


class Receiver(Protocol):
    """Takes the parts of a request as they arrive."""

    def head(self, lines: bytes) -> None:
        """The first line and the headers, each with its end."""

    def body(self, piece: bytes) -> None:
        """A part of the body."""

    def end(self) -> None:
        """The request is complete."""


class RequestParser:
    """Splits what arrives on a connection into requests, one after the other."""

    __slots__ = ("_chunked", "_in_head", "_in_trailers", "_left", "_receiver", "_rest")

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._rest = b""
        self._in_head, self._in_trailers, self._chunked, self._left = True, False, False, 0

    def feed(self, data: bytes) -> None:
        """Hand over what is complete. Raises ValueError if it is not HTTP."""
        if self._rest:
            data = self._rest + data
        at, size = 0, len(data)
        while at < size:
            if self._left:
                piece = data[at : at + self._left]
                at += len(piece)
                self._left -= len(piece)
                self._receiver.body(piece)
                if not (self._left or self._chunked):
                    self._end()
                continue
            mark = _END if self._in_head else b"\r\n"
            end = data.find(mark, at)
            if end < 0:
                break
            line, at = data[at:end], end + len(mark)
            if self._in_head:
                self._read_head(line + b"\r\n")
            elif self._in_trailers:
                if not line:
                    self._end()
            elif line:  # after each chunk comes an empty one
                self._left = int(line, 16)
                self._in_trailers = not self._left
        self._rest = data[at:]

    def _read_head(self, lines: bytes) -> None:
        self._in_head = False
        length = header(lines, b"content-length")
        self._chunked = length is None and header(lines, b"transfer-encoding") is not None
        self._receiver.head(lines)
        if not self._chunked:
            self._left = int(length or b"0")
            if not self._left:
                self._end()

    def _end(self) -> None:
        self._in_head, self._in_trailers = True, False
        self._receiver.end()


def header(lines: bytes, name: bytes) -> bytes | None:
    """The first value of a header; None if there is none of that name."""
    key = b"\r\n" + name + b": "
    start = lines.find(key)
    if start < 0:
        return None
    start += len(key)
    return lines[start : lines.index(b"\r\n", start)]


def path_of(lines: bytes) -> str:
    """What the first line of a head asks for."""
    _, path, _ = lines[: lines.index(b"\r\n")].split(b" ")
    return path.decode("latin-1")


def reply(message: bytes) -> list[bytes]:
    """A call's answer, to be written one piece after the other."""
    start = _REPLY % (PREFIX_BYTES + len(message)) + prefix_of(message)
    if len(message) > LARGE_BYTES:
        return [start, message, _REPLY_END]
    return [b"".join((start, message, _REPLY_END))]


def refusal(failure: Failure) -> bytes:
    """The answer to a call that failed: headers only, so that clients may try again."""
    accepts = b"grpc-accept-encoding: " + ENCODINGS + b"\r\n"
    return _GRPC + header_lines(failure) + accepts + b"content-length: 0\r\n\r\n"


def http_error(status: bytes) -> bytes:
    """The answer to what is not a call."""
    return b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\n\r\n"
