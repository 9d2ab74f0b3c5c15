"""Turns: a connection that sends much at once is read in turns with the others.

The event loop hands over up to 256 KiB of a connection at once. As data of a message that is read
in no time, but as 16,000 tiny calls, pings or resets it would keep every other client waiting for
a third of a second. So what arrives is handed on in slices, and when they have taken TURN_SECONDS,
the rest waits until the loop has looked at the other connections.

Does not know HTTP/2: any protocol of asyncio can be read in turns.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final, cast

TURN_SECONDS: Final = 0.002
MIN_SLICE: Final = 4 << 10
MAX_SLICE: Final = 64 << 10
"""Bytes in a slice: the more quickly they are read, the more."""
MAX_HELD_BYTES: Final = 64 << 20
"""Of all connections together; what would exceed it is read at once, as if there were no turns."""


class Held:
    """The bytes that wait for their turns, of all connections of a server."""

    def __init__(self) -> None:
        self.bytes = 0


class ReadInTurns(asyncio.Protocol):
    """Hands what arrives on to another protocol. For the event loop's thread."""

    def __init__(self, protocol: asyncio.Protocol, held: Held) -> None:
        """held: shared by all connections."""
        self._protocol = protocol
        self._held = held
        self._rest = b""
        self._ended = False
        self._lost = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As `asyncio.Protocol`; so are the others."""
        self._transport = cast("asyncio.Transport", transport)
        self._protocol.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Hand on as much as there is time for."""
        if self._rest:  # more came in although reading is paused
            self._hold(self._rest + data)
        elif len(data) <= MIN_SLICE:
            self._protocol.data_received(data)
        else:
            self._take_turn(data)

    def eof_received(self) -> bool | None:
        """Keep the connection until what has arrived is read."""
        self._ended = True
        return True if self._rest else self._protocol.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """What has not been read yet is lost."""
        self._lost = True
        self._hold(b"")
        self._protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        """As `asyncio.Protocol`."""
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """As `asyncio.Protocol`."""
        self._protocol.resume_writing()

    def _take_turn(self, data: bytes) -> None:
        """Hand on slices until the time is over."""
        size, at = MIN_SLICE, 0
        started = now = time.monotonic()
        while at < len(data) and not self._is_over():
            if now - started > TURN_SECONDS and self._held.bytes + len(data) <= MAX_HELD_BYTES:
                self._hold(data[at:])
                self._read_later()
                return
            self._protocol.data_received(data[at : at + size])
            at += size
            before, now = now, time.monotonic()
            size = min(2 * size, MAX_SLICE) if now - before < TURN_SECONDS / 2 else MIN_SLICE

    def _is_over(self) -> bool:
        """Whether the other protocol wants no more: it has closed the connection, or lost it."""
        return self._lost or self._transport is None or self._transport.is_closing()

    def _read_later(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()
        asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        data = self._rest
        self._hold(b"")
        self._take_turn(data)
        if self._rest or self._transport is None or self._is_over():
            return
        if not self._ended:
            self._transport.resume_reading()
        elif not self._protocol.eof_received():
            self._transport.close()

    def _hold(self, rest: bytes) -> None:
        self._held.bytes += len(rest) - len(self._rest)
        self._rest = rest
