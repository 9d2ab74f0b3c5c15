"""The one definition of distance in the project, and the selection of the nearest.

Every engine's answers and the fresh rows of a live index are measured here, so equal
pairs of vectors are at equal distance wherever they meet. Promised:

- The distance of a query and a row depends on those two vectors alone: not on the row's
  position, the mask, the batch or the block it was computed in. Equal rows tie exactly.
- Identical vectors are at distance 0 under `l2`, `lp` and `cosine` (a zero vector under
  `cosine` is at 1 from all, itself included).
- Finite vectors never give NaN. What float32 arithmetic cannot hold on the way (squares of
  1e30, or of 1e-30) is computed again in float64; a distance that float32 cannot hold is inf.
- Otherwise float32 arithmetic on differences, never |x|² + |y|² - 2xy, which cancels.

Rows and queries are of unit length (or zero) where the metric normalizes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from euclidesdb_server.types import (
    Distances,
    Matrix,
    Metric,
    MetricKind,
    RowMask,
    Rows,
    Vector,
)

SEARCH_BLOCK_BYTES = 4 << 20
"""What a search holds of the rows at a time; every query passes over a block before the next."""

# The differences of a block stay in the second-level cache. 100,000 rows of 512 on one core:
# 28 ms at 128 KiB to 2 MiB, 38 ms at 8 MiB; reading those rows alone takes 13 ms.
_CACHE_BLOCK_BYTES = 512 << 10

# einsum sums longer rows in pieces whose limits depend on the row's position.
_EINSUM_LENGTH = 8192

# Below this, squares of single differences may have lost digits to underflow.
_SMALLEST_SURE_SQUARE = np.float32(1e-30)

# Nearer than this, 1 - cosine similarity has lost digits that half the squared distance keeps.
_NEAR_COSINE = np.float32(0.125)


def distances(query: Vector, rows: Matrix, metric: Metric) -> Vector:
    """The distance of `query`, shape (dim,), to each of `rows`, shape (n, dim): shape (n,)."""
    result = np.empty(len(rows), np.float32)
    step = rows_per_block(rows.shape[1], _CACHE_BLOCK_BYTES)
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, len(rows), step):
            stop = start + step
            result[start:stop] = _block_distances(query, rows[start:stop], metric)
    return result


def nearest(distances: Vector, k: int) -> Rows:
    """The positions of the k smallest (all, where k is larger), nearest first, ties ascending.

    Exact where ties straddle the kth place, too: the lowest positions are taken.
    """
    if k >= len(distances):
        return np.argsort(distances, kind="stable")
    kth = np.partition(distances, k - 1)[k - 1]
    below = np.flatnonzero(distances < kth)
    tied = np.flatnonzero(distances == kth)[: k - len(below)]
    chosen = np.concatenate((below, tied))
    return chosen[np.argsort(distances[chosen], kind="stable")]


def normalized(matrix: Matrix) -> Matrix:
    """A copy with each row at unit length; zero rows stay zero. Safe at any finite magnitude."""
    result = np.empty(matrix.shape, np.float32)
    step = rows_per_block(matrix.shape[1], _CACHE_BLOCK_BYTES)
    for start in range(0, len(matrix), step):
        # In float64 the square of no float32 over- or underflows.
        block = matrix[start : start + step].astype(np.float64)
        lengths = np.sqrt(_row_dots(block, block))
        lengths[lengths == 0] = 1
        result[start : start + step] = block / lengths[:, None]
    return result


def search_matrix(
    queries: Matrix, rows: Matrix, k: int, allowed: RowMask | None, metric: Metric
) -> tuple[Distances, Rows]:
    """`Segment.search` by comparing with all the rows allowed."""
    return search_blocks(queries, _matrix_blocks(rows, allowed), k, allowed, metric)


def search_blocks(
    queries: Matrix,
    blocks: Iterable[tuple[Rows, Matrix]],
    k: int,
    allowed: RowMask | None,
    metric: Metric,
) -> tuple[Distances, Rows]:
    """The k nearest allowed rows of all `blocks`, in memory that grows with k, not with the rows.

    blocks: row numbers, shape (m,), with their vectors, shape (m, dim); row numbers ascend
        within a block and from one to the next. All allowed rows are among them; a block
        is done with when the next is asked for.
    """
    best = [_Best(k) for _ in queries]
    mask = None if allowed is None else allowed.as_bool()
    seen = 0
    for numbers, vectors in blocks:
        keep = None if mask is None else mask[numbers]
        kept = numbers if keep is None else numbers[keep]
        seen += len(kept)
        for query, found in zip(queries, best, strict=True):
            block_distances = distances(query, vectors, metric)
            found.offer(block_distances if keep is None else block_distances[keep], kept)
    shape = (len(queries), min(k, seen))
    result = np.empty(shape, np.float32), np.empty(shape, np.int64)
    for position, found in enumerate(best):
        result[0][position], result[1][position] = found.take()
    return result


def rows_per_block(dim: int, block_bytes: int = SEARCH_BLOCK_BYTES) -> int:
    """How many float32 rows of `dim` fill a block; at least one."""
    return max(1, block_bytes // (4 * max(dim, 1)))


def _block_distances(query: Vector, rows: Matrix, metric: Metric) -> npt.NDArray[np.floating]:
    match metric.kind:
        case MetricKind.COSINE:
            return _cosine(query, rows)
        case MetricKind.INNER_PRODUCT:
            return _inner_product(query, rows)
        case MetricKind.L2:
            return _l2(query, rows)
        case MetricKind.LP:
            return _lp(query, rows, metric.p)


def _l2(query: Vector, rows: Matrix) -> Vector:
    difference = rows - query
    squares = _row_dots(difference, difference)
    result: Vector = np.sqrt(squares)
    unsure = ~((squares >= _SMALLEST_SURE_SQUARE) & (squares < np.inf))
    if unsure.any():
        result[unsure] = _lp(query, rows[unsure], 2.0)
    return result


def _lp(query: Vector, rows: Matrix, p: float) -> npt.NDArray[np.float64]:
    difference = np.abs(rows.astype(np.float64) - query)
    largest: npt.NDArray[np.float64] = difference.max(axis=1)
    if np.isinf(p):
        return largest
    # Scaled to at most 1: no power overflows, and the largest never underflows.
    largest[largest == 0] = 1
    difference /= largest[:, None]
    np.power(difference, p, out=difference)
    largest *= difference.sum(axis=1) ** (1 / p)
    return largest


def _inner_product(query: Vector, rows: Matrix) -> Vector:
    products = _row_dots(rows, query)
    unsure = ~np.isfinite(products)
    if unsure.any():
        products[unsure] = _row_dots(rows[unsure].astype(np.float64), query.astype(np.float64))
    return -products


def _cosine(query: Vector, rows: Matrix) -> Vector:
    result: Vector = 1 - _row_dots(rows, query)
    near = np.flatnonzero(result < _NEAR_COSINE)
    if near.size:
        difference = rows[near] - query
        result[near] = _row_dots(difference, difference) / 2
    return np.minimum(result, 2, out=result)


def _row_dots(
    left: npt.NDArray[np.floating], right: npt.NDArray[np.floating]
) -> npt.NDArray[np.floating]:
    """Each row of `left` times its row of `right`, or times the one vector `right`."""
    subscripts = "ij,ij->i" if right.ndim == 2 else "ij,j->i"
    total: npt.NDArray[np.floating] = np.einsum(
        subscripts, left[:, :_EINSUM_LENGTH], right[..., :_EINSUM_LENGTH]
    )
    for start in range(_EINSUM_LENGTH, left.shape[1], _EINSUM_LENGTH):
        piece = slice(start, start + _EINSUM_LENGTH)
        total += np.einsum(subscripts, left[:, piece], right[..., piece])
    return total


def _matrix_blocks(rows: Matrix, allowed: RowMask | None) -> Iterator[tuple[Rows, Matrix]]:
    step = rows_per_block(rows.shape[1])
    if allowed is not None and allowed.count * 2 < len(rows):
        # Few: copying them out costs less than measuring those between.
        numbers = allowed.rows()
        for start in range(0, len(numbers), step):
            picked = numbers[start : start + step]
            yield picked, rows[picked]
    else:
        for start in range(0, len(rows), step):
            block = rows[start : start + step]
            yield np.arange(start, start + len(block)), block


class _Best:
    """The k nearest of the rows offered so far, offered in ascending order of rows."""

    __slots__ = ("_bound", "_distances", "_k", "_pending", "_rows")

    def __init__(self, k: int) -> None:
        self._k = k
        self._bound: np.float32 | None = None
        self._pending = 0
        self._distances: list[Vector] = []
        self._rows: list[Rows] = []

    def offer(self, distances: Vector, rows: Rows) -> None:
        if self._bound is not None:
            # A later row at the same distance comes after the k there are.
            nearer = distances < self._bound
            distances, rows = distances[nearer], rows[nearer]
        self._distances.append(distances)
        self._rows.append(rows)
        self._pending += len(rows)
        # Rarely, so that pruning costs less than measuring even where k is most of the rows.
        if self._pending >= 2 * self._k + 1024:
            pruned, kept = self.take()
            self._distances, self._rows, self._pending = [pruned], [kept], len(kept)
            self._bound = pruned[-1]

    def take(self) -> tuple[Vector, Rows]:
        if not self._rows:
            return np.empty(0, np.float32), np.empty(0, np.int64)
        distances, rows = np.concatenate(self._distances), np.concatenate(self._rows)
        chosen = nearest(distances, self._k)
        return distances[chosen], rows[chosen]
