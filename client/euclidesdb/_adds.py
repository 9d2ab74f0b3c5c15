"""Adding many items: a few calls under way at once.

While the server works on some calls, the next is prepared. Items of one id are added in the order
given: within a call the server keeps it, and a call waits for those under way that hold one of its
ids. No call is repeated; what is not known to be on disk at the end is named.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final

from euclidesdb._batches import Batch
from euclidesdb._connection import Connection, StartedCall
from euclidesdb._errors import (
    AddsInterrupted,
    EuclidesDBError,
    InvalidRequest,
    MessageTooLarge,
    NotAllowed,
    NotFound,
    Refused,
    ServerError,
    refusal_error,
)
from euclidesdb_protos.v1 import database_pb2 as pb

CALLS_UNDER_WAY: Final = 3
"""One is worked on, one waits at the server, one is on its way."""

NOTHING_WRITTEN: Final = (InvalidRequest, NotFound, NotAllowed, MessageTooLarge)
"""A call that fails with one of these was refused as a whole; after any other, who knows?"""


class Adding:
    """One `add_many` or `add_vectors`: the calls under way, and what came of those before."""

    def __init__(self, connection: Connection, method: Any, timeout: float | None) -> None:
        connection.check_open()
        self._connection = connection
        self._method = method
        self._timeout = timeout
        self._under_way: deque[tuple[Batch, frozenset[str], StartedCall]] = deque()
        self._refused: list[Refused] = []
        self._unknown: list[tuple[int, str]] = []
        self._answered = False  # some item is known to be on disk, or to be refused by itself
        self._failed_at: list[int] = []  # where the calls that failed begin
        self._sent = 0  # every item before this position is sent, or refused here

    def refuse(self, refused: Refused) -> None:
        """Note an item that is not sent."""
        self._refused.append(refused)

    def run(self, batches: Iterable[Batch]) -> tuple[Refused, ...]:
        """Send all of `batches`; returns what was refused, by position.

        Raises what went wrong where nothing was written, else AddsInterrupted from it.
        """
        try:
            for batch in batches:
                self._send(batch)
            while self._under_way:
                self._settle_oldest()
        except Exception as error:
            self._settle_the_rest()
            if not (self._answered or self._unknown):
                raise
            raise self._interrupted(error) from error
        finally:  # some are left where the caller is interrupted (Ctrl-C)
            for _, _, started in self._under_way:
                started.cancel()
        return self._refused_by_position()

    def _send(self, batch: Batch) -> None:
        ids = frozenset(batch.ids)
        while len(self._under_way) == CALLS_UNDER_WAY or not all(
            ids.isdisjoint(others) for _, others, _ in self._under_way
        ):
            self._settle_oldest()
        started = self._connection.start(self._method, batch.request, self._timeout)
        self._under_way.append((batch, ids, started))
        self._sent = batch.positions[-1] + 1

    def _settle_oldest(self) -> None:
        """Wait for the oldest call; where it fails, its items are not on disk, or unknown."""
        batch, _, started = self._under_way.popleft()
        try:
            reply: pb.AddItemsReply | pb.AddVectorsReply = self._connection.finish(started)
            refused = _refused(reply, batch)
        except EuclidesDBError as error:
            if not isinstance(error, MessageTooLarge) or len(batch.ids) > 1:
                self._failed_at.append(batch.positions[0])
                if not isinstance(error, NOTHING_WRITTEN):
                    self._unknown.extend(zip(batch.positions, batch.ids, strict=True))
                raise
            refused = [Refused(batch.positions[0], batch.ids[0], error)]
        self._answered = True
        self._refused.extend(refused)

    def _settle_the_rest(self) -> None:
        while self._under_way:
            with suppress(EuclidesDBError):  # it is noted; the first is the one to report
                self._settle_oldest()

    def _interrupted(self, error: Exception) -> AddsInterrupted:
        resume_at = min(self._failed_at, default=self._sent)
        refused = self._refused_by_position()
        known = f"; the first {resume_at} items are on disk or refused" if resume_at else ""
        return AddsInterrupted(
            f"adding stopped: {error}{known}",
            error.reason if isinstance(error, EuclidesDBError) else "interrupted",
            refused,
            tuple(self._unknown),
            resume_at,
        )

    def _refused_by_position(self) -> tuple[Refused, ...]:
        return tuple(sorted(self._refused, key=lambda refused: refused.position))


def _refused(reply: pb.AddItemsReply | pb.AddVectorsReply, batch: Batch) -> list[Refused]:
    """What the server refused of `batch`. Raises ServerError for a reply about something else."""
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
            refusal_error(refusal),
        )
        for refusal in reply.refused
    ]
