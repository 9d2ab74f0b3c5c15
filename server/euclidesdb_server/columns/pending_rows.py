"""PendingRows: items that were written and are not in any block yet."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from euclidesdb_server.columns.block import Block, BlockRows
from euclidesdb_server.columns.prediction_columns import Predicted, predicted
from euclidesdb_server.errors import CorruptRecord
from euclidesdb_server.store import ColumnsWrite, ItemRecord, StoreReader
from euclidesdb_server.values.arrays import Labels, Vector, as_labels

log = logging.getLogger(__name__)


@dataclass(slots=True)
class PendingRows:
    """What was published since the last block was made. Not thread-safe.

    written: the label of each write and the id of its item. added: writes of new items by columns.
    """

    written: list[tuple[int, str]] = field(default_factory=list)
    added: list[ColumnsWrite] = field(default_factory=list)
    count: int = 0

    def __len__(self) -> int:
        return self.count

    def put(self, label: int, item_id: str) -> None:
        """An item was written."""
        self.written.append((label, item_id))
        self.count += 1

    def put_columns(self, write: ColumnsWrite) -> None:
        """New items were written by columns."""
        self.added.append(write)
        self.count += len(write.labels)

    def followed_by(self, later: PendingRows) -> PendingRows:
        """These, then those that were published later."""
        return PendingRows(
            self.written + later.written, self.added + later.added, self.count + later.count
        )

    def labels_among(self, labels: Iterable[int]) -> set[int]:
        """Those of some labels that are here."""
        wanted = set(labels)
        found = {label for label, _ in self.written if label in wanted}
        for write in self.added:
            found.update(wanted.intersection(write.labels))
        return found

    def block(self, reader: StoreReader) -> Block | None:
        """The rows as a block, with what the store has of them; None if nothing is left of them.

        reader: of one moment. An item that has been written again since is taken as it is then: its
        new write is published next, and deletes this row.
        """
        ids = [item_id for _, item_id in self.written]
        records = zip(self.written, _records(reader, ids), strict=True)
        stored = [(label, item_id, found) for (label, item_id), found in records if found]
        if not stored and not self.added:
            return None
        found = [record for _, _, record in stored]
        parts = [as_labels(write.labels) for write in self.added]
        all_ids = [item_id for _, item_id, _ in stored]
        for write in self.added:
            all_ids += write.columns.ids
        return Block.of(
            BlockRows(
                np.concatenate([as_labels([label for label, _, _ in stored]), *parts]),
                all_ids,
                np.concatenate([as_labels([record.first_label for record in found]), *parts]),
                _attributes(found, self.added),
                _vectors(found, self.added),
                _predictions(found, reader),
            )
        )


def _attributes(records: Sequence[ItemRecord], columns: Sequence[ColumnsWrite]) -> list[str] | None:
    """The attributes of all rows; None if none has any."""
    if all(write.columns.attributes_json is None for write in columns) and all(
        record.attributes_json == "{}" for record in records
    ):
        return None
    texts = [record.attributes_json for record in records]
    for write in columns:
        texts += write.columns.attributes_json or ["{}"] * len(write.labels)
    return texts


def _records(reader: StoreReader, ids: Sequence[str]) -> list[ItemRecord | None]:
    """The records of items; None for one that is removed, or cannot be read."""
    try:
        return reader.items(ids)
    except CorruptRecord:
        records: list[ItemRecord | None] = []
        for item_id in ids:
            try:
                records.append(reader.item(item_id))
            except CorruptRecord as error:
                log.error("an item is left out of lists and filters: %s", error)
                records.append(None)
        return records


def _vectors(records: Sequence[ItemRecord], columns: Sequence[ColumnsWrite]) -> dict[int, Labels]:
    rows = len(records) + sum(len(write.labels) for write in columns)
    vectors: dict[int, Labels] = defaultdict(lambda: np.zeros(rows, np.int64))
    for row, record in enumerate(records):
        for space, label in record.labels.items():
            vectors[space][row] = label
    start = len(records)
    for write in columns:
        vectors[write.space][start : start + len(write.labels)] = as_labels(write.labels)
        start += len(write.labels)
    return dict(vectors)


def _predictions(
    records: Sequence[ItemRecord], reader: StoreReader
) -> Mapping[int, tuple[npt.NDArray[np.int64], Predicted]]:
    """By space: the rows that have predictions, and these."""
    wanted: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for row, record in enumerate(records):
        for space, label in record.labels.items():
            if space not in record.ready_made:
                wanted[space].append((row, label))
    found: dict[int, tuple[npt.NDArray[np.int64], Predicted]] = {}
    for space, pairs in wanted.items():
        values = reader.predictions(space, [label for _, label in pairs])
        by_length: dict[int, list[tuple[int, Vector]]] = defaultdict(list)
        for (row, _), value in zip(pairs, values, strict=True):
            if value is not None and len(value) and np.isfinite(value).all():
                by_length[len(value)].append((row, value))
        if by_length:
            # all of one model have the same length; what a migration took over may have others
            rows = max(by_length.values(), key=len)
            places = np.array([row for row, _ in rows], np.int64)
            found[space] = places, predicted(np.stack([value for _, value in rows]))
    return found
