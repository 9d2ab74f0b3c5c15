"""What is asked of a socket: whether its other end is gone, and has what was written."""

from __future__ import annotations

import socket
import sys
from contextlib import suppress
from fcntl import ioctl
from termios import TIOCOUTQ
from typing import Final

# After a minute of silence it is asked every 20 seconds.
_TCP_OPTIONS: Final = (
    ("SO_KEEPALIVE", socket.SOL_SOCKET, 1),
    ("TCP_KEEPIDLE", socket.IPPROTO_TCP, 60),
    ("TCP_KEEPINTVL", socket.IPPROTO_TCP, 20),
    ("TCP_KEEPCNT", socket.IPPROTO_TCP, 2),
    ("TCP_USER_TIMEOUT", socket.IPPROTO_TCP, 80_000),
)


def unread_bytes(at: socket.socket | None) -> int:
    """How much of what was written has not reached the other end of a TCP connection.

    It would be lost if the socket was closed now and something that it has received is unread.
    """
    if at is None or at.family == socket.AF_UNIX:
        return 0
    with suppress(OSError, ValueError):  # it is closed
        return int.from_bytes(ioctl(at.fileno(), TIOCOUTQ, bytes(4)), sys.byteorder)
    return 0


def find_silent_loss(at: socket.socket | None) -> None:
    """Close the connection if its other end is gone; not for Unix sockets, which never lose it."""
    if at is not None and at.family != socket.AF_UNIX:
        for name, level, value in _TCP_OPTIONS:
            if hasattr(socket, name):
                with suppress(OSError):
                    at.setsockopt(level, getattr(socket, name), value)
