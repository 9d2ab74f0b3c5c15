"""PendingRows: items that were written and are not in any block yet."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from euclidesdb_server.columns.block import Block, BlockRows
from euclidesdb_server.columns.prediction_columns import Predicted, predicted
from euclidesdb_server.errors import StorageError
from euclidesdb_server.store import ColumnsWrite, ItemRecord, ItemWrite, StoreReader
from euclidesdb_server.values.arrays import Labels, Vector, as_labels

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PendingRow:
    """An item as its last write left it.

    label: of that write. added: of the item's first write. vectors: the label of its vector in
    each space. predictions: by space. failed: the spaces whose model failed on it.
    """

    label: int
    item_id: str
    added: int
    attributes_json: str
    vectors: Mapping[int, int]
    predictions: Mapping[int, Vector]
    failed: Collection[int] = ()


def written_row(write: ItemWrite, reader: StoreReader) -> PendingRow:
    """What a write leaves. To be called before the item can be written again."""
    known = {
        space: embedding.predictions
        for space, embedding in write.embeddings.items()
        if embedding.predictions is not None and space not in write.after.ready_made
    }
    kept = write.after.labels.keys() - write.embeddings.keys() - write.after.ready_made
    for space in kept:
        predictions = _stored_predictions(reader, space, write.after.labels[space])
        if predictions is not None:
            known[space] = predictions
    return _row(write.label, write.item_id, write.after, known)


def stored_row(label: int, item_id: str, record: ItemRecord, reader: StoreReader) -> PendingRow:
    """An item as the store has it. label: of the write that the row stands for."""
    predictions = {
        space: found
        for space, vector in record.labels.items()
        if space not in record.ready_made
        and (found := _stored_predictions(reader, space, vector)) is not None
    }
    return _row(label, item_id, record, predictions)


def _stored_predictions(reader: StoreReader, space: int, label: int) -> Vector | None:
    """None also if they cannot be read: the item is there all the same."""
    try:
        return reader.predictions(space, label)
    except StorageError as error:
        log.error("predictions are left out of filters: %s", error)
        return None


def _row(
    label: int, item_id: str, record: ItemRecord, predictions: Mapping[int, Vector]
) -> PendingRow:
    return PendingRow(
        label,
        item_id,
        record.first_label,
        record.attributes_json,
        record.labels,
        predictions,
        record.failed.keys(),
    )


@dataclass(frozen=True, slots=True)
class PendingColumns:
    """New items with a vector each in one space, by columns, as `ColumnsWrite`, without vectors."""

    space: int
    labels: Sequence[int]
    ids: Sequence[str]
    attributes_json: Sequence[str] | None


@dataclass(slots=True)
class PendingRows:
    """What was published since the last block was made. Not thread-safe.

    rows: of single items. added: writes of new items by columns. replaced: the labels of earlier
    writes of these items. bytes: about what all takes.
    """

    rows: list[PendingRow] = field(default_factory=list)
    added: list[PendingColumns] = field(default_factory=list)
    replaced: set[int] = field(default_factory=set)
    count: int = 0
    bytes: int = 0

    def __len__(self) -> int:
        return self.count

    def put(self, row: PendingRow, *, replaces: int | None = None) -> None:
        """An item was written. replaces: the label of its write before."""
        self.rows.append(row)
        if replaces is not None:
            self.replaced.add(replaces)
        self.count += 1
        self.bytes += len(row.attributes_json)
        self.bytes += sum(values.nbytes for values in row.predictions.values())

    def put_columns(self, write: ColumnsWrite) -> None:
        """New items were written by columns."""
        columns = write.columns
        self.added.append(
            PendingColumns(write.space, write.labels, columns.ids, columns.attributes_json)
        )
        self.count += len(write.labels)
        self.bytes += sum(map(len, columns.attributes_json or ()))

    def followed_by(self, later: PendingRows) -> PendingRows:
        """These, then those that were published later."""
        return PendingRows(
            self.rows + later.rows,
            self.added + later.added,
            self.replaced | later.replaced,
            self.count + later.count,
            self.bytes + later.bytes,
        )

    def labels_among(self, labels: Iterable[int]) -> set[int]:
        """Those of some labels that are here."""
        wanted = set(labels)
        found = {row.label for row in self.rows if row.label in wanted}
        for write in self.added:
            found.update(wanted.intersection(write.labels))
        return found

    def block(self) -> Block:
        """The rows as a block; there must be some."""
        rows, columns = self.rows, self.added
        parts = [as_labels(write.labels) for write in columns]
        ids = [row.item_id for row in rows]
        for write in columns:
            ids += write.ids
        return Block.of(
            BlockRows(
                np.concatenate([as_labels([row.label for row in rows]), *parts]),
                ids,
                np.concatenate([as_labels([row.added for row in rows]), *parts]),
                self._attributes(),
                self._vectors(),
                _predictions(rows),
                self._failed(),
            )
        )

    def _attributes(self) -> list[str] | None:
        """The attributes of all rows; None if none has any."""
        if all(write.attributes_json is None for write in self.added) and all(
            row.attributes_json == "{}" for row in self.rows
        ):
            return None
        texts = [row.attributes_json for row in self.rows]
        for write in self.added:
            texts += write.attributes_json or ["{}"] * len(write.labels)
        return texts

    def _vectors(self) -> dict[int, Labels]:
        vectors: dict[int, Labels] = defaultdict(lambda: np.zeros(self.count, np.int64))
        for number, row in enumerate(self.rows):
            for space, label in row.vectors.items():
                vectors[space][number] = label
        start = len(self.rows)
        for write in self.added:
            labels = as_labels(write.labels)
            vectors[write.space][start : start + len(labels)] = labels
            start += len(labels)
        return dict(vectors)

    def _failed(self) -> dict[int, list[int]]:
        failed: dict[int, list[int]] = defaultdict(list)
        for number, row in enumerate(self.rows):
            for space in row.failed:
                failed[space].append(number)
        return dict(failed)


def _predictions(
    rows: Sequence[PendingRow],
) -> Mapping[int, tuple[npt.NDArray[np.int64], Predicted]]:
    """By space: the numbers of the rows that have predictions, and these."""
    # all of one model have the same length; what a migration took over may have others
    by_length: dict[tuple[int, int], list[tuple[int, Vector]]] = defaultdict(list)
    for number, row in enumerate(rows):
        for space, values in row.predictions.items():
            if len(values) and np.isfinite(values).all():
                by_length[space, len(values)].append((number, values))
    found: dict[int, tuple[npt.NDArray[np.int64], Predicted]] = {}
    for (space, _), pairs in sorted(by_length.items(), key=lambda each: len(each[1])):
        numbers = np.array([number for number, _ in pairs], np.int64)
        found[space] = numbers, predicted(np.stack([values for _, values in pairs]))
    return found
