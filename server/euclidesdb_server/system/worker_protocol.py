"""The messages between the server and a model's worker process.

A message is the length of a JSON header (4 bytes, big-endian), the header, and any number of binary
parts, whose lengths are the header's `parts`. It is written by one call of the system. Pickle is
never used: a worker parses hostile bytes, and its messages must not be able to run code in the
server.

Server to worker: `{"type": "load", ...}` once, then `{"type": "run", "batch": n}`
with one part per item. Worker to server: `{"type": "ready", ...}` or
`{"type": "failed", "reason": text, "lacks_memory": bool}` once, then `{"type": "done", "batch": n,
"errors": [null | {"kind": "undecodable", "message": text} | {"kind": "failed", "reason": a
`FailureReason`, "message": text}, ...]}` with two parts: the features and the predictions of the
items without an error, little-endian float32 in C order.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, Final, TypeAlias

import msgspec

MAX_FRAME_BYTES: Final = 1 << 30
"""A longer header, or a longer part, is a protocol violation."""
READ_BYTES: Final = 64 << 10
"""What is read at once if it is not known that more will follow: most messages are shorter."""
LENGTH: Final = struct.Struct("!I")
MAX_BUFFERS: Final = 1024
"""In one call of the system (IOV_MAX)."""

Message: TypeAlias = tuple[dict[str, Any], list[bytes]]
"""A header, and the parts."""


class ProtocolError(Exception):
    """The other side sent something other than a message."""


def send_message(
    connection: Connection[Any, Any],
    header: dict[str, Any],
    parts: Sequence[bytes] = (),
) -> None:
    """Send one message. Raises OSError if the other side is gone."""
    data = msgspec.json.encode({**header, "parts": [len(part) for part in parts]})
    file = connection.fileno()
    buffers: list[bytes | memoryview] = [LENGTH.pack(len(data)) + data, *parts]
    while buffers:
        written = os.writev(file, buffers[:MAX_BUFFERS])
        done = 0
        while done < len(buffers) and written >= len(buffers[done]):
            written -= len(buffers[done])
            done += 1
        del buffers[:done]
        if written:
            buffers[0] = memoryview(buffers[0])[written:]


class MessageReader:
    """Reads messages from a connection; a short one takes one call of the system.

    It may read ahead, so nothing else may read from that connection any more. For one thread.
    """

    def __init__(self, connection: Connection[Any, Any], *, read_ahead: bool = True) -> None:
        self._connection = connection
        self._read_ahead = read_ahead
        self._chunks: list[bytes] = []
        self._size = 0  # of the chunks
        self._wanted = LENGTH.size  # the bytes of the chunks after which `_advance` can go on
        self._begin = 0  # of the parts
        self._header: dict[str, Any] | None = None
        self._lengths: list[int] = []

    def read(self) -> Message:
        """Wait for one message.

        Raises BlockingIOError if `limit_silence` ended the wait: what has arrived is kept, and the
        next call goes on. Raises EOFError or OSError if the other side is gone, ProtocolError if it
        sent something other than a message.
        """
        while True:
            while self._size < self._wanted:
                missing = self._wanted - self._size
                if self._read_ahead and missing < READ_BYTES:
                    missing = READ_BYTES
                # a number of its own might be another's by now, once the connection is closed
                data = os.read(self._connection.fileno(), min(missing, 1 << 20))
                if not data:
                    raise EOFError
                self._chunks.append(data)
                self._size += len(data)
            if len(self._chunks) > 1:
                self._chunks = [b"".join(self._chunks)]
            message = self._advance(self._chunks[0])
            if message is not None:
                return message

    def _advance(self, data: bytes) -> Message | None:
        """Parse what `_wanted` bytes allow; the message if that was the end of it."""
        if self._header is None:
            if self._begin == 0:
                (length,) = LENGTH.unpack_from(data)
                self._begin = self._wanted = LENGTH.size + _checked(length)
            if len(data) < self._wanted:
                return None
            self._header, self._lengths = _parsed(data[LENGTH.size : self._begin])
            self._wanted = self._begin + sum(self._lengths)
            if len(data) < self._wanted:
                return None
        parts, position = [], self._begin
        for length in self._lengths:
            parts.append(data[position : position + length])
            position += length
        header, rest = self._header, data[position:]
        self._chunks, self._size = [rest] if rest else [], len(rest)
        self._header, self._begin, self._wanted = None, 0, LENGTH.size
        return header, parts


def receive_message(connection: Connection[Any, Any]) -> Message:
    """Wait for one message, and read nothing that follows it. Raises as `MessageReader.read`; what
    has arrived before an error is lost.
    """
    return MessageReader(connection, read_ahead=False).read()


def _parsed(data: bytes) -> tuple[dict[str, Any], list[int]]:
    """The header without `parts`, and those."""
    try:
        header: dict[str, Any] = msgspec.json.decode(data)
        lengths = [_checked(length) for length in header.pop("parts")]
    except (
        msgspec.DecodeError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
    ) as error:
        raise ProtocolError(f"not a message: {error}") from error
    return header, lengths


def _checked(length: int) -> int:
    if not isinstance(length, int) or not 0 <= length <= MAX_FRAME_BYTES:
        raise ProtocolError(f"not a message: a frame of {length} bytes")
    return length


def shut_down(connection: Connection[Any, Any]) -> None:
    """End a connection for both sides, even while another thread reads from it; `close` alone
    would leave it open until that thread returns.

    Raises OSError if the process has no file descriptor left.
    """
    with socket.socket(fileno=os.dup(connection.fileno())) as view, suppress(OSError):
        view.shutdown(socket.SHUT_RDWR)  # fails if the other side is gone


def limit_silence(connection: Connection[Any, Any], seconds: float) -> None:
    """Make reading raise BlockingIOError if the next byte takes longer than `seconds`.

    For one end of a `Pipe()`.
    """
    whole, fraction = divmod(max(1, round(seconds * 1e6)), 1_000_000)
    view = socket.socket(fileno=connection.fileno())
    try:
        # not settimeout: that would make our sends non-blocking, too
        view.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", whole, fraction))
    finally:
        view.detach()  # without a descriptor of its own: there may be none left
