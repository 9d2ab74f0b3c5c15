"""The contract of a search engine, to which `tests/engines/test_contract.py` holds every engine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

from euclidesdb_server.values.arrays import Distances, Matrix, Rows
from euclidesdb_server.values.metric import Metric
from euclidesdb_server.values.row_mask import RowMask


class Segment(Protocol):
    """An immutable index of rows 0..n-1. Searched from many threads at once.

    It may also have `single_candidates`, `search_filtered` and `rows_compared`: see the functions
    of these names.
    """

    @property
    def description(self) -> str:
        """What kind of index it is, for people: "HNSW32", "30 trees", "all rows"."""

    @property
    def exact(self) -> bool:
        """Whether `search` always finds the true nearest rows, as `search_exactly` does."""

    @property
    def vectors(self) -> Matrix:
        """The rows as they were given, read-only; memory-mapped if the format allows it."""

    def search(self, queries: Matrix, k: int, allowed: RowMask | None) -> tuple[Distances, Rows]:
        """The rows nearest to each query, nearest first; rows at equal distance ascend.

        queries: shape (q, dim), scaled to unit length if the metric normalizes.
        k: at least 1; may exceed the number of rows.
        allowed: only these rows may be returned; None: any row.

        Returns distances and rows, each of shape (q, min(k, number of allowed rows)): never
        fewer, never padding, never the same row twice for a query. Distances are those of
        `distances.py` in the engine's metric, from the rows as they were given: an index that
        approximates or compresses may miss rows, but never misstates a distance.
        """

    def search_exactly(
        self, queries: Matrix, k: int, allowed: RowMask | None
    ) -> tuple[Distances, Rows]:
        """As `search`, by comparing with every allowed row. Recall is measured against this."""

    def save(self, folder: Path) -> None:
        """Write what `SearchEngine.load` needs into `folder`.

        `folder` exists. It may hold the rows already, as described in `vectors.py`: they are not
        written again. Other files there are not ours.

        Called at most once, on a segment that was built, while it is not being searched (annoy
        replaces its forest by the file). `folder` may be renamed afterwards. The caller syncs
        the files and computes checksums of them.
        """


class SearchEngine(Protocol):
    """A method of nearest-neighbor search with its options. Stateless; shared by threads.

    `needs_build` is False if a segment is the saved rows and nothing else. Then nothing is built:
    `load` opens them. It may be absent, which means True: see the function of that name.
    """

    name: ClassVar[str]

    @property
    def options(self) -> Any:
        """What it was constructed with: an instance of its class's `Options`."""

    @property
    def metric(self) -> Metric:
        """How this engine, as configured, measures distance."""

    @property
    def build_options(self) -> Mapping[str, Any]:
        """The options (JSON values) that shape a segment; one saved under others is rebuilt."""

    def build(self, vectors: Matrix, *, threads: int = 1, folder: Path | None = None) -> Segment:
        """Index `vectors`: rows 0..n-1, scaled to unit length if the metric normalizes.

        The server calls this in a child process (`builder`), where it may crash or hang.

        vectors: may have no rows. The segment owns the matrix from now on; the caller must not
            change it.
        threads: at least 1; how many the build may use. Searches at the same time are unaffected.
        folder: the one that the segment will be saved to; what is too large for memory may be
            written there during the build.

        Raises ConfigError if the options cannot work with this dimension.
        """

    def load(self, folder: Path) -> Segment:
        """Open what `Segment.save` wrote, memory-mapped if the format allows it."""


def single_candidates(
    segment: Segment, query: Matrix, k: int, allowed: RowMask | None
) -> Rows | None:
    """The rows among which `Segment.search` finds its answer to a single query.

    A space of many segments compares the candidates of all of them with the query at once.

    query, k, allowed: as in `Segment.search`; query has shape (1, dim). Returns distinct, allowed
    rows, ascending, at least min(k, number of allowed rows) of them; None if the segment would
    compare the query with other rows, too, or has no such method.
    """
    find = getattr(segment, "single_candidates", None)
    return None if find is None else find(query, k, allowed)


def search_filtered(
    segment: Segment, queries: Matrix, k: int, allowed: RowMask, effort: float
) -> tuple[Distances, Rows] | None:
    """As `Segment.search`, where the allowed rows match a filter.

    Those may be alike and far from the query, where an approximate index finds less. They are many:
    else they would be compared one by one.

    k: at most the number of allowed rows. effort: above 0, at most 1; the share of the time of a
    search that this segment should take. None if the segment has no such method, or does not find k
    rows for every query.
    """
    search = getattr(segment, "search_filtered", None)
    return None if search is None else search(queries, k, allowed, effort)


def rows_compared(segment: Segment, k: int) -> int | None:
    """About what a search for the k nearest costs, in rows that a scan compares with a query.

    An estimate by the options of the search (`nprobe`, `ef_search`, `search_k`), right within a
    factor of a few: it bounds the work of a call, and the time between two checks of whether its
    caller still waits. None if the segment has no such method.
    """
    estimate = getattr(segment, "rows_compared", None)
    return None if estimate is None else max(1, int(estimate(k)))


def needs_build(engine: SearchEngine) -> bool:
    """Whether the engine computes anything from the rows, and so must be run in a child process."""
    return bool(getattr(engine, "needs_build", True))


@runtime_checkable
class Scalable(Protocol):
    """An engine whose options may demand more rows, or more time, than a trial has."""

    def for_trial(self) -> SearchEngine:
        """The same kind of index, small enough to be built of 512 to 4,096 rows in a moment.

        Its `build` raises ConfigError, in the words of the options as configured, where the
        engine would make do with another index because there are too few rows.
        """
