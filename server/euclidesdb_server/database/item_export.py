"""ItemExport: all that is stored of the items that match a filter, as of one moment.

Items are read some at a time, so an export of any size takes little memory. Knows no format.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from euclidesdb_server.columns.block import BlockFilter
from euclidesdb_server.columns.pending_rows import PendingRows, stored_rows
from euclidesdb_server.columns.table_view import Selection
from euclidesdb_server.database.item_reads import Include
from euclidesdb_server.database.requests import Call, check_waiting
from euclidesdb_server.store import SpaceRecord, StoreReader
from euclidesdb_server.store.bulk_reads import BulkReads
from euclidesdb_server.store.item_values import item_values, values_within
from euclidesdb_server.store.keys import PREDICTIONS, VECTOR
from euclidesdb_server.store.record_columns import RecordColumns, record_columns
from euclidesdb_server.values.arrays import Labels
from euclidesdb_server.values.failure import Failure
from euclidesdb_server.values.filters import Filter
from euclidesdb_server.values.payload import Payload

Sizes = npt.NDArray[np.int64]

BATCH_BYTES: Final = 1 << 20
BATCH_ROWS: Final = 4096
"""Limits of what is read at a time; an item that is larger is read alone."""
WINDOW_ROWS: Final = 4 * BATCH_ROWS
LEAST_ROWS: Final = 128
MIN_ROWS: Final = 16
RECORDS_BYTES: Final = 16 << 20
"""The records of WINDOW_ROWS items are read at a time, as more of them lie close together then; of
LEAST_ROWS if many exports share the limits; of as few as MIN_ROWS if they have more than
RECORDS_BYTES: each may have a mebibyte of metadata."""
LEAST_BYTES: Final = 64 << 10
"""Of a batch, however many exports share the limits."""
ITEM_BYTES: Final = 64
"""About what an item takes besides what it holds."""
FIRST_PREDICTIONS: Final = 4096
"""Bytes that the predictions of one model are taken to have before any are read."""


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """models: names; empty: all of which an item has a vector."""

    condition: Filter | None = None
    models: tuple[str, ...] = ()
    include: Include = Include()  # noqa: RUF009  immutable


@dataclass(frozen=True, slots=True)
class ModelColumns:
    """What is stored of some items in one space, None for those that have no vector there.

    vectors, predictions: little-endian float32; None unless requested. ready_made: whether the
    vector was not made from the payload. failures: of the items that the model failed on.
    """

    ready_made: Sequence[bool | None]
    failures: Sequence[Failure | None]
    vectors: Sequence[bytes | None] | None = None
    predictions: Sequence[bytes | None] | None = None


@dataclass(frozen=True, slots=True)
class ExportedItems:
    """Some items, by columns. models: by name. payloads: None unless requested."""

    records: RecordColumns
    models: Mapping[str, ModelColumns]
    payloads: Sequence[Payload | None] | None

    @property
    def ids(self) -> Sequence[str]:
        """Their ids."""
        return self.records.ids


class ItemExport:
    """One export. spaces: those that are exported, by the names of their models."""

    def __init__(
        self,
        request: ExportRequest,
        selection: Selection,
        reader: StoreReader,
        spaces: Mapping[str, SpaceRecord],
        call: Call,
        *,
        share: Callable[[], float],
    ) -> None:
        """share: what it may have, at a time, of the limits of what is read."""
        self.include = request.include
        self.spaces = spaces
        self._condition = request.condition
        self._selection = selection
        self._reader = reader
        self._call = call
        self._share = share
        self._bulk = BulkReads(reader)
        self._prediction_bytes = FIRST_PREDICTIONS * len(spaces)

    def batches(self) -> Iterator[ExportedItems]:
        """The items, some at a time, in the order in which they were first added.

        Raises StorageError (CorruptRecord names what cannot be read), DeadlineExceeded.
        """
        for found in self._found():
            start = 0
            held: Payload | None = None
            while start < len(found):
                check_waiting(self._call)
                sizes = self._fixed_size() + found[start:].sizes()
                limit = max(LEAST_BYTES, int(BATCH_BYTES * self._share()))
                fitting = int(np.searchsorted(sizes.cumsum(), limit, side="right"))
                count = min(max(1, fitting), BATCH_ROWS)
                payloads: list[Payload | None] | None = None
                if self.include.payload:
                    payloads, held = self._payloads(
                        found[start : start + count], sizes, held, limit
                    )
                    count = len(payloads)
                yield self._exported(found[start : start + count], payloads)
                start += count

    def _fixed_size(self) -> int:
        """About how many bytes there will be of an item, without its texts and its payload."""
        size = ITEM_BYTES
        if self.include.vectors:
            size += sum(4 * space.feature_dim for space in self.spaces.values())
        if self.include.predictions:
            size += self._prediction_bytes
        return size

    def _payloads(
        self, items: RecordColumns, sizes: Sizes, held: Payload | None, limit: int
    ) -> tuple[list[Payload | None], Payload | None]:
        """The payloads of as many items as fit into a batch, and the one that did not fit.

        sizes: of the items without them. held: that of the first item, if it has been read already.
        limit: bytes of a batch.
        """
        found: list[Payload | None] = []
        total = 0
        for row, size in zip(range(len(items)), sizes.tolist(), strict=False):
            record = items.others.get(row)
            payload = held
            held = None
            if payload is None and record is not None and record.payload_label is not None:
                payload = self._reader.payload(record.payload_label)
            total += size + (0 if payload is None else len(payload.data))
            if found and total > limit:
                return found, payload
            found.append(payload)
        return found, None

    def _found(self) -> Iterator[RecordColumns]:
        """The records of some items at a time."""
        parts = [block.added[rows] for block, rows in self._selection.parts]
        # what is kept until the end, for each item, is as small as can be
        order = np.argsort(np.concatenate([*parts, np.empty(0, np.int64)])).astype(np.uint32)
        first, most = 0, WINDOW_ROWS
        while first < len(order):
            check_waiting(self._call)
            share = self._share()
            rows = min(most, max(LEAST_ROWS, int(WINDOW_ROWS * share)))
            limit = int(RECORDS_BYTES * share)
            numbers = order[first : first + rows].astype(np.int64)
            ids, labels = self._selection.ids(numbers), self._selection.labels[numbers]
            values: Sequence[bytes | None] | None
            if rows > MIN_ROWS:
                values = values_within(limit, self._reader.source, ids)
            else:
                values = item_values(self._reader.source, ids)
            if values is None:  # they are large; those that follow probably are, too
                most = max(MIN_ROWS, rows // 4)
                continue
            if most < WINDOW_ROWS and sum(map(len, filter(None, values))) < limit // 4:
                most *= 2
            yield self._stored(ids, values, labels)
            first += len(ids)

    def _stored(
        self, ids: Sequence[str], values: Sequence[bytes | None], labels: Labels
    ) -> RecordColumns:
        """Those of some items that are in the snapshot. labels: of the writes that were selected.

        The snapshot may have writes that are not acknowledged yet, and so were not selected.
        """
        there = [value for value in values if value is not None]
        if len(there) < len(ids):
            rows = [row for row, value in enumerate(values) if value is not None]
            return self._stored([ids[row] for row in rows], there, labels[rows])
        found = record_columns(ids, there, labels)
        left_out = {
            row
            for row, record in found.others.items()
            if record.current_label != labels[row] and not self._matches(ids[row])
        }
        if not left_out:
            return found
        rows = [row for row in range(len(ids)) if row not in left_out]
        return record_columns(
            [ids[row] for row in rows], [there[row] for row in rows], labels[rows]
        )

    def _matches(self, item_id: str) -> bool:
        record = self._reader.item(item_id)
        if self._condition is None or record is None:
            return record is not None
        rows = PendingRows()
        for row in stored_rows([(record.current_label, item_id, record)], self._reader):
            rows.put(row)
        return bool(rows.block().matching(BlockFilter(self._condition))[0])

    def _exported(
        self, items: RecordColumns, payloads: Sequence[Payload | None] | None
    ) -> ExportedItems:
        models = {name: self._columns(space.number, items) for name, space in self.spaces.items()}
        if self.include.predictions:
            rows = [row for columns in models.values() for row in columns.predictions or ()]
            self._prediction_bytes = sum(map(len, filter(None, rows))) // len(items)
        return ExportedItems(items, models, payloads)

    def _columns(self, space: int, items: RecordColumns) -> ModelColumns:
        labels, is_made = items.vector_labels(space), items.ready_made(space)
        return ModelColumns(
            [
                None if label is None else ready_made
                for label, ready_made in zip(labels, is_made, strict=True)
            ]
            if None in labels
            else is_made,
            self._failures(space, items),
            self._bulk.rows(VECTOR, space, labels) if self.include.vectors else None,
            self._bulk.rows(PREDICTIONS, space, labels) if self.include.predictions else None,
        )

    def _failures(self, space: int, items: RecordColumns) -> list[Failure | None]:
        found: list[Failure | None] = [None] * len(items)
        for row, record in items.others.items():
            label = record.failed.get(space)
            if label is not None:
                found[row] = self._reader.item_failure(space, label)
        return found
