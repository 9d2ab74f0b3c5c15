"""Fusion: one ranking of the results of several models.

Reciprocal rank fusion (Cormack, Clarke and Buettcher, 2009): the score of an item is the sum over
models of 1 / (RANK_CONSTANT + its rank), where ranks begin with 1. It uses ranks alone, so the
distances of the models need not be comparable.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from euclidesdb_server.database.details import returned_attributes, returned_metadata
from euclidesdb_server.database.requests import Conditions
from euclidesdb_server.database.results import FusedNeighbor, ModelAnswer
from euclidesdb_server.database.search_work import SearchWork, text_bytes
from euclidesdb_server.store import FeatureStore

RANK_CONSTANT: Final = 60


def fused_ranking(rankings: Iterable[Sequence[str]]) -> list[tuple[str, float]]:
    """The items of some rankings with their scores, the best first.

    Of items with equal scores, the one that comes first in the first of the rankings is first;
    those that it lacks follow in the order of the next one.
    """
    shares: dict[str, list[float]] = {}
    for ranking in rankings:
        for rank, item_id in enumerate(ranking, 1):
            shares.setdefault(item_id, []).append(1 / (RANK_CONSTANT + rank))
    # math.fsum: the same ranks in another order give the same score
    scores = {item_id: math.fsum(each) for item_id, each in shares.items()}
    return sorted(scores.items(), key=lambda scored: -scored[1])


def fused_neighbors(
    store: FeatureStore, answers: Sequence[ModelAnswer], conditions: Conditions, work: SearchWork
) -> tuple[FusedNeighbor, ...]:
    """The best of all models' results to one query: top_k behind the offset, or all.

    answers: to a request with `fuse`. Items that have been removed meanwhile are left out, if
    anything is read of them.

    Raises the error of an answer, ReplyTooLarge, DeadlineExceeded, StorageError.
    """
    found = [answer.neighbors for answer in answers]
    ranking = fused_ranking([*neighbors.skipped, *neighbors.ids] for neighbors in found)
    first, top_k = conditions.options.offset, conditions.top_k
    if not (conditions.returns_attributes or conditions.include_metadata):
        chosen = [FusedNeighbor(*scored) for scored in ranking[first : first + top_k]]
        work.add_to_reply(sum(text_bytes(each.id) for each in chosen))
        return tuple(chosen)
    return tuple(_with_records(store, ranking, conditions, work))


def _with_records(
    store: FeatureStore,
    ranking: Sequence[tuple[str, float]],
    conditions: Conditions,
    work: SearchWork,
) -> Iterator[FusedNeighbor]:
    returned = 0
    for item_id, score in ranking[conditions.options.offset :]:
        if returned == conditions.top_k:
            return
        work.check()
        record = store.item(item_id)
        if record is None:
            continue
        returned += 1
        work.add_to_reply(text_bytes(item_id))
        yield FusedNeighbor(
            item_id,
            score,
            returned_attributes(record, conditions, work)
            if conditions.returns_attributes
            else None,
            returned_metadata(record, work) if conditions.include_metadata else None,
        )
