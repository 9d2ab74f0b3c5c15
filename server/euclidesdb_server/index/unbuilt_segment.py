"""UnbuiltSegment: the rows of a space before its first build, in memory and searched exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from euclidesdb_server.engines.scan import search_matrix
from euclidesdb_server.values.arrays import Distances, Matrix, Rows
from euclidesdb_server.values.metric import Metric
from euclidesdb_server.values.row_mask import RowMask


class UnbuiltSegment:
    """A `Segment` that compares every row, in use until an engine has built one."""

    exact: Final = True

    def __init__(self, vectors: Matrix, metric: Metric) -> None:
        """vectors: shape (rows, dim), scaled to unit length if the metric normalizes."""
        self._vectors = vectors
        self._metric = metric

    @property
    def description(self) -> str:
        """As `Segment.description`."""
        return "not built yet: every row is compared"

    def search(self, queries: Matrix, k: int, allowed: RowMask | None) -> tuple[Distances, Rows]:
        """As `Segment.search`."""
        return search_matrix(queries, self._vectors, k, allowed, self._metric)

    def search_exactly(
        self, queries: Matrix, k: int, allowed: RowMask | None
    ) -> tuple[Distances, Rows]:
        """As `Segment.search_exactly`."""
        return self.search(queries, k, allowed)

    def save(self, folder: Path) -> None:
        """Not supported: only what an engine has built is saved."""
        raise NotImplementedError(f"an unbuilt segment cannot be saved to {folder}")
