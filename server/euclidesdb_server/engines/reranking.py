"""Re-ranking: an approximate index generates candidates, which are ranked by their true distance.

`RerankedSearch` turns an index that falls short of the contract of a `Segment` into one that
fulfills it. The index may return fewer candidates than requested, padding (-1), duplicates, and
rows that the mask forbids, in any order and by any distance. The search still returns exactly
min(k, allowed) rows, with their true distances: if too few candidates are usable, the index is
searched again more widely, and finally the allowed rows are compared one by one.

Knows neither faiss nor annoy: an index is a `CandidateSource`.
"""

from __future__ import annotations

import math
from typing import Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from euclidesdb_server.engines.distances import (
    distances_to,
    pair_distances,
    rows_at,
    table_distances,
)
from euclidesdb_server.engines.scan import MatrixScan
from euclidesdb_server.values.arrays import Distances, Matrix, Rows
from euclidesdb_server.values.row_mask import RowMask

# Up to this many allowed rows are always compared one by one.
_MAX_ROWS_TO_SCAN = 256

# The cost of a candidate in an index, in rows of a scan. 100,000 rows of 128, one query: half a
# microsecond for each candidate of a graph, and 50 ns for each row of a scan (100 ns if few rows
# are allowed). That a batch of queries shares a scan's matrix product is ignored: a query must
# have the same answer alone and in a batch.
_CANDIDATE_COST = 10

# If there are too few candidates, the index is searched again with the over-fetch factor multiplied
# by this, but not more than this many times in all.
_OVERFETCH_GROWTH = 4
_MAX_ATTEMPTS = 3

# Candidates, over all queries, that are ranked at a time: 8 MiB of row numbers.
_MAX_CANDIDATES = 1 << 20


class CandidateRequest(msgspec.Struct, frozen=True):
    """What an index is requested to find.

    count: candidates for each query, distinct and allowed.
    allowed: the rows that are usable; None: all.
    overfetch: at least 1; how many times more widely than configured an index that cannot take
        the mask must search. It covers the rows that the mask forbids, and grows if a search
        found too few candidates.
    """

    count: int
    allowed: RowMask | None
    overfetch: float

    @property
    def cost(self) -> float:
        """What it costs for each query, in rows of a scan."""
        return self.count * self.overfetch * _CANDIDATE_COST

    def wider(self) -> CandidateRequest:
        """What to ask for if this did not find enough."""
        return msgspec.structs.replace(self, overfetch=self.overfetch * _OVERFETCH_GROWTH)


class CandidateSource(Protocol):
    """An approximate index. Called from many threads at once."""

    def find_candidates(self, queries: Matrix, request: CandidateRequest) -> Rows:
        """Candidates for each query, shape (queries, any number); -1 is padding. The caller may
        change the array.

        Unless the index compares a query with every allowed row, it must not search for allowed
        rows only, but return `count * overfetch` rows of any kind: if the allowed ones are
        elsewhere, this shows because too few are among them. Otherwise the index would take the
        allowed rows that it came across for the nearest ones: with whole clusters forbidden,
        HNSW32 with a selector had a recall of 0.75 with half of the rows allowed, compared to
        0.99 with all of them.
        """


class RerankedSearch(msgspec.Struct, frozen=True):
    """The search of a segment: `index` generates candidates among the rows of `scan`.

    rerank: how many times k the number of candidates must be.
    """

    index: CandidateSource
    scan: MatrixScan
    rerank: int

    def search(self, queries: Matrix, k: int, allowed: RowMask | None) -> tuple[Distances, Rows]:
        """As `Segment.search`."""
        if len(queries) == 1:
            candidates = self.single_candidates(queries, k, allowed)
            if candidates is not None:
                rows = rows_at(self.scan.vectors, candidates)
                measured = distances_to(queries, rows, self.scan.metric)
                order = measured.argsort(kind="stable")[:k]
                return measured.take(order)[np.newaxis], candidates.take(order)[np.newaxis]
        available = self._available(allowed)
        k = min(k, available)
        if available <= max(2 * k, _MAX_ROWS_TO_SCAN):
            return self.scan.search(queries, k, allowed)
        request, enough = self._request(k, allowed, available)
        attempts = _MAX_ATTEMPTS
        if len(queries) == 1:  # it has been searched once
            request, attempts = request.wider(), attempts - 1
        found = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
        incomplete = np.arange(len(queries))
        for _ in range(attempts):
            if not len(incomplete) or request.cost >= available:
                break
            incomplete = self._search_incomplete(queries, incomplete, request, enough, found)
            request = request.wider()
        if len(incomplete):
            found[0][incomplete], found[1][incomplete] = self.scan.search(
                queries[incomplete], k, allowed
            )
        return found

    def single_candidates(self, query: Matrix, k: int, allowed: RowMask | None) -> Rows | None:
        """As `protocol.single_candidates`."""
        available = self._available(allowed)
        if available <= _MAX_ROWS_TO_SCAN or available <= 2 * k:
            return None
        request, enough = self._request(k, allowed, available)
        if request.cost >= available:
            return None
        (candidates,) = self.index.find_candidates(query, request)
        candidates.sort()
        if len(candidates) and (
            candidates[0] < 0 or (candidates[1:] == candidates[:-1]).nonzero()[0].size
        ):
            candidates = np.unique(candidates[candidates >= 0])
        if allowed is not None:
            candidates = candidates[allowed.allows(candidates)]
        return candidates if len(candidates) >= enough else None

    def _available(self, allowed: RowMask | None) -> int:
        return len(self.scan.vectors) if allowed is None else allowed.count

    def _request(
        self, k: int, allowed: RowMask | None, available: int
    ) -> tuple[CandidateRequest, int]:
        """What to ask of the index at first, and how many candidates are enough."""
        total = len(self.scan.vectors)
        if allowed is None:
            return CandidateRequest(min(k * self.rerank, total), None, 1), k
        enough = min(k * self.rerank, available)
        # The number of allowed rows among those found varies: two standard deviations more
        # than hold `enough` of them on average.
        deviation = math.sqrt(enough * (1 - available / total))
        count = min(math.ceil(enough + 2 * deviation) + 1, available)
        return CandidateRequest(count, allowed, total / available), enough

    def _search_incomplete(
        self,
        queries: Matrix,
        incomplete: npt.NDArray[np.intp],
        request: CandidateRequest,
        enough: int,
        found: tuple[Distances, Rows],
    ) -> npt.NDArray[np.intp]:
        """Answer the queries at the positions `incomplete`, into `found`.

        Returns the positions of those that had fewer than `enough` usable candidates.
        """
        k = found[0].shape[1]
        step = max(1, _MAX_CANDIDATES // math.ceil(request.count * request.overfetch))
        still_incomplete = []
        for start in range(0, len(incomplete), step):
            part = incomplete[start : start + step]
            found[0][part], found[1][part], counts = self._rerank(queries[part], k, request)
            still_incomplete.append(part[counts < enough])
        return np.concatenate(still_incomplete)

    def _rerank(
        self, queries: Matrix, k: int, request: CandidateRequest
    ) -> tuple[Distances, Rows, npt.NDArray[np.intp]]:
        """Distances and rows, shape (queries, k), and the numbers of usable candidates."""
        candidates = np.sort(self.index.find_candidates(queries, request), axis=1)
        if candidates.shape[1] < k:
            missing = k - candidates.shape[1]
            candidates = np.pad(candidates, ((0, 0), (missing, 0)), constant_values=-1)
        same = candidates[:, 1:] == candidates[:, :-1]
        if request.allowed is None and candidates[:, 0].min() >= 0 and not same.any():
            measured = table_distances(queries, self.scan.vectors, candidates, self.scan.metric)
            counts = np.full(len(queries), candidates.shape[1])
            return *_nearest(measured, candidates, k), counts
        usable = candidates >= 0
        usable[:, 1:] &= ~same
        if request.allowed is not None:
            usable &= request.allowed.allows(candidates)
        # Unusable candidates are NaN, and so sort after those at infinite distance. Candidates
        # ascend, so after the stable sort those at equal distance do, too.
        measured = np.full(candidates.shape, np.nan, np.float32)
        pairs = np.flatnonzero(usable)
        measured.reshape(-1)[pairs] = pair_distances(
            queries,
            pairs // candidates.shape[1],
            self.scan.vectors,
            candidates.reshape(-1)[pairs],
            self.scan.metric,
        )
        return *_nearest(measured, candidates, k), np.count_nonzero(usable, axis=1)


def _nearest(measured: Distances, candidates: Rows, k: int) -> tuple[Distances, Rows]:
    """The k nearest candidates of each query; at equal distance those further left come first."""
    order = np.argsort(measured, axis=1, kind="stable")[:, :k]
    order += np.arange(len(order))[:, np.newaxis] * candidates.shape[1]
    return measured.take(order), candidates.take(order)
