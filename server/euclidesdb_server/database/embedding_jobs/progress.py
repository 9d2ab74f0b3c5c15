"""Progress: what one write of a job adds to its record."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

import msgspec

from euclidesdb_server.database.embedding_jobs.job import Job
from euclidesdb_server.database.write_batches import EmbeddedItem
from euclidesdb_server.store import ItemRecord, JobRecord

CHANGED: Final = "changed"
"""An item is skipped if its payload changed each time while the model ran."""


class JobOver(Exception):
    """The job was cancelled meanwhile: nothing is written."""


class Progress:
    """Of one write of the items of a step. Called by the writer, which holds their locks.

    may_change: items whose payload has changed are tried again: then the step is not over.

    changed: the ids of these, after the write.
    """

    def __init__(
        self,
        job: Job,
        position: int,
        skipped: Mapping[str, int],
        *,
        may_change: bool,
    ) -> None:
        self.changed: Collection[str] = ()
        self._job = job
        self._position = position
        self._skipped = dict(skipped)
        self._may_change = may_change
        self._done = self._failed = 0

    def choose(
        self, items: Sequence[EmbeddedItem], before: Sequence[ItemRecord | None]
    ) -> list[int]:
        """The positions of the items to write: those whose payload is what they were made from.

        What another write has stored meanwhile stays. before: their records; None for one that has
        been removed.
        """
        chosen, changed = [], []
        for position, (item, record) in enumerate(zip(items, before, strict=True)):
            if record is None or any(space.record.number in record.labels for space in item.spaces):
                continue
            if record.payload_digest != item.digest:
                changed.append(item.id)
                continue
            self._done += bool(item.embeddings)
            self._failed += bool(item.failures)
            chosen.append(position)
        self.changed = changed
        return chosen

    @contextmanager
    def record(self) -> Iterator[JobRecord]:
        """The job's record, to be written in this block. Raises JobOver."""
        with self._job.lock:
            if self._job.is_over:
                raise JobOver
            before = self._job.record
            after = msgspec.structs.replace(
                before, done=before.done + self._done, failed=before.failed + self._failed
            )
            if not (self.changed and self._may_change):
                skipped = self._skipped
                if self.changed:
                    skipped = {**skipped, CHANGED: skipped.get(CHANGED, 0) + len(self.changed)}
                after = msgspec.structs.replace(
                    after,
                    skipped={
                        reason: before.skipped.get(reason, 0) + skipped.get(reason, 0)
                        for reason in sorted({*before.skipped, *skipped})
                    },
                    position=self._position,
                )
            yield after
            self._job.record = after
