"""SpaceSearch: answers the queries of one call in one space.

The queries are searched together, in blocks of bounded work (`search_work`). Each query sees one
moment of the space. Conditions that the index knows nothing of are applied to what a block found
(`post_filter`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain

import msgspec

from euclidesdb_server.database.post_filter import PostFilter, others
from euclidesdb_server.database.requests import Conditions
from euclidesdb_server.database.results import Answers, Neighbors
from euclidesdb_server.database.search_work import SearchWork, texts_bytes
from euclidesdb_server.errors import DatabaseError
from euclidesdb_server.index import ModelSpace
from euclidesdb_server.index.space import Found
from euclidesdb_server.store import FeatureStore
from euclidesdb_server.values.arrays import Matrix


class SpaceQueries(msgspec.Struct, frozen=True):
    """The queries of a search in one space.

    vectors: of the queries that can be searched, in order, shape (n, feature_dim). errors: why
    the others cannot, by position among all `count` queries. item_ids: the stored item that each
    vector is of; None if all are of none.
    """

    count: int
    vectors: Matrix
    errors: dict[int, DatabaseError]
    item_ids: Sequence[str | None] | None = None


class SpaceSearch(msgspec.Struct, frozen=True):
    """A search in one space under some conditions. work: of the call."""

    store: FeatureStore
    space: ModelSpace
    conditions: Conditions
    work: SearchWork

    def answers(self, queries: SpaceQueries) -> Answers:
        """The outcome of each query.

        Raises InvalidRequest, ReplyTooLarge, DeadlineExceeded, StorageError.
        """
        conditions = self.conditions
        item_ids = queries.item_ids
        k = rows_wanted(conditions, by_id=item_ids is not None)
        post_filter = None
        if not conditions.ids_and_distances_only or (item_ids and conditions.include_self):
            post_filter = PostFilter(self.store, self.space, conditions, k, self.work)
        counts: list[int] = []
        found: list[Neighbors] = []
        count, dim = queries.vectors.shape
        for block in self.work.blocks(count, self.space.rows_compared(k), dim):
            nearest = self.space.search(queries.vectors[block], k, int32_only=conditions.int32_ids)
            if post_filter is not None:
                answered = _filtered(post_filter, queries, block, nearest)
            elif item_ids is not None:
                answered = _others(item_ids[block], nearest, conditions.top_k)
                self.work.add_to_reply(sum(texts_bytes(each.ids) for each in answered))
            else:
                searched, width = nearest.distances.shape
                counts += [width] * searched
                self.work.add_to_reply(texts_bytes(nearest.ids))
                found.append(Neighbors(nearest.ids, nearest.distances.ravel().tolist()))
                continue
            counts += map(len, answered)
            found += answered
        neighbors = found[0] if len(found) == 1 else _concatenated(found, conditions)
        return _answers(counts, neighbors, queries)


def rows_wanted(conditions: Conditions, *, by_id: bool = False) -> int:
    """How many rows a space is searched for first."""
    # the item that a query is about is among the nearest, and is left out
    return conditions.top_k + by_id


def _others(item_ids: Sequence[str | None], found: Found, count: int) -> list[Neighbors]:
    """The rows found for each query, without the item that it is about."""
    width = found.distances.shape[1]
    return [
        others(item_id, found.ids[row * width : (row + 1) * width], distances, count)
        for row, (item_id, distances) in enumerate(
            zip(item_ids, found.distances.tolist(), strict=True)
        )
    ]


def _filtered(
    post_filter: PostFilter, queries: SpaceQueries, block: slice, found: Found
) -> list[Neighbors]:
    """What the conditions leave of the rows found for a block of queries."""
    vectors = queries.vectors[block]
    item_ids = [None] * len(vectors) if queries.item_ids is None else queries.item_ids[block]
    distances: list[list[float]] = found.distances.tolist()
    width = found.distances.shape[1]
    return [
        post_filter.answer(
            vector, item_id, found.ids[row * width : (row + 1) * width], distances[row]
        )
        for row, (vector, item_id) in enumerate(zip(vectors, item_ids, strict=True))
    ]


def _answers(counts: Sequence[int], neighbors: Neighbors, queries: SpaceQueries) -> Answers:
    """counts: of the queries that were searched; those that could not be count 0."""
    if not queries.errors:
        return Answers(counts, neighbors)
    searched = iter(counts)
    every = [0 if row in queries.errors else next(searched) for row in range(queries.count)]
    return Answers(every, neighbors, queries.errors)


def _concatenated(answers: Iterable[Neighbors], conditions: Conditions) -> Neighbors:
    answers = [*answers]
    join = chain.from_iterable
    return Neighbors(
        [*join(each.ids for each in answers)],
        [*join(each.distances for each in answers)],
        [*join(each.attributes_json or () for each in answers)]
        if conditions.include_attributes
        else None,
        [*join(each.metadata or () for each in answers)] if conditions.include_metadata else None,
    )
