"""ModelSpace: the vectors of one model version, searchable at every moment.

A space is a list of immutable segments, in the order of their labels, plus unindexed rows that are
searched exactly, minus deleted rows. A search asks all of them and merges by distance. Rows are in
the next search when `publish` returns, and in none when `delete` returns; no call ever waits for a
build.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import msgspec
import numpy as np

from euclidesdb_server.engines import SearchEngine
from euclidesdb_server.engines.distances import distances, normalized
from euclidesdb_server.index.indexed_segment import IndexedSegment
from euclidesdb_server.index.opening import SpaceOpener
from euclidesdb_server.index.recall import RecallMeter, RecallSampler
from euclidesdb_server.index.rewriter import Rewriter
from euclidesdb_server.index.segment_builder import SegmentBuilder
from euclidesdb_server.index.segment_folder import SegmentFolder
from euclidesdb_server.index.snapshot import SpaceSnapshot
from euclidesdb_server.index.space_rows import SpaceRows
from euclidesdb_server.index.unbuilt_segment import NOT_BUILT
from euclidesdb_server.index.view import View
from euclidesdb_server.store import FeatureStore, SpaceRecord
from euclidesdb_server.values.arrays import Distances, Matrix, Vector
from euclidesdb_server.values.status import IndexStatus


class Found(msgspec.Struct, frozen=True):
    """The answers to q queries of m rows each.

    distances: shape (q, m). ids: q * m, those of the first query first.
    """

    distances: Distances
    ids: list[str]


class ModelSpace:
    """One model space. Thread-safe.

    rewriter: writes its segments. failure: why its index could not be built, or its segments not be
    written or verified, the last time; "" if they could. tombstones: how many the store held when
    the space was opened.
    """

    def __init__(
        self,
        record: SpaceRecord,
        engine: SearchEngine,
        store: FeatureStore,
        root: Path,
        *,
        builder: SegmentBuilder,
        build_threads: int = 1,
        sampler: RecallSampler | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        """Open the space: its segments under `root`, the other rows from the store.

        builder: builds the indexes. sampler: measures the recall of some searches. stop: if it is
        set meanwhile, ShuttingDown is raised.

        Raises CorruptRecord if the store cannot be read, DiskFull, StorageError, ShuttingDown.
        """
        self.record = record
        self.engine = engine
        self.metric = engine.metric
        self._normalizes = engine.metric.normalizes
        self.failure = ""
        self._sampler = sampler
        self._recall = RecallMeter()
        folder = SegmentFolder(
            root / str(record.number), record, engine, store, builder, threads=build_threads
        )
        opener = SpaceOpener(record, engine, store, folder, stop or threading.Event())
        segments, unindexed, are_named = opener.open()
        self.tombstones = opener.tombstones
        self._rows = SpaceRows(segments, unindexed, engine.metric, are_named=are_named)
        self.rewriter = Rewriter(self._rows, folder, store, record, engine)

    def __len__(self) -> int:
        """Rows that a search can return."""
        return self._rows.counts()[0]

    def search(
        self, queries: Matrix, k: int, *, int32_only: bool = False, prepared: bool = False
    ) -> Found:
        """The rows nearest to each query, nearest first; at equal distance the older first.

        queries: shape (q, feature_dim). int32_only: only of items whose id is the decimal form of
        an int32. prepared: the queries are rows of this space. Each answer has min(k, rows)
        neighbors.
        """
        if not len(queries):
            return Found(np.empty((0, 0), np.float32), [])
        queries = np.ascontiguousarray(queries, np.float32)
        if self._normalizes and not prepared:
            queries = normalized(queries)
        view = self._rows.int32_view() if int32_only else self._rows.view()
        near, rows = view.search(queries, k)
        if self._sampler is not None:
            self._sample(self._sampler, view, queries, k, near)
        return Found(near, view.ids(rows.reshape(-1)))

    def snapshot(self, *, int32_only: bool = False) -> SpaceSnapshot:
        """The rows now, for searches of which each sees the same moment.

        int32_only: as in `search`.
        """
        view = self._rows.int32_view() if int32_only else self._rows.view()
        sampler = self._sampler
        sample = None if sampler is None else partial(self._sample, sampler)
        return SpaceSnapshot(view, self.metric, sample)

    def row(self, label: int) -> Vector | None:
        """The row of a label, for a search with `prepared`; None if there is none, perhaps not yet.

        It is the stored vector, scaled to unit length if the metric normalizes.
        """
        return self._rows.row(label)

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
        self._rows.publish(labels, ids, self._prepared(vectors), replaces)

    def delete(self, labels: Iterable[int]) -> None:
        """Delete rows: no later search returns them."""
        self._rows.delete(labels)

    @property
    def segments(self) -> Sequence[IndexedSegment]:
        """The segments now, in the order of their labels."""
        return self._rows.segments

    @property
    def unindexed(self) -> int:
        """Rows in memory that no segment holds."""
        return self._rows.unindexed

    def backlog(self) -> tuple[int, int]:
        """Rows without an index and deleted rows, in all; and rows with an index."""
        segments, unindexed = self._rows.segments, self._rows.unindexed
        indexed = sum(len(segment) for segment in segments if segment.built)
        rest = sum(len(segment) for segment in segments) - indexed
        deleted = sum(len(segment) - segment.alive for segment in segments)
        return unindexed + rest + deleted, indexed

    def compact(self, cancelled: threading.Event | None = None) -> None:
        """Write everything as one segment, and search it from then on.

        Raises BuildFailed, DiskFull, StorageError, ShuttingDown if that fails; searches then go on
        as before.
        """
        self.rewriter.compact(cancelled or threading.Event())

    def rows_compared(self, k: int, *, exactly: bool = False) -> int:
        """About how many rows a search for the k nearest compares with each query.

        exactly: it compares with every row, whatever the engine is.
        """
        return len(self) if exactly else self._rows.view().rows_compared(k)

    def rows_compared_singly(self, k: int) -> int:
        """As `rows_compared`, for one query, in rows that a scan compares with it alone."""
        return self._rows.view().rows_compared_singly(k)

    def status(self) -> IndexStatus:
        """The state of the index."""
        view = self._rows.view()
        built = [segment for segment in view.segments if segment.built]
        indexed = sum(len(segment) for segment in built)
        recall, samples = self._recall.reading(view.version)
        largest = max(built or view.segments, key=len, default=None)
        return IndexStatus(
            description=NOT_BUILT if largest is None else largest.segment.description,
            segments=len(view.segments),
            indexed_rows=indexed,
            unindexed_rows=view.unindexed_count(),
            building=self.rewriter.running,
            verifying=self.rewriter.verifying,
            failure=self.failure,
            recall=1.0 if view.exact else recall,
            recall_samples=samples,
            deleted_rows=sum(len(segment) - segment.alive for segment in view.segments),
        )

    def _sample(
        self, sampler: RecallSampler, view: View, queries: Matrix, k: int, answered: Distances
    ) -> None:
        number = self.record.number
        if view.exact or not answered.size or not sampler.due(number):
            return
        place = sampler.choose(len(queries))
        query, near = queries[place : place + 1], answered[place]
        self._recall.begin(view.version)

        def measure() -> None:
            exact, _ = view.search(query, k, exactly=True)
            # by distance, so that a neighbor at the distance of the last true one counts as found
            found = int(np.count_nonzero(near <= exact[0, -1]))
            self._recall.add(view.version, found, exact.size)

        sampler.offer(number, measure)

    def _prepared(self, vectors: Matrix) -> Matrix:
        return normalized(vectors) if self._normalizes else vectors
