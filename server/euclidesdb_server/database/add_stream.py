"""AddStream: items are added as they arrive, in batches, and answered in their order.

Several batches are in work, so that the models have items while others are being written. Nothing
waits for more to arrive: a batch is what is there when there is room for one. So a lone item is
added at once, and a fast sender gets large batches. A stream does not overload a model by itself:
what a full queue refuses while several batches are in work is tried once more without the others,
unless a later item with its id has been written.

Knows nothing of messages.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

from euclidesdb_server.database.requests import AddRequest, Call
from euclidesdb_server.database.results import Written
from euclidesdb_server.database.steps import Steps, Wait
from euclidesdb_server.errors import DatabaseError, Overloaded, ReplyTooLarge, WriteInDoubt

MAX_BATCHES: Final = 3
"""In work: one is being written, one is with the models, one waits for them."""
MAX_ITEMS: Final = 256
MAX_BYTES: Final = 4 << 20
"""Limits of one batch; a larger item is a batch of its own."""

Item: TypeAlias = AddRequest | DatabaseError
"""What is to be added, or why it cannot be read."""
Outcome: TypeAlias = Written | DatabaseError


class AddSource(Protocol):
    """The items of a stream, as they arrive."""

    def arrival(self) -> Future[None]:
        """Done when `take` returns an item or raises, or `is_over`."""

    def take(self) -> tuple[Item, int] | None:
        """The next item and its bytes, if one has arrived. Raises what is wrong with the stream."""

    def finished(self, size: int) -> None:
        """So many bytes of items are held no more."""

    def is_over(self) -> bool:
        """Whether all has been taken and nothing more comes."""


AddMany: TypeAlias = Callable[[Sequence[Item], Call], Steps[list[Outcome]]]
"""As `FeatureDatabase.add_many`."""


async def add_stream(
    source: AddSource, add_many: AddMany, call: Call
) -> AsyncGenerator[tuple[Sequence[Item], Sequence[Outcome]], None]:
    """Add items as they arrive; each is returned with its outcome once it is on disk or refused.

    In the order in which they arrived, one or more at a time. Items with the same id are added in
    that order, too. If something is wrong with the stream, that is raised after the outcomes of the
    items before it.
    """
    work = _Work(source, add_many, call)
    try:
        while work.advance():
            while (batch := work.pop_done()) is not None:
                yield batch.items, batch.outcomes or ()
                source.finished(batch.size)
            if (waits := work.waits()) is not None:
                await waits
    finally:
        work.close()


class _BatchCall:
    """The `Call` of a batch.

    A stream may have millions of items, and must not note each of them until its end: what is with
    the models is given up when the batch is closed.
    """

    def __init__(self, call: Call) -> None:
        self.time_remaining = call.time_remaining
        self.is_active = call.is_active

    def on_done(self, callback: Callable[[], object]) -> None:
        """Nothing: see above."""

    def note(self, part: str, begun: float, ended: float) -> None:
        """Nothing: a stream has no duration of interest."""


@dataclass(slots=True)
class _Batch:
    """Items in work.

    outcomes: None until all are on disk or refused. has_company: whether other batches of the
    stream have been in work meanwhile. kept: the outcomes before some items were tried again.
    again: the positions of these.
    """

    items: list[Item]
    ids: set[str]
    size: int
    steps: Steps[list[Outcome]]
    waits: Wait | None = None
    outcomes: list[Outcome] | None = None
    has_company: bool = False
    kept: list[Outcome] | None = None
    again: Sequence[int] = ()

    def overloaded(self) -> list[int]:
        """The items to try again: a queue may have been full of others of this stream.

        Not one with the id of a later item that has been written: it would undo that.
        """
        found: list[int] = []
        if self.outcomes is None or self.kept is not None or not self.has_company:
            return found
        written = set[str]()
        for position in reversed(range(len(self.items))):
            item, outcome = self.items[position], self.outcomes[position]
            if not isinstance(item, AddRequest):
                continue
            if isinstance(outcome, (Written, WriteInDoubt)):
                written.add(item.id)
            elif isinstance(outcome, Overloaded) and item.id not in written:
                found.append(position)
        return found[::-1]

    def try_again(self, positions: Sequence[int], steps: Steps[list[Outcome]]) -> None:
        """Take other steps for these items; the outcomes of the others stay."""
        self.kept, self.again = self.outcomes, positions
        self.steps, self.waits, self.outcomes = steps, None, None

    def advance(self, *, is_late: bool) -> None:
        """Go on, unless that must be waited for; is_late: whether it is waited for no longer."""
        if self.outcomes is None and (is_late or self.waits is None or self.waits.future.done()):
            try:
                self.waits = self.steps.send(None)
            except StopIteration as end:
                self.outcomes = end.value
                if self.kept is not None:
                    self.outcomes = self.kept
                    for position, outcome in zip(self.again, end.value, strict=True):
                        self.outcomes[position] = outcome


class _Work:
    """The batches of one stream. For one thread at a time."""

    def __init__(self, source: AddSource, add_many: AddMany, call: Call) -> None:
        self._source = source
        self._add_many = add_many
        self._call = call
        self._batches: deque[_Batch] = deque()
        self._next: tuple[Item, int] | None = None  # taken, but its batch cannot begin yet
        self._failure: Exception | None = None

    def advance(self) -> bool:
        """Do what can be done without waiting. False: there is nothing more to do.

        Raises what is wrong with the stream, once all before it has its outcome.
        """
        is_late = self._call.time_remaining() == 0
        for begun in self._batches:
            begun.advance(is_late=is_late)
        while (batch := self._gathered()) is not None:
            self._batches.append(batch)
            if len(self._batches) > 1:
                for each in self._batches:
                    each.has_company = True
            batch.advance(is_late=is_late)
            if self._batches[0].outcomes is not None:
                break  # it is answered first
        self._try_again(is_late=is_late)
        if self._batches or self._next is not None:
            return True
        if self._failure is not None:
            raise self._failure
        return not self._source.is_over()

    def pop_done(self) -> _Batch | None:
        """The oldest batch, if it is done."""
        if self._batches and self._batches[0].outcomes is not None:
            return None if self._batches[0].overloaded() else self._batches.popleft()
        return None

    def waits(self) -> Wait | None:
        """Until something can be done; None: something can be done now."""
        futures = [
            each.waits.future for each in self._batches if each.outcomes is None and each.waits
        ]
        if self._has_room() and self._next is None and not self._is_over():
            futures.append(self._source.arrival())
        if not futures or any(future.done() for future in futures):
            return None
        return Wait(_first_of(futures), self._call.time_remaining())

    def close(self) -> None:
        """Give up what is in work."""
        for batch in self._batches:
            batch.steps.close()

    def _try_again(self, *, is_late: bool) -> None:
        """Let the oldest batch have the queues for itself, if they were full.

        What has been written is left alone: another client may have written it since.
        """
        oldest = self._batches[0] if self._batches else None
        if oldest is None or any(each.outcomes is None for each in self._batches):
            return
        if positions := oldest.overloaded():
            items = [oldest.items[position] for position in positions]
            oldest.try_again(positions, self._added(items))
            oldest.advance(is_late=is_late)

    def _has_room(self) -> bool:
        return len(self._batches) < MAX_BATCHES

    def _is_over(self) -> bool:
        return self._failure is not None or self._source.is_over()

    def _gathered(self) -> _Batch | None:
        """A batch of what has arrived; None if there is no room for it, or nothing."""
        items, ids, size = list[Item](), set[str](), 0
        while self._has_room() and len(items) < MAX_ITEMS and (taken := self._peek()) is not None:
            item, item_size = taken
            if items and size + item_size > MAX_BYTES:
                break
            item_id = item.id if isinstance(item, AddRequest) else None
            if any(item_id in batch.ids for batch in self._batches):
                break  # it must be written after the one before
            items.append(item)
            size += item_size
            if item_id is not None:
                ids.add(item_id)
            self._next = None
        if not items:
            return None
        return _Batch(items, ids, size, self._added(items))

    def _peek(self) -> tuple[Item, int] | None:
        if self._next is None and self._failure is None:
            try:
                self._next = self._source.take()
            except Exception as error:  # of the client, or of the connection: raised at its turn
                self._failure = error
        return self._next

    async def _added(self, items: Sequence[Item]) -> list[Outcome]:
        """The outcomes of a batch, of which each item has a reply of its own."""
        try:
            return await self._add_many(items, _BatchCall(self._call))
        except ReplyTooLarge as error:  # nothing has been added
            if len(items) == 1:
                return [error]
            middle = len(items) // 2
            return [*await self._added(items[:middle]), *await self._added(items[middle:])]


def _first_of(futures: Iterable[Future[Any]]) -> Future[None]:
    """Done when the first of these is."""
    first: Future[None] = Future()

    def done(_: object) -> None:
        with suppress(InvalidStateError):  # another one was first
            first.set_result(None)

    for future in futures:
        future.add_done_callback(done)
    return first
