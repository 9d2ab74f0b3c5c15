"""The definition of distance, the only one in the project.

The results of every engine and the unindexed rows of a space are measured here, so the same two
vectors are at the same distance everywhere. It promises:

- The distance of a query and a row depends on those two vectors only: not on the row's position,
  or on the mask, the batch or the block in which it was computed. Equal rows tie exactly.
- Identical vectors are at distance 0 under `l2`, `lp` and `cosine` (under `cosine`, a zero vector
  is at distance 1 from every vector, itself included).
- Finite vectors never give NaN. If an intermediate result exceeds the range of float32 (squares
  of 1e30, or of 1e-30), the distance is computed again in float64; a distance that exceeds it is
  inf.
- Otherwise it is float32 arithmetic on differences, never |x|² + |y|² - 2xy, which loses digits
  to cancellation.

Rows and queries must be of unit length (or zero) if the metric normalizes.
"""

from __future__ import annotations

import inspect

import numpy as np
import numpy.typing as npt

from euclidesdb_server.values.arrays import Distances, Matrix, Rows, Vector
from euclidesdb_server.values.metric import Metric, MetricKind

SEARCH_BLOCK_BYTES = 4 << 20
"""The size of a block of rows; a search compares every query with a block before the next."""

# So that the differences of a block stay in the second-level cache. 100,000 rows of 512 on one
# core: 28 ms with 128 KiB to 2 MiB, 38 ms with 8 MiB; only reading those rows takes 13 ms.
_CACHE_BLOCK_BYTES = 512 << 10

# Limits the memory for the pairs of rows and queries of a block if vectors are short.
_MAX_ROWS = 8192

# The function itself: numpy's dispatch to the arrays of other libraries takes 1 us.
_einsum = inspect.unwrap(np.einsum)

# einsum sums longer rows in pieces whose boundaries depend on the row's position.
_MAX_EINSUM_LENGTH = 8192

# Below this, the squares of single differences may have lost digits to underflow.
_MIN_RELIABLE_SQUARE = np.float32(1e-30)

# Half the distance between the two largest float32: a smaller number can be added to any float32
# without overflow.
_MAX_ROUNDED_AWAY = np.float32(1e31)

# Below this, 1 - cosine similarity has lost digits that half the squared distance retains.
_MIN_RELIABLE_COSINE = np.float32(0.125)


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
    """As `distances`, for a query of shape (1, dim) and few, aligned rows; less overhead."""
    if metric.kind is MetricKind.L2 and (reliable := _reliable_l2(query, rows)) is not None:
        return reliable
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


def table_distances(queries: Matrix, rows: Matrix, numbers: Rows, metric: Metric) -> Distances:
    """The distances of each query to rows of its own, `rows[numbers[i]]`: the shape of `numbers`.

    As `pair_distances` of all these pairs, in two thirds of the time under `l2`. numbers: shape
    (queries, n), n >= 1.
    """
    result = np.empty(numbers.shape, np.float32)
    count, dim = numbers.shape[1], rows.shape[1]
    step = max(1, rows_per_block(dim, _CACHE_BLOCK_BYTES) // count)
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, len(queries), step):
            own, part = queries[start : start + step], numbers[start : start + step]
            if metric.kind is MetricKind.L2:
                difference = rows_at(rows, part)
                difference -= own[:, np.newaxis]
                squares = row_dots(*[difference.reshape(-1, dim)] * 2)
                if _are_reliable(squares):
                    result[start : start + step] = np.sqrt(squares).reshape(part.shape)
                    continue
            picked = rows_at(rows, part.reshape(-1))
            measured = _block_distances(own.repeat(count, 0), picked, metric)
            result[start : start + step] = measured.reshape(part.shape)
    return result


def rows_at(rows: Matrix, numbers: Rows) -> Matrix:
    """A copy of the rows of these numbers, shape (..., dim). `rows` need not be aligned."""
    # as bytes, in half the time of indexing
    return rows.view(np.uint8).take(numbers, 0).view(np.float32)


def aligned(rows: Matrix) -> Matrix:
    """The rows, copied if they are not aligned: the engine of a plug-in may have such ones.

    Otherwise numpy would copy them in each step of a calculation.
    """
    return rows if rows.flags.aligned else rows.copy()


def nearest(distances: Vector, k: int) -> Rows:
    """The positions of the k smallest (all, if k is larger), nearest first, ties ascending.

    If distances tie at the kth place, the lowest positions are taken.
    """
    if k >= len(distances):
        return np.argsort(distances, kind="stable")
    kth = np.partition(distances, k - 1)[k - 1]
    below = np.flatnonzero(distances < kth)
    tied = np.flatnonzero(distances == kth)[: k - len(below)]
    chosen = np.concatenate((below, tied))
    return chosen[np.argsort(distances[chosen], kind="stable")]


def extremes(values: Vector) -> tuple[np.float32, np.float32]:
    """The smallest and the largest of some numbers; a NaN if there is one. values: not empty."""
    # in a third of the time of min and max
    return values[values.argmin()], values[values.argmax()]


def normalized(matrix: Matrix) -> Matrix:
    """A copy with each row at unit length; zero rows stay zero. Safe at any finite magnitude."""
    result = np.empty(matrix.shape, np.float32)
    step = rows_per_block(matrix.shape[1], _CACHE_BLOCK_BYTES)
    for start in range(0, len(matrix), step):
        # in float64 the square of a float32 neither overflows nor underflows
        block = matrix[start : start + step].astype(np.float64)
        lengths = np.sqrt(row_dots(block, block))
        lengths[lengths == 0] = 1
        result[start : start + step] = block / lengths[:, None]
    return result


def rows_per_block(dim: int, block_bytes: int = SEARCH_BLOCK_BYTES) -> int:
    """How many float32 rows of length `dim` fill a block; at least one."""
    return max(1, min(_MAX_ROWS, block_bytes // (4 * max(dim, 1))))


def _reliable_l2(query: Matrix, rows: Matrix) -> Vector | None:
    """As `_l2`, for one query; None where numbers are so large or so small that it takes care."""
    smallest, largest = extremes(query[0])
    if not (len(rows) and smallest > -_MAX_ROUNDED_AWAY and largest < _MAX_ROUNDED_AWAY):
        return None
    difference = rows - query
    squares = row_dots(difference, difference)
    smallest, largest = extremes(squares)
    if not largest < np.inf:  # or it is NaN
        return None
    # a query that is one of the rows is at distance 0 from it
    if smallest < _MIN_RELIABLE_SQUARE and difference[squares < _MIN_RELIABLE_SQUARE].any():
        return None
    measured: Vector = np.sqrt(squares)
    return measured


def _are_reliable(squares: Vector) -> bool:
    smallest, largest = extremes(squares)
    return bool(smallest >= _MIN_RELIABLE_SQUARE and largest < np.inf)


# Below, each row is paired with a query: `queries` and `rows` have the same shape, (n, dim).


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
    if len(squares) and _are_reliable(squares):
        return result
    unreliable = np.flatnonzero(~((squares >= _MIN_RELIABLE_SQUARE) & (squares < np.inf)))
    if difference[unreliable].any():  # otherwise these are at distance 0
        result[unreliable] = _lp(queries[unreliable], rows[unreliable], 2.0)
    return result


def _lp(queries: Matrix, rows: Matrix, p: float) -> npt.NDArray[np.float64]:
    difference = np.abs(rows.astype(np.float64) - queries)
    largest: npt.NDArray[np.float64] = difference.max(axis=1)
    if np.isinf(p):
        return largest
    # scaled to at most 1: powers never overflow, and that of the largest never underflows
    largest[largest == 0] = 1
    difference /= largest[:, None]
    np.power(difference, p, out=difference)
    largest *= difference.sum(axis=1) ** (1 / p)
    return largest


def _inner_product(queries: Matrix, rows: Matrix) -> Vector:
    products = row_dots(rows, queries)
    unreliable = ~np.isfinite(products)
    if unreliable.any():
        products[unreliable] = row_dots(
            rows[unreliable].astype(np.float64), queries[unreliable].astype(np.float64)
        )
    return -products


def _cosine(queries: Matrix, rows: Matrix) -> Vector:
    result: Vector = 1 - row_dots(rows, queries)
    near = np.flatnonzero(result < _MIN_RELIABLE_COSINE)
    if near.size:
        difference = rows[near] - queries[near]
        result[near] = row_dots(difference, difference) / 2
    return np.minimum(result, 2, out=result)


def row_dots(
    left: npt.NDArray[np.floating], right: npt.NDArray[np.floating]
) -> npt.NDArray[np.floating]:
    """The dot products of the rows of `left` and `right`, both of shape (n, dim): shape (n,)."""
    if left.shape[1] <= _MAX_EINSUM_LENGTH:
        dots: npt.NDArray[np.floating] = _einsum("ij,ij->i", left, right)
        return dots
    total: npt.NDArray[np.floating] = np.einsum(
        "ij,ij->i", left[:, :_MAX_EINSUM_LENGTH], right[:, :_MAX_EINSUM_LENGTH]
    )
    for start in range(_MAX_EINSUM_LENGTH, left.shape[1], _MAX_EINSUM_LENGTH):
        piece = slice(start, start + _MAX_EINSUM_LENGTH)
        total += np.einsum("ij,ij->i", left[:, piece], right[:, piece])
    return total
