"""How TCP finds out that the other end of a connection is gone without a word."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Final

# After a minute of silence it is asked every 20 seconds.
_TCP_OPTIONS: Final = (
    ("SO_KEEPALIVE", socket.SOL_SOCKET, 1),
    ("TCP_KEEPIDLE", socket.IPPROTO_TCP, 60),
    ("TCP_KEEPINTVL", socket.IPPROTO_TCP, 20),
    ("TCP_KEEPCNT", socket.IPPROTO_TCP, 2),
    ("TCP_USER_TIMEOUT", socket.IPPROTO_TCP, 80_000),
)


def find_silent_loss(at: socket.socket | None) -> None:
    """Close the connection if its other end is gone; not for Unix sockets, which never lose it."""
    if at is not None and at.family != socket.AF_UNIX:
        for name, level, value in _TCP_OPTIONS:
            if hasattr(socket, name):
                with suppress(OSError):
                    at.setsockopt(level, getattr(socket, name), value)
