"""Exact search of rows that come in blocks, from memory or from disk.

The memory of a search grows with k and the size of a block, not with the number of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from euclidesdb_server.engines.bounds import (
    BoundCalculator,
    can_bound,
    needs_squares,
    squared_lengths,
)
from euclidesdb_server.engines.distances import distances, pair_distances, rows_per_block
from euclidesdb_server.values.arrays import Distances, Matrix, Rows, Vector
from euclidesdb_server.values.metric import Metric
from euclidesdb_server.values.row_mask import RowMask

# Pairs of a query and a row that are bounded or measured at a time: 2 MiB as float32.
_BLOCK_PAIRS = 512 << 10
_MAX_QUERIES = 1024


def search_blocks(
    queries: Matrix,
    blocks: Iterable[tuple[Rows, Matrix]],
    k: int,
    allowed: RowMask | None,
    metric: Metric,
    *,
    squares: Vector | None = None,
) -> tuple[Distances, Rows]:
    """The k nearest allowed rows of all `blocks`, in memory that grows with k, not with the rows.

    blocks: row numbers, shape (m,), with their vectors, shape (m, dim). Row numbers ascend within
        a block and from one block to the next, and include all allowed rows. A block may be
        overwritten when the next one is requested.
    squares: `squared_lengths` of all rows, by row number, if they are cached; a search with few
        queries spends half its time on them.
    """
    dim = queries.shape[1]
    queries_per_scan = min(_MAX_QUERIES, max(1, _BLOCK_PAIRS // rows_per_block(dim)))
    scans = [
        _Scan(queries[start : start + queries_per_scan], k, metric)
        for start in range(0, len(queries), queries_per_scan)
    ]
    with_squares = needs_squares(metric, dim)
    mask = None if allowed is None else allowed.as_bool()
    seen = 0
    for numbers, vectors in blocks:
        keep = None if mask is None else mask[numbers]
        count = len(numbers) if keep is None else int(np.count_nonzero(keep))
        if count == 0:
            continue
        seen += count
        block_squares = None
        if with_squares:
            block_squares = squared_lengths(vectors) if squares is None else squares[numbers]
        for scan in scans:
            scan.add_block(numbers, vectors, block_squares, keep if count < len(numbers) else None)
    shape = (len(queries), min(k, seen))
    found = np.empty(shape, np.float32), np.empty(shape, np.int64)
    for position, scan in enumerate(scans):
        part = slice(position * queries_per_scan, (position + 1) * queries_per_scan)
        found[0][part], found[1][part] = scan.nearest()
    return found


_Keep: TypeAlias = npt.NDArray[np.bool_] | None
# Pairs: the positions of the query and of the row, and the distance.
_Pairs: TypeAlias = tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Vector]


class _Scan:
    """The k nearest rows to a few queries, among the blocks added so far."""

    def __init__(self, queries: Matrix, k: int, metric: Metric) -> None:
        self._queries = queries
        self._k = k
        self._metric = metric
        self._calculator = (
            BoundCalculator(queries, metric) if can_bound(metric, queries.shape[1]) else None
        )
        self._kth = np.full(len(queries), np.inf, np.float32)
        self._seen = 0
        # Pairs that may be among the results. Those of a query are in ascending order of rows,
        # except in the first part, which contains the results so far.
        self._parts: list[tuple[npt.NDArray[np.uint16], Vector, Rows]] = []
        self._pending = 0

    def add_block(
        self,
        numbers: Rows,
        vectors: Matrix,
        squares: Vector | None,
        keep: _Keep,
    ) -> None:
        """Add rows that follow those added before. keep: which of them are allowed; None: all."""
        found = self._bounded(vectors, squares, keep)
        if found is None:
            found = self._measured(vectors, keep)
        query_numbers, columns, measured = found
        self._seen += len(vectors) if keep is None else int(np.count_nonzero(keep))
        self._parts.append((query_numbers.astype(np.uint16), measured, numbers[columns]))
        self._pending += len(query_numbers)
        if self._pending >= len(self._queries) * self._k:
            self._prune()

    def nearest(self) -> tuple[Distances, Rows]:
        """Distances and rows, each of shape (queries, min(k, allowed rows))."""
        self._prune()
        shape = (len(self._queries), min(self._k, self._seen))
        if not self._parts:
            return np.empty(shape, np.float32), np.empty(shape, np.int64)
        _, measured, rows = self._parts[0]
        return measured.reshape(shape), rows.reshape(shape)

    def _prune(self) -> None:
        if not self._parts:
            return
        query_numbers, measured, rows = map(np.concatenate, zip(*self._parts, strict=True))
        order = np.lexsort((measured, query_numbers))  # stable: rows at equal distance ascend
        starts = np.searchsorted(query_numbers[order], np.arange(len(self._queries)))
        count = min(self._k, self._seen)
        chosen = order[starts[:, None] + np.arange(count)].reshape(-1)
        self._parts = [(query_numbers[chosen], measured[chosen], rows[chosen])]
        self._pending = 0
        if count == self._k:
            self._kth = measured[chosen][count - 1 :: count]

    def _bounded(self, vectors: Matrix, squares: Vector | None, keep: _Keep) -> _Pairs | None:
        """The pairs that may be among the results, by bounds; None if these exclude too few."""
        if self._calculator is None:
            return None
        with np.errstate(over="ignore", invalid="ignore"):
            bounds = self._calculator.bounds(vectors, squares)
            near = self._near(bounds.low, bounds.limit(self._kth), bounds.limit_of_kth, keep)
        if np.count_nonzero(near) * 2 > near.size:
            return None
        query_numbers, columns = np.divmod(np.flatnonzero(near), len(vectors))
        measured = pair_distances(self._queries, query_numbers, vectors, columns, self._metric)
        return query_numbers, columns, measured

    def _measured(self, vectors: Matrix, keep: _Keep) -> _Pairs:
        """The pairs that may be among the results, by the distances of all pairs."""
        values = np.stack([distances(query, vectors, self._metric) for query in self._queries])
        near = self._near(values, self._kth, lambda k: np.partition(values, k - 1)[:, k - 1], keep)
        pairs = np.flatnonzero(near)
        return *np.divmod(pairs, len(vectors)), values.reshape(-1)[pairs]

    def _near(
        self,
        values: npt.NDArray[np.float32],
        limit: Vector,
        limit_of_kth: Callable[[int], Vector],
        keep: _Keep,
    ) -> npt.NDArray[np.bool_]:
        """Which values are within the limit so far and, if these are many, that of the kth."""
        if keep is not None:
            values[:, ~keep] = np.inf
        near = ~(values > limit[:, None])
        if values.shape[1] > self._k and np.count_nonzero(near) > 4 * self._k * len(values):
            near = ~(values > np.fmin(limit, limit_of_kth(self._k))[:, None])
        return near if keep is None else near & keep
