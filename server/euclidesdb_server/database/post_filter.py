"""Post-filtering: from the nearest rows to the answer that a search's conditions allow.

Conditions are applied after the nearest-neighbor search; if too few neighbors remain, the search
is repeated with a larger k. The most frequent one, that an item is not similar to itself, never
needs that (`others`).

The steps: leave out what must not be returned, limit groups (`grouping`), choose among these for
diversity (`diversity`), leave out the first ones (the offset), and read what is returned of the
rest (`details`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final

import msgspec
import numpy as np

from euclidesdb_server.database.candidates import ITSELF, Candidate, FoundRows, SpaceQuery
from euclidesdb_server.database.details import DetailsReader
from euclidesdb_server.database.diversity import diversified
from euclidesdb_server.database.grouping import Grouping
from euclidesdb_server.database.requests import Conditions
from euclidesdb_server.database.results import Neighbors
from euclidesdb_server.database.search_work import SearchWork
from euclidesdb_server.errors import InvalidRequest
from euclidesdb_server.index import ModelSpace
from euclidesdb_server.index.snapshot import SpaceSnapshot
from euclidesdb_server.values.arrays import Labels
from euclidesdb_server.values.metric import MetricKind

MAX_CANDIDATE_BYTES: Final = 256 << 20
"""Of the vectors among which diversity chooses."""


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

    snapshot: of the space; what it returns has been restricted to the rows that may be returned.
    work: of the call.
    """

    space: ModelSpace
    snapshot: SpaceSnapshot
    conditions: Conditions
    grouping: Grouping | None
    details: DetailsReader
    work: SearchWork

    def answer(self, query: SpaceQuery, found: FoundRows) -> Neighbors:
        """The neighbors that meet the conditions: top_k, or as many as there are.

        found: the nearest rows.

        All rows are of one moment, so an item that is written meanwhile is found either as it was
        or as it is, never twice.

        Raises InvalidRequest, ReplyTooLarge, DeadlineExceeded, StorageError.
        """
        options, top_k = self.conditions.options, self.conditions.top_k
        gone: set[str] = set()
        before = self.work.reply_bytes
        while True:
            self.work.reply_bytes = before
            candidates, found = self._candidates(query, found, gone)
            ranked = self._ranked(query, candidates)[: options.offset + top_k]
            neighbors, removed = self.details.read(ranked[options.offset :])
            if not removed:
                if options.fuse:
                    skipped = [candidate.id for candidate in ranked[: options.offset]]
                    return msgspec.structs.replace(neighbors, skipped=skipped)
                return neighbors
            gone |= removed

    def _candidates(
        self, query: SpaceQuery, found: FoundRows, gone: Collection[str]
    ) -> tuple[list[Candidate], FoundRows]:
        """Those to rank, as many as needed or as there are, and the rows that they are from.

        gone: items that are not stored any more.
        """
        count = self.conditions.options.pool(self.conditions.top_k)
        while True:
            self.work.check()
            passing = self._passing(query, found, gone)
            if self.grouping is not None:
                passing = self.grouping.limited(passing, self._labels(passing), count)
            if len(passing) >= count or found.are_all or self._beyond_limit(found):
                return passing[:count], found
            found = found.farther(
                self.snapshot, query.vector, self.work, exactly=self.conditions.options.exact
            )

    def _labels(self, candidates: Sequence[Candidate]) -> Labels:
        """The labels of the vectors of candidates; 0 for an item that has none any more."""
        rows = np.array([candidate.row for candidate in candidates], np.int64)
        labels = np.zeros(len(rows), np.int64)
        found = rows != ITSELF
        labels[found] = self.snapshot.labels(rows[found])
        for place in np.flatnonzero(~found).tolist():
            stored = self.details.store.vector_labels(candidates[place].id) or {}
            labels[place] = stored.get(self.space.record.number, 0)
        return labels

    def _beyond_limit(self, found: FoundRows) -> bool:
        """Whether every farther row is beyond max_distance."""
        limit = self.conditions.max_distance
        return limit is not None and bool(found.distances) and found.distances[-1] > limit

    def _passing(
        self, query: SpaceQuery, found: FoundRows, gone: Collection[str]
    ) -> list[Candidate]:
        """The rows that may be in the answer, nearest first."""
        conditions = self.conditions
        candidates = list(map(Candidate, found.ids, found.distances, found.rows.tolist()))
        left_out = {*gone}
        if query.item_id is not None:
            left_out.add(query.item_id)
        if not conditions.include_self:
            left_out.update(query.examples)
        if left_out:
            candidates = [each for each in candidates if each.id not in left_out]
        item_id = query.item_id if conditions.include_self else None
        if item_id is not None and item_id not in gone and self._may_return(item_id):
            candidates = self._with_itself(query, item_id, candidates)
        if conditions.max_distance is not None:
            limit = conditions.max_distance
            candidates = [each for each in candidates if each.distance <= limit]
        return candidates

    def _may_return(self, item_id: str) -> bool:
        """Whether an item matches the filter."""
        if self.conditions.filter is None:
            return True
        labels = self.details.store.vector_labels(item_id) or {}
        label = labels.get(self.space.record.number)
        return label is not None and self.snapshot.allows(label)

    def _with_itself(
        self, query: SpaceQuery, item_id: str, others: list[Candidate]
    ) -> list[Candidate]:
        """Insert the item itself, before others at the same distance."""
        distance = self.space.distance(query.vector, query.vector)
        place = 0
        if self.space.metric.kind is MetricKind.INNER_PRODUCT:
            # Others may be nearer to the item than it is to itself.
            place = sum(other.distance < distance for other in others)
        return [*others[:place], Candidate(item_id, distance, ITSELF), *others[place:]]

    def _ranked(self, query: SpaceQuery, candidates: list[Candidate]) -> list[Candidate]:
        options = self.conditions.options
        if options.diversity is None or not candidates:
            return candidates
        count = options.offset + self.conditions.top_k
        size = query.vector.nbytes * len(candidates)
        if size > MAX_CANDIDATE_BYTES:
            raise InvalidRequest(
                f"the vectors of {len(candidates):,} candidates of diversity have {size:,} bytes; "
                f"the limit is {MAX_CANDIDATE_BYTES:,}: choose among fewer (diversity.candidates)"
            )
        self.work.add(min(count, len(candidates)), len(candidates))
        order = diversified(
            [candidate.distance for candidate in candidates],
            self._vectors(query, candidates),
            self.space.metric,
            weight=options.diversity.weight,
            count=count,
            check=self.work.check,
        )
        return [candidates[place] for place in order]

    def _vectors(
        self, query: SpaceQuery, candidates: Iterable[Candidate]
    ) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        """The vectors of candidates, as the space compares them."""
        rows = np.array([candidate.row for candidate in candidates], np.int64)
        stored = rows != ITSELF
        vectors = self.snapshot.prepared(query.vector[np.newaxis]).repeat(len(rows), 0)
        vectors[stored] = self.snapshot.vectors(rows[stored])
        return vectors
