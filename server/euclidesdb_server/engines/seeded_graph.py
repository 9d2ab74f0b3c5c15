"""Search of a graph from many places at once, for rows that match a filter.

A graph is searched from the top down, and a search that has come into the wrong region stays there:
HNSW32 finds three of four neighbors among a million clustered rows, and where a filter leaves rows
of few regions, it finds fewer. Here the places to start from are the nearest of a sample of the
allowed rows, and each of them is explored for itself. That also costs less than to keep more
candidates in a search from the top. 200,000 rows of 128 in 1,000 clusters, of which the filter
allows a quarter or more, at random, by region, or those far from a query: recall 0.984 to 0.998 in
8 to 10 ms a query; from the top with 640 candidates and more 0.994 to 1 in 10 to 80 ms.
"""

from __future__ import annotations

from typing import Any, Final

import faiss
import numpy as np
import numpy.typing as npt

from euclidesdb_server.engines.distances import pair_distances, rows_at
from euclidesdb_server.engines.faiss_index import faiss_untyped
from euclidesdb_server.engines.scan import MatrixScan
from euclidesdb_server.values.arrays import Distances, Matrix, Rows
from euclidesdb_server.values.metric import MetricKind
from euclidesdb_server.values.row_mask import RowMask

SAMPLE: Final = 16_384
"""Rows of which the nearest are the places to start from."""
STARTS: Final = 64
LEAST_STARTS: Final = 8
CANDIDATES: Final = 100
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
        vectors = rows_at(self._scan.vectors, sample)
        lengths = np.einsum("ij,ij->i", vectors, vectors)
        # it refers to the bits by pointer: they exist until the search is done
        selector = faiss_untyped.IDSelectorBitmap(allowed.bits)
        parameters = faiss_untyped.SearchParametersHNSW(sel=selector, efSearch=explored)
        count = min(FOUND * k, allowed.count)
        near = np.empty((len(queries), k), np.float32)
        rows = np.empty((len(queries), k), np.int64)
        step = max(1, _MAX_PAIRS // len(sample))
        for first in range(0, len(queries), step):
            part = slice(first, first + step)
            measured = self._measured(queries[part], vectors, lengths)
            places, distances = _nearest(measured, min(starts, len(sample)))
            found = self._explored(queries[part], sample[places], distances, count, parameters)
            ranked = self._ranked(queries[part], found, k)
            if ranked is None:
                return None
            near[part], rows[part] = ranked
        return near, rows

    def _measured(
        self, queries: Matrix, vectors: Matrix, lengths: npt.NDArray[np.float32]
    ) -> Matrix:
        """The distances of each query to the sample, as faiss compares them; not exact."""
        with np.errstate(over="ignore", invalid="ignore"):
            products = queries @ vectors.T
            if self._scan.metric.kind is not MetricKind.L2:
                similar: Matrix = np.nan_to_num(-products)
                return similar
            squares = np.einsum("ij,ij->i", queries, queries)
            # what is lost to cancellation only changes the order of the starts
            measured: Matrix = np.maximum(lengths - 2 * products + squares[:, np.newaxis], 0)
        finite: Matrix = np.nan_to_num(measured, copy=False)
        return finite

    def _explored(
        self, queries: Matrix, starts: Rows, distances: Matrix, count: int, parameters: Any
    ) -> Rows:
        """The candidates of each query, `count` of them, -1 where there are fewer.

        starts, distances: the rows to start from, shape (queries, n), and how far they are.
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
            _pointer(distances),
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
