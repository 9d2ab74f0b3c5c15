"""A scan answers, bit for bit, as if it had measured every row, whatever the values are."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from euclidesdb_server.engines.bounds import (
    BoundCalculator,
    can_bound,
    needs_squares,
    squared_lengths,
)
from euclidesdb_server.engines.distances import distances, normalized
from euclidesdb_server.engines.scan import MatrixScan, search_matrix
from euclidesdb_server.values.metric import COSINE, INNER_PRODUCT, L2, Metric, MetricKind
from euclidesdb_server.values.row_mask import RowMask

L1 = Metric(MetricKind.LP, p=1)
LINF = Metric(MetricKind.LP, p=np.inf)
BOUNDED = [L2, COSINE, INNER_PRODUCT]
"""The metrics that have bounds."""
METRICS = [*BOUNDED, L1, LINF]

# Few values, so that duplicates and ties are common.
coarse = st.sampled_from([-2.0, -1.0, 0.0, 0.5, 1.0])


def assert_a_stable_sort(answer, queries, vectors, k, allowed, metric):
    """`answer` is what sorting all distances gives, equal ones in the order of rows."""
    candidates = len(vectors) if allowed is None else np.count_nonzero(allowed)
    assert answer[0].shape == (len(queries), min(k, candidates))
    assert_the_first(answer, sorted_rows(queries, vectors, allowed, metric), k)


def sorted_rows(queries, vectors, allowed, metric):
    """For each query all distances and their rows, as a stable sort gives them."""
    candidates = np.arange(len(vectors)) if allowed is None else np.flatnonzero(allowed)
    answers = []
    for query in queries:
        measured = distances(query, vectors, metric)[candidates]
        order = np.argsort(measured, kind="stable")
        answers.append((measured[order], candidates[order]))
    return answers


def assert_the_first(answer, expected, k):
    """`answer` is the first k of `expected`, which `sorted_rows` made."""
    found, rows = answer
    assert found.shape == rows.shape
    for query_found, query_rows, (all_found, all_rows) in zip(found, rows, expected, strict=True):
        np.testing.assert_array_equal(query_rows, all_rows[:k])
        np.testing.assert_array_equal(query_found, all_found[:k])


@st.composite
def searches(draw):
    rows, dim = draw(st.integers(0, 60)), draw(st.integers(1, 5))
    vectors = draw(arrays(np.float32, (rows, dim), elements=coarse))
    # Up to 40, so that there are searches on either side of the few pairs measured at once.
    queries = draw(arrays(np.float32, (draw(st.integers(0, 40)), dim), elements=coarse))
    allowed = draw(st.none() | arrays(bool, rows))
    metric = draw(st.sampled_from(METRICS))
    if metric.normalizes:
        vectors, queries = normalized(vectors), normalized(queries)
    return queries, vectors, draw(st.integers(1, 70)), allowed, metric


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(searches())
def test_a_search_is_a_stable_sort_of_all_distances(search):
    queries, vectors, k, allowed, metric = search
    mask = None if allowed is None else RowMask(allowed)
    answer = search_matrix(queries, vectors, k, mask, metric)
    assert_a_stable_sort(answer, queries, vectors, k, allowed, metric)


@pytest.mark.parametrize("metric", METRICS, ids=str)
def test_a_single_query_is_answered_as_by_a_stable_sort(metric, subtests):
    for values in ("spread", "equal", "huge"):
        for forbidden in (0.0, 0.01, 0.4):
            with subtests.test(values, forbidden=forbidden):
                check_a_single_query(metric, values, forbidden)


def check_a_single_query(metric, values, forbidden):
    random = np.random.default_rng(7)
    vectors = random.standard_normal((1500, 9)).astype(np.float32)
    if values == "equal":
        vectors[:] = np.round(vectors)
        vectors[200:1400] = vectors[100]
    elif values == "huge":
        vectors[::3] *= np.float32(1e25)
    if metric.normalizes:
        vectors = normalized(vectors)
    allowed = random.random(len(vectors)) >= forbidden if forbidden else None
    mask = None if allowed is None else RowMask(allowed)
    squares = squared_lengths(vectors)
    for query in vectors[:4]:
        expected = sorted_rows(query[None], vectors, allowed, metric)
        for k in (1, 10, 1499, 2000):
            answer = search_matrix(query[None], vectors, k, mask, metric, squares=squares)
            assert_the_first(answer, expected, k)


@pytest.mark.parametrize("metric", METRICS, ids=str)
def test_only_rows_beyond_the_limit_may_be_left_out(metric, subtests):
    for forbidden in (0.0, 0.3):
        with subtests.test(forbidden=forbidden):
            check_a_limited_search(metric, forbidden)


def check_a_limited_search(metric, forbidden):
    random = np.random.default_rng(8)
    vectors = random.standard_normal((800, 9)).astype(np.float32)
    if metric.normalizes:
        vectors = normalized(vectors)
    allowed = random.random(len(vectors)) >= forbidden
    mask, squares = RowMask(allowed), squared_lengths(vectors)
    for query in vectors[:5]:
        measured = distances(query, vectors, metric)
        for rank in (0, 3, 50, 799):
            within = np.sort(measured)[rank]
            found, rows = search_matrix(
                query[None], vectors, 10, mask, metric, squares=squares, within=within[None]
            )
            wanted = [row for row in np.argsort(measured, kind="stable") if allowed[row]][:10]
            sure = [row for row in wanted if measured[row] <= within]
            assert rows[0].tolist()[: len(sure)] == sure
            assert rows[0].tolist() == wanted[: rows.shape[1]]
            np.testing.assert_array_equal(found[0], measured[rows[0]])


def spread(random, rows, dim):
    return random.standard_normal((rows, dim))


def far_from_the_origin(random, rows, dim):
    """Cancellation: differences in the last digits of large numbers."""
    return 1000 + random.standard_normal((rows, dim)) * 1e-3


def nearly_tied(random, rows, dim):
    """All on one sphere around a row, but for the last digits."""
    around = random.standard_normal((rows, dim))
    around /= np.linalg.norm(around, axis=1, keepdims=True)
    around[0] = 0
    return 30 + around * (1 + 1e-7 * random.standard_normal((rows, 1)))


def tied(random, rows, dim):
    return random.integers(-1, 2, (rows, dim))


def of_all_magnitudes(random, rows, dim):
    """From 1e-44 to 3e38: squares that underflow and overflow among ordinary ones."""
    scale = 10.0 ** random.uniform(-44, 38, (rows, 1))
    return random.uniform(-3, 3, (rows, dim)) * scale


def tiny(random, rows, dim):
    return random.standard_normal((rows, dim)) * 1e-30


def huge(random, rows, dim):
    return random.standard_normal((rows, dim)) * 1e30


def at_the_limit(random, rows, dim):
    """Their squared lengths are about what float32 can hold."""
    vectors = spread(random, rows, dim)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True) * 1.8e19


def mostly_zero(random, rows, dim):
    return random.standard_normal((rows, dim)) * (random.random((rows, 1)) < 0.3)


def ever_nearer(random, rows, dim):
    """Each row nearer to the queries, the last rows, than all before it."""
    return random.standard_normal((1, dim)) * np.linspace(9, 1, rows)[:, None]


def one_outlier(random, rows, dim):
    vectors = random.standard_normal((rows, dim))
    vectors[rows // 2] = 1e20
    return vectors


KINDS = [
    spread,
    far_from_the_origin,
    nearly_tied,
    tied,
    of_all_magnitudes,
    tiny,
    huge,
    at_the_limit,
    mostly_zero,
    ever_nearer,
    one_outlier,
]


def prepared(kind, rows, dim, metric, seed=0):
    """Rows of that kind, and queries that are rows, near rows and zero."""
    random = np.random.default_rng(seed)
    vectors = np.clip(kind(random, rows, dim), -3e38, 3e38).astype(np.float32)
    queries = np.concatenate((vectors[[0, rows // 2, -1]], vectors[1:4] * 1.01, vectors[:1] * 0))
    queries = np.ascontiguousarray(queries, np.float32)
    if metric.normalizes:
        vectors, queries = normalized(vectors), normalized(queries)
    return vectors, queries


PAIRS = [(2, 0.6), (33, None)]
OTHER_PAIRS = [(2, None), (33, 0.6)]
"""Of a dimension and a share of allowed rows."""


@pytest.mark.parametrize("pairs", [PAIRS, pytest.param(OTHER_PAIRS, marks=pytest.mark.long)])
@pytest.mark.parametrize("kind", KINDS)
def test_bounds_lose_no_row_of_the_answer(kind, pairs, subtests):
    for metric, (dim, share) in itertools.product(BOUNDED, pairs):
        with subtests.test(metric=str(metric), dim=dim, share=share):
            check_bounded_search(kind, metric, dim, share)


def check_bounded_search(kind, metric, dim, share):
    rows = 10_000  # more than a block
    vectors, queries = prepared(kind, rows, dim, metric)
    allowed = None if share is None else np.random.default_rng(1).random(rows) < share
    mask = None if allowed is None else RowMask(allowed)
    expected = sorted_rows(queries, vectors, allowed, metric)
    for k in (1, 10, 700):
        assert_the_first(search_matrix(queries, vectors, k, mask, metric), expected, k)


@pytest.mark.parametrize("kind", KINDS)
def test_every_distance_is_within_its_bounds(kind, subtests):
    for metric, dim in itertools.product(BOUNDED, (1, 3, 128, 700)):
        with subtests.test(metric=str(metric), dim=dim):
            check_bounds(kind, metric, dim)


def check_bounds(kind, metric, dim):
    vectors, queries = prepared(kind, 500, dim, metric)
    squares = squared_lengths(vectors) if needs_squares(metric, dim) else None
    with np.errstate(over="ignore", invalid="ignore"):
        bounds = BoundCalculator(queries, metric).bounds(vectors, squares)
        measured = np.stack([distances(query, vectors, metric) for query in queries])
        score = measured.astype(np.float64) ** (2 if metric is L2 else 1)
        score -= bounds.base[:, None]
        low = bounds.low - bounds.slack[:, None]
        high = bounds.low + bounds.slack[:, None]
        if bounds.spread is not None:
            high += bounds.spread
    assert not (score < low).any()
    assert not (score > high).any()
    if kind is spread:
        assert np.isfinite(low).all()


@pytest.mark.parametrize("metric", BOUNDED, ids=str)
def test_bounds_leave_few_rows_to_measure(metric):
    vectors, queries = prepared(spread, 5000, 64, metric)
    squares = squared_lengths(vectors) if needs_squares(metric, 64) else None
    bounds = BoundCalculator(queries[3:6], metric).bounds(vectors, squares)
    assert (bounds.low <= bounds.limit_of_kth(10)[:, None]).sum(axis=1).max() <= 15


def test_there_are_no_bounds_for_p_norms_and_very_long_vectors():
    assert not can_bound(L1, 8)
    assert not can_bound(L2, 100_000)
    vectors, queries = prepared(spread, 30, 40_000, L2)
    answer = search_matrix(np.repeat(queries, 6, axis=0), vectors, 3, None, L2)
    assert_a_stable_sort(answer, np.repeat(queries, 6, axis=0), vectors, 3, None, L2)


@pytest.mark.parametrize("metric", BOUNDED, ids=str)
def test_a_row_of_nan_or_infinity_displaces_no_other(metric):
    vectors, queries = prepared(spread, 9000, 8, metric)
    broken = vectors.copy()
    broken[17], broken[8500] = np.nan, np.inf
    _, rows = search_matrix(queries[:3], broken, 10, None, metric)
    allowed = np.ones(9000, bool)
    allowed[[17, 8500]] = False
    _, expected = search_matrix(queries[:3], vectors, 10, RowMask(allowed), metric)
    for found, wanted in zip(rows, expected, strict=True):
        real = found[~np.isin(found, [17, 8500])]
        np.testing.assert_array_equal(real, wanted[: len(real)])
        assert len(real) >= 8


@pytest.mark.parametrize("metric", METRICS, ids=str)
def test_rows_need_no_alignment(metric):
    """Rows in a file that faiss wrote begin at any byte."""
    vectors, queries = prepared(spread, 3000, 33, metric)
    memory = np.empty(vectors.nbytes + 3, np.uint8)
    unaligned = memory[3:].view(np.float32).reshape(vectors.shape)
    unaligned[:] = vectors
    assert not unaligned.flags.aligned
    for mask in (None, RowMask(np.arange(3000) % 5 == 0)):
        for many in (queries, queries[:1]):
            expected = search_matrix(many, vectors, 10, mask, metric)
            for answer in (
                search_matrix(many, unaligned, 10, mask, metric),
                MatrixScan(unaligned, metric).search(many, 10, mask),
            ):
                np.testing.assert_array_equal(answer[0], expected[0])
                np.testing.assert_array_equal(answer[1], expected[1])


@pytest.mark.parametrize("k", [1, 10, 2000, 29_999, 30_000])
def test_the_nearest_of_many_blocks_are_a_stable_sort(k):
    """30,000 rows of 512 make 15 blocks; coarse values make ties across them."""
    random = np.random.default_rng(4)
    vectors = np.zeros((30_000, 512), np.float32)
    vectors[:, 0] = random.integers(0, 50, 30_000)
    query = np.zeros((1, 512), np.float32)
    found, rows = search_matrix(query, vectors, k, None, L2)
    np.testing.assert_array_equal(rows[0], np.argsort(vectors[:, 0], kind="stable")[:k])
    np.testing.assert_array_equal(found[0], vectors[rows[0], 0])


@pytest.mark.parametrize("kind", [spread, far_from_the_origin, ever_nearer])
def test_a_scan_of_many_queries_holds_blocks_and_not_the_rows(kind):
    vectors, _ = prepared(kind, 60_000, 128, L2)  # 31 MB; all pairs would take 24 MB a float
    queries = vectors[:100].copy()
    tracemalloc.start()
    try:
        search_matrix(queries, vectors, 10, None, L2)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 24 << 20
