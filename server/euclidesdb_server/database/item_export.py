"""ItemExports: all that is stored of the items that match a filter, as of one moment.

Items are read some at a time, so an export of any size takes little memory. Knows no format.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import numpy as np

from euclidesdb_server.columns import ItemTable
from euclidesdb_server.columns.block import BlockFilter
from euclidesdb_server.columns.pending_rows import PendingRows, stored_rows
from euclidesdb_server.columns.table_view import Selection
from euclidesdb_server.database.item_reads import Include
from euclidesdb_server.database.model_table import ModelTable
from euclidesdb_server.database.requests import Call, check_waiting
from euclidesdb_server.database.superseded_space import superseded_name
from euclidesdb_server.errors import ModelUnavailable
from euclidesdb_server.store import FeatureStore, SpaceRecord, StoreReader
from euclidesdb_server.store.bulk_reads import BulkReads, BulkRecord, current_labels
from euclidesdb_server.store.keys import PREDICTIONS, VECTOR
from euclidesdb_server.values.failure import Failure
from euclidesdb_server.values.filters import Filter
from euclidesdb_server.values.payload import Payload

BATCH_BYTES: Final = 1 << 20
BATCH_ROWS: Final = 4096
"""Limits of what is read at a time; an item that is larger is read alone."""
RECORDS_AT_A_TIME: Final = 128
"""Records may have a mebibyte of metadata each."""
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

    ids: Sequence[str]
    records: Sequence[BulkRecord]
    models: Mapping[str, ModelColumns]
    payloads: Sequence[Payload | None] | None


class ItemExports:
    """Opens exports. Thread-safe."""

    def __init__(self, store: FeatureStore, models: ModelTable, table: ItemTable) -> None:
        self._store = store
        self._models = models
        self._table = table

    @contextmanager
    def open(self, request: ExportRequest, call: Call) -> Iterator[ItemExport]:
        """The items as of now; to be read while the context is open.

        Raises UnknownModel, ModelUnavailable, StorageError, DeadlineExceeded.
        """
        named = {name: self._named(name) for name in request.models}
        check = partial(check_waiting, call)
        with ExitStack() as opened:

            def snapshot() -> StoreReader:
                return opened.enter_context(self._store.snapshot())

            view, reader = self._table.view_with(check, snapshot)
            selection = view.select(request.condition, check)
            spaces = named or self._with_vectors(selection)
            yield ItemExport(request, selection, reader, spaces, call)

    def _with_vectors(self, selection: Selection) -> dict[str, SpaceRecord]:
        """The spaces in which items have vectors, or have failed, by name."""
        spaces: dict[str, SpaceRecord] = {}
        for record in self._store.spaces():
            if not selection.any_in(record.number):
                continue
            earlier = self._models.superseded_name(record.model, record.fingerprint)
            name = earlier or record.model
            if name in spaces:
                name = superseded_name(record.model, record.fingerprint)
            spaces[name] = record
        return spaces

    def _named(self, name: str) -> SpaceRecord:
        serving = self._models.resolve(name)
        if serving.record is None:
            state, reason = serving.state
            raise ModelUnavailable(f"model {name!r} is {state}: {reason}")
        return serving.record


class ItemExport:
    """One export. spaces: those that are exported, by the names of their models."""

    def __init__(
        self,
        request: ExportRequest,
        selection: Selection,
        reader: StoreReader,
        spaces: Mapping[str, SpaceRecord],
        call: Call,
    ) -> None:
        self.include = request.include
        self.spaces = spaces
        self._condition = request.condition
        self._selection = selection
        self._reader = reader
        self._call = call
        self._bulk = BulkReads(reader)
        self._prediction_bytes = FIRST_PREDICTIONS * len(spaces)

    def batches(self) -> Iterator[ExportedItems]:
        """The items, some at a time, in the order in which they were first added.

        Raises StorageError (CorruptRecord names what cannot be read), DeadlineExceeded.
        """
        batch = _Batch()
        for ids, records in self._found():
            sizes = self._sizes(records)
            total = sum(sizes)
            if not self.include.payload and batch.has_room(total, len(ids)):
                batch.extend(ids, records, total)
                continue
            for item_id, record, size in zip(ids, records, sizes, strict=True):
                payload = self._payload(record)
                added = size + (0 if payload is None else len(payload.data))
                if batch.ids and not batch.has_room(added, 1):
                    yield self._exported(batch)
                    batch = _Batch()
                batch.extend([item_id], [record], added, payload)
        if batch.ids:
            yield self._exported(batch)

    def _sizes(self, records: Sequence[BulkRecord]) -> list[int]:
        """About how many bytes there will be of each item, without its payload."""
        fixed = ITEM_BYTES
        if self.include.vectors:
            fixed += sum(4 * space.feature_dim for space in self.spaces.values())
        if self.include.predictions:
            fixed += self._prediction_bytes
        return [fixed + len(each.attributes_json) + len(each.metadata) for each in records]

    def _found(self) -> Iterator[tuple[Sequence[str], Sequence[BulkRecord]]]:
        """Ids and records of some items at a time."""
        parts = [block.added[rows] for block, rows in self._selection.parts]
        # what is kept until the end, for each item, is as small as can be
        order = np.argsort(np.concatenate([*parts, np.empty(0, np.int64)])).astype(np.uint32)
        for first in range(0, len(order), BATCH_ROWS):
            numbers = order[first : first + BATCH_ROWS].astype(np.int64)
            ids = self._selection.ids(numbers)
            labels: list[int] = self._selection.labels[numbers].tolist()
            for start in range(0, len(ids), RECORDS_AT_A_TIME):
                check_waiting(self._call)
                part = slice(start, start + RECORDS_AT_A_TIME)
                yield self._stored(ids[part], labels[part])

    def _stored(
        self, ids: Sequence[str], labels: Sequence[int]
    ) -> tuple[Sequence[str], Sequence[BulkRecord]]:
        """Those of some items that are in the snapshot. labels: of the writes that were selected.

        The snapshot may have writes that are not acknowledged yet, and so were not selected.
        """
        stored = self._bulk.items(ids)
        records = [record for record in stored if record is not None]
        if len(records) == len(stored) and current_labels(records) == labels:
            return ids, records
        found = [
            (item_id, record)
            for item_id, record, label in zip(ids, stored, labels, strict=True)
            if record is not None and (record.current_label == label or self._matches(item_id))
        ]
        return [item_id for item_id, _ in found], [record for _, record in found]

    def _matches(self, item_id: str) -> bool:
        record = self._reader.item(item_id)
        if self._condition is None or record is None:
            return record is not None
        rows = PendingRows()
        for row in stored_rows([(record.current_label, item_id, record)], self._reader):
            rows.put(row)
        return bool(rows.block().matching(BlockFilter(self._condition))[0])

    def _payload(self, record: BulkRecord) -> Payload | None:
        if not self.include.payload or record.payload_label is None:
            return None
        return self._reader.payload(record.payload_label)

    def _exported(self, batch: _Batch) -> ExportedItems:
        models = {
            name: self._columns(space.number, batch.records) for name, space in self.spaces.items()
        }
        if self.include.predictions:
            rows = [row for columns in models.values() for row in columns.predictions or ()]
            self._prediction_bytes = sum(len(row or b"") for row in rows) // len(batch.ids)
        payloads = batch.payloads if self.include.payload else None
        return ExportedItems(batch.ids, batch.records, models, payloads)

    def _columns(self, space: int, records: Sequence[BulkRecord]) -> ModelColumns:
        labels = [record.labels.get(space) for record in records]
        is_made = [space in record.ready_made for record in records]
        return ModelColumns(
            [
                None if label is None else ready_made
                for label, ready_made in zip(labels, is_made, strict=True)
            ]
            if None in labels
            else is_made,
            self._failures(space, records),
            self._bulk.rows(VECTOR, space, labels) if self.include.vectors else None,
            self._bulk.rows(PREDICTIONS, space, labels) if self.include.predictions else None,
        )

    def _failures(self, space: int, records: Sequence[BulkRecord]) -> list[Failure | None]:
        if not any(record.failed for record in records):
            return [None] * len(records)
        return [
            None if label is None else self._reader.item_failure(space, label)
            for label in (record.failed.get(space) for record in records)
        ]


@dataclass(slots=True)
class _Batch:
    """Items that are read together. size: about how many bytes. payloads: only if requested."""

    ids: list[str] = field(default_factory=list)
    records: list[BulkRecord] = field(default_factory=list)
    payloads: list[Payload | None] = field(default_factory=list)
    size: int = 0

    def has_room(self, size: int, count: int) -> bool:
        return self.size + size <= BATCH_BYTES and len(self.ids) + count <= BATCH_ROWS

    def extend(
        self,
        ids: Sequence[str],
        records: Sequence[BulkRecord],
        size: int,
        payload: Payload | None = None,
    ) -> None:
        self.ids += ids
        self.records += records
        self.payloads.append(payload)
        self.size += size
