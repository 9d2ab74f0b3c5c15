"""An approximate index proposes rows; this ranks them by the one definition of distance.

What an index lacks of the contract is made up here: it may propose fewer rows than asked
for, padding (-1), duplicates, rows the mask forbids, in any order and at any distance of
its own. Answers have exactly min(k, allowed) rows all the same: the index is asked more
widely where it proposed too few, and at last the allowed rows are compared one by one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from euclidesdb_server.engines.distances import distances, nearest, search_matrix
from euclidesdb_server.types import Distances, Matrix, Metric, RowMask, Rows, Vector

# So few rows are compared one by one sooner than any index finds them: a filtered graph or
# inverted list must pass over 50 forbidden rows for each allowed one.
_FEW_ROWS = 256
_FEW_OF_ALL = 0.02

_WIDENINGS = (1, 8, 64)


@dataclass(frozen=True, slots=True)
class Demand:
    """What an index is asked to propose.

    k: distinct allowed rows per query that the answer needs.
    allowed: the rows that count; None: all.
    widening: at least 1; how many times further than as configured the index must look, for
        the mask's sake and because it proposed too few before.
    """

    k: int
    allowed: RowMask | None
    widening: float


class Proposer(Protocol):
    """An approximate index. Called from many threads at once."""

    def propose(self, queries: Matrix, demand: Demand) -> Iterable[Rows]:
        """Rows for each query, as many and as wrong as they may be."""


@dataclass(frozen=True, slots=True)
class RankedProposals:
    """A segment's search: `index` proposes rows of `vectors`, shape (n, dim)."""

    index: Proposer
    vectors: Matrix
    metric: Metric

    def search(self, queries: Matrix, k: int, allowed: RowMask | None) -> tuple[Distances, Rows]:
        """As `Segment.search`."""
        available = len(self.vectors) if allowed is None else allowed.count
        k = min(k, available)
        if available <= max(2 * k, _FEW_ROWS, _FEW_OF_ALL * len(self.vectors)):
            return search_matrix(queries, self.vectors, k, allowed, self.metric)
        found = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
        mask = None if allowed is None else allowed.as_bool()
        short = np.arange(len(queries))
        for widening in _WIDENINGS:
            demand = Demand(k, allowed, widening * len(self.vectors) / available)
            proposals = self.index.propose(queries[short], demand)
            still_short = []
            for query, proposed in zip(short.tolist(), proposals, strict=True):
                candidates = np.unique(proposed[proposed >= 0])
                if mask is not None:
                    candidates = candidates[mask[candidates]]
                if len(candidates) < k:
                    still_short.append(query)
                else:
                    found[0][query], found[1][query] = self._rank(queries[query], candidates, k)
            short = np.array(still_short, np.int64)
            if not still_short:
                return found
        found[0][short], found[1][short] = search_matrix(
            queries[short], self.vectors, k, allowed, self.metric
        )
        return found

    def _rank(self, query: Vector, candidates: Rows, k: int) -> tuple[Vector, Rows]:
        """The k nearest of the candidates, which ascend, so that ties do."""
        measured = distances(query, self.vectors[candidates], self.metric)
        chosen = nearest(measured, k)
        return measured[chosen], candidates[chosen]
