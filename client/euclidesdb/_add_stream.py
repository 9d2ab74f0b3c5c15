"""Adding items by one stream: an outcome for each, in order, while others are being sent.

One thread or task reads the items and sends them; the caller's reads the outcomes. An item is asked
for only when fewer than `max_in_flight` have no outcome yet that the caller has taken.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from euclidesdb import _replies as replies
from euclidesdb._batches import messages
from euclidesdb._changes import change_of
from euclidesdb._connection import Connection, Queue, Stream
from euclidesdb._errors import AddsInterrupted, EuclidesDBError, Refused, ServerError
from euclidesdb._states import failures_of
from euclidesdb._translation import name_file, refusal_error
from euclidesdb._types import Added, NewItem
from euclidesdb_protos.v1 import database_pb2 as pb

MAX_IN_FLIGHT: Final = 768
"""Enough for the batches that a server works on at a time."""


@dataclass(frozen=True, slots=True)
class _Sent:
    """An item that was sent. file: that of its image, if it has one."""

    position: int
    id: str
    file: str


class AddStream:
    """One `add_stream`."""

    def __init__(
        self,
        connection: Connection,
        timeout: float | None,
        max_in_flight: int,
        *,
        include_vectors: bool,
        include_predictions: bool,
    ) -> None:
        self._connection = connection
        self._timeout = timeout
        self._free = connection.permits(max_in_flight)
        self._include_vectors = include_vectors
        self._include_predictions = include_predictions
        self._taken: Queue[_Sent | Refused | None] = connection.queue()
        """Of the items, in order; None once there are no more, or the call is over."""
        self._failure: Exception | None = None  # of the caller's iterable
        self._stopped = False
        self._all_sent = False
        self._done = 0

    async def outcomes(
        self, items: AsyncGenerator[NewItem, None]
    ) -> AsyncGenerator[Added | Refused, None]:
        """As `Client.add_stream`."""
        call = self._connection.stream("AddItemStream", self._requests(items), self._timeout)
        call.on_end(lambda: self._taken.put(None))
        answered = 0
        try:
            while (taken := await self._taken.get()) is not None:
                if isinstance(taken, Refused):
                    yield taken
                else:
                    yield await self._outcome(call, taken, answered)
                    answered += 1
                self._done += 1
                self._free.release()
            if self._failure is not None:
                raise self._failure
            await self._check_end(call)
        finally:
            self._stopped = True
            self._free.release()
            await call.close()

    async def _requests(
        self, items: AsyncGenerator[NewItem, None]
    ) -> AsyncGenerator[pb.AddItemRequest, None]:
        """In the thread or task that sends them."""
        try:
            permitted = self._permitted(items)
            async with aclosing(messages(self._connection, permitted, self._taken.put)) as made:
                async for position, message, file in made:
                    message.include_vectors = self._include_vectors
                    message.include_predictions = self._include_predictions
                    self._taken.put(_Sent(position, message.id, file))
                    yield message
            self._all_sent = not self._stopped
        except Exception as error:  # whatever the caller's iterable raises
            self._failure = error
        finally:
            self._taken.put(None)

    async def _permitted(
        self, items: AsyncGenerator[NewItem, None]
    ) -> AsyncGenerator[NewItem, None]:
        async with aclosing(items):
            while True:
                await self._free.acquire()
                if self._stopped:
                    return
                try:
                    item = await anext(items)
                except StopAsyncIteration:
                    return
                yield item

    async def _outcome(self, call: Stream, sent: _Sent, answered: int) -> Added | Refused:
        try:
            reply: pb.AddItemStreamReply | None = await call.read()
        except EuclidesDBError as failure:
            raise await self._interrupted(failure, sent) from failure
        if reply is None:
            ended = _out_of_step("it ended early")
            raise await self._interrupted(ended, sent) from ended
        if reply.position != answered:
            odd = _out_of_step(f"outcome {answered} is of item {reply.position}")
            raise await self._interrupted(odd, sent) from odd
        if reply.WhichOneof("outcome") == "refused":
            refusal = name_file(reply.refused, sent.file)
            return Refused(sent.position, sent.id, refusal_error(refusal))
        added = reply.added
        return Added(
            sent.position,
            sent.id,
            tuple(map(replies.embedding, added.embeddings)),
            failures_of(added.failures),
            change_of(added.change),
        )

    async def _check_end(self, call: Stream) -> None:
        """Raise what has ended the call, if that was not the end of the items."""
        try:
            reply = await call.read()
        except EuclidesDBError as failure:
            raise await self._interrupted(failure) from failure
        if reply is None and not self._all_sent:
            ended = _out_of_step("it ended early")
            raise await self._interrupted(ended) from ended

    async def _interrupted(
        self, error: EuclidesDBError, sent: _Sent | None = None
    ) -> AddsInterrupted:
        """The error to raise when `sent`, and what was sent after it, has no outcome."""
        unknown = [] if sent is None else [(sent.position, sent.id)]
        while not self._taken.empty():
            taken = await self._taken.get()
            if isinstance(taken, _Sent):
                unknown.append((taken.position, taken.id))
        return AddsInterrupted(
            f"adding stopped: {error}; the first {self._done} items are on disk or refused",
            error.reason,
            (),
            tuple(unknown),
            self._done,
        )


def _out_of_step(what: str) -> ServerError:
    return ServerError(f"the stream of outcomes does not match the items: {what}", "server_error")
