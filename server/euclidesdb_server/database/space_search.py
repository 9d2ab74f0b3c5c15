"""SpaceSearch: answers the queries of one call in one space.

The queries are searched together, in blocks of bounded work (`search_work`). Each query sees one
moment of the space. Conditions that the index knows nothing of are applied to what a block found
(`post_filter`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain

import msgspec

from euclidesdb_server.columns import ItemTable
from euclidesdb_server.database.candidates import GROWTH, MAX_NEIGHBORS, FoundRows, SpaceQuery
from euclidesdb_server.database.details import DetailsReader
from euclidesdb_server.database.grouping import Grouping
from euclidesdb_server.database.post_filter import PostFilter, others
from euclidesdb_server.database.requests import Conditions
from euclidesdb_server.database.results import Answers, Neighbors
from euclidesdb_server.database.search_work import SearchWork, texts_bytes
from euclidesdb_server.errors import DatabaseError
from euclidesdb_server.index import ModelSpace
from euclidesdb_server.index.allowed_labels import AllowedLabels
from euclidesdb_server.index.snapshot import SpaceSnapshot
from euclidesdb_server.store import FeatureStore
from euclidesdb_server.values.arrays import Distances, Matrix


class SpaceQueries(msgspec.Struct, frozen=True):
    """The queries of a search in one space.

    vectors: of the queries that can be searched, in order, shape (n, feature_dim). errors: why
    the others cannot, by position among all `count` queries. item_ids: the stored item that each
    vector is of; None if all are of none. examples: the stored items among the examples that each
    vector combines; None if there are none.
    """

    count: int
    vectors: Matrix
    errors: dict[int, DatabaseError]
    item_ids: Sequence[str | None] | None = None
    examples: Sequence[Collection[str]] | None = None

    def of_block(self, block: slice) -> Iterator[SpaceQuery]:
        """The queries that can be searched at the positions of a slice."""
        for position in range(*block.indices(len(self.vectors))):
            yield SpaceQuery(
                self.vectors[position],
                None if self.item_ids is None else self.item_ids[position],
                () if self.examples is None else self.examples[position],
            )

    def left_out(self) -> int:
        """How many rows may have to be left out of the answer to a query."""
        own = 0 if self.item_ids is None else 1
        return max(own, max(map(len, self.examples or ()), default=0))


class SpaceSearch(msgspec.Struct, frozen=True):
    """A search in one space under some conditions.

    table: of all items, for the filter. work: of the call. labels: the names of the classes that
    the model predicts; empty if they are not known.
    """

    store: FeatureStore
    table: ItemTable
    space: ModelSpace
    conditions: Conditions
    work: SearchWork
    labels: Sequence[str] = ()

    def answers(self, queries: SpaceQueries) -> Answers:
        """The outcome of each query.

        Raises InvalidRequest, ReplyTooLarge, DeadlineExceeded, StorageError.
        """
        conditions = self.conditions
        item_ids = queries.item_ids
        k = first_k(conditions, queries)
        exactly = conditions.options.exact
        needs_filter = not conditions.ids_and_distances_only or queries.examples is not None
        needs_filter |= item_ids is not None and conditions.include_self
        counts: list[int] = []
        found: list[Neighbors] = []
        count, dim = queries.vectors.shape
        fixed, grouping = self._of_one_moment()
        compared = self._compared(fixed, k, count)
        for block in self.work.blocks(count, compared, dim):
            snapshot = fixed or self._snapshot()
            near, rows = snapshot.search(queries.vectors[block], k, exactly=exactly)
            ids, width = snapshot.ids(rows.reshape(-1)), near.shape[1]
            if needs_filter:
                post_filter = self._post_filter(snapshot, grouping)
                answered = [
                    post_filter.answer(
                        query, FoundRows(k, ids[at * width : (at + 1) * width], distances, rows[at])
                    )
                    for at, (query, distances) in enumerate(
                        zip(queries.of_block(block), near.tolist(), strict=True)
                    )
                ]
            elif item_ids is not None:
                answered = _others(item_ids[block], ids, near, conditions.top_k)
                self.work.add_to_reply(sum(texts_bytes(each.ids) for each in answered))
            else:
                counts += [width] * len(near)
                self.work.add_to_reply(texts_bytes(ids))
                found.append(Neighbors(ids, near.ravel().tolist()))
                continue
            counts += map(len, answered)
            found += answered
        neighbors = found[0] if len(found) == 1 else _concatenated(found, conditions)
        return _answers(counts, neighbors, queries)

    def _of_one_moment(self) -> tuple[SpaceSnapshot | None, Grouping | None]:
        """The rows of items that match the filter, and what groups them; None if neither is wanted.

        Without a filter these are all rows.
        """
        condition, group_by = self.conditions.filter, self.conditions.options.group_by
        if condition is None and group_by is None:
            return None, None
        number = self.space.record.number
        view, snapshot = self.table.view_with(self.work.check, self._snapshot)
        if condition is not None:
            labels = view.select(condition, self.work.check).vector_labels(number)
            snapshot = snapshot.only(AllowedLabels(labels))
        if group_by is None:
            return snapshot, None
        return snapshot, Grouping(view, number, group_by.field, group_by.max_per_group)

    def _snapshot(self) -> SpaceSnapshot:
        return self.space.snapshot(int32_only=self.conditions.int32_ids)

    def _compared(self, fixed: SpaceSnapshot | None, k: int, queries: int) -> int:
        """About how many rows each query is compared with; what a filter adds is counted."""
        exactly = self.conditions.options.exact
        compared = self.space.rows_compared(k, exactly=exactly)
        if fixed is None or exactly:
            return compared
        with_filter = fixed.rows_compared(k)
        self.work.add(queries, max(0, with_filter - compared))
        return with_filter

    def _post_filter(self, snapshot: SpaceSnapshot, grouping: Grouping | None) -> PostFilter:
        number = self.space.record.number
        details = DetailsReader(
            self.store, number, self.labels, self.conditions, grouping, self.work
        )
        return PostFilter(self.space, snapshot, self.conditions, grouping, details, self.work)


def rows_wanted(conditions: Conditions) -> int:
    """How many rows a space is searched for first, besides those that are left out."""
    wanted = conditions.options.pool(conditions.top_k)
    return wanted if conditions.options.group_by is None else wanted * GROWTH


def first_k(conditions: Conditions, queries: SpaceQueries) -> int:
    """How many rows a space is searched for first."""
    # the items that a query is about are among the nearest, and are left out
    k = rows_wanted(conditions) + queries.left_out()
    least = conditions.options.pool(conditions.top_k) + 1
    # all queries of a block are searched for as many rows
    return k if k <= least else max(least, min(k, MAX_NEIGHBORS // max(1, queries.count)))


def _others(
    item_ids: Sequence[str | None], ids: list[str], near: Distances, count: int
) -> list[Neighbors]:
    """The rows found for each query, without the item that it is about."""
    width = near.shape[1]
    return [
        others(item_id, ids[row * width : (row + 1) * width], distances, count)
        for row, (item_id, distances) in enumerate(zip(item_ids, near.tolist(), strict=True))
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
        if conditions.returns_attributes
        else None,
        [*join(each.metadata or () for each in answers)] if conditions.include_metadata else None,
        [*join(each.details or () for each in answers)]
        if conditions.options.returns_details
        else None,
    )
