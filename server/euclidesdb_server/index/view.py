"""View: what a search of a space sees: its segment and unindexed rows at one moment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from euclidesdb_server.engines.scan import search_matrix
from euclidesdb_server.index.segment_folder import IndexedRows
from euclidesdb_server.index.unindexed_rows import UnindexedView
from euclidesdb_server.values.arrays import Distances, Matrix, Rows
from euclidesdb_server.values.metric import Metric
from euclidesdb_server.values.row_mask import RowMask


@dataclass(frozen=True, slots=True)
class View:
    """Rows are numbered from the first of the segment to the last unindexed one.

    indexed_allowed: the rows of the segment that are not deleted; None: all of them.
    """

    indexed: IndexedRows
    indexed_allowed: RowMask | None
    unindexed: UnindexedView
    metric: Metric

    def search(self, queries: Matrix, k: int, *, exactly: bool = False) -> tuple[Distances, Rows]:
        """The rows nearest to each query, nearest first; at equal distance the older first.

        queries: shape (q, dim), scaled to unit length where the metric normalizes. exactly:
        compare with every row, whatever the engine is.
        """
        segment = self.indexed.segment
        search = segment.search_exactly if exactly else segment.search
        near, rows = search(queries, k, self.indexed_allowed)
        if not len(self.unindexed.vectors):
            return near, rows
        unindexed_near, unindexed_rows = search_matrix(
            queries,
            self.unindexed.vectors,
            k,
            self.unindexed.allowed,
            self.metric,
            squares=self.unindexed.squares,
            within=near[:, -1] if near.shape[1] == k else None,
        )
        if not unindexed_rows.size:
            return near, rows
        near = np.concatenate([near, unindexed_near], axis=1)
        rows = np.concatenate([rows, unindexed_rows + len(self.indexed.labels)], axis=1)
        # stable: indexed rows are older than unindexed ones, and both sides are in order of age
        order = np.argsort(near, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(near, order, 1), np.take_along_axis(rows, order, 1)

    def ids(self, rows: npt.NDArray[np.int64]) -> list[str]:
        """The ids of rows, shape (n,)."""
        if not len(self.unindexed.vectors):
            return self.indexed.ids.take(rows)
        indexed = len(self.indexed.labels)
        unindexed = rows >= indexed
        known = iter(self.indexed.ids.take(rows[~unindexed]))
        ids = self.unindexed.ids
        return [ids[row - indexed] if row >= indexed else next(known) for row in rows.tolist()]
