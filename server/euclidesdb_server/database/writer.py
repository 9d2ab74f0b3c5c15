"""Writer: from embedded items to durable, searchable ones.

An item is written in one LevelDB batch, and published when that is on disk. Many items go in
batches of some hundreds: each batch is there as a whole, or not at all.

Where a write fails, nobody knows whether it is on disk. It stays in doubt, and nothing is
written, until the store has recovered: then what is there is published, and the rest is not.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import TypeVar

import numpy as np

from euclidesdb_server.database.item_locks import ItemLocks
from euclidesdb_server.database.model_table import Catalog
from euclidesdb_server.database.write_batches import NewItem, VectorItems, batches_of
from euclidesdb_server.errors import (
    CorruptRecord,
    DatabaseError,
    ShuttingDown,
    StorageError,
    UnknownItem,
)
from euclidesdb_server.index import Compactor
from euclidesdb_server.store import FeatureStore, ItemRecord, ItemWrite, NewItems
from euclidesdb_server.values.arrays import Vector

log = logging.getLogger(__name__)

_Batch = TypeVar("_Batch", Sequence[NewItem], VectorItems)


@dataclass(frozen=True, slots=True)
class _InDoubt:
    """Writes, or the removal of an item with that record, that failed."""

    labels: Sequence[int] = ()
    writes: Sequence[ItemWrite] = ()
    new: NewItems | None = None
    removed: tuple[str, ItemRecord] | None = None


class Writer:
    """Writes and removes items. Thread-safe; writes of one item happen one after the other.

    keep_payloads: store raw items, too.
    """

    def __init__(
        self, store: FeatureStore, catalog: Catalog, compactor: Compactor, *, keep_payloads: bool
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._compactor = compactor
        self._keep_payloads = keep_payloads
        self._locks = ItemLocks()
        self._recovery = threading.Lock()
        self._in_doubt: list[_InDoubt] = []

    def write(self, items: Sequence[NewItem]) -> list[DatabaseError | None]:
        """Write items, in order; of each, why it is not written, or None where it is."""
        failures: list[DatabaseError | None] = []
        for batch in batches_of(items):
            failures += self._outcomes(self._write, batch)
        return failures

    def write_vectors(self, items: VectorItems) -> list[DatabaseError | None]:
        """As `write`; several times faster for those that are new."""
        failures: list[DatabaseError | None] = []
        for batch in items.batches():
            failures += self._outcomes(self._write_vectors, batch)
        return failures

    def remove(self, item_id: str) -> None:
        """Remove an item from the store and from every space.

        Raises UnknownItem, StorageError, ShuttingDown.
        """
        self._recover()
        with self._locks.of(item_id):
            record = self._store.item(item_id)
            if record is None:
                raise UnknownItem(f"no item {item_id!r}")
            try:
                self._store.remove(item_id, record)
            except StorageError:
                self._note(_InDoubt(removed=(item_id, record)))
                raise
            self._delete(record.labels)

    def _outcomes(
        self, write: Callable[[_Batch], None], batch: _Batch
    ) -> list[DatabaseError | None]:
        """Of each item of a batch, why it is not written, or None where it is."""
        try:
            self._recover()
            write(batch)
        except (StorageError, ShuttingDown) as error:
            if isinstance(error, CorruptRecord) and len(batch) > 1:
                # what one item had before cannot be read: that is no matter of the others
                middle = len(batch) // 2
                first = self._outcomes(write, batch[:middle])
                return first + self._outcomes(write, batch[middle:])
            return [error] * len(batch)
        return [None] * len(batch)

    def _write(self, items: Sequence[NewItem]) -> None:
        """Write items of different ids in one batch. Raises StorageError, ShuttingDown."""
        ids = [item.id for item in items]
        with self._locks.of(*ids):
            before = self._store.items(ids)
            changed = [
                (item, record)
                for item, record in zip(items, before, strict=True)
                if record is None or self._changes(item, record)
            ]
            if not changed:
                return
            labels, writes = range(0), list[ItemWrite]()
            try:
                with self._store.labels.take(len(changed)) as labels:
                    writes += (
                        self._item_write(item, label, record)
                        for label, (item, record) in zip(labels, changed, strict=True)
                    )
                    self._store.write(*writes)
                    # it is on disk: what follows only makes it visible, and does not fail
                    self._publish(writes)
            except Exception:
                self._note(_InDoubt(labels, writes))
                raise

    def _write_vectors(self, items: VectorItems) -> None:
        """As `_write`: new items by columns, those that replace others one by one."""
        with self._locks.of(*items.ids):
            before = self._store.items(items.ids)
            known = [row for row, record in enumerate(before) if record is not None]
            unknown = [row for row, record in enumerate(before) if record is None]
            labels, writes, new = range(0), list[ItemWrite](), None
            try:
                with self._store.labels.take(len(items.ids)) as labels:
                    writes += (
                        self._item_write(items.item(row), labels[row], before[row]) for row in known
                    )
                    if unknown:
                        new = items.only(unknown).as_new([labels[row] for row in unknown])
                    self._store.write(*writes, new=new)
                    self._publish(writes, new)
            except Exception:
                self._note(_InDoubt(labels, writes, new))
                raise

    def _changes(self, item: NewItem, before: ItemRecord) -> bool:
        """Whether a write would change what is stored: the same payload gives the same vectors."""
        return (
            item.payload is None
            or bool(item.ready_made)
            or item.payload.digest() != before.payload_digest
            or item.attributes_json not in (None, before.attributes_json)
            or item.metadata not in (None, before.metadata)
            or (self._keep_payloads and before.payload_label is None)
            or not item.embeddings.keys() <= item.known
            or any(
                space.record.number not in before.labels or space.record.number in before.ready_made
                for space in item.embeddings
            )
        )

    def _item_write(self, item: NewItem, label: int, before: ItemRecord | None) -> ItemWrite:
        by_number = {space.record.number: found for space, found in item.embeddings.items()}
        ready_made = {space.record.number for space in item.ready_made}
        after = self._record(item, before or ItemRecord(), label, by_number, ready_made)
        payload = item.payload if after.payload_label == label else None
        return ItemWrite(item.id, label, before, after, by_number, payload)

    def _record(
        self,
        item: NewItem,
        before: ItemRecord,
        label: int,
        written: Collection[int],
        ready_made: set[int],
    ) -> ItemRecord:
        """The item's record after the write.

        written: the spaces that get a vector; ready_made: those whose vector is not the payload's.
        """
        labels = dict(before.labels)
        # without a payload all were, and it is not said
        ready_before = before.ready_made if before.payload_digest else set(labels)
        payload_label, digest = before.payload_label, before.payload_digest
        if item.payload is not None:
            digest = item.payload.digest()
            if before.payload_digest and digest != before.payload_digest:
                # what other models said was of another payload
                labels, payload_label = {}, None
            if self._keep_payloads and payload_label is None:
                payload_label = label
        ready_made |= ready_before & labels.keys() - set(written)
        return ItemRecord(
            before.attributes_json if item.attributes_json is None else item.attributes_json,
            before.metadata if item.metadata is None else item.metadata,
            labels | dict.fromkeys(written, label),
            payload_label,
            digest,
            frozenset(ready_made if digest else ()),
        )

    def _publish(self, writes: Sequence[ItemWrite], new: NewItems | None = None) -> None:
        """Make what is stored searchable, and what it replaced gone."""
        rows: dict[int, list[tuple[int, str, Vector]]] = defaultdict(list)
        replaced: dict[int, list[int]] = defaultdict(list)
        for write in writes:
            for number, found in write.embeddings.items():
                rows[number].append((write.label, write.item_id, found.vector))
            for number, label in {} if write.before is None else write.before.labels.items():
                if write.after.labels.get(number) != label:
                    replaced[number].append(label)
        if new is not None and new.space in rows:
            rows[new.space] += zip(new.labels, new.ids, new.vectors, strict=True)
            rows[new.space].sort(key=itemgetter(0))  # at equal distance the older comes first
        elif new is not None and (space := self._catalog.numbered(new.space)) is not None:
            space.publish(new.labels, new.ids, new.vectors)
            self._compactor.consider(space)
        for number in rows.keys() | replaced.keys():
            space = self._catalog.numbered(number)
            if space is not None:  # an empty one is false
                if written := rows.get(number):
                    labels, ids, vectors = zip(*written, strict=True)
                    space.publish(labels, ids, np.stack(vectors), replaces=replaced[number])
                else:
                    space.delete(replaced[number])
                self._compactor.consider(space)

    def _delete(self, labels: Mapping[int, int]) -> None:
        for number, label in labels.items():
            space = self._catalog.numbered(number)
            if space is not None:
                space.delete([label])
                self._compactor.consider(space)

    def _note(self, doubt: _InDoubt) -> None:
        """Remember a failed write; the locks of its items are held."""
        with self._recovery:
            if self._store.failure is None:
                self._resolve(doubt)  # the store has recovered since it failed
            else:
                self._in_doubt.append(doubt)

    def _recover(self) -> None:
        """Where writing has failed, take it up again. Raises StorageError while that cannot be."""
        if self._store.failure is None:
            return
        with self._recovery:
            self._store.recover(self._resolve_all)

    def _resolve_all(self) -> None:
        while self._in_doubt:
            self._resolve(self._in_doubt[-1])
            self._in_doubt.pop()
        log.info("the store has recovered: writing goes on")

    def _resolve(self, doubt: _InDoubt) -> None:
        """Publish what turned out to be on disk; the store has recovered since it failed."""
        there = [
            write
            for write in doubt.writes
            if (found := self._store.item(write.item_id)) and write.label in found.all_labels()
        ]
        new = doubt.new
        if new is not None:
            # one batch: all of them are there, or none
            written = self._store.item_id(new.labels[0]) == new.ids[0]
            self._publish(there, new if written else None)
        else:
            self._publish(there)
        self._store.labels.resolve(doubt.labels)
        if doubt.removed is not None:
            item_id, record = doubt.removed
            if self._store.item(item_id) is None:
                self._delete(record.labels)
