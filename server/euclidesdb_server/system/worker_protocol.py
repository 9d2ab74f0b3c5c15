"""The messages between the server and a model's worker process.

A message is one JSON header and any number of binary parts, each a frame of a
`multiprocessing.connection.Connection`. Pickle is never used: a worker parses hostile bytes, and
its messages must not be able to run code in the server.

Server to worker: `{"type": "load", ...}` once, then `{"type": "run", "batch": n}`
with one part per item. Worker to server: `{"type": "ready", ...}` or
`{"type": "failed", "reason": text, "lacks_memory": bool}` once, then `{"type": "done", "batch": n,
"errors": [null | {"kind": ..., "message": ...}, ...]}` with two parts: the features and the
predictions of the items without an error, little-endian float32 in C order.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, Final

MAX_FRAME_BYTES: Final = 1 << 30
"""A larger frame is a protocol violation."""


class ProtocolError(Exception):
    """The other side sent something other than a message."""


def send_message(
    connection: Connection[Any, Any],
    header: dict[str, Any],
    parts: Sequence[bytes | memoryview] = (),
) -> None:
    """Send one message. parts: a memoryview has the format `B`.

    Raises OSError if the other side is gone.
    """
    connection.send_bytes(json.dumps({**header, "parts": len(parts)}).encode())
    for part in parts:
        connection.send_bytes(part)


def receive_message(connection: Connection[Any, Any]) -> tuple[dict[str, Any], list[bytes]]:
    """Wait for one message.

    Raises EOFError or OSError if the other side is gone, ProtocolError if it sent something
    other than a message.
    """
    try:
        header = json.loads(connection.recv_bytes(MAX_FRAME_BYTES))
        parts = [connection.recv_bytes(MAX_FRAME_BYTES) for _ in range(header["parts"])]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ProtocolError(f"not a message: {error}") from error
    return header, parts


def shut_down(connection: Connection[Any, Any]) -> None:
    """End a connection for both sides, even while another thread reads from it; `close` alone
    would leave it open until that thread returns.

    Raises OSError if the process has no file descriptor left.
    """
    with socket.socket(fileno=os.dup(connection.fileno())) as view, suppress(OSError):
        view.shutdown(socket.SHUT_RDWR)  # fails if the other side is gone


def limit_silence(connection: Connection[Any, Any], seconds: float) -> None:
    """Make `receive_message` raise OSError if the next byte takes longer than `seconds`.

    For one end of a `Pipe()`: a thread that polled and found a message does not wait forever for
    the rest of it.
    """
    whole, fraction = divmod(max(1, round(seconds * 1e6)), 1_000_000)
    with socket.socket(fileno=os.dup(connection.fileno())) as view:
        # not settimeout: that would make our sends non-blocking, too
        view.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", whole, fraction))
