"""View: what a search of a space sees: its segments and unindexed rows at one moment."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Final

import numpy as np
import numpy.typing as npt

from euclidesdb_server.engines.distances import distances_to, rows_at
from euclidesdb_server.engines.protocol import single_candidates
from euclidesdb_server.engines.scan import search_matrix
from euclidesdb_server.index.allowed_labels import AllowedLabels
from euclidesdb_server.index.filtered_search import search_segments
from euclidesdb_server.index.indexed_segment import IndexedSegment
from euclidesdb_server.index.search_cost import estimated_comparisons, estimated_single_comparisons
from euclidesdb_server.index.unindexed_rows import UnindexedView
from euclidesdb_server.values.arrays import Distances, Labels, Matrix, Rows
from euclidesdb_server.values.metric import Metric
from euclidesdb_server.values.row_mask import RowMask

_MAX_GATHERED_BYTES: Final = 256 << 10
"""More candidates of a segment than take so much are compared with the query by themselves."""
_NOT_COMPARED_YET: Final = np.empty((1, 0), np.float32)
_FEW_ROWS: Final = 64
"""The ids of so many are read one by one in less time than by segment."""


@dataclass(frozen=True, slots=True)
class View:
    """Rows are numbered from the first of the oldest segment to the last unindexed one.

    segments: in the order of their labels. allowed: for each, the rows that are not deleted; None:
    all of them. starts: the number of each segment's first row, and last that of the unindexed.
    version: another one whenever the segments are others. exact: whether every search finds the
    nearest rows.
    """

    segments: Sequence[IndexedSegment]
    allowed: Sequence[RowMask | None]
    starts: Sequence[int]
    unindexed: UnindexedView
    metric: Metric
    version: int
    exact: bool
    _compared: dict[int, int] = field(default_factory=dict)
    _compared_singly: dict[int, int] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        segments: Sequence[IndexedSegment],
        unindexed: UnindexedView,
        metric: Metric,
        version: int,
    ) -> View:
        """The rows of some segments and the unindexed ones. The caller holds the space's lock."""
        starts = [*accumulate(map(len, segments), initial=0)]
        masks = [segment.deletions.mask() for segment in segments]
        exact = all(segment.segment.exact for segment in segments)
        return cls(segments, masks, starts, unindexed, metric, version, exact)

    def rows_compared(self, k: int) -> int:
        """About how many rows a search for the k nearest compares with each query."""
        compared = self._compared.get(k)
        if compared is None:
            compared = self._compared[k] = len(self.unindexed.vectors) + sum(
                estimated_comparisons(segment.segment, segment.alive, k)
                for segment in self.segments
            )
        return compared

    def rows_compared_singly(self, k: int) -> int:
        """As `rows_compared`, for one query, in rows that a scan compares with it alone."""
        compared = self._compared_singly.get(k)
        if compared is None:
            compared = self._compared_singly[k] = len(self.unindexed.vectors) + sum(
                estimated_single_comparisons(segment.segment, segment.alive, k)
                for segment in self.segments
            )
        return compared

    def count(self) -> int:
        """How many rows a search may return."""
        count = _allowed(self.unindexed.allowed, len(self.unindexed.vectors))
        for segment, allowed in zip(self.segments, self.allowed, strict=True):
            count += _allowed(allowed, len(segment))
        return count

    def unindexed_count(self) -> int:
        """How many rows that a search may return are in no index."""
        count = _allowed(self.unindexed.allowed, len(self.unindexed.vectors))
        for segment, allowed in zip(self.segments, self.allowed, strict=True):
            if not segment.built:
                count += _allowed(allowed, len(segment))
        return count

    def int32_only(self) -> View:
        """The rows whose item id is the decimal form of an int32."""
        masks = [
            segment.int32_rows() if allowed is None else segment.int32_rows() & allowed
            for segment, allowed in zip(self.segments, self.allowed, strict=True)
        ]
        unindexed = self.unindexed.int32_only()
        return replace(self, allowed=masks, unindexed=unindexed, _compared={}, _compared_singly={})

    def only(self, labels: AllowedLabels) -> View:
        """The rows that have one of some labels."""
        masks = []
        for segment, allowed in zip(self.segments, self.allowed, strict=True):
            mask = labels.mask(segment.labels)
            masks.append(mask if allowed is None else mask & allowed)
        return replace(
            self,
            allowed=masks,
            unindexed=self.unindexed.only(labels),
            _compared={},
            _compared_singly={},
        )

    def search(
        self, queries: Matrix, k: int, *, exactly: bool = False, filtered: bool = False
    ) -> tuple[Distances, Rows]:
        """The rows nearest to each query, nearest first; at equal distance the older first.

        queries: shape (q, dim), scaled to unit length where the metric normalizes. exactly:
        compare with every row, whatever the engine is. filtered: search as for rows that match a
        filter.
        """
        if len(queries) == 1 and len(self.segments) > 1 and not (exactly or filtered):
            single = self._search_single(queries, k)
            if not len(self.unindexed.vectors):
                return single
            near, rows = [single[0]], [single[1]]
        else:
            near, rows = self._search_segments(queries, k, exactly=exactly, filtered=filtered)
        if len(self.unindexed.vectors):
            if len(near) > 1:
                merged = _merged(near, rows, k)
                near, rows = [merged[0]], [merged[1]]
            found = search_matrix(
                queries,
                self.unindexed.vectors,
                k,
                self.unindexed.allowed,
                self.metric,
                squares=self.unindexed.squares,
                within=near[0][:, -1] if near and near[0].shape[1] == k else None,
            )
            near.append(found[0])
            rows.append(found[1] + self.starts[-1])
        if not near:
            return np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
        return _merged(near, rows, k)

    def _search_segments(
        self, queries: Matrix, k: int, *, exactly: bool, filtered: bool
    ) -> tuple[list[Distances], list[Rows]]:
        """The answers of each segment."""
        segments = [segment.segment for segment in self.segments]
        if filtered and not exactly:
            answers = search_segments(segments, queries, k, self.allowed)
        else:
            answers = [
                segment.search_exactly(queries, k, allowed)
                if exactly
                else segment.search(queries, k, allowed)
                for segment, allowed in zip(segments, self.allowed, strict=True)
            ]
        near = [found[0] for found in answers]
        rows = [
            found[1] + start if start else found[1]
            for found, start in zip(answers, self.starts, strict=False)
        ]
        return near, rows

    def _search_single(self, query: Matrix, k: int) -> tuple[Distances, Rows]:
        """The answer of all segments to one query.

        The candidates of all of them are compared with the query at once.
        """
        near: list[Distances] = []
        rows: list[Rows] = []
        vectors: list[Matrix] = []
        places: list[int] = []
        for segment, allowed, start in zip(self.segments, self.allowed, self.starts, strict=False):
            source = segment.segment
            candidates = single_candidates(source, query, k, allowed)
            if candidates is None:
                found = source.search(query, k, allowed)
                near.append(found[0])
                rows.append(found[1] + start if start else found[1])
                continue
            compared = rows_at(source.vectors, candidates)
            rows.append((candidates + start if start else candidates)[np.newaxis])
            if compared.nbytes > _MAX_GATHERED_BYTES:
                near.append(distances_to(query, compared, self.metric)[np.newaxis])
            else:
                places.append(len(near))
                vectors.append(compared)
                near.append(_NOT_COMPARED_YET)
        if vectors:
            measured = distances_to(query, np.concatenate(vectors), self.metric)[np.newaxis]
            first = 0
            for place, compared in zip(places, vectors, strict=True):
                near[place] = measured[:, first : first + len(compared)]
                first += len(compared)
        return _merged_single(near, rows, k)

    def ids(self, rows: npt.NDArray[np.int64]) -> list[str]:
        """The ids of rows, shape (n,)."""
        if len(self.segments) == 1 and not len(self.unindexed.vectors):
            return self.segments[0].ids.take(rows)
        if len(rows) <= _FEW_ROWS:
            return [self._id(row) for row in rows.tolist()]
        ids: list[str] = [""] * len(rows)
        for source, places, local in self._by_source(rows):
            if source == len(self.segments):
                found = [self.unindexed.ids[row] for row in local.tolist()]
            else:
                found = self.segments[source].ids.take(local)
            for place, item_id in zip(places.tolist(), found, strict=True):
                ids[place] = item_id
        return ids

    def labels(self, rows: npt.NDArray[np.int64]) -> Labels:
        """The labels of rows, shape (n,)."""
        labels = np.empty(len(rows), np.int64)
        for source, places, local in self._by_source(rows):
            unindexed = source == len(self.segments)
            of_source = self.unindexed.labels if unindexed else self.segments[source].labels
            labels[places] = of_source[local]
        return labels

    def vectors(self, rows: npt.NDArray[np.int64]) -> Matrix:
        """The vectors of rows, shape (n,); of unit length if the metric normalizes."""
        vectors = np.empty((len(rows), self.unindexed.vectors.shape[1]), np.float32)
        for source, places, local in self._by_source(rows):
            of_source = (
                self.unindexed.vectors
                if source == len(self.segments)
                else self.segments[source].segment.vectors
            )
            vectors[places] = rows_at(of_source, local)
        return vectors

    def _by_source(self, rows: Rows) -> Iterator[tuple[int, npt.NDArray[np.intp], Rows]]:
        """Each segment, or last the unindexed rows, that has some of the rows: its number, their
        places, and their numbers in it.
        """
        sources = np.searchsorted(self.starts, rows, side="right") - 1
        for source in np.unique(sources).tolist():
            places = np.flatnonzero(sources == source)
            yield source, places, rows[places] - self.starts[source]

    def _id(self, row: int) -> str:
        source = bisect_right(self.starts, row) - 1
        local = row - self.starts[source]
        if source == len(self.segments):
            return self.unindexed.ids[local]
        return self.segments[source].ids.at(local)


def _allowed(mask: RowMask | None, rows: int) -> int:
    return rows if mask is None else mask.count


def _merged_single(
    near: Sequence[Distances], rows: Sequence[Rows], k: int
) -> tuple[Distances, Rows]:
    """As `_merged`, for a single query; no answer must be in order."""
    all_near, all_rows = np.concatenate(near, axis=1), np.concatenate(rows, axis=1)
    order = all_near.argsort(kind="stable")[:, :k]  # as below
    return all_near.take(order), all_rows.take(order)


def _merged(near: Sequence[Distances], rows: Sequence[Rows], k: int) -> tuple[Distances, Rows]:
    """The k nearest of several answers; at equal distance those of the earlier answer come first.

    near, rows: of each answer, shape (q, any number); the older rows first where distances are
    equal. A single answer must be in order.
    """
    if len(near) == 1:
        return near[0], rows[0]
    all_near, all_rows = np.concatenate(near, axis=1), np.concatenate(rows, axis=1)
    # stable: each answer is older than the next, and in the order of age where distances are equal
    order = np.argsort(all_near, axis=1, kind="stable")[:, :k]
    order += np.arange(len(order))[:, np.newaxis] * all_near.shape[1]
    return all_near.take(order), all_rows.take(order)
