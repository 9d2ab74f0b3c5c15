"""Writer: from embedded items to durable, searchable ones.

An item is written in one LevelDB batch with others, and published when that is on disk.

When a write fails, it is unknown whether it is on disk. It is in doubt then (WriteInDoubt), and
nothing more is written until the store has recovered. What turns out to be on disk is published,
the rest is not. Any other error means that nothing was written.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from euclidesdb_server.database.item_changes import item_write, unchanged_spaces
from euclidesdb_server.database.item_locks import ItemLocks
from euclidesdb_server.database.publisher import Publisher
from euclidesdb_server.database.validation import check_not_dropped
from euclidesdb_server.database.write_batches import (
    EmbeddedItem,
    column_batches,
    column_item,
    item_batches,
)
from euclidesdb_server.errors import (
    CorruptRecord,
    DatabaseError,
    ShuttingDown,
    StorageError,
    UnknownItem,
    UnknownModel,
)
from euclidesdb_server.index import ModelSpace
from euclidesdb_server.store import ColumnsWrite, FeatureStore, ItemRecord, ItemWrite
from euclidesdb_server.values.vector_columns import VectorColumns

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _InDoubt:
    """Writes that failed, or the removal of an item with that record."""

    labels: Sequence[int] = ()
    writes: Sequence[ItemWrite] = ()
    columns: ColumnsWrite | None = None
    removed: tuple[str, ItemRecord] | None = None


class Writer:
    """Writes and removes items. Thread-safe; writes of one item happen one after the other.

    keep_payloads: store raw items, too.
    """

    def __init__(self, store: FeatureStore, publisher: Publisher, *, keep_payloads: bool) -> None:
        self._store = store
        self._publisher = publisher
        self._keep_payloads = keep_payloads
        self._locks = ItemLocks()
        self._recovery = threading.Lock()
        self._in_doubt: list[_InDoubt] = []

    def write(self, items: Sequence[EmbeddedItem | DatabaseError]) -> list[DatabaseError | None]:
        """Write items, in order; the outcome of each is the error that it is or met, or None."""
        outcomes = [item if isinstance(item, DatabaseError) else None for item in items]

        def write(positions: Sequence[int]) -> None:
            batch = [items[position] for position in positions]
            self._write([item for item in batch if not isinstance(item, DatabaseError)])

        for positions in item_batches(items):
            self._attempt(write, positions, outcomes)
        return outcomes

    def write_columns(
        self, space: ModelSpace, columns: VectorColumns, errors: Mapping[int, DatabaseError]
    ) -> list[DatabaseError | None]:
        """Write ready-made vectors, in order; as `write`, and several times faster for new items.

        errors: by row, the rows that are not to be written.
        """
        outcomes: list[DatabaseError | None] = [*map(errors.get, range(len(columns)))]

        def write(rows: Sequence[int]) -> None:
            self._write_columns(space, columns.take(rows))

        for rows in column_batches(columns, errors):
            self._attempt(write, rows, outcomes)
        return outcomes

    def remove(self, item_id: str) -> None:
        """Remove an item from the store and from every space.

        Raises UnknownItem, StorageError (WriteInDoubt: it may be removed or not), ShuttingDown.
        """
        with self._locks.of([item_id]):
            self._recover()
            record = self._store.item(item_id)
            if record is None:
                raise UnknownItem(f"no item {item_id!r}")
            try:
                self._store.remove(item_id, record)
            except StorageError:
                self._note(_InDoubt(removed=(item_id, record)))
                raise
            self._publisher.remove([record])

    @contextmanager
    def lock_items(self, ids: Sequence[str]) -> Iterator[None]:
        """Keep other writes of these items out. Raises StorageError if nothing can be written."""
        with self._locks.of(ids):
            self._recover()
            yield

    def recover(self) -> None:
        """After a failed write, make writing possible again. Raises StorageError if it is not."""
        with self.lock_items(()):
            pass

    def _attempt(
        self,
        write: Callable[[Sequence[int]], None],
        positions: Sequence[int],
        outcomes: list[DatabaseError | None],
    ) -> None:
        """Write a batch; note the error as the outcome of each position if that fails."""
        try:
            write(positions)
        except (StorageError, ShuttingDown, UnknownModel) as error:
            if isinstance(error, (CorruptRecord, UnknownModel)) and len(positions) > 1:
                # The old record of one item cannot be read, or the version that one is for has
                # been dropped. That must not fail the others.
                middle = len(positions) // 2
                self._attempt(write, positions[:middle], outcomes)
                self._attempt(write, positions[middle:], outcomes)
                return
            for position in positions:
                outcomes[position] = error

    def _write(self, items: Sequence[EmbeddedItem]) -> None:
        """Write items of different ids in one batch. Raises StorageError, ShuttingDown."""
        with self._locks.of(item.id for item in items):
            self._recover()
            before = self._store.items([item.id for item in items])
            labels, writes = range(0), list[ItemWrite]()
            try:
                with self._store.labels.allocate(len(items)) as labels:
                    spaces = {space for item in items for space in item.embeddings}
                    check_not_dropped(spaces, self._store)
                    writes += self._changes(items, labels, before)
                    if writes:
                        self._store.write(*writes)
                        # It is on disk: what follows only makes it visible, and does not fail.
                        self._publisher.publish(writes)
            except Exception:
                self._note(_InDoubt(labels, writes))
                raise

    def _write_columns(self, space: ModelSpace, columns: VectorColumns) -> None:
        """As `_write`: new items by columns, those that replace others one by one."""
        with self._locks.of(columns.ids):
            self._recover()
            before = self._store.items(columns.ids)
            old = [row for row, record in enumerate(before) if record is not None]
            new = [row for row, record in enumerate(before) if record is None] if old else []
            labels, writes, added = range(0), list[ItemWrite](), None
            try:
                with self._store.labels.allocate(len(columns)) as labels:
                    check_not_dropped([space], self._store)
                    writes += self._changes(
                        [column_item(space, columns, row) for row in old],
                        [labels[row] for row in old],
                        [before[row] for row in old],
                    )
                    if not old:
                        added = ColumnsWrite(space.record.number, labels, columns)
                    elif new:
                        added = ColumnsWrite(
                            space.record.number, [labels[row] for row in new], columns.take(new)
                        )
                    if writes or added is not None:
                        self._store.write(*writes, columns=added)
                        self._publisher.publish(writes, added)
            except Exception:
                self._note(_InDoubt(labels, writes, added))
                raise

    def _changes(
        self,
        items: Sequence[EmbeddedItem],
        labels: Sequence[int],
        before: Sequence[ItemRecord | None],
    ) -> list[ItemWrite]:
        """The writes of those items that differ from what is stored."""
        writes = (
            item_write(
                item,
                label,
                record,
                unchanged_spaces(item, record, self._store),
                keep_payloads=self._keep_payloads,
            )
            for item, label, record in zip(items, labels, before, strict=True)
        )
        return [write for write in writes if write is not None]

    def _note(self, doubt: _InDoubt) -> None:
        """Remember a failed write. The caller holds the locks of its items."""
        with self._recovery:
            if self._store.failure is None:
                self._resolve(doubt)  # the store has recovered since the write failed
            else:
                self._in_doubt.append(doubt)

    def _recover(self) -> None:
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

    def _resolve(self, doubt: _InDoubt) -> None:
        """Publish what turned out to be on disk; the store has recovered since it failed."""
        written = [
            write
            for write in doubt.writes
            if (found := self._store.item(write.item_id)) and found.current_label == write.label
        ]
        added = doubt.columns
        if added is not None:
            # One batch: all of them are there, or none.
            there = self._store.item_id(added.labels[0]) == added.columns.ids[0]
            self._publisher.publish(written, added if there else None)
        else:
            self._publisher.publish(written)
        self._store.labels.resolve(doubt.labels)
        if doubt.removed is not None:
            item_id, record = doubt.removed
            if self._store.item(item_id) is None:
                self._publisher.remove([record])
