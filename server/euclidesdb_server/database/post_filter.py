"""Post-filtering: from the nearest rows to the answer that a search's conditions allow.

Conditions are applied after the nearest-neighbor search; if too few neighbors remain, the search
is repeated with a larger k. The most frequent one, that an item is not similar to itself, never
needs that (`others`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np

from euclidesdb_server.database.requests import Conditions
from euclidesdb_server.database.results import Neighbors
from euclidesdb_server.database.search_work import SearchWork, text_bytes, texts_bytes
from euclidesdb_server.index import ModelSpace
from euclidesdb_server.store import FeatureStore
from euclidesdb_server.values.arrays import Vector
from euclidesdb_server.values.metric import MetricKind

GROWTH: Final = 4
"""How many times larger k is in a repeated search."""


def others(item_id: str | None, ids: list[str], distances: list[float], count: int) -> Neighbors:
    """The first `count` neighbors of an item besides itself; ids, distances: of count + 1, or all.

    The lists may be changed.
    """
    if item_id in ids:
        itself = ids.index(item_id)
        del ids[itself], distances[itself]
    return Neighbors(ids, distances).first(count)


class PostFilter(msgspec.Struct, frozen=True):
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

        Raises InvalidRequest, ReplyTooLarge, DeadlineExceeded as `SearchWork` does.
        """
        k, before = self.k, self.work.reply_bytes
        while True:
            self.work.check()
            self.work.reply_bytes = before
            neighbors = self._matching(vector, item_id, ids, distances)
            complete = len(neighbors) >= self.conditions.top_k or len(ids) < k
            if complete or self._beyond_limit(distances):
                neighbors = neighbors.first(self.conditions.top_k)
                self.work.add_to_reply(texts_bytes(neighbors.ids))
                return neighbors
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
        """The nearest top_k, with what was requested of the items' records; items that were removed
        meanwhile are left out.

        Records are read one at a time, and no further than a reply may have: there may be a
        thousand, and items that were stored before there was a limit can be of any size.
        """
        conditions = self.conditions
        ids, distances = list[str](), list[float]()
        attributes, metadata = list[str](), list[bytes]()
        for item_id, distance in pairs:
            if len(ids) == conditions.top_k:
                break
            record = self.store.item(item_id)
            if record is None:
                continue
            ids.append(item_id)
            distances.append(distance)
            if conditions.include_attributes:
                attributes.append(record.attributes_json)
                self.work.add_to_reply(text_bytes(record.attributes_json))
            if conditions.include_metadata:
                metadata.append(record.metadata)
                self.work.add_to_reply(len(record.metadata))
        return Neighbors(
            ids,
            distances,
            attributes if conditions.include_attributes else None,
            metadata if conditions.include_metadata else None,
        )
