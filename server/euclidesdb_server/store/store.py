"""FeatureStore: items, their vectors, predictions and payloads, in LevelDB.

Promises: a write returns when it is on disk (with `sync`); one write of an item is one atomic
batch, so no crash leaves half of one; reads verify LevelDB's checksums. Writes of one item
must not overlap (the caller holds that item's lock); writes of different items may, from any
number of threads: LevelDB lets synced writers that wait share one sync. A second process
cannot open the same folder.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import msgpack
import plyvel

from euclidesdb_server.errors import CorruptRecord, DataFolderError, StorageError
from euclidesdb_server.store import keys
from euclidesdb_server.store.faults import storage_errors
from euclidesdb_server.store.former import FormerLabels
from euclidesdb_server.store.labels import LabelSequence
from euclidesdb_server.store.reader import FLOAT32, ItemRecord, StoreReader, unpack
from euclidesdb_server.types import Embedding, Payload

FORMAT_VERSION: Final = 1

LEVELDB_OPTIONS: Final[Mapping[str, Any]] = {
    "write_buffer_size": 16 << 20,
    "lru_cache_size": 32 << 20,
    "bloom_filter_bits": 10,  # most ids that are added are new: spares a disk read each
    # Without it LevelDB verifies neither a table's index and filter nor what a compaction reads
    # (which then gets a new, valid checksum), and skips damaged writes when it replays its log.
    "paranoid_checks": True,
}


@dataclass(frozen=True, slots=True)
class SpaceRecord:
    """A model space: the vectors of one version of one model.

    adopted: they were made by EuclidesDB (C++), which kept no version of its models.
    """

    number: int
    model: str
    fingerprint: str
    feature_dim: int
    adopted: bool = False


@dataclass(frozen=True, slots=True)
class ItemWrite:
    """One write of an item: its new record, and what is stored under the write's label.

    before: the record that it replaces. embeddings: by space; the record must give each of
    these spaces the write's label. payload: stored where given.
    """

    item_id: str
    label: int
    before: ItemRecord | None
    after: ItemRecord
    embeddings: Mapping[int, Embedding] = field(default_factory=dict)
    payload: Payload | None = None


class FeatureStore(StoreReader):
    """The open store. Close it once nobody uses it any more; closing again does nothing."""

    def __init__(self, folder: Path, *, sync: bool = True) -> None:
        """Open the store in `folder`, or make an empty one. Raises DataFolderError."""
        self._sync = sync
        self._database = _open_leveldb(folder)
        super().__init__(self._database)
        try:
            with storage_errors(f"opening {folder}"):
                self._check_format(folder)
                value = self._database.get(keys.LABELS_RESERVED, verify_checksums=True)
                first = 1 if value is None else keys.unpack_label(value)
                self._spaces = {space.number: space for space in self._read_spaces()}
        except StorageError as error:
            self._database.close()
            raise DataFolderError(f"cannot read the data folder: {error}") from error
        except BaseException:
            self._database.close()
            raise
        self.labels = LabelSequence(first, self._reserve_labels)
        self._spaces_lock = threading.Lock()
        self._former = FormerLabels()

    def spaces(self) -> list[SpaceRecord]:
        """Every space there ever was, in order of creation."""
        with self._spaces_lock:
            return sorted(self._spaces.values(), key=lambda space: space.number)

    def space(self, number: int) -> SpaceRecord:
        """The space of that number. Raises CorruptRecord where a record names one that is not."""
        with self._spaces_lock:
            try:
                return self._spaces[number]
            except KeyError as error:
                raise CorruptRecord(f"a record names space {number}, which is not") from error

    def open_space(
        self, model: str, fingerprint: str, feature_dim: int, *, adopted: bool = False
    ) -> SpaceRecord:
        """The space of a model version; made where it is new."""
        with self._spaces_lock:
            for space in self._spaces.values():
                if (space.model, space.fingerprint) == (model, fingerprint):
                    return space
            number = max(self._spaces, default=0) + 1
            value = msgpack.packb([model, fingerprint, feature_dim, adopted])
            with storage_errors(f"making the space of {model!r}"):
                self._database.put(keys.space_key(number), value, sync=True)
            space = SpaceRecord(number, model, fingerprint, feature_dim, adopted)
            self._spaces[number] = space
            return space

    def write(self, write: ItemWrite) -> None:
        """Replace an item's record, atomically with its vectors, predictions and payload."""
        batch = self._batch()
        batch.put(keys.item_key(write.item_id), write.after.packed())
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
            self._bury(batch, write.item_id, write.before, write.after)
        with storage_errors(f"writing item {write.item_id!r}"):
            batch.write()

    def remove(self, item_id: str, before: ItemRecord) -> None:
        """Remove an item with all that is stored of it, atomically."""
        batch = self._batch()
        batch.delete(keys.item_key(item_id))
        self._bury(batch, item_id, before, ItemRecord())
        with storage_errors(f"removing item {item_id!r}"):
            batch.write()

    def id_of_row(self, label: int) -> str | None:
        """The id of the item whose row a search has seen, rewritten or removed since or not.

        None where that was too long ago (`FormerLabels`).
        """
        found = self.item_id(label)
        return self._former.item_id(label) if found is None else found

    def forget_burials(self, space: int, labels: Iterable[int]) -> None:
        """Drop burial records that no segment needs any more.

        Need not be synced: one that comes back after a crash says what is still true.
        """
        with storage_errors(f"tidying space {space}"):
            batch = self._database.write_batch()
            for label in labels:
                batch.delete(keys.row_key(keys.BURIAL, space, label))
            batch.write()

    @contextmanager
    def snapshot(self) -> Iterator[StoreReader]:
        """A reader of the store as it is now, whatever is written meanwhile."""
        with storage_errors("reading"):
            snapshot = self._database.snapshot()
        try:
            yield StoreReader(snapshot)
        finally:
            snapshot.close()

    def close(self) -> None:
        """Sync what is not, and close LevelDB; calls under way or later raise ShuttingDown."""
        if not self._sync and not self._database.closed:
            with storage_errors("syncing the store"):
                # a synced write takes all that was written before it to disk
                self._database.put(keys.DATABASE, msgpack.packb([FORMAT_VERSION]), sync=True)
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _batch(self) -> Any:
        with storage_errors("writing"):
            return self._database.write_batch(sync=self._sync)

    def _bury(self, batch: Any, item_id: str, before: ItemRecord, after: ItemRecord) -> None:
        """Delete what `before` has and `after` has not, and say so to segments that hold it."""
        for space, label in before.labels.items():
            if after.labels.get(space) != label:
                batch.delete(keys.row_key(keys.VECTOR, space, label))
                batch.delete(keys.row_key(keys.PREDICTIONS, space, label))
                batch.put(keys.row_key(keys.BURIAL, space, label), b"")
        if before.payload_label is not None and before.payload_label != after.payload_label:
            batch.delete(keys.payload_key(before.payload_label))
        gone = before.all_labels() - after.all_labels()
        self._former.remember(item_id, gone)
        for label in gone:
            batch.delete(keys.label_key(label))

    def _reserve_labels(self, end: int) -> None:
        with storage_errors("reserving labels"):
            self._database.put(keys.LABELS_RESERVED, keys.pack_label(end), sync=True)

    def _check_format(self, folder: Path) -> None:
        value = self._database.get(keys.DATABASE, verify_checksums=True)
        if value is not None:
            (version,) = unpack(value, "the database record", 1)
            if version != FORMAT_VERSION:
                raise DataFolderError(
                    f"{folder} has format {version}; this server reads format {FORMAT_VERSION}"
                )
        elif next(self.prefix(b""), None) is None:
            self._database.put(keys.DATABASE, msgpack.packb([FORMAT_VERSION]), sync=True)
        else:
            raise DataFolderError(f"{folder} is a LevelDB of something else: it is left alone")

    def _read_spaces(self) -> Iterator[SpaceRecord]:
        for key, value in self.prefix(keys.SPACE):
            number = keys.space_of(key)
            fields = unpack(value, f"the record of space {number}", 4)
            yield SpaceRecord(number, *fields)


def _packed(vector: Any) -> bytes:
    packed: bytes = vector.astype(FLOAT32, copy=False).tobytes()
    return packed


def _open_leveldb(folder: Path) -> Any:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return plyvel.DB(str(folder), create_if_missing=True, **LEVELDB_OPTIONS)
    except plyvel.CorruptionError as error:
        raise DataFolderError(f"the store in {folder} is damaged: {error}") from error
    except (plyvel.Error, OSError) as error:
        text = str(error)
        if "IO error: lock " in text:
            raise DataFolderError(
                f"the data folder {folder} is in use by another server: {text}"
            ) from error
        raise DataFolderError(f"cannot open the data folder {folder}: {text}") from error
