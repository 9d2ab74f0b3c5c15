"""SegmentFolder: writes the segments of one space, and opens those that the store names.

A segment is written under another name, synced and renamed. It is not part of the space before the
store names it, and every folder that the store does not name is deleted at the next start.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from euclidesdb_server.engines import SearchEngine, Segment
from euclidesdb_server.engines.engine_reference import reference, referenced
from euclidesdb_server.engines.vectors import VectorFileWriter, load_vectors
from euclidesdb_server.errors import CorruptRecord, ShuttingDown, StorageError, disk_error
from euclidesdb_server.index import segment_files as files
from euclidesdb_server.index.deletions import Deletions
from euclidesdb_server.index.ids import Ids, IdWriter
from euclidesdb_server.index.indexed_segment import IndexedSegment
from euclidesdb_server.index.rescaled_rows import RESCALED, write_rescaled_rows
from euclidesdb_server.index.row_blocks import RowBlock, block_of_stored
from euclidesdb_server.index.segment_builder import BuildFailed, BuildJob, SegmentBuilder
from euclidesdb_server.index.unbuilt_segment import UnbuiltSegment
from euclidesdb_server.store import FeatureStore, SegmentRecord, SpaceRecord
from euclidesdb_server.system.file_sums import FileSum, file_sum
from euclidesdb_server.system.fsync import make_folder, sync
from euclidesdb_server.values.arrays import Labels

log = logging.getLogger(__name__)

HELD: Final = 0
"""The generation of rows that are held in memory: no folder has it."""
UNBUILT: Final = ""
"""The engine of a segment without an index."""


class SegmentFolder:
    """The segments of one space, in `root`. Thread-safe.

    engine: builds and loads them. threads: how many a build may use.
    """

    def __init__(
        self,
        root: Path,
        record: SpaceRecord,
        engine: SearchEngine,
        store: FeatureStore,
        builder: SegmentBuilder,
        *,
        threads: int,
    ) -> None:
        self._root = root
        self._record = record
        self._engine = engine
        self._store = store
        self._builder = builder
        self._threads = threads
        self._lock = threading.Lock()
        named = [record.generation for record in store.segments(record.number)]
        self._newest = max([*named, *self._generations()], default=0)

    def open(
        self, record: SegmentRecord, cancelled: threading.Event | None = None
    ) -> IndexedSegment:
        """Open a segment that the store names.

        If it was built with another engine, other options or another metric, it serves all the
        same: what its index cannot find under the configured metric is found by comparing rows.

        Raises an error of any kind if it cannot be used: engines raise what they like. But
        ShuttingDown if `cancelled` is set meanwhile.
        """
        folder = self._root / str(record.generation)
        manifest, checksum = files.read_manifest(folder)
        if checksum != record.checksum:
            raise ValueError("it is not the one that the store names")
        space = self._record
        if (manifest.model, manifest.fingerprint, manifest.dim) != (
            space.model,
            space.fingerprint,
            space.feature_dim,
        ):
            raise ValueError(f"it is of model {manifest.model!r}, version {manifest.fingerprint!r}")
        files.check_files(folder, manifest, cancelled)
        labels, ids = files.read_rows(folder, manifest)
        if manifest.normalized == self._engine.metric.normalizes:
            files.delete(folder / RESCALED)
            segment, outdated = self._load(folder, manifest)
        else:
            segment, outdated = self._rescaled(folder, labels, record, cancelled), True
        deleted = self._store.deleted_rows(space.number, record.generation, len(labels))
        deletions = Deletions(deleted, len(labels))
        return IndexedSegment(segment, labels, ids, record, manifest, folder, deletions, outdated)

    def write(
        self,
        blocks: Iterable[RowBlock],
        after_label: int,
        up_to_label: int,
        *,
        build: bool,
        cancelled: threading.Event,
    ) -> IndexedSegment | None:
        """Write a segment durably, and open it; None if there are no rows.

        build: with an index; otherwise every row is compared in a search.

        Raises BuildFailed, DiskFull, StorageError, ShuttingDown; none of its files are left then.
        """
        with self._lock:
            self._newest += 1
            final = self._root / str(self._newest)
        unfinished = final.with_suffix(".tmp")
        files.delete(unfinished)
        try:
            make_folder(self._root)
            unfinished.mkdir()
            rows = self._write_rows(unfinished, blocks, cancelled)
            if not rows:
                files.delete(unfinished)
                return None
            sums = self._built(unfinished, cancelled) if build else _sums(unfinished)
            manifest = self._manifest(rows, after_label, up_to_label, sums, build=build)
            checksum = manifest.write(unfinished)
            sync(unfinished)
            unfinished.rename(final)
            sync(self._root)
            return self._opened(SegmentRecord(int(final.name), checksum, after_label, up_to_label))
        except BaseException as error:
            files.delete(unfinished)
            files.delete(final)
            if isinstance(error, OSError):
                raise disk_error(error, f"writing segment {final}") from error
            raise

    def hold(
        self, blocks: Iterable[RowBlock], after_label: int, up_to_label: int
    ) -> IndexedSegment | None:
        """Rows in memory in the place of a segment that cannot be written now.

        The store may name it: the next start then reads its rows from the store, as it finds no
        such segment.
        """
        held = list(blocks)
        if not held:
            return None
        vectors = np.concatenate([block.vectors for block in held])
        labels = np.concatenate([block.labels for block in held])
        ids = [item_id for block in held for item_id in block.ids.take(block.rows_of_ids())]
        manifest = self._manifest(len(labels), after_label, up_to_label, {}, build=False)
        return IndexedSegment(
            UnbuiltSegment(vectors, self._engine.metric),
            labels,
            Ids.of(ids),
            SegmentRecord(HELD, 0, after_label, up_to_label),
            manifest,
            self._root / str(HELD),
            Deletions.none(len(labels)),
            outdated=True,
        )

    def drop_all_but(self, kept: Sequence[SegmentRecord]) -> None:
        """Delete everything but these segments. Searches in progress keep their memory maps."""
        names = {str(record.generation) for record in kept}
        for entry in self._root.iterdir() if self._root.is_dir() else ():
            if entry.name not in names:
                files.delete(entry)

    def _opened(self, record: SegmentRecord) -> IndexedSegment:
        """A segment that has just been written."""
        try:
            return self.open(record)
        except Exception as error:  # an engine may raise anything on a file that is not as it was
            if isinstance(error, OSError | StorageError) and not isinstance(error, CorruptRecord):
                raise
            raise BuildFailed(f"what has been written cannot be used: {error}") from error

    def _write_rows(
        self, folder: Path, blocks: Iterable[RowBlock], cancelled: threading.Event
    ) -> int:
        with (
            VectorFileWriter(folder, self._record.feature_dim) as vectors,
            (folder / files.LABELS).open("wb") as labels,
            IdWriter(folder) as ids,
        ):
            for block in blocks:
                vectors.append(block.vectors)
                labels.write(block.labels.astype("<i8", copy=False).tobytes())
                ids.append(block.ids, block.rows)
                check_not_stopped(cancelled)
        return vectors.rows

    def _built(self, folder: Path, cancelled: threading.Event) -> Mapping[str, FileSum]:
        """Build the index of the rows in `folder`; the files are synced."""
        job = BuildJob(folder, self._engine, self._threads)
        return self._builder.build(job, cancelled=cancelled).files

    def _manifest(
        self,
        rows: int,
        after_label: int,
        up_to_label: int,
        sums: Mapping[str, FileSum],
        *,
        build: bool,
    ) -> files.Manifest:
        engine = self._engine
        return files.Manifest(
            space=self._record.number,
            model=self._record.model,
            fingerprint=self._record.fingerprint,
            dim=self._record.feature_dim,
            engine=engine.name if build else UNBUILT,
            reference=reference(engine) if build else {},
            build_options=_as_json(engine.build_options) if build else {},
            normalized=engine.metric.normalizes,
            rows=rows,
            after_label=after_label,
            up_to_label=up_to_label,
            files=sums,
        )

    def _load(self, folder: Path, manifest: files.Manifest) -> tuple[Segment, bool]:
        """The segment, and whether another one should replace it."""
        engine, metric = self._engine, self._engine.metric
        options = _as_json(engine.build_options)
        if (manifest.engine, manifest.build_options) == (engine.name, options):
            return engine.load(folder), False
        if manifest.engine == UNBUILT:
            return UnbuiltSegment(load_vectors(folder), metric), True
        other = referenced(dict(manifest.reference))
        loaded = other.load(folder)
        if other.metric == metric:
            return loaded, True
        return UnbuiltSegment(loaded.vectors, metric), True

    def _rescaled(
        self,
        folder: Path,
        labels: Labels,
        record: SegmentRecord,
        cancelled: threading.Event | None,
    ) -> Segment:
        """The rows of a segment whose own cannot be compared by the configured metric."""
        metric, dim = self._engine.metric, self._record.feature_dim

        def stored() -> Iterator[RowBlock]:
            pieces = self._store.rows(
                self._record.number, dim, after=record.after_label, up_to=record.up_to_label
            )
            for piece in pieces:
                if cancelled is not None:
                    check_not_stopped(cancelled)
                yield block_of_stored(piece, metric)

        return UnbuiltSegment(write_rescaled_rows(folder, labels, stored(), dim), metric)

    def _generations(self) -> list[int]:
        entries = self._root.iterdir() if self._root.is_dir() else ()
        return [int(entry.name) for entry in entries if entry.name.isdecimal()]


def check_not_stopped(stop: threading.Event) -> None:
    """Raise ShuttingDown if the server is to stop."""
    if stop.is_set():
        raise ShuttingDown("the server is stopping")


def _sums(folder: Path) -> dict[str, FileSum]:
    """The files of rows without an index, synced."""
    sums = {}
    for file in sorted(folder.iterdir()):
        sync(file)
        sums[file.name] = file_sum(file)
    return sums


def _as_json(options: Mapping[str, Any]) -> Any:
    """Options as they are read from a manifest."""
    return json.loads(json.dumps(dict(options)))
