"""The one definition of distance in the project.

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

import numpy as np
import numpy.typing as npt

from euclidesdb_server.values.arrays import Matrix, Rows, Vector
from euclidesdb_server.values.metric import Metric, MetricKind

SEARCH_BLOCK_BYTES = 4 << 20
"""What a search holds of the rows at a time; every query passes over a block before the next."""

# The differences of a block stay in the second-level cache. 100,000 rows of 512 on one core:
# 28 ms at 128 KiB to 2 MiB, 38 ms at 8 MiB; reading those rows alone takes 13 ms.
_CACHE_BLOCK_BYTES = 512 << 10

# So that what is held for each row and query of a block stays small where vectors are short.
_MAX_ROWS = 8192

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
            block = aligned(rows[start : start + step])
            result[start : start + step] = _block_distances(
                np.broadcast_to(query, block.shape), block, metric
            )
    return result


def distances_to(query: Matrix, rows: Matrix, metric: Metric) -> Vector:
    """As `distances`, of a query of shape (1, dim) and few rows, aligned, with less ado."""
    with np.errstate(over="ignore", invalid="ignore"):
        measured = _block_distances(query.repeat(len(rows), 0), rows, metric)
    return measured.astype(np.float32, copy=False)


def pair_distances(
    queries: Matrix,
    query_numbers: npt.NDArray[np.intp],
    rows: Matrix,
    row_numbers: npt.NDArray[np.intp],
    metric: Metric,
) -> Vector:
    """The distances of pairs, `queries[query_numbers[i]]` to `rows[row_numbers[i]]`: shape (n,)."""
    result = np.empty(len(row_numbers), np.float32)
    step = rows_per_block(rows.shape[1], _CACHE_BLOCK_BYTES)
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, len(row_numbers), step):
            pairs = slice(start, start + step)
            result[pairs] = _block_distances(
                rows_at(queries, query_numbers[pairs]), rows_at(rows, row_numbers[pairs]), metric
            )
    return result


def rows_at(rows: Matrix, numbers: Rows) -> Matrix:
    """A copy of some rows. As bytes: half the time of indexing, and `rows` need no alignment."""
    return rows.view(np.uint8).take(numbers, 0).view(np.float32)


def aligned(rows: Matrix) -> Matrix:
    """The rows, copied where they are not aligned, as in files that faiss wrote.

    Else numpy would copy them in each step of a calculation.
    """
    return rows if rows.flags.aligned else rows.copy()


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
        lengths = np.sqrt(row_dots(block, block))
        lengths[lengths == 0] = 1
        result[start : start + step] = block / lengths[:, None]
    return result


def rows_per_block(dim: int, block_bytes: int = SEARCH_BLOCK_BYTES) -> int:
    """How many float32 rows of `dim` fill a block; at least one."""
    return max(1, min(_MAX_ROWS, block_bytes // (4 * max(dim, 1))))


# From here on a query stands beside each row: `queries` and `rows` are of one shape, (n, dim).


def _block_distances(queries: Matrix, rows: Matrix, metric: Metric) -> npt.NDArray[np.floating]:
    match metric.kind:
        case MetricKind.COSINE:
            return _cosine(queries, rows)
        case MetricKind.INNER_PRODUCT:
            return _inner_product(queries, rows)
        case MetricKind.L2:
            return _l2(queries, rows)
        case MetricKind.LP:
            return _lp(queries, rows, metric.p)


def _l2(queries: Matrix, rows: Matrix) -> Vector:
    difference = rows - queries
    squares = row_dots(difference, difference)
    result: Vector = np.sqrt(squares)
    unsure = ~((squares >= _SMALLEST_SURE_SQUARE) & (squares < np.inf))
    if unsure.any():
        result[unsure] = _lp(queries[unsure], rows[unsure], 2.0)
    return result


def _lp(queries: Matrix, rows: Matrix, p: float) -> npt.NDArray[np.float64]:
    difference = np.abs(rows.astype(np.float64) - queries)
    largest: npt.NDArray[np.float64] = difference.max(axis=1)
    if np.isinf(p):
        return largest
    # Scaled to at most 1: no power overflows, and the largest never underflows.
    largest[largest == 0] = 1
    difference /= largest[:, None]
    np.power(difference, p, out=difference)
    largest *= difference.sum(axis=1) ** (1 / p)
    return largest


def _inner_product(queries: Matrix, rows: Matrix) -> Vector:
    products = row_dots(rows, queries)
    unsure = ~np.isfinite(products)
    if unsure.any():
        products[unsure] = row_dots(
            rows[unsure].astype(np.float64), queries[unsure].astype(np.float64)
        )
    return -products


def _cosine(queries: Matrix, rows: Matrix) -> Vector:
    result: Vector = 1 - row_dots(rows, queries)
    near = np.flatnonzero(result < _NEAR_COSINE)
    if near.size:
        difference = rows[near] - queries[near]
        result[near] = row_dots(difference, difference) / 2
    return np.minimum(result, 2, out=result)


def row_dots(
    left: npt.NDArray[np.floating], right: npt.NDArray[np.floating]
) -> npt.NDArray[np.floating]:
    """Each row of `left` times its row of `right`, both of shape (n, dim): shape (n,)."""
    total: npt.NDArray[np.floating] = np.einsum(
        "ij,ij->i", left[:, :_EINSUM_LENGTH], right[:, :_EINSUM_LENGTH]
    )
    for start in range(_EINSUM_LENGTH, left.shape[1], _EINSUM_LENGTH):
        piece = slice(start, start + _EINSUM_LENGTH)
        total += np.einsum("ij,ij->i", left[:, piece], right[:, piece])
    return total
