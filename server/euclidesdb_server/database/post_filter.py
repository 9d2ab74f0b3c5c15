"""PostFilter: what an answer must be beside near, and what is told of the items in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from euclidesdb_server.database.requests import Conditions
from euclidesdb_server.database.results import Neighbors
from euclidesdb_server.index import ModelSpace
from euclidesdb_server.store import FeatureStore
from euclidesdb_server.values.arrays import Vector
from euclidesdb_server.values.metric import MetricKind


@dataclass(frozen=True, slots=True)
class PostFilter:
    """Makes answers of what a space found, of the `looked_at` nearest rows, or all there are."""

    store: FeatureStore
    space: ModelSpace
    conditions: Conditions
    looked_at: int

    def answer(
        self,
        vector: Vector,
        item_id: str | None,
        ids: Sequence[str],
        distances: Sequence[float],
    ) -> Neighbors:
        """The nearest that fulfill the conditions: top_k, or as many as there are.

        vector: the query. item_id: of the stored item that it is about.

        The rows are those of one moment: an item that is rewritten meanwhile is found where it
        was, and never missed or found twice.
        """
        looked_at = self.looked_at
        while True:
            neighbors = self._acceptable(vector, item_id, ids, distances)
            enough = len(neighbors) >= self.conditions.top_k or len(ids) < looked_at
            if enough or self._too_far(distances):
                return _first(neighbors, self.conditions.top_k)
            looked_at *= 4  # some were not acceptable: look further
            found = self.space.search(vector[np.newaxis], looked_at)
            ids, distances = found.ids[0], found.distances[0].tolist()

    def _too_far(self, distances: Sequence[float]) -> bool:
        """Whether all that are further are too far away."""
        limit = self.conditions.max_distance
        return limit is not None and bool(distances) and distances[-1] > limit

    def _acceptable(
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
        if conditions.accepts is not None:
            pairs = [pair for pair in pairs if conditions.accepts(pair[0])]
        if conditions.include_attributes or conditions.include_metadata:
            return self._with_records(pairs)
        return Neighbors([pair[0] for pair in pairs], [pair[1] for pair in pairs])

    def _with_itself(
        self, item_id: str, vector: Vector, others: list[tuple[str, float]]
    ) -> list[tuple[str, float]]:
        """The item itself put before others as near as it."""
        distance = self.space.distance(vector, vector)
        place = 0
        if self.space.metric.kind is MetricKind.INNER_PRODUCT:
            # others may well be nearer to it than it is itself
            place = sum(other[1] < distance for other in others)
        return [*others[:place], (item_id, distance), *others[place:]]

    def _with_records(self, pairs: Sequence[tuple[str, float]]) -> Neighbors:
        """With what was asked for; without items that are gone meanwhile."""
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


def _first(neighbors: Neighbors, count: int) -> Neighbors:
    if len(neighbors) <= count:
        return neighbors
    attributes, metadata = neighbors.attributes_json, neighbors.metadata
    return Neighbors(
        neighbors.ids[:count],
        neighbors.distances[:count],
        None if attributes is None else attributes[:count],
        None if metadata is None else metadata[:count],
    )
