"""What passes between the server and a model's worker process. Knows neither of them.

A message is one JSON header and any number of binary parts, each a frame of a
`multiprocessing.connection.Connection`. Never pickle: a worker parses hostile bytes, and
what comes out of it must not be able to run code in the server.

Server to worker: `{"type": "load", ...}` once, then `{"type": "run", "batch": n,
"kinds": [...]}` with one part per item. Worker to server: `{"type": "ready", ...}` or
`{"type": "failed", "reason": text}` once, then `{"type": "done", "batch": n,
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
from typing import Any

MAX_FRAME_BYTES = 1 << 30
"""Bytes; a frame over this means that the other side has gone mad."""


class ProtocolError(Exception):
    """The other side sent something that is no message."""


def send_message(
    connection: Connection[Any, Any], header: dict[str, Any], parts: Sequence[bytes] = ()
) -> None:
    """Send one message. Raises OSError where the other side has gone."""
    connection.send_bytes(json.dumps({**header, "parts": len(parts)}).encode())
    for part in parts:
        connection.send_bytes(part)


def receive_message(connection: Connection[Any, Any]) -> tuple[dict[str, Any], list[bytes]]:
    """Wait for one message.

    Raises EOFError or OSError where the other side has gone, ProtocolError where it sent
    something else.
    """
    try:
        header = json.loads(connection.recv_bytes(MAX_FRAME_BYTES))
        parts = [connection.recv_bytes(MAX_FRAME_BYTES) for _ in range(header["parts"])]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ProtocolError(f"not a message: {error}") from error
    return header, parts


def shut_down(connection: Connection[Any, Any]) -> None:
    """End a connection for both sides, and for a thread that reads from it: `close` alone leaves
    it open while one does. Raises OSError where there is no room for another descriptor.
    """
    with socket.socket(fileno=os.dup(connection.fileno())) as view, suppress(OSError):
        view.shutdown(socket.SHUT_RDWR)  # fails where the other side has gone


def limit_silence(connection: Connection[Any, Any], seconds: float) -> None:
    """Have `receive_message` raise OSError where the next byte takes longer than `seconds`.

    For one end of a `Pipe()`: who has polled and found a message is not made to wait for ever
    for the rest of it.
    """
    whole, fraction = divmod(max(1, round(seconds * 1e6)), 1_000_000)
    with socket.socket(fileno=os.dup(connection.fileno())) as view:
        # not settimeout: that would make our sends non-blocking, too
        view.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", whole, fraction))
