"""Candidates: the rows that a search has found, before they are ranked and cut."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np

from euclidesdb_server.database.search_work import SearchWork
from euclidesdb_server.errors import InvalidRequest
from euclidesdb_server.index.snapshot import SpaceSnapshot
from euclidesdb_server.values.arrays import Rows, Vector

GROWTH: Final = 4
"""How many times larger k is in a repeated search."""
MAX_NEIGHBORS: Final = 1_000_000
"""In the answers to one call, for each model, and in a repeated search: they are held in memory."""
ITSELF: Final = -1
"""In place of a row: the item that a query is about."""


class Candidate(NamedTuple):
    """A row, by its number in a snapshot, that may be in the answer."""

    id: str
    distance: float
    row: int


class SpaceQuery(msgspec.Struct, frozen=True):
    """A query in a space.

    item_id: the stored item that it is about, if it is about one. examples: the stored items among
    those that it is a combination of.
    """

    vector: Vector
    item_id: str | None = None
    examples: Collection[str] = ()


class FoundRows(msgspec.Struct, frozen=True):
    """The rows nearest to one query: `k` of them, or all there are.

    ids: of the items. rows: their numbers in the snapshot, shape (n,).
    """

    k: int
    ids: Sequence[str]
    distances: Sequence[float]
    rows: Rows

    @property
    def are_all(self) -> bool:
        """Whether the snapshot has no other rows."""
        return len(self.ids) < self.k

    def farther(
        self, snapshot: SpaceSnapshot, vector: Vector, work: SearchWork, *, exactly: bool
    ) -> FoundRows:
        """The rows found by a search for GROWTH times as many.

        Raises InvalidRequest as `SearchWork.add`, and if there would be more than MAX_NEIGHBORS.
        """
        if self.k >= MAX_NEIGHBORS:
            raise InvalidRequest(
                f"the nearest {self.k:,} items are not enough to answer the search: ask for fewer "
                "(top_k, offset) or for more of each group (group_by.max_per_group)"
            )
        k = min(self.k * GROWTH, MAX_NEIGHBORS)
        work.add(1, snapshot.rows_compared(k, exactly=exactly))
        distances, rows = snapshot.search(vector[np.newaxis], k, exactly=exactly)
        return FoundRows(k, snapshot.ids(rows[0]), distances[0].tolist(), rows[0])
