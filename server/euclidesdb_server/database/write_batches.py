"""What is written together: batches of bounded size, in which no id occurs twice.

A batch is one LevelDB batch: after a crash it is there as a whole, or not at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Final, Protocol

import msgspec

from euclidesdb_server.errors import DatabaseError
from euclidesdb_server.index import ModelSpace
from euclidesdb_server.store import ColumnsWrite, ItemRecord, JobRecord
from euclidesdb_server.values.embedding import Embedding
from euclidesdb_server.values.failure import Failure
from euclidesdb_server.values.payload import Payload
from euclidesdb_server.values.vector_columns import VectorColumns

MAX_ITEMS: Final = 1024
MAX_ROWS: Final = 4096
MAX_BYTES: Final = 4 << 20
"""Limits of one batch of items, or of rows of columns; a larger item is a batch of its own."""


class EmbeddedItem(msgspec.Struct, frozen=True):
    """An item whose payload has been run through its models, ready to be written.

    attributes_json, metadata: None keeps what is stored. ready_made: the spaces whose vector was
    not made from the payload. known: the spaces whose vector was found in the store, made from
    the same payload. imported: its vectors were made elsewhere. payload_digest: of the payload that
    an imported item's vectors were made from, if that is not given; b"": of no known one. failures:
    of the models that have no vector of it, because they failed on it. request: the digest of the
    request that adds it; one that has been applied is not applied again.
    """

    id: str
    embeddings: Mapping[ModelSpace, Embedding]
    payload: Payload | None = None
    attributes_json: str | None = None
    metadata: bytes | None = None
    ready_made: frozenset[ModelSpace] = frozenset()
    known: frozenset[ModelSpace] = frozenset()
    imported: bool = False
    payload_digest: bytes | None = None
    failures: Mapping[ModelSpace, Failure] = msgspec.field(default_factory=dict)
    request: bytes | None = None

    @property
    def digest(self) -> bytes | None:
        """The digest of its payload; None if it has none to say anything about."""
        return self.payload_digest if self.payload is None else self.payload.digest

    @property
    def spaces(self) -> Iterable[ModelSpace]:
        """Those in which something is written of it."""
        return (*self.embeddings, *self.failures)

    def size(self) -> int:
        """About how many bytes are written."""
        vectors = sum(found.vector.nbytes for found in self.embeddings.values())
        if self.imported:
            vectors += sum(
                found.predictions.nbytes
                for found in self.embeddings.values()
                if found.predictions is not None
            )
        texts = len(self.attributes_json or "") + len(self.metadata or b"")
        texts += sum(len(failure.message) for failure in self.failures.values())
        return vectors + texts + (0 if self.payload is None else len(self.payload.data))


class JobProgress(Protocol):
    """What a job does while its items are locked."""

    def choose(
        self, items: Sequence[EmbeddedItem], before: Sequence[ItemRecord | None]
    ) -> Sequence[int]:
        """The positions of the items to write, ascending. before: their records."""

    def record(self) -> AbstractContextManager[JobRecord]:
        """The job's record after the write, which is made in this block. May raise."""


def item_batches(items: Sequence[EmbeddedItem | DatabaseError]) -> Iterator[list[int]]:
    """The positions of the items to write, in order, a batch at a time."""
    if len(items) == 1:
        if not isinstance(items[0], DatabaseError):
            yield [0]
        return
    batch: list[int] = []
    ids: set[str] = set()
    size = 0
    for position, item in enumerate(items):
        if isinstance(item, DatabaseError):
            continue
        added = item.size()
        if batch and (item.id in ids or len(batch) == MAX_ITEMS or size + added > MAX_BYTES):
            yield batch
            batch, ids, size = [], set(), 0
        batch.append(position)
        ids.add(item.id)
        size += added
    if batch:
        yield batch


def column_batches(columns: VectorColumns, left_out: Iterable[int]) -> Iterator[Sequence[int]]:
    """The rows to write, in order, a batch at a time. left_out: rows that are not written."""
    limit = max(1, min(MAX_ROWS, MAX_BYTES // max(1, _row_bytes(columns))))
    skipped = {*left_out}
    rows: Sequence[int] = range(len(columns))
    ids: Sequence[str] = columns.ids
    if skipped:
        rows = [row for row in rows if row not in skipped]
        ids = [columns.ids[row] for row in rows]
    if len(set(ids)) == len(rows):
        for start in range(0, len(rows), limit):
            yield rows[start : start + limit]
        return
    batch: list[int] = []
    seen: set[str] = set()
    for row, item_id in zip(rows, ids, strict=True):
        if len(batch) == limit or item_id in seen:
            yield batch
            batch, seen = [], set()
        batch.append(row)
        seen.add(item_id)
    if batch:
        yield batch


def _row_bytes(columns: VectorColumns) -> int:
    """About how many bytes are written for a row, on average."""
    texts = sum(map(len, columns.attributes_json or ())) + sum(map(len, columns.metadata or ()))
    return columns.vectors[:1].nbytes + texts // max(1, len(columns))


def column_item(space: ModelSpace, columns: VectorColumns, row: int) -> EmbeddedItem:
    """One row as an item."""
    return EmbeddedItem(
        columns.ids[row],
        {space: Embedding(columns.vectors[row], None)},
        None,
        None if columns.attributes_json is None else columns.attributes_json[row],
        None if columns.metadata is None else columns.metadata[row],
        frozenset([space]),
    )


def new_columns(
    space: ModelSpace,
    columns: VectorColumns,
    labels: Sequence[int],
    before: Sequence[ItemRecord | None],
) -> ColumnsWrite | None:
    """The write of those rows whose items are not stored yet; None if all are."""
    new = [row for row, record in enumerate(before) if record is None]
    if not new:
        return None
    if len(new) < len(columns):
        columns, labels = columns.take(new), [labels[row] for row in new]
    return ColumnsWrite(space.record.number, labels, columns)
