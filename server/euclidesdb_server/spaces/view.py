"""What one search of a space sees: segment and fresh rows, all of it taken at one moment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from euclidesdb_server.engines.scan import search_matrix
from euclidesdb_server.spaces.fresh import FreshView
from euclidesdb_server.spaces.sealed import Sealed
from euclidesdb_server.types import Distances, Matrix, Metric, RowMask, Rows


@dataclass(frozen=True, slots=True)
class View:
    """Rows count from the segment's first to the last fresh one.

    sealed_allowed: the rows of the segment that are not buried; None: all of them.
    """

    sealed: Sealed
    sealed_allowed: RowMask | None
    fresh: FreshView
    metric: Metric

    def search(self, queries: Matrix, k: int, *, exactly: bool = False) -> tuple[Distances, Rows]:
        """The rows nearest to each query, nearest first, ties in order of age.

        queries: shape (q, dim), scaled to unit length where the metric normalizes. exactly:
        compare with every row, whatever the engine would do.
        """
        segment = self.sealed.segment
        search = segment.search_exactly if exactly else segment.search
        near, rows = search(queries, k, self.sealed_allowed)
        if not len(self.fresh.vectors):
            return near, rows
        fresh_near, fresh_rows = search_matrix(
            queries,
            self.fresh.vectors,
            k,
            self.fresh.allowed,
            self.metric,
            squares=self.fresh.squares,
            within=near[:, -1] if near.shape[1] == k else None,
        )
        if not fresh_rows.size:
            return near, rows
        near = np.concatenate([near, fresh_near], axis=1)
        rows = np.concatenate([rows, fresh_rows + len(self.sealed.labels)], axis=1)
        # stable: sealed rows are older than fresh ones, and each side is in order of age
        order = np.argsort(near, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(near, order, 1), np.take_along_axis(rows, order, 1)

    def ids(self, rows: npt.NDArray[np.int64]) -> list[str]:
        """The ids of rows, shape (n,)."""
        if not len(self.fresh.vectors):
            return self.sealed.ids.take(rows)
        sealed = len(self.sealed.labels)
        fresh = rows >= sealed
        known = iter(self.sealed.ids.take(rows[~fresh]))
        ids = self.fresh.ids
        return [ids[row - sealed] if row >= sealed else next(known) for row in rows.tolist()]
