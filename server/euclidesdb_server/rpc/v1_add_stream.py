"""The messages of AddItemStream: several items or outcomes in one cost less than one each.

What goes through the database are single items, whatever message each has arrived in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from typing import Final

from euclidesdb_protos.v1 import database_pb2 as pb
from euclidesdb_server.database.requests import AddRequest
from euclidesdb_server.database.results import Written
from euclidesdb_server.errors import DatabaseError
from euclidesdb_server.rpc.repeated_fields import MAX_PER_CALL
from euclidesdb_server.rpc.request_stream import RequestStream
from euclidesdb_server.rpc.v1_replies import add_item_reply, refusal
from euclidesdb_server.rpc.v1_requests import add_request, check_count

REPLY_BYTES: Final = 256 << 10
"""Of the outcomes in one reply; a larger outcome has one of its own."""


class AddRequests:
    """The items of a stream, as `add_stream` takes them; one that cannot be read is its error."""

    def __init__(self, stream: RequestStream) -> None:
        self.finished = stream.finished
        self._stream = stream
        self._items: deque[tuple[pb.AddItemRequest, int]] = deque()
        """The rest of a message, each with its share of the bytes."""

    def arrival(self) -> Future[None]:
        """As `AddSource.arrival`."""
        if not self._items:
            return self._stream.arrival()
        there: Future[None] = Future()
        there.set_result(None)
        return there

    def is_over(self) -> bool:
        """As `AddSource.is_over`."""
        return not self._items and self._stream.is_over()

    def take(self) -> tuple[AddRequest | DatabaseError, int] | None:
        """As `AddSource.take`."""
        while not self._items:
            taken = self._stream.take()
            if taken is None:
                return None
            self._unpack(*taken)
        message, size = self._items.popleft()
        try:
            return add_request(message), size
        except DatabaseError as error:
            return error, size

    def _unpack(self, message: pb.AddItemStreamRequest, size: int) -> None:
        """Raises InvalidRequest if there are too many."""
        count = len(message.items)
        if not 0 < count <= MAX_PER_CALL:
            self.finished(size)
            check_count(count, "items")
            return
        share, rest = divmod(size, count)
        self._items.extend((item, share) for item in message.items)
        self._items[0] = (self._items[0][0], share + rest)


def add_item_stream_replies(
    position: int,
    items: Sequence[AddRequest | DatabaseError],
    outcomes: Sequence[Written | DatabaseError],
) -> Iterator[pb.AddItemStreamReply]:
    """The outcomes of some items of a stream. position: of the first one."""
    reply, size = pb.AddItemStreamReply(position=position), 0
    for at, (item, outcome) in enumerate(zip(items, outcomes, strict=True), position):
        if isinstance(outcome, DatabaseError):
            message = pb.AddItemOutcome(refused=refusal(at, outcome))
        elif isinstance(item, AddRequest):
            message = pb.AddItemOutcome(added=add_item_reply(item, outcome))
        else:
            raise TypeError(f"{item!r} cannot have been added")
        message_size = message.ByteSize()
        if size and size + message_size > REPLY_BYTES:
            yield reply
            reply, size = pb.AddItemStreamReply(position=at), 0
        reply.outcomes.append(message)
        size += message_size
    if reply.outcomes:
        yield reply
