"""UnbuiltSegment: rows without an index, compared one by one."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from euclidesdb_server.engines.scan import MatrixScan
from euclidesdb_server.values.arrays import Distances, Matrix, Rows
from euclidesdb_server.values.metric import Metric
from euclidesdb_server.values.row_mask import RowMask

NOT_BUILT: Final = "not built yet: every row is compared"


class UnbuiltSegment:
    """A `Segment` that compares every row, in use until an engine has built one."""

    exact: Final = True

    def __init__(self, vectors: Matrix, metric: Metric) -> None:
        """vectors: shape (rows, dim), scaled to unit length if the metric normalizes."""
        self._scan = MatrixScan(vectors, metric)

    @property
    def vectors(self) -> Matrix:
        """As `Segment.vectors`."""
        return self._scan.vectors

    @property
    def description(self) -> str:
        """As `Segment.description`."""
        return NOT_BUILT

    def search(self, queries: Matrix, k: int, allowed: RowMask | None) -> tuple[Distances, Rows]:
        """As `Segment.search`."""
        return self._scan.search(queries, k, allowed)

    def search_exactly(
        self, queries: Matrix, k: int, allowed: RowMask | None
    ) -> tuple[Distances, Rows]:
        """As `Segment.search_exactly`."""
        return self.search(queries, k, allowed)

    def save(self, folder: Path) -> None:
        """Not supported: only what an engine has built is saved."""
        raise NotImplementedError(f"an unbuilt segment cannot be saved to {folder}")
