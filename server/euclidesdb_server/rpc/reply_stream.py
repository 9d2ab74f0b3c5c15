"""ReplyStream: the replies of a call, from its handler to its transport, no faster than it sends.

The handler, in any thread, puts in a reply after the other until the stream is full; the transport,
on the event loop, sends them, and reports what its client has taken.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Final, Protocol

from euclidesdb_server.rpc.framing import PREFIX_BYTES

MAX_UNREAD_BYTES: Final = 256 << 10
"""Replies of a call that wait for its client, in addition to one that may be larger."""


class UnreadBudget(Protocol):
    """What counts the bytes of all replies that their clients have yet to read."""

    def count(self, size: int) -> None:
        """Count bytes."""

    def uncount(self, size: int) -> None:
        """Count them no more."""


class ReplyStream:
    """The replies of one call, each with the bytes that stand before it on the wire."""

    def __init__(
        self,
        budget: UnreadBudget,
        check: Callable[[int], None],
        send: Callable[[list[bytes]], None],
    ) -> None:
        """For the running event loop.

        check: raises Overloaded if there may not be a reply of that size. send: called on the loop
        with replies that have been put in.
        """
        self._loop = asyncio.get_running_loop()
        self._budget = budget
        self._check = check
        self._send = send
        self._lock = threading.Lock()
        self._replies: list[bytes] = []
        self._unread = 0
        self._counted = 0  # by the budget
        self._is_closed = False
        self._has_room = asyncio.Event()

    def is_full(self) -> bool:
        """Whether the client must read before more is put in."""
        return self._unread >= MAX_UNREAD_BYTES

    def put(self, reply: bytes) -> None:
        """Send a reply. Raises Overloaded."""
        self._check(len(reply))
        with self._lock:
            self._unread += PREFIX_BYTES + len(reply)
            is_first = not self._replies
            self._replies.append(reply)
        if is_first:
            self._loop.call_soon_threadsafe(self.flush)

    def flush(self) -> None:
        """Hand what has been put in to the transport. Called on the loop."""
        with self._lock:
            replies, self._replies = self._replies, []
        if replies and not self._is_closed:
            size = sum(map(len, replies)) + PREFIX_BYTES * len(replies)
            self._counted += size
            self._budget.count(size)
            self._send(replies)

    def taken(self, size: int) -> None:
        """The client has taken so many bytes. Called on the loop."""
        self._counted -= size
        self._budget.uncount(size)
        with self._lock:
            self._unread -= size
        if 2 * self._unread <= MAX_UNREAD_BYTES:
            self._has_room.set()

    def close(self) -> None:
        """The call is over; what is unread is lost. Called on the loop."""
        self._budget.uncount(self._counted)
        self._counted = 0
        self._is_closed = True

    async def room(self) -> None:
        """Wait until half of what may be unread has been taken."""
        self._has_room.clear()
        if self.is_full():
            await self._has_room.wait()
