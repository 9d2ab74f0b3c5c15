"""Outbox: items on their way from what makes them to the call that sends them.

A message has all the items that are at hand, so many small ones cost little each. Nothing waits for
more to come, unless the server has enough to do meanwhile. No more than about one message is held.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Final

from euclidesdb._connection import Connection, Queue
from euclidesdb_protos.v1 import database_pb2 as pb

MESSAGE_BYTES: Final = 1 << 20
"""Of a message; a larger item has one of its own."""
LEAST_BYTES: Final = MESSAGE_BYTES // 128
"""Counted for an item at least."""
GATHER_SECONDS: Final = 0.005
"""For which items gather while the server is busy."""


class Outbox:
    """One thread or task puts items in, another one sends them; any may close it."""

    def __init__(self, connection: Connection, is_busy: Callable[[], bool]) -> None:
        """is_busy: whether the server has enough items to work on."""
        self._connection = connection
        self._is_busy = is_busy
        self._items: Queue[tuple[pb.AddItemRequest, int] | None] = connection.queue()
        self._room: Queue[None] = connection.queue()
        self._closed = False
        # each is changed by one side only
        self._put_bytes = 0
        self._sent_bytes = 0
        self._waits_for_room = False

    async def put(self, item: pb.AddItemRequest) -> None:
        """Have an item sent; returns when there is room for another one."""
        size = max(item.ByteSize(), LEAST_BYTES)
        self._put_bytes += size
        self._items.put((item, size))
        while self._is_full():
            self._waits_for_room = True
            if self._is_full():  # nothing was sent in between, so the sender will see that
                await self._room.get()

    def close(self) -> None:
        """Nothing more is put in, or sent beyond what is there. May be called again."""
        self._closed = True
        self._items.put(None)
        self._room.put(None)

    async def messages(self) -> AsyncGenerator[pb.AddItemStreamRequest, None]:
        """What is to be sent, until the outbox is closed."""
        message, total = pb.AddItemStreamRequest(), 0
        while (taken := await self._items.get()) is not None:
            item, size = taken
            if total and total + size > MESSAGE_BYTES:
                yield self._sent(message, total)
                message, total = pb.AddItemStreamRequest(), 0
            message.items.append(item)
            total += size
            if self._items.empty() and self._is_busy() and not self._closed:
                await self._connection.pause(GATHER_SECONDS)
            if self._items.empty():
                yield self._sent(message, total)
                message, total = pb.AddItemStreamRequest(), 0
        if total:
            yield self._sent(message, total)

    def _is_full(self) -> bool:
        return not self._closed and self._put_bytes - self._sent_bytes >= MESSAGE_BYTES

    def _sent(self, message: pb.AddItemStreamRequest, size: int) -> pb.AddItemStreamRequest:
        self._sent_bytes += size
        if self._waits_for_room:
            self._waits_for_room = False
            self._room.put(None)
        return message
