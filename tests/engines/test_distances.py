"""The definition of distance, and the selection of the nearest, held against numpy in float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from euclidesdb_server.engines.distances import (
    distances,
    distances_to,
    nearest,
    normalized,
    pair_distances,
    table_distances,
)
from euclidesdb_server.values.metric import COSINE, INNER_PRODUCT, L2, Metric, MetricKind
from tests.support.cases import each_as_subtest

L1 = Metric(MetricKind.LP, p=1)
L3 = Metric(MetricKind.LP, p=3)
LINF = Metric(MetricKind.LP, p=np.inf)
METRICS = [L2, COSINE, INNER_PRODUCT, L1, L3, LINF]


def naive(query, rows, metric):
    query, rows = query.astype(np.float64), rows.astype(np.float64)
    match metric.kind:
        case MetricKind.COSINE:
            return 1 - rows @ query
        case MetricKind.INNER_PRODUCT:
            return -(rows @ query)
        case MetricKind.L2 | MetricKind.LP:
            return np.linalg.norm(rows - query, ord=metric.p, axis=1)


@pytest.mark.parametrize("metric", METRICS, ids=str)
def test_distances_agree_with_float64(metric, subtests):
    for dim in (1, 3, 64, 513, 2048, 9000):
        with subtests.test(dim=dim):
            check_against_float64(metric, dim)


def check_against_float64(metric, dim):
    random = np.random.default_rng(dim)
    rows = random.standard_normal((300, dim), np.float32)
    query = random.standard_normal((1, dim), np.float32)
    if metric.normalizes:
        rows, query = normalized(rows), normalized(query)
    found = distances(query[0], rows, metric)
    assert found.dtype == np.float32
    # An inner product errs in proportion to what it sums, not to the sum.
    absolute = 1e-7 * dim if metric is INNER_PRODUCT else 0
    expected = naive(query[0], rows, metric)
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=1e-6 + absolute)


@pytest.mark.parametrize("metric", METRICS, ids=str)
def test_a_distance_does_not_depend_on_the_position_of_the_row(metric, subtests):
    for dim in (1, 7, 33, 511, 8193, 20000):
        with subtests.test(dim=dim):
            check_every_position(metric, dim)


def check_every_position(metric, dim):
    random = np.random.default_rng(dim)
    row = normalized(random.standard_normal((1, dim), np.float32))
    query = normalized(random.standard_normal((1, dim), np.float32))[0]
    alone = distances(query, row, metric)[0]
    rows = np.repeat(row, 203, axis=0)
    assert (distances(query, rows, metric) == alone).all()
    assert (distances(query, rows[5:8], metric) == alone).all()


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(
    st.integers(1, 300),
    st.integers(1, 50),
    st.integers(1, 5),
    st.sampled_from([1e-30, 1e-19, 1.0, 1e18, 1e30]),
    st.integers(0, 2**32 - 1),
)
def test_every_way_to_measure_gives_the_same_distances(dim, rows, queries, scale, seed):
    random = np.random.default_rng(seed)
    vectors = (random.standard_normal((rows, dim)) * scale).astype(np.float32)
    asked = (random.standard_normal((queries, dim)) * scale).astype(np.float32)
    asked[0] = vectors[0]
    of, numbers = random.integers(0, queries, 400), random.integers(0, rows, 400)
    for metric in METRICS:
        if metric.normalizes:
            left, right = normalized(asked), normalized(vectors)
        else:
            left, right = asked, vectors
        table = np.stack([distances(query, right, metric) for query in left])
        found = pair_distances(left, of, right, numbers, metric)
        np.testing.assert_array_equal(found, table[of, numbers])
        of_each = random.integers(0, rows, (queries, 40))
        found = table_distances(left, right, of_each, metric)
        np.testing.assert_array_equal(found, np.take_along_axis(table, of_each, 1))
        for row, query in enumerate(left):
            found = distances_to(query[np.newaxis], right, metric)
            np.testing.assert_array_equal(found, table[row])


@pytest.mark.parametrize("metric", [L2, COSINE, L1, L3, LINF], ids=str)
def test_identical_vectors_are_at_distance_zero(metric, subtests):
    for scale in (1e-44, 1e-25, 1.0, 1e25, 3e38):
        with subtests.test(scale=scale):
            values = np.random.default_rng(1).uniform(-1, 1, (1, 100)) * scale
            row = values.astype(np.float32)
            if metric.normalizes:
                row = normalized(row)
            assert distances(row[0], row, metric)[0] == 0


@pytest.mark.parametrize("metric", [L2, L1, L3, LINF], ids=str)
def test_magnitude_costs_no_accuracy(metric, subtests):
    for scale in (1e-44, 1e-38, 1e-25, 1e-15, 1e15, 1e25, 1e36):
        with subtests.test(scale=scale):
            check_accuracy(metric, scale)


def check_accuracy(metric, scale):
    random = np.random.default_rng(2)
    rows = (random.uniform(-1, 1, (50, 20)) * scale).astype(np.float32)
    query = (random.uniform(-1, 1, 20) * scale).astype(np.float32)
    expected = naive(query, rows, L1 if metric is L1 else Metric(MetricKind.LP, p=metric.p))
    if metric is L3:  # numpy's own norm underflows there
        expected = scale * naive(query / scale, rows / np.float64(scale), L3)
    np.testing.assert_allclose(distances(query, rows, metric), expected, rtol=3e-6, atol=1e-44)


def test_a_distance_beyond_float32_is_infinite_and_never_nan():
    rows = np.array([[3e38, 3e38], [-3e38, 3e38], [0, 0]], np.float32)
    assert distances(rows[1], rows, L2).tolist() == [np.inf, 0, np.inf]
    assert distances_to(rows[1:2], rows, L2).tolist() == [np.inf, 0, np.inf]
    assert table_distances(rows[1:2], rows, np.array([[0, 1, 2]]), L2).tolist() == [
        [np.inf, 0, np.inf]
    ]
    assert distances(rows[1], rows, INNER_PRODUCT).tolist() == [0, -np.inf, 0]


def test_close_vectors_far_from_the_origin_do_not_cancel():
    rows = np.full((3, 64), 1000, np.float32)
    rows[1, 0] += 0.001953125
    rows[2, 0] += 0.25
    assert distances(rows[0], rows, L2).tolist() == [0, 0.001953125, 0.25]


def test_small_angles_keep_their_cosine_distance():
    angles = np.array([0, 1e-3, 1e-2, 0.1, 1, 3])
    rows = np.stack((np.cos(angles), np.sin(angles)), axis=1).astype(np.float32)
    np.testing.assert_allclose(
        distances(rows[0], rows, COSINE), 1 - np.cos(angles), rtol=1e-4, atol=0
    )


def test_a_zero_vector_is_at_cosine_distance_one_from_all():
    rows = np.array([[0, 0], [1, 0], [0, -1]], np.float32)
    assert distances(rows[0], rows, COSINE).tolist() == [1, 1, 1]
    assert distances(rows[1], rows, COSINE).tolist() == [1, 0, 1]


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(
    arrays(np.float32, st.integers(0, 40), elements=st.sampled_from([-1.0, 0.0, 1.0, np.inf])),
    st.integers(1, 50),
)
def test_nearest_is_the_head_of_a_stable_sort(values, k):
    expected = np.argsort(values, kind="stable")[:k]
    np.testing.assert_array_equal(nearest(values, k), expected)


@each_as_subtest("scale", [1e-44, 1e-30, 1.0, 1e30, 3e38])
def test_normalized_rows_are_of_unit_length_at_any_magnitude(scale):
    matrix = (np.random.default_rng(0).uniform(-1, 1, (50, 30)) * scale).astype(np.float32)
    lengths = np.linalg.norm(normalized(matrix).astype(np.float64), axis=1)
    np.testing.assert_allclose(lengths, 1, rtol=1e-6)


def test_normalizing_leaves_zero_rows_and_its_argument_alone():
    matrix = np.array([[0, 0], [3, 4]], np.float32)
    expected = np.array([[0, 0], [0.6, 0.8]])
    np.testing.assert_allclose(normalized(matrix), expected, rtol=1e-7)
    assert matrix.tolist() == [[0, 0], [3, 4]]
