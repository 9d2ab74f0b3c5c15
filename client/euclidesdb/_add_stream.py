"""Adding items by one stream: an outcome for each, in order, while others are being sent.

One thread or task reads the items, another one sends those that are at hand, and the caller reads
the outcomes. An item is asked for only when fewer than `max_in_flight` have no outcome yet that the
caller has taken.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final, NamedTuple

from euclidesdb import _replies as replies
from euclidesdb._batches import messages
from euclidesdb._changes import change_of
from euclidesdb._connection import Connection, Queue, Stream
from euclidesdb._errors import AddsInterrupted, EuclidesDBError, Refused, ServerError
from euclidesdb._outbox import Outbox
from euclidesdb._states import failures_of
from euclidesdb._translation import name_file, refusal_error
from euclidesdb._types import Added, NewItem
from euclidesdb_protos.v1 import database_pb2 as pb

MAX_IN_FLIGHT: Final = 768
"""Enough for the batches that a server works on at a time."""
BUSY: Final = 256
"""Items without an outcome with which a server has enough to do: a batch."""
RELEASES: Final = 16
"""Items are asked for in so many parts of `max_in_flight`, so that messages have several."""


class _Sent(NamedTuple):
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
        self._freed = 0  # not yet released
        self._most_freed = max(1, max_in_flight // RELEASES)
        self._outbox = Outbox(connection, self._is_busy)
        self._made = 0
        self._answers: deque[pb.AddItemOutcome] = deque()  # that have arrived
        self._answered = 0
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
        call = self._connection.stream("AddItemStream", self._outbox.messages(), self._timeout)
        call.on_end(lambda: self._taken.put(None))
        making = self._connection.background("add-stream", self._make(items))
        try:
            while (taken := await self._next_taken()) is not None:
                if isinstance(taken, Refused):
                    yield taken
                else:
                    if not self._answers:
                        self._release()
                        await self._read(call, taken)
                    yield self._outcome(taken)
                self._done += 1
                self._freed += 1
                if self._freed >= self._most_freed:
                    self._release()
            if self._failure is not None:
                raise self._failure
            await self._check_end(call)
        finally:
            self._stopped = True
            self._free.release(1)
            self._outbox.close()
            await call.close()
            await making.cancel()

    async def _make(self, items: AsyncGenerator[NewItem, None]) -> None:
        """Make the messages of the items, in a thread or task of its own."""
        try:
            permitted = self._permitted(items)
            async with aclosing(messages(self._connection, permitted, self._taken.put)) as made:
                async for position, message, file in made:
                    message.include_vectors = self._include_vectors
                    message.include_predictions = self._include_predictions
                    self._made = position + 1
                    self._taken.put(_Sent(position, message.id, file))
                    await self._outbox.put(message)
            self._all_sent = not self._stopped
        except Exception as error:  # whatever the caller's iterable raises
            self._failure = error
        finally:
            self._outbox.close()
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

    def _is_busy(self) -> bool:
        return self._made - self._done >= BUSY

    def _release(self) -> None:
        """Let as many items be asked for as have had their outcomes taken."""
        freed, self._freed = self._freed, 0
        if freed:
            self._free.release(freed)

    async def _next_taken(self) -> _Sent | Refused | None:
        if self._taken.empty():  # the next item may wait for these
            self._release()
        return await self._taken.get()

    def _outcome(self, sent: _Sent) -> Added | Refused:
        answer = self._answers.popleft()
        self._answered += 1
        if answer.WhichOneof("outcome") == "refused":
            refusal = name_file(answer.refused, sent.file)
            return Refused(sent.position, sent.id, refusal_error(refusal))
        added = answer.added
        return Added(
            sent.position,
            sent.id,
            tuple(map(replies.embedding, added.embeddings)),
            failures_of(added.failures),
            change_of(added.change),
        )

    async def _read(self, call: Stream, sent: _Sent) -> None:
        """Wait for the outcome of an item, and those that come with it."""
        try:
            reply: pb.AddItemStreamReply | None = await call.read()
        except EuclidesDBError as failure:
            raise await self._interrupted(failure, sent) from failure
        if reply is None:
            ended = _out_of_step("it ended early")
            raise await self._interrupted(ended, sent) from ended
        if reply.position != self._answered:
            odd = _out_of_step(f"outcome {self._answered} is of item {reply.position}")
            raise await self._interrupted(odd, sent) from odd
        if not reply.outcomes:
            empty = _out_of_step(f"there is none of item {reply.position}")
            raise await self._interrupted(empty, sent) from empty
        self._answers.extend(reply.outcomes)

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
