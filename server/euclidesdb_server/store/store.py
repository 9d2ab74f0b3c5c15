"""FeatureStore: items, their vectors, predictions and payloads, in LevelDB.

Promises: a write returns when it is on disk (with `sync`); a write is one atomic batch, so no
crash leaves half of an item; reads verify LevelDB's checksums. Writes of one item must not
overlap (the caller holds the item's lock); writes of different items may come from any number of
threads, and share syncs. After a failed write all others fail until `recover`; reads go on.
Two processes cannot open the same folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import msgpack
import numpy as np

from euclidesdb_server.errors import DataFolderError, StorageError
from euclidesdb_server.store import keys
from euclidesdb_server.store.labels import LabelSequence
from euclidesdb_server.store.leveldb import LevelDB
from euclidesdb_server.store.reader import (
    FLOAT32,
    ItemRecord,
    StoredRows,
    StoreReader,
    unpack,
)
from euclidesdb_server.store.space_data import SpaceData
from euclidesdb_server.store.space_table import SpaceRecord, SpaceTable
from euclidesdb_server.values.embedding import Embedding
from euclidesdb_server.values.payload import Payload
from euclidesdb_server.values.vector_columns import VectorColumns

FORMAT_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class ItemWrite:
    """One write of an item: its new record, and what is stored under the write's label.

    before: the record that it replaces. embeddings: by space; `after` must give each of these
    spaces the write's label. payload: stored if it is given.
    """

    item_id: str
    label: int
    before: ItemRecord | None
    after: ItemRecord
    embeddings: Mapping[int, Embedding] = field(default_factory=dict)
    payload: Payload | None = None


@dataclass(frozen=True, slots=True)
class ColumnsWrite:
    """The write of items that are not stored yet, with a vector each and no payload.

    labels: of the rows of `columns`, ascending.
    """

    space: int
    labels: Sequence[int]
    columns: VectorColumns


class FeatureStore(StoreReader):
    """The open store. Close it after its last use; closing it again does nothing.

    space_table: its spaces. space_data: what is stored of each as a whole. labels: of its writes.
    """

    def __init__(self, folder: Path, *, sync: bool = True) -> None:
        """Open the store in `folder`, or create an empty one. Raises DataFolderError."""
        self._sync = sync
        self._leveldb = LevelDB(folder, sync=sync)
        super().__init__(self._leveldb)
        try:
            self._check_format(folder)
            value = self._leveldb.get(keys.LABELS_RESERVED)
            first = 1 if value is None else keys.unpack_label(value)
            self.space_table = SpaceTable(self, self._put)
        except StorageError as error:
            self._leveldb.close()
            raise DataFolderError(f"cannot read the data folder: {error}") from error
        except BaseException:
            self._leveldb.close()
            raise
        self._closed = False
        self.labels = LabelSequence(first, self._reserve_labels)
        self.space_data = SpaceData(self._leveldb)

    def spaces(self) -> list[SpaceRecord]:
        """Every space that is not dropped, in order of creation."""
        return self.space_table.all()

    def space(self, number: int) -> SpaceRecord:
        """The space of a number that a record names. Raises CorruptRecord if there is none."""
        return self.space_table.get(number)

    def open_space(
        self, model: str, fingerprint: str, feature_dim: int, *, adopted: bool = False
    ) -> SpaceRecord:
        """The space of a model version; created if it is new. Raises DataFolderError.

        As `SpaceTable.open`.
        """
        return self.space_table.open(model, fingerprint, feature_dim, adopted=adopted)

    def rows(self, space: int, dim: int, *, after: int, up_to: int) -> Iterator[StoredRows]:
        """As `StoreReader.rows`, all of one moment: items may be removed in the meantime."""
        with self.snapshot() as reader:
            yield from reader.rows(space, dim, after=after, up_to=up_to)

    def write(self, *writes: ItemWrite, columns: ColumnsWrite | None = None) -> None:
        """Write items with their vectors, predictions and payloads, and new items by columns.

        All of them or none. No id may occur twice.
        """
        batch = self._leveldb.batch()
        ids = [write.item_id for write in writes]
        for write in writes:
            _put_item(batch, write)
        if columns is not None:
            _put_columns(batch, columns)
            ids += columns.columns.ids
        others = f" and {len(ids) - 1} others" if len(ids) > 1 else ""
        self._leveldb.write(batch, f"writing item {ids[0]!r}{others}")

    def remove(self, item_id: str, before: ItemRecord) -> None:
        """Remove an item with all that is stored of it, atomically."""
        batch = self._leveldb.batch()
        batch.delete(keys.item_key(item_id))
        _delete(batch, before, ItemRecord())
        self._leveldb.write(batch, f"removing item {item_id!r}")

    def drop_tombstones(self, space: int, labels: Iterable[int]) -> None:
        """Drop tombstones that no segment needs any more.

        Synced like all writes: an unsynced write before a synced one may be missing after a power
        cut, which looks like damage.
        """
        batch = self._leveldb.batch()
        for label in labels:
            batch.delete(keys.row_key(keys.TOMBSTONE, space, label))
        self._leveldb.write(batch, f"dropping tombstones of space {space}")

    def sync(self) -> None:
        """Sync all earlier writes to disk. Does nothing if every write is synced."""
        if not self._sync:
            self._put(keys.DATABASE, msgpack.packb([FORMAT_VERSION]), "syncing the store")

    @property
    def failure(self) -> StorageError | None:
        """The failed write since which nothing can be written; None if there is none."""
        return self._leveldb.failure

    def recover(self, before_writing: Callable[[], None]) -> None:
        """Make writing possible again after a failure. Raises StorageError as long as it is not.

        before_writing: called when reads show whether the failed write is on disk, and before
        anything else is written.
        """
        self._leveldb.reopen(before_writing)

    @contextmanager
    def snapshot(self) -> Iterator[StoreReader]:
        """A reader of the store as of now: it does not see later writes."""
        snapshot = self._leveldb.snapshot()
        try:
            yield StoreReader(snapshot)
        finally:
            snapshot.close()

    def close(self) -> None:
        """Sync, wait for running calls, and close LevelDB. Idempotent.

        Later calls raise ShuttingDown.
        """
        if not self._closed:
            self._closed = True
            try:
                if self._leveldb.failure is None:
                    self.sync()
            finally:
                self._leveldb.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _reserve_labels(self, end: int) -> None:
        self._put(keys.LABELS_RESERVED, keys.pack_label(end), "reserving labels")

    def _put(self, key: bytes, value: bytes | None, doing: str) -> None:
        """Write a record of the store itself, synced; None: delete it."""
        batch = self._leveldb.batch()
        if value is None:
            batch.delete(key)
        else:
            batch.put(key, value)
        self._leveldb.write(batch, doing, sync=True)

    def _check_format(self, folder: Path) -> None:
        value = self._leveldb.get(keys.DATABASE)
        if value is not None:
            (version,) = unpack(value, "the database record", 1)
            if version != FORMAT_VERSION:
                raise DataFolderError(
                    f"{folder} has format {version}, but this server reads format {FORMAT_VERSION}"
                )
        elif next(self.prefix(b""), None) is None:
            self._put(keys.DATABASE, msgpack.packb([FORMAT_VERSION]), "creating the store")
        else:
            raise DataFolderError(f"{folder} is the LevelDB of another program; it was not changed")


def _put_item(batch: Any, write: ItemWrite) -> None:
    batch.put(keys.item_key(write.item_id), write.after.packed())
    if write.embeddings or write.label in write.after.all_labels():
        batch.put(keys.label_key(write.label), write.item_id.encode())
    for space, embedding in write.embeddings.items():
        row = (space, write.label)
        batch.put(keys.row_key(keys.VECTOR, *row), _packed(embedding.vector))
        if embedding.predictions is not None:
            batch.put(keys.row_key(keys.PREDICTIONS, *row), _packed(embedding.predictions))
    if write.payload is not None:
        value = msgpack.packb([write.payload.kind, write.payload.data])
        batch.put(keys.payload_key(write.label), value)
    if write.before is not None:
        _delete(batch, write.before, write.after)


def _put_columns(batch: Any, write: ColumnsWrite) -> None:
    """As `_put_item`, in a third of the time: this is where a bulk load spends its time."""
    columns, space = write.columns, write.space
    count = len(columns)
    attributes = columns.attributes_json or ["{}"] * count
    metadata = columns.metadata or [b""] * count
    label_bytes = np.asarray(write.labels, ">u8").tobytes()
    vector_bytes = columns.vectors.astype(FLOAT32, copy=False).tobytes()
    length = columns.vectors.shape[1] * FLOAT32.itemsize
    first_label, first_row = keys.label_key(0)[:-8], keys.row_key(keys.VECTOR, space, 0)[:-8]
    put, pack = batch.put, msgpack.Packer().pack
    for position, (item_id, label) in enumerate(zip(columns.ids, write.labels, strict=True)):
        name = item_id.encode()
        label_key = label_bytes[position * 8 : position * 8 + 8]
        record = (attributes[position], metadata[position], {space: label}, None, b"", (space,))
        put(keys.ITEM + name, pack(record))
        put(first_label + label_key, name)
        put(first_row + label_key, vector_bytes[position * length : (position + 1) * length])


def _packed(vector: Any) -> bytes:
    packed: bytes = vector.astype(FLOAT32, copy=False).tobytes()
    return packed


def _delete(batch: Any, before: ItemRecord, after: ItemRecord) -> None:
    """Delete what `before` has and `after` does not, with a tombstone for each vector."""
    for space, label in before.labels.items():
        if after.labels.get(space) != label:
            batch.delete(keys.row_key(keys.VECTOR, space, label))
            batch.delete(keys.row_key(keys.PREDICTIONS, space, label))
            batch.put(keys.row_key(keys.TOMBSTONE, space, label), b"")
    if before.payload_label is not None and before.payload_label != after.payload_label:
        batch.delete(keys.payload_key(before.payload_label))
    for label in before.all_labels() - after.all_labels():
        batch.delete(keys.label_key(label))
