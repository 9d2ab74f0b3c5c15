"""An approximate index proposes rows; this ranks them by the one definition of distance.

What an index lacks of the contract is made up here: it may propose fewer rows than asked
for, padding (-1), duplicates, rows the mask forbids, in any order and at any distance of
its own. Answers have exactly min(k, allowed) rows all the same: the index is asked more
widely where it proposed too few, and at last the allowed rows are compared one by one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from euclidesdb_server.engines.distances import distances_to, nearest, pair_distances, rows_at
from euclidesdb_server.engines.scan import MatrixScan
from euclidesdb_server.values.arrays import Distances, Matrix, Rows
from euclidesdb_server.values.row_mask import RowMask

# So few rows are compared one by one in any case.
_FEW_ROWS = 256

# What a row costs an index that must look at it, in rows of a scan. 100,000 rows of 128, one
# query: half a microsecond for each candidate of a graph, and 50 ns for each row of a scan (100 ns
# where few are allowed). That a batch shares a scan's matrix product is left out: a query is to
# have the same answer alone and in a batch.
_INDEX_COST = 10

# How many times further an index is asked where it proposed too few, and how often.
_FURTHER = 4
_TRIES = 3

# Proposals for all queries that are ranked at a time: 8 MiB of row numbers.
_PROPOSALS = 1 << 20


@dataclass(frozen=True, slots=True)
class Demand:
    """What an index is asked to propose.

    count: rows for each query, distinct and allowed.
    allowed: the rows that count; None: all.
    widening: at least 1; how many times further than as configured an index must look that
        knows nothing of the mask, and more where it proposed too few before.
    """

    count: int
    allowed: RowMask | None
    widening: float


class Proposer(Protocol):
    """An approximate index. Called from many threads at once."""

    def propose(self, queries: Matrix, demand: Demand) -> Rows:
        """Rows for each query, shape (queries, any number), as few and as wrong as they may be.

        -1 stands for none. An index that does not compare a query with every allowed row must
        not look for allowed rows only, but propose `count * widening` rows of any kind: if
        the allowed ones are elsewhere, that they are too few shows it. It would take those it
        came across for the nearest otherwise: where whole clusters are forbidden, HNSW32 with
        a selector had a recall of 0.75 at one row in two, where it has 0.99 of all rows.
        """


@dataclass(frozen=True, slots=True)
class RankedProposals:
    """A segment's search: `index` proposes rows of `scan`.

    rerank: how many times the rows wanted the index is to propose.
    """

    index: Proposer
    scan: MatrixScan
    rerank: int

    def search(self, queries: Matrix, k: int, allowed: RowMask | None) -> tuple[Distances, Rows]:
        """As `Segment.search`."""
        total = len(self.scan.vectors)
        available = total if allowed is None else allowed.count
        k = min(k, available)
        if available <= max(2 * k, _FEW_ROWS):
            return self.scan.search(queries, k, allowed)
        if allowed is None:
            enough = k
            count = min(k * self.rerank, total)
        else:
            enough = min(k * self.rerank, available)
            # Of as many rows as hold `enough` allowed ones on average, twice the deviation more.
            deviation = math.sqrt(enough * (1 - available / total))
            count = min(math.ceil(enough + 2 * deviation) + 1, available)
        demand = Demand(count, allowed, total / available)
        if len(queries) == 1 and allowed is None and count * _INDEX_COST < available:
            alone = self._rank_one(queries, k, demand)
            if alone is not None:
                return alone
        found = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
        short = np.arange(len(queries))
        for _ in range(_TRIES):
            if not len(short) or demand.count * demand.widening * _INDEX_COST >= available:
                break
            short = self._search_short(queries, short, demand, enough, found)
            demand = replace(demand, widening=demand.widening * _FURTHER)
        if len(short):
            found[0][short], found[1][short] = self.scan.search(queries[short], k, allowed)
        return found

    def _rank_one(self, query: Matrix, k: int, demand: Demand) -> tuple[Distances, Rows] | None:
        """The answer to a single query, as `_rank` finds it, at a third of the time.

        None where the proposals are too few, or need to be tidied up.
        """
        proposed = np.sort(self.index.propose(query, demand)[0])
        if len(proposed) < k or proposed[0] < 0 or not (proposed[1:] > proposed[:-1]).all():
            return None
        measured = distances_to(query, rows_at(self.scan.vectors, proposed), self.scan.metric)
        chosen = nearest(measured, k)
        return measured[chosen][np.newaxis], proposed[chosen][np.newaxis]

    def _search_short(
        self,
        queries: Matrix,
        short: npt.NDArray[np.intp],
        demand: Demand,
        enough: int,
        found: tuple[Distances, Rows],
    ) -> npt.NDArray[np.intp]:
        """Answer the `short` ones of the queries; returns which had too few proposals."""
        k = found[0].shape[1]
        step = max(1, _PROPOSALS // math.ceil(demand.count * demand.widening))
        still_short = []
        for start in range(0, len(short), step):
            part = short[start : start + step]
            found[0][part], found[1][part], counts = self._rank(queries[part], k, demand)
            still_short.append(part[counts < enough])
        return np.concatenate(still_short)

    def _rank(
        self, queries: Matrix, k: int, demand: Demand
    ) -> tuple[Distances, Rows, npt.NDArray[np.intp]]:
        """Distances and rows, shape (queries, k), and how many proposals they are chosen from."""
        proposed = np.sort(self.index.propose(queries, demand), axis=1)
        if proposed.shape[1] < k:
            proposed = np.pad(proposed, ((0, 0), (k - proposed.shape[1], 0)), constant_values=-1)
        counts = proposed >= 0
        counts[:, 1:] &= proposed[:, 1:] != proposed[:, :-1]
        if demand.allowed is not None:
            counts &= demand.allowed.allows(proposed)
        # Proposals that do not count are NaN, and so behind those at infinite distance; rows
        # ascend, so that those at equal distance do after the stable sort.
        measured = np.full(proposed.shape, np.nan, np.float32)
        pairs = np.flatnonzero(counts)
        measured.reshape(-1)[pairs] = pair_distances(
            queries,
            pairs // proposed.shape[1],
            self.scan.vectors,
            proposed.reshape(-1)[pairs],
            self.scan.metric,
        )
        order = np.argsort(measured, axis=1, kind="stable")[:, :k]
        order += np.arange(len(order))[:, None] * proposed.shape[1]
        return measured.take(order), proposed.take(order), np.count_nonzero(counts, axis=1)
