"""Exact search of a matrix: compares with all rows.

A matrix product bounds the distances of a block to all queries at once (`bounds.py`), and only
the rows that may be among the k nearest are measured. The results are bit for bit those of
measuring every row. The 10 nearest of 100,000 rows of 128 on one core: 100 queries at once take
60 ms and a single one 5 ms (7 ms if the squared lengths are not cached); measuring every row took
760 ms and 9 ms.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from euclidesdb_server.engines.block_scan import search_blocks
from euclidesdb_server.engines.bounds import (
    BoundCalculator,
    can_bound,
    needs_squares,
    squared_lengths,
)
from euclidesdb_server.engines.distances import (
    aligned,
    distances,
    distances_to,
    nearest,
    pair_distances,
    rows_at,
    rows_per_block,
)
from euclidesdb_server.values.arrays import Distances, Matrix, Rows, Vector
from euclidesdb_server.values.metric import Metric
from euclidesdb_server.values.row_mask import RowMask

# Up to this many pairs are measured in the time that bounds and bookkeeping take, 0.15 ms.
_MAX_PAIRS_WITHOUT_BOUNDS = 1024

# Up to this many rows are measured in the time that it takes to bound them for one query.
_MAX_ROWS_WITHOUT_BOUNDS = 256

# If a larger share of the rows is allowed, bounding all of them for one query takes less time than
# copying these: 60,000 of 200,000 rows of 128 take 16 ms, all 12 ms.
_SHARE_TO_COPY = 4


class MatrixScan:
    """The rows of a matrix and the metric by which they are searched. Thread-safe."""

    def __init__(self, vectors: Matrix, metric: Metric) -> None:
        self.vectors = vectors
        self.metric = metric
        self._squares: Vector | None = None

    def search(self, queries: Matrix, k: int, allowed: RowMask | None) -> tuple[Distances, Rows]:
        """As `Segment.search_exactly`."""
        available = len(self.vectors) if allowed is None else allowed.count
        if (
            self._squares is None
            and available * _SHARE_TO_COPY > len(self.vectors)
            and needs_squares(self.metric, self.vectors.shape[1])
        ):
            # saves half the time of a single query, and takes the memory of one dimension
            self._squares = squared_lengths(self.vectors)
        return search_matrix(queries, self.vectors, k, allowed, self.metric, squares=self._squares)


def search_matrix(
    queries: Matrix,
    rows: Matrix,
    k: int,
    allowed: RowMask | None,
    metric: Metric,
    *,
    squares: Vector | None = None,
    within: Vector | None = None,
) -> tuple[Distances, Rows]:
    """As `Segment.search`, by comparing with all allowed rows.

    squares: as in `search_blocks`.
    within: shape (queries,). Rows farther than this may be omitted from the results, which may
        then have fewer columns.
    """
    available = len(rows) if allowed is None else allowed.count
    if (
        len(queries) == 1
        and available > max(_MAX_ROWS_WITHOUT_BOUNDS, len(rows) // _SHARE_TO_COPY)
        and rows.flags.aligned
    ):
        found = _search_single(queries, rows, k, allowed, metric, squares=squares, within=within)
        if found is not None:
            return found
    if 0 < available * len(queries) <= _MAX_PAIRS_WITHOUT_BOUNDS:
        return _search_few(queries, rows, k, allowed, metric)
    blocks = _matrix_blocks(rows, allowed)
    return search_blocks(queries, blocks, k, allowed, metric, squares=squares)


def _search_few(
    queries: Matrix, rows: Matrix, k: int, allowed: RowMask | None, metric: Metric
) -> tuple[Distances, Rows]:
    numbers = np.arange(len(rows)) if allowed is None else allowed.rows()
    if len(queries) == 1:
        picked = rows if allowed is None else rows_at(rows, numbers)
        measured = distances(queries[0], picked, metric)[None]
    else:
        query_numbers = np.repeat(np.arange(len(queries)), len(numbers))
        pairs = pair_distances(queries, query_numbers, rows, np.tile(numbers, len(queries)), metric)
        measured = pairs.reshape(len(queries), -1)
    chosen = np.argsort(measured, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(measured, chosen, 1), numbers[chosen]


def _search_single(
    query: Matrix,
    rows: Matrix,
    k: int,
    allowed: RowMask | None,
    metric: Metric,
    *,
    squares: Vector | None,
    within: Vector | None,
) -> tuple[Distances, Rows] | None:
    """The results for one query, shape (1, dim): bounds all rows at once, in half the time.

    None if there are no bounds, if they need squares that are not cached, or exclude too few rows.
    """
    with_squares = needs_squares(metric, rows.shape[1])
    if not can_bound(metric, rows.shape[1]) or (with_squares and squares is None):
        return None
    keep = None if allowed is None else allowed.as_bool()
    with np.errstate(over="ignore", invalid="ignore"):
        bounds = BoundCalculator(query, metric).bounds(rows, squares if with_squares else None)
        low = bounds.low[0]
        if keep is not None:
            low[~keep] = np.inf
        if within is not None:
            limit = bounds.limit(within)
        elif k < len(rows):
            limit = bounds.limit_of_kth(k)
        else:
            return None
        near = ~(low > limit[0])
    if np.count_nonzero(near) * 4 > len(rows):
        return None
    numbers = np.flatnonzero(near if keep is None else near & keep)
    measured = distances_to(query, rows_at(rows, numbers), metric)
    chosen = nearest(measured, k)
    return measured[chosen][np.newaxis], numbers[chosen][np.newaxis]


def _matrix_blocks(rows: Matrix, allowed: RowMask | None) -> Iterator[tuple[Rows, Matrix]]:
    step = rows_per_block(rows.shape[1])
    if allowed is not None and allowed.count * 2 < len(rows):
        # few are allowed: copying them costs less than measuring the rows between them
        numbers = allowed.rows()
        for start in range(0, len(numbers), step):
            picked = numbers[start : start + step]
            yield picked, rows_at(rows, picked)
    else:
        for start in range(0, len(rows), step):
            block = aligned(rows[start : start + step])
            yield np.arange(start, start + len(block)), block
