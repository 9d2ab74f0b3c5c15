"""The contract of a search engine. `tests/engines/test_contract.py` holds every engine to it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol

from euclidesdb_server.values.arrays import Distances, Matrix, Rows
from euclidesdb_server.values.metric import Metric
from euclidesdb_server.values.row_mask import RowMask


class Segment(Protocol):
    """An immutable index of rows 0..n-1. Searched from many threads at once."""

    @property
    def about(self) -> str:
        """What it is, for people: "HNSW32", "30 trees", "all rows"."""

    @property
    def exact(self) -> bool:
        """Whether `search` always finds the true nearest, as `search_exactly` does."""

    def search(self, queries: Matrix, k: int, allowed: RowMask | None) -> tuple[Distances, Rows]:
        """The rows nearest to each query, nearest first; rows at equal distance ascend.

        queries: shape (q, dim), scaled to unit length where the metric normalizes.
        k: at least 1, and may exceed the number of rows.
        allowed: only these rows may be returned; None: any row.

        Returns distances and rows, each of shape (q, min(k, number of allowed rows)): never
        fewer, never padding, never the same row twice in one answer. Distances are those of
        `distances.py` in the engine's metric, from the rows as they were given: an index that
        approximates or compresses may miss rows, but never misstates a distance.
        """

    def search_exactly(
        self, queries: Matrix, k: int, allowed: RowMask | None
    ) -> tuple[Distances, Rows]:
        """As `search`, by comparing with every allowed row: what recall is measured against."""

    def save(self, folder: Path) -> None:
        """Write what `SearchEngine.load` needs into `folder`, which exists and is empty.

        Called at most once, on a segment that was built, while no search of it runs (annoy
        exchanges its forest for the file). `folder` may be renamed afterwards.
        Need not sync and need not checksum: the caller does both.
        """


class SearchEngine(Protocol):
    """A method of nearest-neighbor search with its options. Stateless; shared by threads."""

    name: ClassVar[str]

    @property
    def metric(self) -> Metric:
        """How this engine, as configured, measures distance."""

    @property
    def build_options(self) -> Mapping[str, Any]:
        """The options (JSON values) that shape a segment: one saved under others is rebuilt."""

    def build(self, vectors: Matrix, *, threads: int = 1) -> Segment:
        """Index `vectors`: rows 0..n-1, n may be 0, scaled to unit length where the metric
        normalizes. The matrix is the segment's own from now on: nobody changes it.

        threads: at least 1; how many the build may use. Searches meanwhile are not affected.

        Raises ConfigError where the options cannot work with this dimension.
        """

    def load(self, folder: Path) -> Segment:
        """Open what `Segment.save` wrote, memory-mapped where the format allows it."""
