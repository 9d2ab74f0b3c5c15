"""PendingRows: items that were written and are not in any block yet."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from euclidesdb_server.columns.block import Block, BlockRows
from euclidesdb_server.errors import StorageError
from euclidesdb_server.store import ColumnsWrite, ItemRecord, ItemWrite, StoreReader
from euclidesdb_server.store.bulk_reads import BulkReads
from euclidesdb_server.store.keys import PREDICTIONS
from euclidesdb_server.store.reader import FLOAT32
from euclidesdb_server.values.arrays import Labels, Vector, as_labels
from euclidesdb_server.values.predicted import Predicted, predicted

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PendingRow:
    """An item as its last write left it.

    label: of that write. added: of the item's first write. vectors: the label of its vector in
    each space. predictions: by space. replaces: the label of the item's write before, if that is
    not known to be gone. failed: the spaces whose model failed on it.
    """

    label: int
    item_id: str
    added: int
    attributes_json: str
    vectors: Mapping[int, int]
    predictions: Mapping[int, Vector]
    replaces: int | None = None
    failed: Collection[int] = ()


def written_rows(writes: Sequence[ItemWrite], reader: StoreReader) -> list[PendingRow]:
    """What writes leave. To be called before the items can be written again."""
    kept = [
        {
            space: label
            for space, label in write.after.labels.items()
            if space not in write.embeddings
        }
        for write in writes
    ]
    stored = _stored_predictions(reader, kept)
    rows = []
    for write, predictions in zip(writes, stored, strict=True):
        for space, embedding in write.embeddings.items():
            if embedding.predictions is not None:
                predictions[space] = embedding.predictions
        before = write.before
        replaces = None if before is None else before.current_label
        rows.append(_row(write.label, write.item_id, write.after, predictions, replaces))
    return rows


def stored_rows(
    items: Sequence[tuple[int, str, ItemRecord]], reader: StoreReader
) -> Iterator[PendingRow]:
    """Items as the store has them: the label of the write that each row stands for, id, record."""
    stored = _stored_predictions(reader, [record.labels for _, _, record in items])
    for (label, item_id, record), predictions in zip(items, stored, strict=True):
        yield _row(label, item_id, record, predictions, None)


def _stored_predictions(
    reader: StoreReader, labels: Sequence[Mapping[int, int]]
) -> list[dict[int, Vector]]:
    """The predictions of each of some items. labels: of its vectors, by space.

    Those that cannot be read are left out: the items are there all the same.
    """
    found: list[dict[int, Vector]] = [{} for _ in labels]
    for space in {space for each in labels for space in each}:
        places = [place for place, each in enumerate(labels) if space in each]
        wanted = [labels[place][space] for place in places]
        try:
            values = BulkReads(reader).rows(PREDICTIONS, space, wanted)
        except StorageError:
            values = [_one(reader, space, label) for label in wanted]
        for place, label, value in zip(places, wanted, values, strict=True):
            if value is not None and len(value) % FLOAT32.itemsize == 0:
                found[place][space] = np.frombuffer(value, FLOAT32)
            elif value is not None:
                log.error("predictions of label %d are left out of filters", label)
    return found


def _one(reader: StoreReader, space: int, label: int) -> bytes | None:
    try:
        return BulkReads(reader).rows(PREDICTIONS, space, [label])[0]
    except StorageError as error:
        log.error("predictions are left out of filters: %s", error)
        return None


def _row(
    label: int,
    item_id: str,
    record: ItemRecord,
    predictions: Mapping[int, Vector],
    replaces: int | None,
) -> PendingRow:
    return PendingRow(
        label,
        item_id,
        record.first_label,
        record.attributes_json,
        record.labels,
        predictions,
        replaces,
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

    def put(self, row: PendingRow) -> None:
        """An item was written."""
        self.rows.append(row)
        if row.replaces is not None:
            self.replaced.add(row.replaces)
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
