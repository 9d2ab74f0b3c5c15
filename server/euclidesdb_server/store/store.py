"""FeatureStore: items, their vectors, predictions and payloads, in LevelDB.

Promises: a write returns when it is on disk (with `sync`); a write is one atomic batch, so no
crash leaves half of an item; reads verify LevelDB's checksums. Writes of one item must not
overlap (the caller holds the item's lock); writes of different items may come from any number of
threads, and share syncs. A write that fails on its way to disk raises WriteInDoubt; all others
fail then, and write nothing, until `recover`; reads go on.
Two processes cannot open the same folder.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import msgpack

from euclidesdb_server.errors import DataFolderError, StorageError, WriteInDoubt
from euclidesdb_server.store import keys
from euclidesdb_server.store.checkpoint import Checkpoints
from euclidesdb_server.store.column_writes import ColumnsWrite, put_columns
from euclidesdb_server.store.columns_files import ColumnsRecord, put_columns_record, read_columns
from euclidesdb_server.store.format_version import FORMAT_VERSION, check_version
from euclidesdb_server.store.item_writes import ItemWrite, delete_item, put_item
from euclidesdb_server.store.job_records import JobRecord, JobTable, put_job
from euclidesdb_server.store.labels import LabelSequence
from euclidesdb_server.store.leveldb import LevelDB
from euclidesdb_server.store.leveldb_folder import WRITE_BUFFER_BYTES
from euclidesdb_server.store.reader import ItemRecord, StoredRows, StoreReader, unpack
from euclidesdb_server.store.recent_requests import RecentRequests
from euclidesdb_server.store.segment_records import (
    Bits,
    SegmentRecord,
    put_deleted_rows,
    put_segments,
    read_deleted_rows,
    read_segments,
)
from euclidesdb_server.store.space_data import SpaceData
from euclidesdb_server.store.space_table import SpaceRecord, SpaceTable
from euclidesdb_server.store.upgrade import upgrade

log = logging.getLogger(__name__)


class FeatureStore(StoreReader):
    """The open store. Close it after its last use; closing it again does nothing.

    space_table: its spaces. space_data: what is stored of each as a whole. labels: of its writes.
    requests: those made lately.
    checkpoints: of the data folder that it is in.
    jobs: the embedding jobs.
    """

    def __init__(
        self,
        folder: Path,
        *,
        sync: bool = True,
        write_buffer_bytes: int = WRITE_BUFFER_BYTES,
    ) -> None:
        """Open the store in `folder`, or create an empty one. Raises DataFolderError.

        A store of an earlier format is upgraded first.

        write_buffer_bytes: as `LevelDB`'s.
        """
        self._sync = sync
        self._unrecorded: dict[bytes, bytes] = {}
        self._leveldb = LevelDB(folder, sync=sync, write_buffer_bytes=write_buffer_bytes)
        super().__init__(self._leveldb)
        self.group_commit = self._leveldb.group_commit
        try:
            version = self._stored_version(folder)
            value = self._leveldb.get(keys.LABELS_RESERVED)
            first = 1 if value is None else keys.unpack_label(value)
            self.labels = LabelSequence(first, self._reserve_labels)
            if version < FORMAT_VERSION:
                note = functools.partial(self._put_version, "noting the format")
                upgrade(folder, version, self._leveldb, self.labels, note)
            self.space_table = SpaceTable(self, self._put, self._put_in_time)
            self.requests = RecentRequests(self)
        except StorageError as error:
            self._leveldb.close()
            raise DataFolderError(f"cannot read the data folder: {error}") from error
        except BaseException:
            self._leveldb.close()
            raise
        self._closed = False
        self.space_data = SpaceData(self._leveldb)
        self.jobs = JobTable(self._leveldb)
        self.checkpoints = Checkpoints(self._leveldb, folder.parent)

    def spaces(self) -> list[SpaceRecord]:
        """Every space that is not dropped, in order of creation."""
        return self.space_table.all()

    def space(self, number: int) -> SpaceRecord:
        """The space of a number that a record names. Raises CorruptRecord if there is none."""
        return self.space_table.get(number)

    def open_space(
        self, model: str, fingerprint: str, feature_dim: int, *, adopted: bool = False
    ) -> SpaceRecord:
        """The space of a model version, as `SpaceTable.open`. Raises DataFolderError."""
        return self.space_table.open(model, fingerprint, feature_dim, adopted=adopted)

    def rows(self, space: int, dim: int, *, after: int, up_to: int) -> Iterator[StoredRows]:
        """As `StoreReader.rows`, all of one moment: items may be removed in the meantime."""
        with self.snapshot() as reader:
            yield from reader.rows(space, dim, after=after, up_to=up_to)

    def write(
        self,
        *writes: ItemWrite,
        columns: ColumnsWrite | None = None,
        job: JobRecord | None = None,
        requests: Sequence[bytes] = (),
    ) -> None:
        """Write items with all that is stored of them, and new ones by columns: all or none.

        No id may occur twice. requests: their digests, to be remembered. job: that has made the
        writes, as it is after them.
        """
        batch = self._leveldb.batch()
        unrecorded = [*self._unrecorded.items()]
        for key, value in unrecorded:
            batch.put(key, value)
        ids = [write.item_id for write in writes]
        for write in writes:
            put_item(batch, write)
        if columns is not None:
            put_columns(batch, columns)
            ids += columns.columns.ids
        if job is not None:
            put_job(batch, job)
        others = f" and {len(ids) - 1} others" if len(ids) > 1 else ""
        doing = f"writing item {ids[0]!r}{others}" if ids else "writing the progress of a job"
        if not ids and job is None:
            doing = "remembering a request"
        with self.requests.written(batch, requests):
            self._leveldb.write(batch, doing)
        for key, _ in unrecorded:
            self._unrecorded.pop(key, None)

    def remove(self, *removed: tuple[str, ItemRecord], requests: Sequence[bytes] = ()) -> None:
        """Remove items, each given with its record, with all that is stored of them; as `write`."""
        batch = self._leveldb.batch()
        for item_id, before in removed:
            delete_item(batch, item_id, before)
        others = f" and {len(removed) - 1} others" if len(removed) > 1 else ""
        doing = f"removing item {removed[0][0]!r}{others}" if removed else "remembering a request"
        with self.requests.written(batch, requests):
            self._leveldb.write(batch, doing)

    def segments(self, space: int) -> list[SegmentRecord]:
        """The segments that a space consists of, in the order of their labels."""
        return read_segments(self, space)

    def deleted_rows(self, space: int, generation: int, rows: int) -> Bits:
        """The bitmap of deleted rows of a segment; tombstones name further ones."""
        return read_deleted_rows(self, space, generation, rows)

    def accept_segments(
        self, space: int, records: Sequence[SegmentRecord], deleted: Mapping[int, Bits]
    ) -> None:
        """Name the segments that a space consists of from now on; atomic, and synced.

        deleted: by generation, the deleted rows of new segments.
        """
        batch = self._leveldb.batch()
        put_segments(batch, self, space, records, deleted)
        self._leveldb.write(batch, f"naming the segments of space {space}", sync=True)

    def columns(self) -> ColumnsRecord:
        """The files of columns that are accepted."""
        return read_columns(self)

    def accept_columns(self, record: ColumnsRecord) -> None:
        """Name the files of columns that are accepted from now on; atomic, and synced."""
        batch = self._leveldb.batch()
        put_columns_record(batch, record)
        self._leveldb.write(batch, "naming the columns of items", sync=True)

    def move_tombstones(
        self, space: int, labels: Iterable[int], deleted: Mapping[int, tuple[Bits, Iterable[int]]]
    ) -> None:
        """Replace tombstones by bits, atomically.

        deleted: by generation, the bitmap of a segment, and its chunks that have changed.
        """
        batch = self._leveldb.batch()
        for generation, (bits, chunks) in deleted.items():
            put_deleted_rows(batch, space, generation, bits, chunks)
        for label in labels:
            batch.delete(keys.row_key(keys.TOMBSTONE, space, label))
        self._leveldb.write(batch, f"moving tombstones of space {space}")

    def sync(self) -> None:
        """Sync all earlier writes, unless every write is synced anyway. Raises StorageError."""
        if not self._sync:
            self._put_version("syncing the store")

    @property
    def failure(self) -> StorageError | None:
        """The failed write since which nothing can be written; None if there is none."""
        return self._leveldb.failure

    def recover(self, before_writing: Callable[[], None]) -> None:
        """Make writing possible again after a failure. Raises StorageError as long as it is not.

        before_writing: called when reads show whether the failed write is on disk, and before
        anything else is written.
        """

        def opened() -> None:
            self.requests.load()
            before_writing()

        self._leveldb.reopen(opened)

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
        """Write a record of the store itself, synced; None: delete it.

        Never in doubt: what the caller does about it is to write it again.
        """
        batch = self._leveldb.batch()
        if value is None:
            batch.delete(key)
        else:
            batch.put(key, value)
        self._unrecorded.pop(key, None)
        try:
            self._leveldb.write(batch, doing, sync=True)
        except WriteInDoubt as error:
            failure = self.failure or StorageError("a write failed")
            raise type(failure)(f"{doing}: {failure}") from error

    def _put_in_time(self, key: bytes, value: bytes, doing: str) -> None:
        """Write a record that only items refer to: with the next item, if nothing can be written.

        So a full disk does not keep a new model from being served.
        """
        try:
            self._put(key, value, doing)
        except StorageError as error:
            log.warning("%s; it is recorded with the next item", error)
            self._unrecorded[key] = value

    def _stored_version(self, folder: Path) -> int:
        """The version of the format in `folder`; of a new store, which it makes, the latest."""
        value = self._leveldb.get(keys.DATABASE)
        if value is not None:
            (version,) = unpack(value, "the database record", 1)
            check_version(folder, version)
            return int(version)
        if next(self.prefix(b""), None) is not None:
            raise DataFolderError(f"{folder} is the LevelDB of another program; it was not changed")
        self._put_version("creating the store")
        return FORMAT_VERSION

    def _put_version(self, doing: str) -> None:
        self._put(keys.DATABASE, msgpack.packb([FORMAT_VERSION]), doing)
