"""Publisher: makes what has been stored visible, in the spaces and in the table of items."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from operator import itemgetter

import numpy as np

from euclidesdb_server.columns import ItemTable
from euclidesdb_server.database.model_table import ModelTable
from euclidesdb_server.index import Compactor
from euclidesdb_server.store import ColumnsWrite, ItemRecord, ItemWrite
from euclidesdb_server.values.arrays import Vector


class Publisher:
    """Publishes writes. Thread-safe; the writes of one item one after the other."""

    def __init__(self, models: ModelTable, compactor: Compactor, table: ItemTable) -> None:
        self._models = models
        self._compactor = compactor
        self._table = table

    def publish(self, writes: Sequence[ItemWrite], added: ColumnsWrite | None = None) -> None:
        """Make what is stored searchable, and delete the rows that it replaced."""
        rows: dict[int, list[tuple[int, str, Vector]]] = defaultdict(list)
        replaced: dict[int, list[int]] = defaultdict(list)
        for write in writes:
            for number, embedding in write.embeddings.items():
                rows[number].append((write.label, write.item_id, embedding.vector))
            for number, label in {} if write.before is None else write.before.labels.items():
                if write.after.labels.get(number) != label:
                    replaced[number].append(label)
        prepared = self._table.prepare(writes)  # reads from the store: not under the lock
        with self._table.publishing:
            self._publish_rows(rows, replaced, added)
            self._table.publish(prepared, added)
        self._table.relieve()

    def remove(self, removed: Sequence[tuple[str, ItemRecord]]) -> None:
        """Delete the rows of items that the store has removed. removed: with their last records."""
        gone: dict[int, list[int]] = defaultdict(list)
        for _, record in removed:
            for number, label in record.labels.items():
                gone[number].append(label)
        with self._table.publishing:
            for number, labels in gone.items():
                self._delete(number, labels)
            self._table.delete(record for _, record in removed)

    def _publish_rows(
        self,
        rows: dict[int, list[tuple[int, str, Vector]]],
        replaced: dict[int, list[int]],
        added: ColumnsWrite | None,
    ) -> None:
        if added is not None and added.space in rows:
            columns = added.columns
            rows[added.space] += zip(added.labels, columns.ids, columns.vectors, strict=True)
            rows[added.space].sort(key=itemgetter(0))  # at equal distance the older comes first
        elif added is not None and (space := self._models.space_numbered(added.space)) is not None:
            space.publish(added.labels, added.columns.ids, added.columns.vectors)
            self._compactor.consider(space)
        for number, written in rows.items():
            space = self._models.space_numbered(number)
            if space is not None:  # not `if space`: an empty one is false
                labels, ids, vectors = zip(*written, strict=True)
                rows_added = vectors[0][np.newaxis] if len(vectors) == 1 else np.stack(vectors)
                space.publish(labels, ids, rows_added, replaces=replaced[number])
                self._compactor.consider(space, deleted=len(replaced[number]))
        for number in replaced.keys() - rows.keys():
            self._delete(number, replaced[number])

    def _delete(self, number: int, labels: Sequence[int]) -> None:
        """Delete rows of a space that the store has deleted."""
        space = self._models.delete_rows(number, labels)
        if space is not None:
            self._compactor.consider(space, deleted=len(labels))
