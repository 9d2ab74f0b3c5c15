"""How proposals become answers: an index is asked further, and at last not at all."""

from __future__ import annotations

import numpy as np
import pytest
from engine_cases import ROWS, clustered, near

from euclidesdb_server.engines.faiss import FaissEngine, FaissOptions
from euclidesdb_server.engines.proposals import Demand, RankedProposals
from euclidesdb_server.engines.scan import MatrixScan, search_matrix
from euclidesdb_server.types import L2, RowMask

VECTORS = clustered(ROWS, L2)
QUERIES = near(VECTORS, L2, 4)


class Scripted:
    """Proposes all rows to whoever asks for `enough`, else padding, a duplicate and one row."""

    def __init__(self, enough):
        self.enough = enough
        self.asked = []

    def propose(self, queries, demand):
        self.asked.append((len(queries), demand.widening))
        rows = np.arange(ROWS) if demand.widening >= self.enough else np.array([5, -1, 5])
        return np.tile(rows, (len(queries), 1))


def every_other_row():
    allowed = np.zeros(ROWS, bool)
    allowed[::2] = True
    return RowMask(allowed)


@pytest.mark.parametrize(
    ("enough", "mask", "asked"),
    [
        (1, None, [1]),
        (20, None, [1, 8, 64]),
        (np.inf, None, [1, 8, 64]),
        (1, every_other_row(), [2]),
        (np.inf, every_other_row(), [2, 16, 128]),
    ],
)
def test_an_index_that_proposes_too_few_is_asked_further(enough, mask, asked):
    index = Scripted(enough)
    answer = RankedProposals(index, MatrixScan(VECTORS, L2), rerank=1).search(QUERIES, 10, mask)
    assert index.asked == [(4, widening) for widening in asked]
    expected = search_matrix(QUERIES, VECTORS, 10, mask, L2)
    np.testing.assert_array_equal(answer[1], expected[1])
    np.testing.assert_array_equal(answer[0], expected[0])


def test_only_the_queries_left_short_are_asked_again():
    class OneShort(Scripted):
        def propose(self, queries, demand):
            few = super().propose(queries, demand)
            rows = np.tile(np.arange(ROWS), (len(queries), 1))
            rows[0] = np.resize(few[0], ROWS)
            return rows

    index = OneShort(5)
    _, rows = RankedProposals(index, MatrixScan(VECTORS, L2), rerank=1).search(QUERIES, 10, None)
    assert index.asked == [(4, 1), (1, 8)]
    np.testing.assert_array_equal(rows, search_matrix(QUERIES, VECTORS, 10, None, L2)[1])


@pytest.mark.parametrize("share", [0.0, 0.01, 0.05])
def test_few_rows_are_compared_without_the_index(share):
    allowed = np.zeros(ROWS, bool)
    allowed[: round(share * ROWS)] = True
    index = Scripted(1)
    RankedProposals(index, MatrixScan(VECTORS, L2), rerank=1).search(QUERIES, 10, RowMask(allowed))
    assert index.asked == []


@pytest.mark.parametrize(
    "index_type", ["Flat", "HNSW16", "IVF16,SQ8", "PCA16,IVF16,Flat", "IVF16,PQ8x4,RFlat"]
)
def test_faiss_is_handed_the_mask_and_finds_enough_by_itself(index_type):
    segment = FaissEngine(FaissOptions(index_type=index_type)).build(VECTORS)
    allowed = np.random.default_rng(0).random(ROWS) < 0.1
    proposals = segment.propose(QUERIES, Demand(50, RowMask(allowed), widening=80))
    for rows in proposals:
        found = rows[rows >= 0]
        assert len(found) >= 50
        assert allowed[found].all()
