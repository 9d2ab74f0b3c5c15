"""Adding many items: a few calls in flight at a time.

While the server works on some calls, the next one is prepared. Items with the same id are added in
the order given: the server keeps the order within a call, and a call waits for those in flight
that hold one of its ids. No other call is begun once one has failed, or the server does not know
whether an item is on disk; items whose fate is unknown at the end are named.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Final, TypeAlias

from euclidesdb._batches import Batch
from euclidesdb._changes import AddErrors, ChangeCount
from euclidesdb._connection import Connection, StartedCall
from euclidesdb._errors import (
    AddsInterrupted,
    EuclidesDBError,
    Failed,
    InvalidRequest,
    MessageTooLarge,
    NotAllowed,
    NotFound,
    Refused,
    ServerError,
    WriteInDoubt,
)
from euclidesdb._progress import Report
from euclidesdb._states import failures_of
from euclidesdb._translation import embedding_failed, name_file, refusal_error
from euclidesdb_protos.v1 import database_pb2 as pb

_Reply: TypeAlias = pb.AddItemsReply | pb.AddVectorsReply | pb.ImportItemsReply

MAX_CALLS_IN_FLIGHT: Final = 3
"""One being processed, one waiting at the server, one being transferred."""

NOTHING_WRITTEN: Final = (InvalidRequest, NotFound, NotAllowed, MessageTooLarge)
"""A call that fails with one of these was refused as a whole; after any other error, its items may
or may not be on disk."""


class BulkAdd:
    """One `add_many`, `add_vectors` or `import_file`: calls in flight, and outcomes so far."""

    def __init__(
        self,
        connection: Connection,
        timeout: float | None,
        report: Report = lambda *_: None,
        *,
        max_in_flight: int = MAX_CALLS_IN_FLIGHT,
    ) -> None:
        """max_in_flight: with 1, items are stored in the order given."""
        connection.check_open()
        self._connection = connection
        self._timeout = timeout
        self._report = report
        self._max_in_flight = max_in_flight
        self._done = 0
        self._in_flight: deque[tuple[Batch, frozenset[str], StartedCall]] = deque()
        self._refused: list[Refused] = []
        self._changes = ChangeCount()
        self._failed: list[Failed] = []
        self._unknown: list[tuple[int, str]] = []
        self._answered = False  # the fate of at least one item is known
        self._failed_at: list[int] = []  # the first position of each failed call
        self._sent = 0  # every item before this position was sent, or refused by the client

    @property
    def failed(self) -> tuple[Failed, ...]:
        """The items so far that are on disk without the features of every model, by position."""
        return tuple(sorted(self._failed, key=lambda failed: failed.position))

    def refuse(self, refused: Refused) -> None:
        """Record an item that is not sent."""
        self._done += 1
        self._refused.append(refused)

    async def run(self, batches: AsyncGenerator[Batch, None]) -> AddErrors[Refused]:
        """Send all of `batches`, and close them; returns the refused items by position.

        Raises the error itself if nothing was written, otherwise AddsInterrupted from it.
        No item whose write is in doubt is among those returned.
        """
        try:
            async with aclosing(batches):
                async for batch in batches:
                    await self._send(batch)
            while self._in_flight:
                await self._finish_oldest()
            self._report(self._done, len(self._refused) + len(self._failed))
        except Exception as error:
            await self._finish_all()
            if not (self._answered or self._unknown):
                raise
            raise self._interrupted(error) from error
        finally:  # calls remain if the caller is interrupted: by Ctrl-C, or its task is cancelled
            for _, _, started in self._in_flight:
                started.cancel()
        return AddErrors(self._refused_by_position(), self._changes.total())

    async def _send(self, batch: Batch) -> None:
        ids = frozenset(batch.ids)
        while len(self._in_flight) == self._max_in_flight or not all(
            ids.isdisjoint(others) for _, others, _ in self._in_flight
        ):
            await self._finish_oldest()
        started = self._connection.start(batch.method, batch.request, self._timeout)
        self._in_flight.append((batch, ids, started))
        self._sent = batch.positions[-1] + 1

    async def _finish_oldest(self) -> None:
        """Wait for the oldest call. If it fails, its items are not on disk, or unknown.

        Raises its error, or the WriteInDoubt of the first of its items that is in doubt.
        """
        batch, _, started = self._in_flight.popleft()
        try:
            reply: _Reply = await self._connection.finish(started)
            not_added = _not_added(reply, batch)
            self._changes.update(reply)
            self._failed += _failed(reply, batch)
        except EuclidesDBError as error:
            if not isinstance(error, MessageTooLarge) or len(batch.ids) > 1:
                self._failed_at.append(batch.positions[0])
                if not isinstance(error, NOTHING_WRITTEN):
                    self._unknown.extend(zip(batch.positions, batch.ids, strict=True))
                raise
            not_added = [Refused(batch.positions[0], batch.ids[0], error)]
        self._answered = True
        in_doubt: list[Refused] = []
        for item in not_added:
            (in_doubt if isinstance(item.error, WriteInDoubt) else self._refused).append(item)
        if in_doubt:
            self._unknown.extend((item.position, item.id) for item in in_doubt)
            self._failed_at.append(in_doubt[0].position)
            raise in_doubt[0].error
        self._done += len(batch.ids)
        self._report(self._done, len(self._refused) + len(self._failed))

    async def _finish_all(self) -> None:
        while self._in_flight:
            with suppress(EuclidesDBError):  # recorded; the first error is the one to report
                await self._finish_oldest()

    def _interrupted(self, error: Exception) -> AddsInterrupted:
        resume_at = min(self._failed_at, default=self._sent)
        refused = self._refused_by_position()
        known = f"; the first {resume_at} items are on disk or refused" if resume_at else ""
        interrupted = AddsInterrupted(
            f"adding stopped: {error}{known}",
            error.reason if isinstance(error, EuclidesDBError) else "interrupted",
            refused,
            tuple(self._unknown),
            resume_at,
        )
        interrupted.failed = self.failed
        interrupted.changes = self._changes.total()
        return interrupted

    def _refused_by_position(self) -> tuple[Refused, ...]:
        return tuple(sorted(self._refused, key=lambda refused: refused.position))


def _not_added(reply: _Reply, batch: Batch) -> list[Refused]:
    """The items of `batch` that were refused, or whose write is in doubt, by position.

    Raises ServerError if the reply does not match the batch.
    """
    count = len(batch.ids)
    if isinstance(reply, pb.AddItemsReply) and len(reply.items) != count:
        raise ServerError(f"the reply has {len(reply.items)} outcomes for {count} items")
    for refusal in reply.refused:
        if not 0 <= refusal.position < count:
            raise ServerError(f"the reply refuses item {refusal.position} of {count}")
    return [
        Refused(
            batch.positions[refusal.position],
            batch.ids[refusal.position],
            refusal_error(name_file(refusal, batch.files.get(refusal.position, ""))),
        )
        for refusal in sorted(reply.refused, key=lambda refusal: refusal.position)
    ]


def _failed(reply: _Reply, batch: Batch) -> list[Failed]:
    """The items of `batch` that are stored although models failed on them."""
    if not isinstance(reply, pb.AddItemsReply):
        return []
    found = []
    for place, item in enumerate(reply.items):
        if item.failures:
            failures, item_id = failures_of(item.failures), batch.ids[place]
            error = embedding_failed(item_id, failures, batch.files.get(place, ""))
            found.append(Failed(batch.positions[place], item_id, error))
    return found
