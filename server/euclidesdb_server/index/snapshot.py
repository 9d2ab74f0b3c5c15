"""SpaceSnapshot: the rows of a space at one moment, for several searches and what follows them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from euclidesdb_server.engines.distances import normalized
from euclidesdb_server.index.allowed_labels import AllowedLabels
from euclidesdb_server.index.filtered_search import EXACT_ROWS, ROWS_PER_NEIGHBOR
from euclidesdb_server.index.view import View
from euclidesdb_server.values.arrays import Distances, Labels, Matrix, Rows
from euclidesdb_server.values.metric import Metric


class SpaceSnapshot:
    """Rows have numbers, which refer to the same rows as long as the snapshot is used.

    Immutable. It keeps deleted segments in memory or on disk, so it should not be kept for long.

    metric: of the space.
    """

    def __init__(
        self,
        view: View,
        metric: Metric,
        sample: Callable[[View, Matrix, int, Distances], None] | None,
        allowed: AllowedLabels | None = None,
    ) -> None:
        """sample: is given what was searched for, and the distances found. allowed: the labels that
        the view is restricted to.
        """
        self.metric = metric
        self._view = view
        self._sample = sample
        self._allowed = allowed

    def search(self, queries: Matrix, k: int, *, exactly: bool = False) -> tuple[Distances, Rows]:
        """The rows nearest to each query, nearest first; at equal distance the older first.

        queries: shape (q, feature_dim). exactly: compare with every row, whatever the engine is.
        Returns min(k, rows) neighbors of each.
        """
        if not len(queries):
            return np.empty((0, 0), np.float32), np.empty((0, 0), np.int64)
        queries = self.prepared(queries)
        near, rows = self._view.search(
            queries, k, exactly=exactly, filtered=self._allowed is not None
        )
        if self._sample is not None and not exactly:
            self._sample(self._view, queries, k, near)
        return near, rows

    def only(self, labels: AllowedLabels) -> SpaceSnapshot:
        """Those of the rows that have one of some labels."""
        return SpaceSnapshot(self._view.only(labels), self.metric, None, labels)

    def allows(self, label: int) -> bool:
        """Whether the snapshot has not been restricted to other labels."""
        return self._allowed is None or bool(self._allowed.among(np.array([label], np.int64))[0])

    def ids(self, rows: Rows) -> list[str]:
        """The ids of rows, shape (n,)."""
        return self._view.ids(rows)

    def labels(self, rows: Rows) -> Labels:
        """The labels of rows, shape (n,)."""
        return self._view.labels(rows)

    def vectors(self, rows: Rows) -> Matrix:
        """The vectors of rows, shape (n,); of unit length if the metric normalizes."""
        return self._view.vectors(rows)

    def prepared(self, queries: Matrix) -> Matrix:
        """Queries as they are compared with rows."""
        queries = np.ascontiguousarray(queries, np.float32)
        return normalized(queries) if self.metric.normalizes else queries

    def rows_compared(self, k: int, *, exactly: bool = False) -> int:
        """About how many rows a search for the k nearest compares with each query."""
        if exactly:
            return self._view.count()
        compared = self._view.rows_compared(k)
        if self._allowed is None:
            return compared
        few = max(ROWS_PER_NEIGHBOR * k, EXACT_ROWS)  # up to so many rows are all compared
        return max(compared, min(self._view.count(), few))
