"""Post-filtering: from the nearest rows to the answer that a search's conditions allow.

Conditions are applied after the nearest-neighbor search; if too few neighbors remain, the search
is repeated with a larger k.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from euclidesdb_server.database.requests import Conditions
from euclidesdb_server.database.results import Neighbors
from euclidesdb_server.database.search_work import SearchWork
from euclidesdb_server.index import ModelSpace
from euclidesdb_server.store import FeatureStore
from euclidesdb_server.values.arrays import Vector
from euclidesdb_server.values.metric import MetricKind

GROWTH: Final = 4
"""How many times larger k is in a repeated search."""


@dataclass(frozen=True, slots=True)
class PostFilter:
    """Applies the conditions of one search in one space.

    k: how many rows the space was searched for first. work: of the call.
    """

    store: FeatureStore
    space: ModelSpace
    conditions: Conditions
    k: int
    work: SearchWork

    def answer(
        self,
        vector: Vector,
        item_id: str | None,
        ids: Sequence[str],
        distances: Sequence[float],
    ) -> Neighbors:
        """The nearest neighbors that meet the conditions: top_k, or as many as there are.

        vector: the query. item_id: the stored item that the query is about, if it is about one.
        ids, distances: the `k` nearest rows, or all.

        All rows are read in one search at a time, so an item that is written meanwhile is found
        either as it was or as it is, never twice.

        Raises InvalidRequest, DeadlineExceeded as `SearchWork` does.
        """
        k = self.k
        while True:
            self.work.check()
            neighbors = self._matching(vector, item_id, ids, distances)
            complete = len(neighbors) >= self.conditions.top_k or len(ids) < k
            if complete or self._beyond_limit(distances):
                return neighbors.first(self.conditions.top_k)
            k *= GROWTH
            self.work.add(1, self.space.rows_compared(k))
            found = self.space.search(vector[np.newaxis], k, int32_only=self.conditions.int32_ids)
            ids, distances = found.ids, found.distances[0].tolist()

    def _beyond_limit(self, distances: Sequence[float]) -> bool:
        """Whether every farther row is beyond max_distance."""
        limit = self.conditions.max_distance
        return limit is not None and bool(distances) and distances[-1] > limit

    def _matching(
        self, vector: Vector, item_id: str | None, ids: Sequence[str], distances: Sequence[float]
    ) -> Neighbors:
        conditions = self.conditions
        pairs = list(zip(ids, distances, strict=True))
        if item_id is not None:
            pairs = [pair for pair in pairs if pair[0] != item_id]
            if conditions.include_self:
                pairs = self._with_itself(item_id, vector, pairs)
        if conditions.max_distance is not None:
            pairs = [pair for pair in pairs if pair[1] <= conditions.max_distance]
        if conditions.include_attributes or conditions.include_metadata:
            return self._with_records(pairs)
        return Neighbors([pair[0] for pair in pairs], [pair[1] for pair in pairs])

    def _with_itself(
        self, item_id: str, vector: Vector, others: list[tuple[str, float]]
    ) -> list[tuple[str, float]]:
        """Insert the item itself, before others at the same distance."""
        distance = self.space.distance(vector, vector)
        place = 0
        if self.space.metric.kind is MetricKind.INNER_PRODUCT:
            # Others may be nearer to the item than it is to itself.
            place = sum(other[1] < distance for other in others)
        return [*others[:place], (item_id, distance), *others[place:]]

    def _with_records(self, pairs: Sequence[tuple[str, float]]) -> Neighbors:
        """Add what was requested of the items' records; leave out items removed meanwhile."""
        conditions = self.conditions
        records = self.store.items([item_id for item_id, _ in pairs])
        found = [
            (*pair, record)
            for pair, record in zip(pairs, records, strict=True)
            if record is not None
        ]
        return Neighbors(
            [item_id for item_id, _, _ in found],
            [distance for _, distance, _ in found],
            [record.attributes_json for _, _, record in found]
            if conditions.include_attributes
            else None,
            [record.metadata for _, _, record in found] if conditions.include_metadata else None,
        )
