"""Writer: from embedded items to durable, searchable ones.

An item is written in one LevelDB batch with others, and published when that is on disk.

When a write fails, it is unknown whether it is on disk. It is in doubt then (WriteInDoubt), and
nothing more is written until the store has recovered (`write_doubts`). Any other error means that
nothing was written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from euclidesdb_server.database.item_changes import (
    changes_of,
    item_write,
    repeated_changes,
    unchanged_spaces,
    with_known_payload,
)
from euclidesdb_server.database.item_locks import ItemLocks
from euclidesdb_server.database.publisher import Publisher
from euclidesdb_server.database.remover import Remover
from euclidesdb_server.database.validation import check_not_dropped
from euclidesdb_server.database.write_batches import (
    EmbeddedItem,
    JobProgress,
    column_batches,
    column_item,
    item_batches,
    new_columns,
)
from euclidesdb_server.database.write_doubts import InDoubt, WriteDoubts
from euclidesdb_server.errors import (
    CorruptRecord,
    DatabaseError,
    ShuttingDown,
    StorageError,
    UnknownItem,
    UnknownModel,
)
from euclidesdb_server.index import ModelSpace
from euclidesdb_server.store import FeatureStore, ItemRecord, ItemWrite, request_digest
from euclidesdb_server.values.item_change import ItemChange
from euclidesdb_server.values.vector_columns import VectorColumns


class Writer:
    """Writes and removes items. Thread-safe; writes of one item happen one after the other.

    keep_payloads: store raw items, too.
    """

    def __init__(self, store: FeatureStore, publisher: Publisher, *, keep_payloads: bool) -> None:
        self._store = store
        self._publisher = publisher
        self._keep_payloads = keep_payloads
        self._locks = ItemLocks()
        self._doubts = WriteDoubts(store, publisher.publish, publisher.remove)
        self._remover = Remover(store, publisher, self._locks, self._doubts)

    def write(
        self, items: Sequence[EmbeddedItem | DatabaseError], repeated: set[int] | None = None
    ) -> list[ItemChange | DatabaseError]:
        """Write items, in order; the outcome of each is what has changed, or why nothing has.

        An error in place of an item is its outcome. repeated: gets the positions of items whose
        requests were applied before.
        """
        outcomes: list[ItemChange | DatabaseError] = [
            item if isinstance(item, DatabaseError) else ItemChange.UNCHANGED for item in items
        ]

        def write(positions: Sequence[int]) -> Sequence[ItemChange]:
            good = {at: item for at in positions if isinstance(item := items[at], EmbeddedItem)}
            changes, known = self._write([*good.values()])
            if repeated is not None:
                repeated.update(at for at, is_known in zip(good, known, strict=True) if is_known)
            return changes

        for positions in item_batches(items):
            self._attempt(write, positions, outcomes)
        return outcomes

    def write_columns(
        self,
        space: ModelSpace,
        columns: VectorColumns,
        errors: Mapping[int, DatabaseError],
        request_key: bytes = b"",
    ) -> list[ItemChange | DatabaseError]:
        """Write ready-made vectors, in order; as `write`, and several times faster for new items.

        errors: by row, those that are not written. Each batch of a request is remembered.
        """
        outcomes: list[ItemChange | DatabaseError] = [
            errors.get(row, ItemChange.UNCHANGED) for row in range(len(columns))
        ]

        def write(rows: Sequence[int]) -> Sequence[ItemChange]:
            what = f"{rows[0]} {len(rows)} {columns.ids[rows[0]]}"
            digest = request_digest(request_key, "vectors", what) if request_key else None
            return self._write_columns(space, columns.take(rows), digest)

        for rows in column_batches(columns, errors):
            self._attempt(write, rows, outcomes)
        return outcomes

    def update(
        self,
        item_id: str,
        change: Callable[[ItemRecord], ItemRecord],
        request: bytes | None = None,
    ) -> ItemRecord:
        """Change the attributes or the metadata of an item; returns its record as it is then.

        change: the new record, from the stored one; may raise. An equal one is not written.
        request: its digest; one that has been applied is not applied again.

        Raises UnknownItem, StorageError (WriteInDoubt: it may be changed or not), ShuttingDown.
        """
        with self._locks.of([item_id]):
            self._doubts.recover()
            before = self._store.item(item_id)
            if request in self._store.requests:
                return before or ItemRecord()  # another caller may have removed it since
            if before is None:
                raise UnknownItem(f"no item {item_id!r}")
            after = change(before)
            if after == before:
                if request is not None:
                    self._store.write(requests=[request])
                return before
            labels, writes = range(0), list[ItemWrite]()
            try:
                with self._store.labels.allocate() as labels:
                    (label,) = labels
                    after = after.with_labels(current=label, first=before.first_label or label)
                    writes.append(ItemWrite(item_id, label, before, after))
                    self._store.write(*writes, requests=[] if request is None else [request])
                    self._publisher.publish(writes)
            except Exception:
                self._doubts.note(InDoubt(labels, writes))
                raise
            return after

    def remove(
        self,
        ids: Sequence[str],
        labels: Mapping[str, int] | None = None,
        requests: Mapping[str, bytes] | None = None,
    ) -> dict[str, DatabaseError]:
        """As `Remover.remove`."""
        return self._remover.remove(ids, labels, requests)

    @contextmanager
    def lock_items(self, ids: Sequence[str]) -> Iterator[None]:
        """Keep other writes of these items out. Raises StorageError if nothing can be written."""
        with self._locks.of(ids):
            self._doubts.recover()
            yield

    def recover(self) -> None:
        """After a failed write, make writing possible again. Raises StorageError if it is not."""
        with self.lock_items(()):
            pass

    def _attempt(
        self,
        write: Callable[[Sequence[int]], Sequence[ItemChange]],
        positions: Sequence[int],
        outcomes: list[ItemChange | DatabaseError],
    ) -> None:
        """Write a batch; note what has changed of each position, or the error if that fails."""
        try:
            changes = write(positions)
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
        else:
            for position, change in zip(positions, changes, strict=True):
                outcomes[position] = change

    def _write(self, items: Sequence[EmbeddedItem]) -> tuple[list[ItemChange], list[bool]]:
        """Write items of different ids in one batch; also tells whether each was known."""
        with self._locks.of(item.id for item in items):
            self._doubts.recover()
            before = self._store.items([item.id for item in items])
            repeated = [item.request in self._store.requests for item in items]
            changes = repeated_changes(before)
            if all(repeated):
                return changes, repeated
            new = [row for row, is_repeated in enumerate(repeated) if not is_repeated]
            items, before = [items[row] for row in new], [before[row] for row in new]
            labels, writes = range(0), list[ItemWrite]()
            try:
                with self._store.labels.allocate(len(items)) as labels:
                    spaces = {space for item in items for space in item.spaces}
                    check_not_dropped(spaces, self._store)
                    writes += self._changes(items, labels, before)
                    requests = [item.request for item in items if item.request is not None]
                    if writes or requests:
                        self._store.write(*writes, requests=requests)
                        # It is on disk: what follows only makes it visible, and does not fail.
                        self._publisher.publish(writes)
            except Exception:
                self._doubts.note(InDoubt(labels, writes))
                raise
            ids = [item.id for item in items]
            for row, change in zip(new, changes_of(ids, before, writes), strict=True):
                changes[row] = change
            return changes, repeated

    def write_unchanged(self, items: Sequence[EmbeddedItem], progress: JobProgress) -> None:
        """Write those of some items that a job chooses, in one batch with its progress.

        Raises what `progress` raises, StorageError, ShuttingDown, UnknownModel.
        """
        with self._locks.of(item.id for item in items):
            self._doubts.recover()
            before = self._store.items([item.id for item in items])
            chosen = progress.choose(items, before)
            labels, writes = range(0), list[ItemWrite]()
            try:
                with self._store.labels.allocate(len(items)) as labels:
                    spaces = {space for item in items for space in item.spaces}
                    check_not_dropped(spaces, self._store)
                    writes += self._changes(
                        [items[position] for position in chosen],
                        labels[: len(chosen)],
                        [before[position] for position in chosen],
                    )
                    with progress.record() as job:
                        self._store.write(*writes, job=job)
                    self._publisher.publish(writes)
            except Exception:
                self._doubts.note(InDoubt(labels, writes))
                raise

    def _write_columns(
        self, space: ModelSpace, columns: VectorColumns, request: bytes | None
    ) -> list[ItemChange]:
        """As `_write`: new items by columns, those that replace others one by one."""
        with self._locks.of(columns.ids):
            self._doubts.recover()
            before = self._store.items(columns.ids)
            if request in self._store.requests:
                return repeated_changes(before)
            old = [row for row, record in enumerate(before) if record is not None]
            labels, writes, added = range(0), list[ItemWrite](), None
            try:
                with self._store.labels.allocate(len(columns)) as labels:
                    check_not_dropped([space], self._store)
                    writes += self._changes(
                        [column_item(space, columns, row) for row in old],
                        [labels[row] for row in old],
                        [before[row] for row in old],
                    )
                    added = new_columns(space, columns, labels, before)
                    requests = [] if request is None else [request]
                    if writes or added is not None or requests:
                        self._store.write(*writes, columns=added, requests=requests)
                        self._publisher.publish(writes, added)
            except Exception:
                self._doubts.note(InDoubt(labels, writes, added))
                raise
            return changes_of(columns.ids, before, writes)

    def _changes(
        self,
        items: Sequence[EmbeddedItem],
        labels: Sequence[int],
        before: Sequence[ItemRecord | None],
    ) -> list[ItemWrite]:
        """The writes of those items that differ from what is stored."""
        given = (
            with_known_payload(item, record, self._store)
            for item, record in zip(items, before, strict=True)
        )
        writes = (
            item_write(
                item,
                label,
                record,
                unchanged_spaces(item, record, self._store),
                keep_payloads=self._keep_payloads,
            )
            for item, label, record in zip(given, labels, before, strict=True)
        )
        return [write for write in writes if write is not None]
