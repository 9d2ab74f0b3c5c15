"""ModelSpace: the vectors of one model version, searchable at every moment.

A space is an immutable *sealed* segment plus *fresh* rows, searched exactly, minus *buried*
labels. A search asks both and merges by distance. A row is in the next search once `publish`
returns, and in none after `bury` returns; nothing ever waits for a build.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from euclidesdb_server.engines import SearchEngine
from euclidesdb_server.engines.distances import distances, normalized, search_matrix
from euclidesdb_server.spaces.fresh import FreshRows
from euclidesdb_server.spaces.sealed import Sealed, SegmentFolder
from euclidesdb_server.store import FeatureStore, SpaceRecord
from euclidesdb_server.types import Distances, Labels, Matrix, RowMask, Vector

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _View:
    """What one search sees: all of it taken at one moment."""

    sealed: Sealed | None
    sealed_allowed: RowMask | None
    fresh_vectors: Matrix
    fresh_labels: Labels
    fresh_allowed: RowMask | None


class ModelSpace:
    """One model space. Thread-safe; `compact` is for one thread at a time."""

    def __init__(
        self, record: SpaceRecord, engine: SearchEngine, store: FeatureStore, root: Path
    ) -> None:
        """Open the space: its segment under `root` where one fits, the rest from the store.

        Raises ConfigError where the engine's options cannot work with vectors of this length.
        """
        engine.build(np.empty((0, record.feature_dim), np.float32))  # says so now, not in a build
        self.record = record
        self.engine = engine
        self._store = store
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
        self._view: _View | None = None
        self._buried_while_building: list[int] | None = None
        self._sealed = self._folder.load()
        self._dead = self._dead_rows(self._sealed)
        self._dead_count = int(np.count_nonzero(self._dead))
        self._fresh = FreshRows(record.feature_dim)
        after = 0 if self._sealed is None else self._sealed.up_to_label
        for label, vector in store.vectors(record.number, after=after):
            self._fresh.append(label, self._prepared(vector))

    def __len__(self) -> int:
        """Rows that a search can return."""
        with self._lock:
            sealed = 0 if self._sealed is None else len(self._sealed.labels) - self._dead_count
            return sealed + self._fresh.alive

    def search(self, queries: Matrix, k: int) -> tuple[Distances, Labels]:
        """The rows nearest to each query, nearest first; at equal distance the older first.

        queries: shape (q, dim). Returns distances and labels, each of shape
        (q, min(k, rows)).
        """
        queries = np.ascontiguousarray(queries, np.float32)
        if self.engine.metric.normalizes:
            queries = normalized(queries)
        view = self._current_view()
        near, rows = search_matrix(
            queries, view.fresh_vectors, k, view.fresh_allowed, self.engine.metric
        )
        labels = view.fresh_labels[rows]
        if view.sealed is None:
            return near, labels
        sealed_near, sealed_rows = view.sealed.segment.search(queries, k, view.sealed_allowed)
        near = np.concatenate([sealed_near, near], axis=1)
        labels = np.concatenate([view.sealed.labels[sealed_rows], labels], axis=1)
        # stable: sealed rows are older than fresh ones, and each side is in order of age
        order = np.argsort(near, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(near, order, 1), np.take_along_axis(labels, order, 1)

    def distance(self, query: Vector, vector: Vector) -> float:
        """The distance of two vectors in this space."""
        prepared = self._prepared(vector)[np.newaxis]
        return float(distances(self._prepared(query), prepared, self.engine.metric)[0])

    def publish(self, label: int, vector: Vector, *, replaces: int | None) -> None:
        """Make a row searchable, and the one that it replaces gone, in one step."""
        with self._lock:
            self._view = None
            self._fresh.append(label, self._prepared(vector))
            if replaces is not None:
                self._bury(replaces)

    def bury(self, label: int) -> None:
        """Take a row out of every search from now on."""
        with self._lock:
            self._view = None
            self._bury(label)

    def backlog(self) -> tuple[int, int]:
        """Rows that the segment lacks or holds in vain, and rows in the segment."""
        with self._lock:
            sealed = 0 if self._sealed is None else len(self._sealed.labels)
            return len(self._fresh) + self._dead_count, sealed

    def compact(self) -> None:
        """Build, save and take into use a segment of all rows there are now.

        Raises OSError or DatabaseError where that fails; searches then go on as before.
        """
        # In this order: what is settled is published and stored; burials from here on are
        # kept for the new segment; what the snapshot shows up to that label goes into it.
        up_to_label = self._store.labels.settled()
        with self._lock:
            self._buried_while_building = []
        try:
            labels, vectors = self._stored_rows(up_to_label)
            built = self.engine.build(vectors)
            del vectors
            sealed = self._folder.write(built, labels, up_to_label)
            del built
            # A write that is stored and not yet published has taken its old row out of the
            # snapshot: until the new one is published, searches need the segment there is.
            self._store.labels.wait_for_writes()
            self._swap(sealed)
        finally:
            with self._lock:
                self._buried_while_building = None
        self._folder.drop_all_but(sealed.folder)
        self._forget_burials(sealed)
        log.info(
            "space %d (%s): segment of %d rows up to label %d",
            self.record.number, self.record.model, len(labels), up_to_label,
        )  # fmt: skip

    def _current_view(self) -> _View:
        with self._lock:
            if self._view is None:
                alive = self._fresh.alive_rows()
                self._view = _View(
                    self._sealed,
                    RowMask(~self._dead) if self._dead_count else None,
                    self._fresh.vectors(),
                    self._fresh.labels(),
                    None if alive is None else RowMask(alive),
                )
            return self._view

    def _bury(self, label: int) -> None:
        if self._buried_while_building is not None:
            self._buried_while_building.append(label)
        if not self._fresh.bury(label):
            self._bury_sealed(label)

    def _bury_sealed(self, label: int) -> None:
        row = None if self._sealed is None else self._sealed.row_of(label)
        if row is not None and not self._dead[row]:
            self._dead[row] = True
            self._dead_count += 1

    def _swap(self, sealed: Sealed) -> None:
        with self._lock:
            self._view = None
            self._sealed = sealed
            self._dead = np.zeros(len(sealed.labels), np.bool_)
            self._dead_count = 0
            for label in self._buried_while_building or ():
                self._bury_sealed(label)
            self._fresh = self._fresh.after(sealed.up_to_label)

    def _stored_rows(self, up_to_label: int) -> tuple[Labels, Matrix]:
        view = self._current_view()
        most = len(view.fresh_labels) + (0 if view.sealed is None else len(view.sealed.labels))
        labels = np.empty(most, np.int64)
        vectors = np.empty((most, self.record.feature_dim), np.float32)
        count = 0
        with self._store.snapshot() as snapshot:
            for label, vector in snapshot.vectors(self.record.number, after=0):
                if label > up_to_label:
                    break
                labels[count], vectors[count] = label, self._prepared(vector)
                count += 1
        return labels[:count], vectors[:count]

    def _dead_rows(self, sealed: Sealed | None) -> npt.NDArray[np.bool_]:
        if sealed is None:
            return np.zeros(0, np.bool_)
        return np.isin(sealed.labels, self._store.burials(self.record.number))

    def _forget_burials(self, sealed: Sealed) -> None:
        recorded = self._store.burials(self.record.number)
        unneeded = recorded[~np.isin(recorded, sealed.labels)]
        self._store.forget_burials(self.record.number, unneeded.tolist())

    def _prepared(self, vector: Vector) -> Vector:
        if not self.engine.metric.normalizes:
            return vector
        prepared: Vector = normalized(vector[np.newaxis])[0]
        return prepared
