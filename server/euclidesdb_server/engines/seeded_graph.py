"""Search of a graph from many places at once, for rows that match a filter.

A graph is searched from the top down, and a search that has come into the wrong region stays there:
HNSW32 finds three of four neighbors among a million clustered rows, and where a filter leaves rows
of few regions, it finds fewer. Here the places to start from are the nearest of a sample of the
allowed rows, and each of them is explored for itself. 200,000 rows of 128 in 1,000 clusters, of
which the filter allows 30% or more, at random, by region, or those far from a query: recall 0.990
to 1 (0.953 from the top without a filter), in the time in which 200,000 rows are compared, or
twice that. It hardly grows with the number of rows.
"""

from __future__ import annotations

from typing import Any, Final

import faiss
import numpy as np

from euclidesdb_server.engines.distances import (
    pair_distances,
    row_dots,
    rows_at,
    rows_per_block,
)
from euclidesdb_server.engines.faiss_index import faiss_untyped
from euclidesdb_server.engines.scan import MatrixScan
from euclidesdb_server.values.arrays import Distances, Matrix, Rows
from euclidesdb_server.values.metric import MetricKind
from euclidesdb_server.values.row_mask import RowMask

SAMPLE: Final = 32_768
"""Rows of which the nearest are the places to start from."""
STARTS: Final = 64
LEAST_STARTS: Final = 8
CANDIDATES: Final = 200
"""That are explored from each place at least."""
FOUND: Final = 4
"""Candidates for each neighbor: the index may compress rows."""
_MAX_PAIRS: Final = 1 << 22
"""Of a query and a row of the sample, at a time: 16 MiB as float32."""
_ONE_BY_ONE: Final = 1
"""faiss's number for a search that explores each start for itself."""

_pointer: Final = faiss_untyped.swig_ptr


def seeded_graph(index: faiss.Index, scan: MatrixScan) -> SeededGraph | None:
    """The search of an index over the rows of `scan`; None if it is not such a graph."""
    graph: Any = faiss.downcast_index(index)
    # others, derived from these, have searches of their own
    of_rows = type(graph) in (faiss.IndexHNSWFlat, faiss.IndexHNSWSQ)
    return SeededGraph(graph, scan) if of_rows and graph.ntotal else None


class SeededGraph:
    """Finds candidates in a graph. Called from many threads at once."""

    def __init__(self, graph: Any, scan: MatrixScan) -> None:
        self._graph = graph
        self._scan = scan

    def search(
        self, queries: Matrix, k: int, allowed: RowMask, effort: float
    ) -> tuple[Distances, Rows] | None:
        """As `Segment.search`, with k at most the number of allowed rows.

        effort: the share of SAMPLE and STARTS to use. None if some query found fewer than k rows.
        """
        sample = _sample(allowed, max(STARTS, int(SAMPLE * effort)))
        explored = max(CANDIDATES, k)
        starts = max(LEAST_STARTS, int(STARTS * effort) * CANDIDATES // explored)
        # it refers to the bits by pointer: they exist until the search is done
        selector = faiss_untyped.IDSelectorBitmap(allowed.bits)
        parameters = faiss_untyped.SearchParametersHNSW(sel=selector, efSearch=explored)
        count = min(FOUND * k, allowed.count)
        near = np.empty((len(queries), k), np.float32)
        rows = np.empty((len(queries), k), np.int64)
        step = max(1, _MAX_PAIRS // len(sample))
        for first in range(0, len(queries), step):
            part = slice(first, first + step)
            measured = self._measured(queries[part], sample)
            places, near_starts = _nearest(measured, min(starts, len(sample)))
            if self._scan.metric.kind is not MetricKind.L2:
                np.negative(near_starts, out=near_starts)  # faiss expects the similarity
            found = self._explored(queries[part], sample[places], near_starts, count, parameters)
            ranked = self._ranked(queries[part], found, k)
            if ranked is None:
                return None
            near[part], rows[part] = ranked
        return near, rows

    def _measured(self, queries: Matrix, sample: Rows) -> Matrix:
        """How far each query is from the sample, shape (queries, sample); not exactly."""
        measured = np.empty((len(queries), len(sample)), np.float32)
        step = rows_per_block(queries.shape[1])
        is_l2 = self._scan.metric.kind is MetricKind.L2
        with np.errstate(over="ignore", invalid="ignore"):
            squares = row_dots(queries, queries)[:, np.newaxis]
            for first in range(0, len(sample), step):
                vectors = rows_at(self._scan.vectors, sample[first : first + step])
                products = queries @ vectors.T
                if is_l2:  # what is lost to cancellation only changes the order of the starts
                    products = 2 * products - row_dots(vectors, vectors) - squares
                np.negative(products, out=measured[:, first : first + step])
        np.nan_to_num(measured, copy=False)
        return measured

    def _explored(
        self, queries: Matrix, starts: Rows, compared: Matrix, count: int, parameters: Any
    ) -> Rows:
        """The candidates of each query, `count` of them, -1 where there are fewer.

        starts, compared: the rows to start from, shape (queries, n), and what faiss compares them
        by.
        """
        queries = np.ascontiguousarray(queries, np.float32)
        first = np.ascontiguousarray(starts, np.int32)
        rows = np.full((len(queries), count), -1, np.int64)
        measured = np.empty(rows.shape, np.float32)
        self._graph.search_level_0(
            len(queries),
            _pointer(queries),
            count,
            _pointer(first),
            _pointer(compared),
            _pointer(measured),
            _pointer(rows),
            first.shape[1],
            _ONE_BY_ONE,
            parameters,
        )
        return rows

    def _ranked(self, queries: Matrix, found: Rows, k: int) -> tuple[Distances, Rows] | None:
        found.sort(axis=1)
        usable = found >= 0
        usable[:, 1:] &= found[:, 1:] != found[:, :-1]
        if (np.count_nonzero(usable, axis=1) < k).any():
            return None
        # unusable ones are NaN, and so come last; at equal distance older rows come first
        measured = np.full(found.shape, np.nan, np.float32)
        pairs = np.flatnonzero(usable)
        measured.reshape(-1)[pairs] = pair_distances(
            queries,
            pairs // found.shape[1],
            self._scan.vectors,
            found.reshape(-1)[pairs],
            self._scan.metric,
        )
        order = np.argsort(measured, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(measured, order, 1), np.take_along_axis(found, order, 1)


def _nearest(measured: Matrix, count: int) -> tuple[Rows, Matrix]:
    """The places of the nearest of each row, nearest first, and how far they are."""
    places = np.argpartition(measured, count - 1, axis=1)[:, :count]
    nearest = np.take_along_axis(measured, places, 1)
    order = np.argsort(nearest, axis=1)
    distances = np.ascontiguousarray(np.take_along_axis(nearest, order, 1), np.float32)
    return np.take_along_axis(places, order, 1), distances


def _sample(allowed: RowMask, count: int) -> Rows:
    """About so many of the allowed rows, evenly spread, ascending."""
    rows = allowed.rows()
    return rows[:: max(1, len(rows) // count)]
