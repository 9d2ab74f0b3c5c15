"""ItemExports: all that is stored of the items that match a filter, as of one moment.

Items are read some at a time, so an export of any size takes little memory. Knows no format.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np

from euclidesdb_server.columns import ItemTable
from euclidesdb_server.columns.block import BlockFilter
from euclidesdb_server.columns.pending_rows import PendingRows, stored_row
from euclidesdb_server.columns.table_view import RowNumbers, Selection
from euclidesdb_server.database.item_reads import Include
from euclidesdb_server.database.model_table import ModelTable
from euclidesdb_server.database.requests import Call
from euclidesdb_server.database.superseded_space import superseded_name
from euclidesdb_server.errors import DeadlineExceeded, ModelUnavailable
from euclidesdb_server.store import FeatureStore, ItemRecord, SpaceRecord, StoreReader
from euclidesdb_server.store.bulk_reads import BulkReads
from euclidesdb_server.store.keys import PREDICTIONS, VECTOR
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
    vector was not made from the payload.
    """

    ready_made: Sequence[bool | None]
    vectors: Sequence[bytes | None] | None = None
    predictions: Sequence[bytes | None] | None = None


@dataclass(frozen=True, slots=True)
class ExportedItems:
    """Some items, by columns. models: by name. payloads: None unless requested."""

    ids: Sequence[str]
    records: Sequence[ItemRecord]
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

        def check() -> None:
            if not call.is_active():
                raise DeadlineExceeded("the caller no longer waits")

        with ExitStack() as opened:

            def snapshot() -> StoreReader:
                return opened.enter_context(self._store.snapshot())

            view, reader = self._table.view_with(check, snapshot)
            selection = view.select(request.condition, check)
            spaces = named or self._with_vectors(selection)
            yield ItemExport(request, selection, reader, spaces, call)

    def _with_vectors(self, selection: Selection) -> dict[str, SpaceRecord]:
        """The spaces in which items have vectors, by name."""
        spaces: dict[str, SpaceRecord] = {}
        for record in self._store.spaces():
            if not len(selection.vector_labels(record.number)):
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
        vector_bytes = sum(4 * record.feature_dim for record in self.spaces.values())
        ids, records, payloads, size = list[str](), list[ItemRecord](), list[Payload | None](), 0
        for item_id, record in self._found():
            payload = self._payload(record)
            added = ITEM_BYTES + len(record.attributes_json) + len(record.metadata)
            added += vector_bytes * self.include.vectors
            added += self._prediction_bytes * self.include.predictions
            added += 0 if payload is None else len(payload.data)
            if ids and (size + added > BATCH_BYTES or len(ids) == BATCH_ROWS):
                yield self._exported(ids, records, payloads)
                ids, records, payloads, size = [], [], [], 0
            ids.append(item_id)
            records.append(record)
            payloads.append(payload)
            size += added
        if ids:
            yield self._exported(ids, records, payloads)

    def _found(self) -> Iterator[tuple[str, ItemRecord]]:
        order = np.argsort(self._selection.added)
        for start in range(0, len(order), BATCH_ROWS):
            numbers = order[start : start + BATCH_ROWS]
            ids = self._selection.ids(numbers)
            yield from self._records(ids, numbers)

    def _records(self, ids: Sequence[str], numbers: RowNumbers) -> Iterator[tuple[str, ItemRecord]]:
        labels: list[int] = self._selection.labels[numbers].tolist()
        for start in range(0, len(ids), RECORDS_AT_A_TIME):
            if not self._call.is_active():
                raise DeadlineExceeded("the caller no longer waits")
            part = slice(start, start + RECORDS_AT_A_TIME)
            records = self._bulk.items(ids[part])
            for item_id, record, label in zip(ids[part], records, labels[part], strict=True):
                # The snapshot may have a write that is not acknowledged yet, and so not in the
                # selection.
                if record is None:
                    continue
                if record.current_label == label or self._matches(item_id, record):
                    yield item_id, record

    def _matches(self, item_id: str, record: ItemRecord) -> bool:
        if self._condition is None:
            return True
        rows = PendingRows()
        rows.put(stored_row(record.current_label, item_id, record, self._reader))
        return bool(rows.block().matching(BlockFilter(self._condition))[0])

    def _payload(self, record: ItemRecord) -> Payload | None:
        if not self.include.payload or record.payload_label is None:
            return None
        return self._reader.payload(record.payload_label)

    def _exported(
        self,
        ids: Sequence[str],
        records: Sequence[ItemRecord],
        payloads: Sequence[Payload | None],
    ) -> ExportedItems:
        models = {name: self._columns(space.number, records) for name, space in self.spaces.items()}
        if self.include.predictions:
            sizes = [
                len(each or b"")
                for columns in models.values()
                for each in columns.predictions or ()
            ]
            self._prediction_bytes = sum(sizes) // len(ids)
        return ExportedItems(ids, records, models, payloads if self.include.payload else None)

    def _columns(self, space: int, records: Sequence[ItemRecord]) -> ModelColumns:
        labels = [record.labels.get(space) for record in records]
        return ModelColumns(
            [
                None if label is None else space in record.ready_made
                for label, record in zip(labels, records, strict=True)
            ],
            self._rows(VECTOR, space, labels) if self.include.vectors else None,
            self._rows(PREDICTIONS, space, labels) if self.include.predictions else None,
        )

    def _rows(
        self, kind: bytes, space: int, labels: Sequence[int | None]
    ) -> Sequence[bytes | None]:
        found = self._bulk.rows(kind, space, [label for label in labels if label is not None])
        return [None if label is None else found.get(label) for label in labels]
