"""The contract of `engines/protocol.py`, held against every engine, freshly built and loaded."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from euclidesdb_server.engines.distances import distances
from euclidesdb_server.values.metric import MetricKind
from euclidesdb_server.values.row_mask import RowMask
from tests.engines.engine_cases import DIM, ROWS, near, prepared, saved_and_loaded


def brute_force(query, vectors, metric):
    """Each row's distance by the book, in float64."""
    query, vectors = query.astype(np.float64), vectors.astype(np.float64)
    match metric.kind:
        case MetricKind.COSINE:
            return 1 - vectors @ query
        case MetricKind.INNER_PRODUCT:
            return -(vectors @ query)
        case MetricKind.L2 | MetricKind.LP:
            return np.linalg.norm(vectors - query, ord=metric.p, axis=1)


def mask_of(share, seed=5):
    """That share of the rows, or that many where an int."""
    count = share if isinstance(share, int) else round(share * ROWS)
    allowed = np.zeros(ROWS, bool)
    allowed[np.random.default_rng(seed).choice(ROWS, count, replace=False)] = True
    return allowed


SHARES = pytest.mark.parametrize("share", [0.99, 0.5, 0.05, 0.005, 1, 0])


def assert_well_formed(answer, queries, k, allowed):
    found, rows = answer
    expected = (len(queries), min(k, int(allowed.sum())))
    assert found.shape == rows.shape == expected
    assert found.dtype == np.float32
    assert rows.dtype == np.int64
    assert np.isfinite(found).all()
    assert (np.diff(found, axis=1) >= 0).all()
    assert allowed[rows].all()
    assert (rows >= 0).all()
    for row in rows:
        assert len(set(row.tolist())) == len(row)


@pytest.mark.parametrize("k", [1, 300, ROWS - 1, ROWS + 7])
def test_answers_have_exactly_the_rows_there_are(segment, queries, k):
    assert_well_formed(segment.search(queries[:3], k, None), queries[:3], k, np.ones(ROWS, bool))


@SHARES
@pytest.mark.parametrize("k", [1, 100])
def test_only_allowed_rows_are_found_and_as_many_as_asked(segment, queries, share, k):
    allowed = mask_of(share)
    answer = segment.search(queries[:5], k, RowMask(allowed))
    assert_well_formed(answer, queries[:5], k, allowed)


def test_a_mask_of_all_the_nearest_rows_is_no_dead_end(segment, queries, vectors, engine):
    """The forbidden rows are those the index finds first."""
    order = np.argsort(brute_force(queries[0], vectors, engine.metric))
    allowed = np.ones(ROWS, bool)
    allowed[order[:1500]] = False
    answer = segment.search(queries[:1], 50, RowMask(allowed))
    assert_well_formed(answer, queries[:1], 50, allowed)


def test_distances_are_those_of_the_metric(segment, queries, vectors, engine):
    found, rows = segment.search(queries, 20, None)
    for query, query_distances, query_rows in zip(queries, found, rows, strict=True):
        expected = brute_force(query, vectors[query_rows], engine.metric)
        np.testing.assert_allclose(query_distances, expected, rtol=1e-5, atol=1e-6)


def test_distances_are_to_the_bit_those_of_the_definition(segment, queries, vectors, engine):
    found, rows = segment.search(queries, 20, RowMask(mask_of(0.5)))
    for query, query_distances, query_rows in zip(queries, found, rows, strict=True):
        expected = distances(query, vectors, engine.metric)[query_rows]
        np.testing.assert_array_equal(query_distances, expected)


@pytest.mark.parametrize("share", [None, 0.5, 0.005])
def test_an_exact_search_is_a_stable_sort_of_all_distances(
    segment, queries, vectors, engine, share
):
    allowed = np.ones(ROWS, bool) if share is None else mask_of(share)
    mask = None if share is None else RowMask(allowed)
    found, rows = segment.search_exactly(queries[:5], 50, mask)
    for query, query_distances, query_rows in zip(queries, found, rows, strict=False):
        measured = np.where(allowed, distances(query, vectors, engine.metric), np.nan)
        expected = np.argsort(measured, kind="stable")[: len(query_rows)]
        np.testing.assert_array_equal(query_rows, expected)
        np.testing.assert_array_equal(query_distances, measured[expected])
    if segment.exact:
        np.testing.assert_array_equal(segment.search(queries[:5], 50, mask)[1], rows)


def test_a_segment_says_what_it_is(segment, case):
    assert segment.description
    assert segment.exact == case.exact


def test_equal_distances_come_in_row_order(segment, queries):
    found, rows = segment.search(queries, 200, None)
    tied = np.diff(found, axis=1) == 0
    assert tied.any()
    assert (np.diff(rows, axis=1)[tied] > 0).all()


def test_recall_is_what_the_engine_owes(segment, queries, vectors, case):
    _, rows = segment.search(queries, 10, None)
    assert recall(rows, queries, vectors, case, np.ones(ROWS, bool)) >= case.recall


@SHARES
def test_recall_holds_under_a_mask(segment, queries, vectors, case, share):
    allowed = mask_of(share)
    _, rows = segment.search(queries, 10, RowMask(allowed))
    assert recall(rows, queries, vectors, case, allowed) >= case.recall


def recall(rows, queries, vectors, case, allowed):
    """The share of answers no farther than the true last one."""
    if not rows.size:
        return 1.0
    good = 0
    for query, query_rows in zip(queries, rows, strict=True):
        truth = distances(query, vectors, case.engine.metric)
        limit = np.sort(truth[allowed])[len(query_rows) - 1]
        good += np.count_nonzero(truth[query_rows] <= limit)
    return good / rows.size


def test_a_batch_is_answered_as_its_queries_alone(segment, queries):
    found, rows = segment.search(queries, 10, None)
    for position in range(len(queries)):
        alone = segment.search(queries[position : position + 1], 10, None)
        np.testing.assert_array_equal(alone[1][0], rows[position])
        np.testing.assert_array_equal(alone[0][0], found[position])


def test_no_queries_are_answered_with_no_rows(segment):
    found, rows = segment.search(np.empty((0, DIM), np.float32), 10, None)
    assert found.shape == rows.shape == (0, 10)


def test_threads_get_the_answers_they_would_get_alone(segment, queries):
    asked = [
        (queries[start : start + 3], k, None if share is None else RowMask(mask_of(share)))
        for start in range(0, 30, 3)
        for k in (1, 40)
        for share in (None, 0.5, 0.1, 0.005)
    ]
    expected = [segment.search(*question) for question in asked]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda question: segment.search(*question), asked))
    for (found, rows), (expected_found, expected_rows) in zip(answers, expected, strict=True):
        np.testing.assert_array_equal(rows, expected_rows)
        np.testing.assert_array_equal(found, expected_found)


def test_a_loaded_segment_answers_as_the_one_saved(both, queries):
    built, loaded = both
    for share in (None, 0.5, 0.05):
        allowed = None if share is None else RowMask(mask_of(share))
        for ours, theirs in zip(
            built.search(queries, 10, allowed), loaded.search(queries, 10, allowed), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("rows", [0, 1, 20, 150])
def test_few_rows_are_all_found(engine, tmp_path, rows):
    few = prepared(np.random.default_rng(3).standard_normal((rows, DIM)), engine.metric)
    query = prepared(np.ones((1, DIM)), engine.metric)
    for segment in (engine.build(few), saved_and_loaded(engine, few, tmp_path)):
        answer = segment.search(query, 200, None)
        assert_well_formed(answer, query, 200, np.ones(rows, bool))
        assert_well_formed(
            segment.search(query, 5, RowMask(np.zeros(rows, bool))), query, 5, np.zeros(rows, bool)
        )


def test_a_saved_folder_may_be_renamed_under_a_loaded_segment(engine, vectors, tmp_path):
    folder = tmp_path / "new"
    folder.mkdir()
    segment = saved_and_loaded(engine, vectors[:400], folder)
    queries = near(vectors, engine.metric, 3)
    before = segment.search(queries, 10, None)
    folder.rename(tmp_path / "current")
    np.testing.assert_array_equal(segment.search(queries, 10, None)[1], before[1])


def test_rows_that_are_all_the_same_are_found_in_order(engine):
    same = prepared(np.ones((600, DIM)), engine.metric)
    found, rows = engine.build(same).search(same[:1], 20, None)
    assert (found == found[0, 0]).all()
    assert (np.diff(rows) > 0).all()


def test_the_build_options_are_json(engine):
    assert json.loads(json.dumps(dict(engine.build_options))) == dict(engine.build_options)
