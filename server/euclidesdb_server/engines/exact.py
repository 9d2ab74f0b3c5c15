"""The exact engine: compares a query with every row, in memory or memory-mapped.

It finds the true nearest rows, in time proportional to their number: for 100,000 rows of 128 on
one core, 5 ms for one query and 60 ms for a hundred at once. The vectors are saved as described in
`vectors.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from euclidesdb_server.engines.scan import MatrixScan
from euclidesdb_server.engines.vectors import keep_vectors, load_vectors
from euclidesdb_server.values.arrays import Distances, Matrix, Rows
from euclidesdb_server.values.metric import Metric, MetricKind
from euclidesdb_server.values.row_mask import RowMask


@dataclass(frozen=True, slots=True)
class ExactOptions:
    """Section `[exact]` of the configuration."""

    metric: Literal["l2", "cosine", "inner_product"] = "l2"
    """How vectors are compared."""


class ExactSegment:
    """A matrix; every row is compared with each query."""

    description = "all rows"
    exact = True

    def __init__(self, vectors: Matrix, metric: Metric) -> None:
        self._scan = MatrixScan(vectors, metric)

    @property
    def vectors(self) -> Matrix:
        """As `Segment.vectors`."""
        return self._scan.vectors

    def search(self, queries: Matrix, k: int, allowed: RowMask | None) -> tuple[Distances, Rows]:
        """As `Segment.search`; exact, including ties at the kth place."""
        return self._scan.search(queries, k, allowed)

    search_exactly = search

    def save(self, folder: Path) -> None:
        """As `Segment.save`."""
        keep_vectors(folder, self._scan.vectors)


class ExactEngine:
    """A `SearchEngine` that compares with every row."""

    name: ClassVar[str] = "exact"
    needs_build: ClassVar[bool] = False
    Options = ExactOptions

    def __init__(self, options: ExactOptions | None = None) -> None:
        self.options = options or ExactOptions()

    @property
    def metric(self) -> Metric:
        """`[exact] metric`."""
        return Metric(MetricKind(self.options.metric))

    @property
    def build_options(self) -> Mapping[str, Any]:
        """Only whether the saved rows are normalized; any metric can search them."""
        return {"normalized": self.metric.normalizes}

    def build(
        self,
        vectors: Matrix,
        *,
        threads: int = 1,  # noqa: ARG002  # nothing to build
        folder: Path | None = None,  # noqa: ARG002
    ) -> ExactSegment:
        """As `SearchEngine.build`."""
        return ExactSegment(vectors, self.metric)

    def load(self, folder: Path) -> ExactSegment:
        """As `SearchEngine.load`; raises CorruptRecord if the files disagree."""
        return ExactSegment(load_vectors(folder), self.metric)
