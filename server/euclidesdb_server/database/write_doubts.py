"""WriteDoubts: writes that failed on their way to disk, until it is known whether they are there.

The store writes nothing then until it has recovered. What turns out to be on disk is published,
the rest is not.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from euclidesdb_server.store import ColumnsWrite, FeatureStore, ItemRecord, ItemWrite

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class InDoubt:
    """Writes that failed, or the removal of items with these records."""

    labels: Sequence[int] = ()
    writes: Sequence[ItemWrite] = ()
    columns: ColumnsWrite | None = None
    removed: Sequence[tuple[str, ItemRecord]] = ()


class WriteDoubts:
    """Thread-safe.

    publish, publish_removals: make what is on disk visible, as after a write that succeeds.
    """

    def __init__(
        self,
        store: FeatureStore,
        publish: Callable[[Sequence[ItemWrite], ColumnsWrite | None], None],
        publish_removals: Callable[[Sequence[tuple[str, ItemRecord]]], None],
    ) -> None:
        self._store = store
        self._publish = publish
        self._publish_removals = publish_removals
        self._recovery = threading.Lock()
        self._in_doubt: list[InDoubt] = []

    def note(self, doubt: InDoubt) -> None:
        """Remember a failed write. The caller holds the locks of its items."""
        with self._recovery:
            if self._store.failure is None:
                self._resolve(doubt)  # the store has recovered since the write failed
            else:
                self._in_doubt.append(doubt)

    def recover(self) -> None:
        """If writing has failed, make it possible again. Raises StorageError if it is not yet.

        The caller holds the locks of the items that it is about to read and write: a failed write
        of one of them has been noted, and is resolved before it is read.
        """
        if self._store.failure is None:
            return
        with self._recovery:
            self._store.recover(self._resolve_all)

    def _resolve_all(self) -> None:
        while self._in_doubt:
            self._resolve(self._in_doubt[-1])
            self._in_doubt.pop()
        log.info("the store has recovered: items can be written again")

    def _resolve(self, doubt: InDoubt) -> None:
        """Publish what turned out to be on disk; the store has recovered since it failed."""
        written = [
            write
            for write in doubt.writes
            if (found := self._store.item(write.item_id)) and found.current_label == write.label
        ]
        added = doubt.columns
        if added is not None and self._store.item_id(added.labels[0]) != added.columns.ids[0]:
            added = None  # one batch: all of them are there, or none
        self._publish(written, added)
        self._store.labels.resolve(doubt.labels)
        self._publish_removals(
            [removed for removed in doubt.removed if self._store.item(removed[0]) is None]
        )
