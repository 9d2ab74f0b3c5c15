"""Candidates become results: an index is asked for more, and finally replaced by a scan."""

from __future__ import annotations

import numpy as np
import pytest

from euclidesdb_server.engines import reranking
from euclidesdb_server.engines.faiss import FaissEngine, FaissOptions
from euclidesdb_server.engines.reranking import CandidateRequest, RerankedSearch
from euclidesdb_server.engines.scan import MatrixScan, search_matrix
from euclidesdb_server.values.metric import L2
from euclidesdb_server.values.row_mask import RowMask
from tests.engines.engine_cases import ROWS, clustered, near

VECTORS = clustered(ROWS, L2)
QUERIES = near(VECTORS, L2, 4)


class Scripted:
    """Returns all rows if `enough` are requested, else padding, a duplicate and one row."""

    def __init__(self, enough):
        self.enough = enough
        self.asked = []

    def find_candidates(self, queries, request):
        self.asked.append((len(queries), request.overfetch))
        rows = np.arange(ROWS) if request.overfetch >= self.enough else np.array([5, -1, 5])
        return np.tile(rows, (len(queries), 1))


def every_other_row():
    allowed = np.zeros(ROWS, bool)
    allowed[::2] = True
    return RowMask(allowed)


@pytest.mark.parametrize(
    ("enough", "mask", "asked"),
    [
        (1, None, [1]),
        (16, None, [1, 4, 16]),
        (np.inf, None, [1, 4, 16]),
        (1, every_other_row(), [2]),
        (8, every_other_row(), [2, 8]),
        # Farther, it would have to look at more rows than a scan does in the same time.
        (np.inf, every_other_row(), [2, 8]),
    ],
)
def test_an_index_that_proposes_too_few_is_asked_further(enough, mask, asked):
    index = Scripted(enough)
    answer = RerankedSearch(index, MatrixScan(VECTORS, L2), rerank=1).search(QUERIES, 10, mask)
    assert index.asked == [(4, widening) for widening in asked]
    expected = search_matrix(QUERIES, VECTORS, 10, mask, L2)
    np.testing.assert_array_equal(answer[1], expected[1])
    np.testing.assert_array_equal(answer[0], expected[0])


def test_only_the_queries_left_short_are_asked_again():
    class OneShort(Scripted):
        def find_candidates(self, queries, request):
            few = super().find_candidates(queries, request)
            rows = np.tile(np.arange(ROWS), (len(queries), 1))
            rows[0] = np.resize(few[0], ROWS)
            return rows

    index = OneShort(4)
    _, rows = RerankedSearch(index, MatrixScan(VECTORS, L2), rerank=1).search(QUERIES, 10, None)
    assert index.asked == [(4, 1), (1, 4)]
    np.testing.assert_array_equal(rows, search_matrix(QUERIES, VECTORS, 10, None, L2)[1])


@pytest.mark.parametrize("share", [0.0, 0.01, 0.05])
def test_few_rows_are_compared_without_the_index(share):
    allowed = np.zeros(ROWS, bool)
    allowed[: round(share * ROWS)] = True
    index = Scripted(1)
    RerankedSearch(index, MatrixScan(VECTORS, L2), rerank=1).search(QUERIES, 10, RowMask(allowed))
    assert index.asked == []


def test_rows_that_tie_come_in_order_whatever_the_order_of_proposals():
    same = np.repeat(VECTORS[:1], ROWS, axis=0)

    class Backwards:
        def find_candidates(self, queries, _request):
            return np.tile(np.arange(ROWS)[::-1], (len(queries), 1))

    found, rows = RerankedSearch(Backwards(), MatrixScan(same, L2), rerank=1).search(
        QUERIES, 10, every_other_row()
    )
    np.testing.assert_array_equal(rows, [np.arange(0, 20, 2)] * 4)
    assert (found == found[:, :1]).all()


def test_rows_at_infinite_distance_are_found_and_padding_is_not():
    far = VECTORS.copy()
    far[:20] = 3e38

    class Few:
        def find_candidates(self, queries, _request):
            return np.tile(np.concatenate((np.arange(20), np.full(30, -1))), (len(queries), 1))

    queries = -far[:2]
    found, rows = RerankedSearch(Few(), MatrixScan(far, L2), rerank=1).search(queries, 10, None)
    assert np.isinf(found).all()
    np.testing.assert_array_equal(rows, [np.arange(10)] * 2)


def test_many_queries_are_asked_for_in_parts(monkeypatch):
    monkeypatch.setattr(reranking, "_MAX_CANDIDATES", 64)
    index = Scripted(1)
    _, rows = RerankedSearch(index, MatrixScan(VECTORS, L2), rerank=2).search(QUERIES, 10, None)
    assert index.asked == [(3, 1), (1, 1)]
    np.testing.assert_array_equal(rows, search_matrix(QUERIES, VECTORS, 10, None, L2)[1])


@pytest.mark.parametrize("index_type", ["SQ8", "PCA16,SQ8", "SQ8,RFlat"])
def test_an_index_that_compares_all_rows_is_handed_the_mask(index_type):
    segment = FaissEngine(FaissOptions(index_type=index_type)).build(VECTORS)
    allowed = np.random.default_rng(0).random(ROWS) < 0.1
    rows = segment.find_candidates(QUERIES, CandidateRequest(50, RowMask(allowed), overfetch=10))
    assert rows.shape[1] >= 50
    assert allowed[rows].all()


@pytest.mark.parametrize("index_type", ["HNSW16", "IVF16,SQ8", "PCA16,IVF16,Flat", "PQ8x4fs"])
def test_any_other_proposes_forbidden_rows_too(index_type):
    """Then too few allowed ones among them say that it must look further."""
    segment = FaissEngine(FaissOptions(index_type=index_type)).build(VECTORS)
    allowed = np.random.default_rng(0).random(ROWS) < 0.1
    rows = segment.find_candidates(QUERIES, CandidateRequest(50, RowMask(allowed), overfetch=10))
    assert rows.shape[1] == 500
    assert not allowed[rows[rows >= 0]].all()
