"""What is sent on a stream of HTTP/2: headers, and bodies, also ones that are still being made."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from euclidesdb_server.rpc.nghttp2_library import Pair


class Headers:
    """Headers as nghttp2 takes them; may be sent any number of times."""

    __slots__ = ("_kept", "pairs", "size")

    def __init__(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self._kept = [*headers]
        self.size = len(self._kept)
        self.pairs = (Pair * self.size)(
            *[Pair(name, value, len(name), len(value), 0) for name, value in self._kept]
        )


@dataclass(slots=True)
class Reply:
    """A body that is being sent: `start`, then `rest`; and the trailers after it.

    pauses: as in `StreamedReply`.
    """

    start: bytes
    rest: bytes
    trailers: Headers
    sent: int = 0
    pauses: int = 0

    def take(self, size: int) -> bytes:
        """The next bytes, `size` at most."""
        at = self.sent - len(self.start)
        piece = (
            (self.start + self.rest[:size])[self.sent :][:size]
            if at < 0
            else (self.rest[at : at + size])
        )
        self.sent += len(piece)
        return piece

    def is_sent(self) -> bool:
        """Whether nothing is left."""
        return self.sent == len(self.start) + len(self.rest)


class StreamedReply:
    """A body that is made while it is being sent. Its interface is that of `Reply`.

    trailers: set when it is complete. waits: whether nghttp2 has been given all that was there.
    pauses: how often that was so: a client that has taken all in between does read.
    """

    __slots__ = ("_at", "_on_taken", "_parts", "pauses", "sent", "size", "trailers", "waits")

    rest = b""
    """Counted elsewhere, while it is made (`ReplyStream`)."""

    def __init__(self, on_taken: Callable[[int], None]) -> None:
        """on_taken: called with the number of bytes that the client lets the server send."""
        self.trailers: Headers | None = None
        self.sent = self.size = self.pauses = 0
        self.waits = False
        self._on_taken = on_taken
        self._parts: deque[bytes] = deque()
        self._at = 0  # of the first part

    def add(self, part: bytes) -> None:
        """Send more."""
        self._parts.append(part)
        self.size += len(part)

    def take(self, size: int) -> bytes:
        """The next bytes, `size` at most."""
        taken: list[bytes] = []
        while size and self._parts:
            part = self._parts[0]
            piece = part[self._at : self._at + size]
            self._at += len(piece)
            if self._at == len(part):
                self._parts.popleft()
                self._at = 0
            taken.append(piece)
            size -= len(piece)
        data = taken[0] if len(taken) == 1 else b"".join(taken)
        self.sent += len(data)
        if data:
            self._on_taken(len(data))
        return data

    def is_sent(self) -> bool:
        """Whether nothing is left, and nothing more comes."""
        return self.trailers is not None and self.sent == self.size
