"""Diversity: results that are near to the query and far from one another.

Maximal marginal relevance (Carbonell and Goldstein, 1998), with minus the distance of the space as
the similarity: of the candidates not chosen yet, the next one is that with the largest

    weight * (its distance to the nearest chosen one) - (1 - weight) * (its distance to the query)

All distances are of the space's metric, so both terms have the same unit, and nothing is
normalized: the score of a candidate depends neither on the others that were not chosen nor on their
number. With `cosine` this is MMR with cosine similarities, with `inner_product` with inner
products.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from euclidesdb_server.engines.distances import distances
from euclidesdb_server.values.arrays import Matrix
from euclidesdb_server.values.metric import Metric

_LARGEST: Final = float(np.finfo(np.float32).max)


def diversified(
    near: Sequence[float],
    vectors: Matrix,
    metric: Metric,
    *,
    weight: float,
    count: int,
    check: Callable[[], None],
) -> list[int]:
    """The positions of `count` candidates (all, if there are fewer), in the order of the choice.

    near: the distance of each candidate to the query. vectors: shape (candidates, dim), of unit
    length if the metric normalizes. At equal scores the earlier candidate is chosen; the first
    choice is the nearest. check: called before each choice; may raise to stop.
    """
    count = min(count, len(near))
    if weight == 0 or count < 2:
        return sorted(range(len(near)), key=near.__getitem__)[:count]
    # infinite distances would cancel out to NaN
    relevance = (1 - weight) * np.clip(np.array(near, np.float64), -_LARGEST, _LARGEST)
    nearest_chosen = np.full(len(near), np.inf)
    chosen = [int(np.argmin(near))]
    is_left = np.ones(len(near), np.bool_)
    while len(chosen) < count:
        check()
        is_left[chosen[-1]] = False
        added = distances(vectors[chosen[-1]], vectors, metric)
        np.minimum(nearest_chosen, np.clip(added, -_LARGEST, _LARGEST), out=nearest_chosen)
        scores = weight * nearest_chosen - relevance
        scores[~is_left] = -np.inf
        chosen.append(int(np.argmax(scores)))
    return chosen
