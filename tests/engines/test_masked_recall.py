"""A search restricted to few rows finds its nearest as surely as one of all rows.

The hard masks are not random ones but those that forbid the rows near the query: an index that
searches a region without allowed rows takes the first one it meets for the nearest.
"""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest

from euclidesdb_server.engines.annoy import AnnoyEngine, AnnoyOptions
from euclidesdb_server.engines.exact import ExactEngine
from euclidesdb_server.engines.exact_disk import ExactDiskEngine
from euclidesdb_server.engines.faiss import FaissEngine, FaissOptions
from euclidesdb_server.engines.scan import search_matrix
from euclidesdb_server.index import filtered_search
from euclidesdb_server.values.row_mask import RowMask

ROWS, DIM, CLUSTERS, K = 20_000, 32, 100, 10


def faiss_engine(index_type, **options):
    return FaissEngine(FaissOptions(index_type=index_type, **options))


ENGINES = {
    "exact": ExactEngine(),
    "exact_disk": ExactDiskEngine(),
    "annoy": AnnoyEngine(AnnoyOptions(metric="l2", trees=16)),
    "annoy of few trees": AnnoyEngine(AnnoyOptions(metric="l2", trees=4)),
    "HNSW32": faiss_engine("HNSW32"),
    "HNSW32, inner product": faiss_engine("HNSW32", metric="inner_product"),
    "HNSW32_SQ8": faiss_engine("HNSW32_SQ8"),
    "IVF64,Flat": faiss_engine("IVF64,Flat"),
    "IVF64_HNSW32,Flat": faiss_engine("IVF64_HNSW32,Flat"),
    "IVF64,PQ8x4": faiss_engine("IVF64,PQ8x4", nprobe=4),
    "IVF64,PQ8x4fs": faiss_engine("IVF64,PQ8x4fs"),
    "PCA16,IVF64,PQ8x4": faiss_engine("PCA16,IVF64,PQ8x4"),
    "PQ8x4": faiss_engine("PQ8x4"),
    "SQ8": faiss_engine("SQ8"),
    "LSH": faiss_engine("LSH"),
    "RaBitQ": faiss_engine("RaBitQ"),
}


class Data:
    """Rows in clusters, queries near rows, and masks."""

    def __init__(self):
        random = np.random.default_rng(0)
        centers = random.standard_normal((CLUSTERS, DIM)) * 2
        self.cluster = random.integers(0, CLUSTERS, ROWS)
        rows = centers[self.cluster] + random.standard_normal((ROWS, DIM))
        self.rows = rows.astype(np.float32)
        queries = rows[random.choice(ROWS, 50, replace=False)]
        self.queries = (queries + 0.3 * random.standard_normal(queries.shape)).astype(np.float32)

    @functools.cache  # noqa: B019  # there is one
    def truth(self, metric, kind, share):
        """The distances of the nearest rows, which are the same for all engines of a metric."""
        allowed = None if kind is None else self.mask(kind, share)
        return search_matrix(self.queries, self.rows, K, allowed, metric)[0]

    @functools.cache  # noqa: B019
    def mask(self, kind, share):
        random = np.random.default_rng(1)
        rank: np.ndarray
        match kind:
            case "at random":
                rank = random.permutation(ROWS)
            case "whole clusters":
                rank = random.permutation(CLUSTERS)[self.cluster]
            case "one side":
                rank = self.rows @ random.standard_normal(DIM)
            case "far from a query":
                rank = -np.linalg.norm(self.rows - self.queries[0], axis=1)
        allowed = np.zeros(ROWS, bool)
        allowed[np.argsort(rank, kind="stable")[: round(share * ROWS)]] = True
        return RowMask(allowed)


@pytest.fixture(scope="module")
def data():
    return Data()


@pytest.fixture(params=ENGINES.values(), ids=list(ENGINES))
def engine(request):
    return request.param


def recall(segment, data, metric, kind=None, share=1.0):
    """The share of answers that are not farther than the true last one."""
    allowed = None if kind is None else data.mask(kind, share)
    found, rows = segment.search(data.queries, K, allowed)
    truth = data.truth(metric, kind, share)
    assert found.shape == truth.shape
    if allowed is not None:
        assert allowed.allows(rows).all()
    return (found <= truth[:, -1:]).mean()


KINDS = ("at random", "whole clusters", "one side", "far from a query")
SHARES = (0.9, 0.5, 0.2, 0.05, 0.005, 0.0001)


def test_recall_under_a_mask_is_that_of_all_rows(engine, data, subtests):
    segment = engine.build(data.rows)
    unmasked = recall(segment, data, engine.metric)
    for kind, share in itertools.product(KINDS, SHARES):
        with subtests.test(kind, share=share):
            assert recall(segment, data, engine.metric, kind, share) >= 0.95 * unmasked


GRAPHS = ("HNSW32", "HNSW32, inner product", "HNSW32_SQ8")


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_finds_the_nearest_that_match_a_filter(name, data, subtests, monkeypatch):
    monkeypatch.setattr(filtered_search, "EXACT_ROWS", 0)  # else all would be compared
    monkeypatch.setattr(filtered_search, "ROWS_PER_NEIGHBOR", 2)
    engine = ENGINES[name]
    segment = engine.build(data.rows)
    for kind, share in itertools.product(KINDS, (0.9, 0.5, 0.2, 0.05)):
        with subtests.test(kind, share=share):
            allowed, truth = data.mask(kind, share), data.truth(engine.metric, kind, share)
            ((found, rows),) = filtered_search.search_segments(
                [segment], data.queries, K, [allowed]
            )
            assert found.shape == truth.shape
            assert allowed.allows(rows).all()
            assert (np.diff(found, axis=1) >= 0).all()
            assert (found <= truth[:, -1:]).mean() >= 0.99
            alone = filtered_search.search_segments([segment], data.queries[:1], K, [allowed])
            assert alone[0][1].tolist() == rows[:1].tolist()


@pytest.mark.parametrize("name", ENGINES)
def test_few_rows_that_match_a_filter_are_compared_one_by_one(name, data):
    engine = ENGINES[name]
    segment = engine.build(data.rows)
    for share in (0.5, 0.0001):
        allowed = data.mask("far from a query", share)
        ((found, _),) = filtered_search.search_segments([segment], data.queries, K, [allowed])
        assert (found == data.truth(engine.metric, "far from a query", share)).all()


def test_several_segments_share_what_a_filtered_search_costs(data, monkeypatch):
    monkeypatch.setattr(filtered_search, "EXACT_ROWS", ROWS // 4)
    monkeypatch.setattr(filtered_search, "ROWS_PER_NEIGHBOR", 2)
    engine = ENGINES["HNSW32"]
    parts = [data.rows[start : start + ROWS // 4] for start in range(0, ROWS, ROWS // 4)]
    segments = [engine.build(part) for part in parts]
    masks = [RowMask(np.arange(len(part)) % 2 == 0) for part in parts]
    answers = filtered_search.search_segments(segments, data.queries, K, [None, *masks[1:]])
    near = np.sort(np.concatenate([found for found, _ in answers], axis=1), axis=1)[:, :K]
    allowed = np.concatenate([np.ones(ROWS // 4, bool), *[mask.as_bool() for mask in masks[1:]]])
    truth, _ = search_matrix(data.queries, data.rows, K, RowMask(allowed), engine.metric)
    assert (near <= truth[:, -1:]).mean() >= 0.99
