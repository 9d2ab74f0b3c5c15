"""ModelSpace: the vectors of one model version, searchable at every moment.

A space is an immutable segment of indexed rows, plus unindexed rows that are searched exactly,
minus deleted rows. A search asks both and merges by distance. Rows are in the next search when
`publish` returns, and in none when `delete` returns; no call ever waits for a build.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from euclidesdb_server.engines import SearchEngine
from euclidesdb_server.engines.distances import distances, normalized
from euclidesdb_server.index.ids import Ids
from euclidesdb_server.index.recall import RecallMeter, RecallSampler
from euclidesdb_server.index.search_cost import estimated_comparisons
from euclidesdb_server.index.segment_folder import IndexedRows, SegmentFolder
from euclidesdb_server.index.unbuilt_segment import UnbuiltSegment
from euclidesdb_server.index.unindexed_rows import UnindexedRows
from euclidesdb_server.index.view import View
from euclidesdb_server.store import FeatureStore, SpaceRecord, StoreReader
from euclidesdb_server.values.arrays import Distances, Labels, Matrix, Vector
from euclidesdb_server.values.row_mask import RowMask
from euclidesdb_server.values.status import IndexStatus
from euclidesdb_server.values.stop import CheckStop, never_stop

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Found:
    """The answers to q queries of m rows each.

    distances: shape (q, m). ids: q * m, those of the first query first.
    """

    distances: Distances
    ids: list[str]


class ModelSpace:
    """One model space. Thread-safe; `compact` is for one thread at a time."""

    def __init__(
        self,
        record: SpaceRecord,
        engine: SearchEngine,
        store: FeatureStore,
        root: Path,
        sampler: RecallSampler | None = None,
        *,
        check_stop: CheckStop = never_stop,
    ) -> None:
        """Open the space: its segment under `root` if one fits, the other rows from the store.

        sampler: measures the recall of some searches. check_stop: called while files and rows are
        read; what it raises ends that.

        `lost_segment` is whether a segment was found that could not be used: build another.

        Raises ConfigError if the engine's options cannot work with vectors of this length,
        CorruptRecord if the store cannot be read.
        """
        engine.build(np.empty((0, record.feature_dim), np.float32))  # raises now
        self.record = record
        self.engine = engine
        self.metric = engine.metric
        self._store = store
        self._sampler = sampler
        self._recall = RecallMeter()
        self._folder = SegmentFolder(
            root / str(record.number),
            engine,
            {
                "space": record.number,
                "model": record.model,
                "fingerprint": record.fingerprint,
                "dim": record.feature_dim,
            },
        )
        self._lock = threading.Lock()
        self._view: View | None = None
        self._deleted_during_build: list[int] | None = None
        self._unindexed = UnindexedRows(record.feature_dim)
        newest = store.labels.low_watermark()
        there = self._folder.holds_segments()
        indexed = self._folder.load(newest, check_stop)
        self.lost_segment = there and indexed is None
        self._take_into_use(indexed or self._unbuilt(newest, check_stop))
        for label in store.tombstones(record.number).tolist():
            check_stop()
            self._delete_indexed(label)
        rows = store.rows(
            record.number, record.feature_dim, after=self._indexed.up_to_label, up_to=newest
        )
        for piece in rows:
            check_stop()
            self._unindexed.append(piece.labels.tolist(), piece.ids, self._prepared(piece.vectors))

    def __len__(self) -> int:
        """Rows that a search can return."""
        with self._lock:
            return self._indexed_alive + self._unindexed.alive

    def search(self, queries: Matrix, k: int) -> Found:
        """The rows nearest to each query, nearest first; at equal distance the older first.

        queries: shape (q, feature_dim). Each answer has min(k, rows) neighbors.
        """
        if not len(queries):
            return Found(np.empty((0, 0), np.float32), [])
        queries = self._prepared(np.ascontiguousarray(queries, np.float32))
        with self._lock:
            view = self._current_view()
        near, rows = view.search(queries, k)
        self._sample(view, queries[:1], k, near[:1])
        return Found(near, view.ids(rows.ravel()))

    def rows_compared(self, k: int) -> int:
        """About how many rows a search for the k nearest compares with each query."""
        with self._lock:
            indexed = self._indexed_alive
            if not self._indexed.segment.exact:
                indexed = estimated_comparisons(indexed, k)
            return indexed + self._unindexed.alive

    def distance(self, query: Vector, vector: Vector) -> float:
        """The distance of two vectors in this space."""
        prepared = self._prepared(np.stack([query, vector]))
        return float(distances(prepared[0], prepared[1:], self.metric)[0])

    def publish(
        self,
        labels: Sequence[int],
        ids: Sequence[str],
        vectors: Matrix,
        *,
        replaces: Iterable[int] = (),
    ) -> None:
        """Make rows searchable and delete those that they replace, in one step.

        vectors: shape (len(labels), feature_dim).
        """
        prepared = self._prepared(vectors)
        with self._lock:
            self._view = None
            self._unindexed.append(labels, ids, prepared)
            for label in replaces:
                self._delete(label)

    def delete(self, labels: Iterable[int]) -> None:
        """Delete rows: no later search returns them."""
        with self._lock:
            self._view = None
            for label in labels:
                self._delete(label)

    def backlog(self) -> tuple[int, int]:
        """Unindexed rows and deleted rows of the segment, in all; and rows in the segment."""
        with self._lock:
            rows = len(self._indexed.labels)
            if self._indexed.folder is None:
                return rows + len(self._unindexed), 0
            return len(self._unindexed) + rows - self._indexed_alive, rows

    def status(self) -> IndexStatus:
        """The state of the index."""
        recall, samples = self._recall.reading()
        with self._lock:
            indexed = 0 if self._indexed.folder is None else len(self._indexed.labels)
            return IndexStatus(
                description=self._indexed.segment.description,
                indexed_rows=indexed,
                unindexed_rows=len(self._indexed.labels) - indexed + len(self._unindexed),
                building=self._deleted_during_build is not None,
                recall=1.0 if self._indexed.segment.exact else recall,
                recall_samples=samples,
            )

    def compact(self, *, threads: int = 1) -> None:
        """Build a segment of all current rows, save it, and search it from then on.

        threads: how many the build may use.

        Raises DatabaseError if that fails; searches then go on as before.
        """
        # The order matters: all labels up to the low watermark are stored and published; rows
        # deleted from here on are noted for the new segment; the snapshot is taken after both.
        up_to_label = self._store.labels.low_watermark()
        with self._lock:
            self._deleted_during_build = []
        try:
            with self._store.snapshot() as snapshot:
                labels, ids, vectors = self._stored_rows(snapshot, up_to_label, never_stop)
            # What the snapshot shows, removals too, must be in the store after a power cut: a
            # segment that is ahead of the store would hide rows that come back.
            self._store.sync()
            built = self.engine.build(vectors, threads=threads)
            del vectors
            indexed = self._folder.write(built, labels, ids, up_to_label)
            del built
            # A write that is stored but not published yet has removed its old row from the
            # snapshot: until its new row is published, searches need the old segment.
            self._store.labels.wait_for_writes()
            self._swap(indexed)
        finally:
            with self._lock:
                self._deleted_during_build = None
        self._folder.drop_all_but(indexed.folder)
        self._drop_tombstones(indexed)
        log.info(
            "space %d (%s): segment of %d rows up to label %d: %s",
            self.record.number, self.record.model, len(labels), up_to_label,
            indexed.segment.description,
        )  # fmt: skip

    def _sample(self, view: View, query: Matrix, k: int, answered: Distances) -> None:
        sampler, number = self._sampler, self.record.number
        if (
            sampler is None
            or view.indexed.segment.exact
            or not answered.size
            or not sampler.due(number)
        ):
            return

        def measure() -> tuple[int, int]:
            exact, _ = view.search(query, k, exactly=True)
            # by distance, so that a neighbor at the distance of the last true one counts as found
            return int(np.count_nonzero(answered <= exact[0, -1])), exact.size

        sampler.offer(number, self._recall, measure)

    def _current_view(self) -> View:
        if self._view is None:
            rows = len(self._indexed.labels)
            allowed = None
            if self._indexed_alive < rows:
                allowed = RowMask.packed(self._alive_bits, rows, self._indexed_alive)
            self._view = View(self._indexed, allowed, self._unindexed.view(), self.metric)
        return self._view

    def _delete(self, label: int) -> None:
        if self._deleted_during_build is not None:
            self._deleted_during_build.append(label)
        if not self._unindexed.delete(label):
            self._delete_indexed(label)

    def _delete_indexed(self, label: int) -> None:
        row = self._indexed.row_of(label)
        if row is not None and self._alive_bits[row >> 3] & (1 << (row & 7)):
            self._alive_bits[row >> 3] &= ~np.uint8(1 << (row & 7))
            self._indexed_alive -= 1

    def _take_into_use(self, indexed: IndexedRows) -> None:
        self._view = None
        self._indexed = indexed
        self._indexed_alive = len(indexed.labels)
        self._alive_bits = np.packbits(np.ones(len(indexed.labels), np.bool_), bitorder="little")

    def _swap(self, indexed: IndexedRows) -> None:
        with self._lock:
            self._take_into_use(indexed)
            for label in self._deleted_during_build or ():
                self._delete_indexed(label)
            self._unindexed = self._unindexed.after(indexed.up_to_label)

    def _stored_rows(
        self, reader: StoreReader, up_to_label: int, check_stop: CheckStop
    ) -> tuple[Labels, Ids, Matrix]:
        """The stored rows up to a label, prepared for an engine."""
        labels: list[Labels] = []
        ids: list[str] = []
        vectors = np.empty((0, self.record.feature_dim), np.float32)
        for piece in reader.rows(
            self.record.number, self.record.feature_dim, after=0, up_to=up_to_label
        ):
            check_stop()
            start = len(ids)
            labels.append(piece.labels)
            ids += piece.ids
            if len(ids) > len(vectors):
                # in place: for large blocks the system moves no bytes
                vectors.resize((len(ids) + len(ids) // 2, vectors.shape[1]), refcheck=False)
            vectors[start : len(ids)] = self._prepared(piece.vectors)
        vectors.resize((len(ids), vectors.shape[1]), refcheck=False)
        return np.concatenate([np.empty(0, np.int64), *labels]), Ids.of(ids), vectors

    def _unbuilt(self, up_to_label: int, check_stop: CheckStop) -> IndexedRows:
        """All stored rows, in memory, until their first segment is built."""
        labels, ids, vectors = self._stored_rows(self._store, up_to_label, check_stop)
        return IndexedRows(
            UnbuiltSegment(vectors, self.metric), labels, ids, up_to_label, folder=None
        )

    def _drop_tombstones(self, indexed: IndexedRows) -> None:
        recorded = self._store.tombstones(self.record.number)
        unneeded = recorded[~np.isin(recorded, indexed.labels)]
        self._store.drop_tombstones(self.record.number, unneeded.tolist())

    def _prepared(self, vectors: Matrix) -> Matrix:
        return normalized(vectors) if self.metric.normalizes else vectors
