"""Bounds on the distances of many rows to many queries, by one matrix product.

|x|² + |q|² - 2xq costs a fraction of `distances`, but suffers from cancellation and rounds
differently. So it is never used as a distance: it only shows which rows cannot be among the
nearest, assuming the worst case of all rounding errors, and `distances` measures the rest.

The error of a sum of n float32 products, in any order, is at most n·u·Σ|xᵢqᵢ| to first order
(Higham, Accuracy and Stability of Numerical Algorithms, 3.1; u = 2⁻²⁴), and Σ|xᵢqᵢ| is at most
|x||q| <= (|x|² + |q|²) / 2. The errors below are the sum of those of the product here and those
of the distance in `distances`; a tenth more, and the constants, cover second-order terms and
single operations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from euclidesdb_server.engines.distances import aligned, row_dots, rows_per_block
from euclidesdb_server.values.arrays import Matrix, Vector
from euclidesdb_server.values.metric import Metric, MetricKind

_UNIT_ROUNDOFF = 2.0**-24

# In longer vectors, second-order terms would matter.
_MAX_DIM = 1 << 14

# If squared lengths are below this, no intermediate sum or product exceeds float32.
_MAX_SQUARED_LENGTH = np.float32(1e37)

# What a product may lose to underflow, even if the processor flushes subnormal numbers to zero.
_UNDERFLOW = 2.0**-120


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bounds on the scores of pairs: squared distances under `l2`, otherwise distances.

    low: shape (queries, rows), NaN for pairs without a bound. The score of a pair is within
        [low + base - slack, low + spread + base + slack].
    spread: shape (rows,); None: 0.
    base, slack: shape (queries,), NaN for queries without bounds.
    squared: whether scores are squared distances.
    """

    low: npt.NDArray[np.float32]
    spread: Vector | None
    base: npt.NDArray[np.float64]
    slack: npt.NDArray[np.float64]
    squared: bool

    def limit(self, kth: Vector) -> Vector:
        """Pairs whose `low` is above this are farther than `kth`, a distance for each query."""
        distance = kth.astype(np.float64)
        score = distance * distance if self.squared else distance
        return _rounded_up(score - self.base + self.slack)

    def limit_of_kth(self, k: int) -> Vector:
        """Pairs whose `low` is above this are farther than k other rows of their query."""
        high = self.low if self.spread is None else self.low + self.spread
        kth: Vector = np.partition(high, k - 1, axis=1)[:, k - 1]
        return _rounded_up(kth + 2 * self.slack)


class BoundCalculator:
    """Computes the bounds for a few queries, shape (q, dim), under a metric that `can_bound`."""

    def __init__(self, queries: Matrix, metric: Metric) -> None:
        dim = queries.shape[1]
        self._kind = metric.kind
        squares = squared_lengths(queries).astype(np.float64)
        squares[~(squares < _MAX_SQUARED_LENGTH)] = np.nan
        self._squares = squares
        self._underflow = dim * _UNDERFLOW
        if metric.kind is MetricKind.L2:
            # |x|² and |q|²: n each. 2xq: n. The squared distance: 2 (n + 5). The sums: 3.
            self._error = 1.1 * (4 * dim + 64) * _UNIT_ROUNDOFF
            with np.errstate(over="ignore"):
                self._queries = queries * np.float32(-2)
        else:
            # xq, here and in `distances`: n each. The errors of unit vectors and 1 - xq: a few.
            self._error = 1.1 * (2 * dim + 64) * _UNIT_ROUNDOFF
            self._queries = -queries

    def bounds(self, rows: Matrix, squares: Vector | None) -> Bounds:
        """The bounds for each query and each of `rows`, shape (n, dim).

        squares: `squared_lengths(rows)`; None unless `needs_squares`.
        """
        low = np.matmul(self._queries, rows.T, dtype=np.float32)
        if squares is None:
            slack = np.full(len(low), self._error + self._underflow)
            return Bounds(low, None, np.ones(len(low)), slack, squared=False)
        unknown = ~(squares < _MAX_SQUARED_LENGTH)
        known = squares
        if unknown.any():
            low[:, unknown] = np.nan
            known = np.where(unknown, np.float32(0), squares)
        if self._kind is MetricKind.L2:
            low += known * np.float32(1 - self._error)
            slack = self._squares * self._error + self._underflow
            spread = known * np.float32(2 * self._error)
            return Bounds(low, spread, self._squares, slack, squared=True)
        # Vectors whose squares vanished by underflow may still matter in products with long ones.
        longest = float(known.max(initial=0)) + self._underflow
        lengths = np.sqrt((self._squares + self._underflow) * longest)
        slack = lengths * self._error + self._underflow
        return Bounds(low, None, np.zeros(len(low)), slack, squared=False)


def can_bound(metric: Metric, dim: int) -> bool:
    """Whether there are bounds for this metric and dimension."""
    return metric.kind is not MetricKind.LP and dim <= _MAX_DIM


def needs_squares(metric: Metric, dim: int) -> bool:
    """Whether the bounds for this metric and dimension need the rows' squared lengths."""
    return can_bound(metric, dim) and metric.kind is not MetricKind.COSINE


def squared_lengths(rows: Matrix) -> Vector:
    """|x|² of each row; inf if it exceeds float32."""
    step = rows_per_block(rows.shape[1])
    with np.errstate(over="ignore", invalid="ignore"):
        if len(rows) <= step:
            block = aligned(rows)
            return row_dots(block, block).astype(np.float32, copy=False)
        result = np.empty(len(rows), np.float32)
        for start in range(0, len(rows), step):
            block = aligned(rows[start : start + step])
            result[start : start + step] = row_dots(block, block)
    return result


def _rounded_up(values: npt.NDArray[np.float64]) -> Vector:
    with np.errstate(over="ignore"):
        result: Vector = np.nextafter(values.astype(np.float32), np.float32(np.inf))
    return result
