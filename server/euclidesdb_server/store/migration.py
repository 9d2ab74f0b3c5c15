"""Migrates a database written by EuclidesDB (C++): its ids, metadata and vectors.

EuclidesDB's LevelDB is in the data folder itself. It has one record under
`__euclidesdb_metadata`, and one per item: the key a native-endian int32, the value an `ItemData`
(euclidesproto.proto). It is read from a copy (tables are hard links), because opening a LevelDB
changes it: the original is not modified, and may be deleted once the migration has succeeded.

EuclidesDB stored whatever its models computed. What this server would have refused (NaN, infinity)
is left out, logged and counted; the item stays, with its metadata and its other vectors.

The new store is written under another name and renamed when it is complete, so a migration that
is interrupted simply starts again.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import plyvel
from google.protobuf.message import DecodeError

from euclidesdb_protos.legacy import euclidesproto_pb2 as pb
from euclidesdb_server.errors import DataFolderError, StorageError
from euclidesdb_server.store import keys
from euclidesdb_server.store.item_writes import ItemWrite
from euclidesdb_server.store.leveldb_folder import WRITE_BUFFER_BYTES
from euclidesdb_server.store.reader import ItemRecord
from euclidesdb_server.store.space_table import SpaceRecord
from euclidesdb_server.store.store import FeatureStore
from euclidesdb_server.system.fsync import sync
from euclidesdb_server.values.arrays import Vector
from euclidesdb_server.values.embedding import Embedding
from euclidesdb_server.values.stop import CheckStop, never_stop

log = logging.getLogger(__name__)

DATABASE_VERSION: Final = 1
INT32: Final = struct.Struct("=i")
UNKNOWN_FINGERPRINT: Final = "euclidesdb-{dim}"
"""For vectors whose model is not configured, or has another feature_dim now."""
MAX_LOGGED: Final = 100
"""What is left out is logged singly up to this number; the sum is always logged."""


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """The version of a configured model, which EuclidesDB's vectors of that name are adopted by."""

    fingerprint: str
    feature_dim: int


def holds_euclidesdb(folder: Path) -> bool:
    """Whether there is a LevelDB in the folder itself, where EuclidesDB has it."""
    return (folder / "CURRENT").is_file()


def migrate(
    source: Path,
    target: Path,
    versions: Mapping[str, ModelVersion],
    check_stop: CheckStop = never_stop,
    *,
    write_buffer_bytes: int = WRITE_BUFFER_BYTES,
) -> None:
    """Write the EuclidesDB database in `source` as a store at `target`, which does not exist.

    versions: the configured models, by name. EuclidesDB had one version per name, so its vectors
        are adopted by that model if their length is its feature_dim.
    write_buffer_bytes: as `FeatureStore`'s.

    Raises DataFolderError if `source` is another program's, in use, or damaged, and what
    `check_stop` raises; nothing has changed then.
    """
    unfinished = target.with_name(target.name + ".migrating")
    copy = target.with_name(target.name + ".original")
    for leftover in (unfinished, copy):
        shutil.rmtree(leftover, ignore_errors=True)
    log.info("migrating the EuclidesDB database in %s", source)
    try:
        with _lock(source), _open_copy(source, copy, check_stop) as original:
            left_out = _LeftOut()
            items = _items(original, source, check_stop)
            # a single sync, at the end: before the rename, a crash discards all of this anyway
            with FeatureStore(
                unfinished, sync=False, write_buffer_bytes=write_buffer_bytes
            ) as store:
                count = _write_items(items, store, versions, left_out)
    except (plyvel.Error, OSError, StorageError) as error:
        raise DataFolderError(f"the EuclidesDB database in {source}: {error}") from error
    finally:
        shutil.rmtree(copy, ignore_errors=True)
    sync(unfinished)
    unfinished.rename(target)
    sync(target.parent)
    log.info("migrated %d items; EuclidesDB's own files in %s are unchanged", count, source)
    if left_out.count:
        log.warning(
            "the migration left out %d vectors and %d predictions that have NaN or infinity, or no "
            "values; their items were migrated",
            left_out.vectors, left_out.predictions,
        )  # fmt: skip


@dataclass(slots=True)
class _LeftOut:
    """Counts and logs what is not taken over."""

    vectors: int = 0
    predictions: int = 0

    @property
    def count(self) -> int:
        return self.vectors + self.predictions

    def vector(self, item_id: int, model: str, problem: str) -> None:
        """A vector is left out, with its predictions."""
        self.vectors += 1
        self._log("vector", item_id, model, problem)

    def prediction(self, item_id: int, model: str, problem: str) -> None:
        """Predictions are left out; their vector is taken over."""
        self.predictions += 1
        self._log("predictions", item_id, model, problem)

    def _log(self, what: str, item_id: int, model: str, problem: str) -> None:
        if self.count <= MAX_LOGGED:
            log.warning("left out: the %s of item %d, model %r: %s", what, item_id, model, problem)


def _write_items(
    items: Iterator[pb.ItemData],
    store: FeatureStore,
    versions: Mapping[str, ModelVersion],
    left_out: _LeftOut,
) -> int:
    count = 0
    for item in items:
        count += 1
        embeddings = {
            _space(store, vectors.model, len(embedding.vector), versions).number: embedding
            for vectors in item.vectors
            if (embedding := _embedding(item.item_id, vectors, left_out)) is not None
        }
        with store.labels.allocate() as (label,):
            after = ItemRecord(
                metadata=item.metadata,
                labels=dict.fromkeys(embeddings, label),
                ready_made=frozenset(embeddings),
            )
            after = after.with_labels(current=label, first=label)
            store.write(ItemWrite(str(item.item_id), label, None, after, embeddings))
    return count


def _embedding(item_id: int, vectors: pb.ItemVectors, left_out: _LeftOut) -> Embedding | None:
    """The embedding as this server would store it; None if it would refuse the vector."""
    vector: Vector = np.array(vectors.features, np.float32)
    if not len(vector):
        left_out.vector(item_id, vectors.model, "no values")
        return None
    if not np.isfinite(vector).all():
        left_out.vector(item_id, vectors.model, "NaN or infinity")
        return None
    predictions: Vector = np.array(vectors.predictions, np.float32)
    if not np.isfinite(predictions).all():
        left_out.prediction(item_id, vectors.model, "NaN or infinity")
        return Embedding(vector, None)
    return Embedding(vector, predictions if len(predictions) else None)


def _space(
    store: FeatureStore, model: str, dim: int, versions: Mapping[str, ModelVersion]
) -> SpaceRecord:
    version = versions.get(model)
    if version is not None and version.feature_dim == dim:
        fingerprint = version.fingerprint
    else:
        fingerprint = UNKNOWN_FINGERPRINT.format(dim=dim)
    return store.open_space(model, fingerprint, dim, adopted=True)


def _items(original: Any, source: Path, check_stop: CheckStop) -> Iterator[pb.ItemData]:
    metadata = original.get(keys.EUCLIDESDB_METADATA, verify_checksums=True)
    if metadata is None:
        raise DataFolderError(
            f"{source} is the LevelDB of another program, and is left unchanged; choose another "
            "[database] db_path"
        )
    version = _parsed(pb.EuclidesDBMetadata(), metadata, "its metadata").database_version
    if version != DATABASE_VERSION:
        raise DataFolderError(
            f"{source} has EuclidesDB's database version {version}; "
            f"only version {DATABASE_VERSION} can be migrated"
        )
    for key, value in original.iterator(verify_checksums=True):
        check_stop()
        if key != keys.EUCLIDESDB_METADATA:
            if len(key) != INT32.size:
                raise DataFolderError(f"{source}: the key {key!r} is not an int32 id of EuclidesDB")
            item_id = INT32.unpack(key)[0]
            item = _parsed(pb.ItemData(), value, f"item {item_id}")
            item.item_id = item_id
            yield item


def _parsed(message: Any, value: bytes, what: str) -> Any:
    try:
        message.ParseFromString(value)
    except DecodeError as error:
        raise DataFolderError(f"{what} in EuclidesDB's database cannot be parsed") from error
    return message


@contextmanager
def _lock(source: Path) -> Iterator[None]:
    """Hold LevelDB's own lock, so that EuclidesDB cannot write in the meantime."""
    with (source / "LOCK").open("a") as lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DataFolderError(f"{source} is in use by another process") from error
        yield


@contextmanager
def _open_copy(source: Path, copy: Path, check_stop: CheckStop) -> Iterator[Any]:
    copy.mkdir()
    for file in source.iterdir():
        check_stop()
        if file.suffix in (".ldb", ".sst"):  # immutable
            _link_or_copy(file, copy / file.name)
        elif file.is_file() and file.name != "LOCK":
            shutil.copyfile(file, copy / file.name)
    database = plyvel.DB(str(copy), create_if_missing=False, paranoid_checks=True)
    try:
        yield database
    finally:
        database.close()


def _link_or_copy(file: Path, target: Path) -> None:
    try:
        os.link(file, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(file, target)
