"""The contract of `engines/protocol.py`, held against every engine, freshly built and loaded.

Each test runs once per engine; within it, every state of the segment, share of allowed rows and
k is a subtest, which fails under its own name.
"""

from __future__ import annotations

import itertools
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from euclidesdb_server.engines.distances import distances
from euclidesdb_server.values.metric import MetricKind
from euclidesdb_server.values.row_mask import RowMask
from tests.engines.engine_cases import DIM, ROWS, near, prepared, saved_and_loaded


def brute_force(query, vectors, metric):
    """Each row's distance by its definition, in float64."""
    query, vectors = query.astype(np.float64), vectors.astype(np.float64)
    match metric.kind:
        case MetricKind.COSINE:
            return 1 - vectors @ query
        case MetricKind.INNER_PRODUCT:
            return -(vectors @ query)
        case MetricKind.L2 | MetricKind.LP:
            return np.linalg.norm(vectors - query, ord=metric.p, axis=1)


def mask_of(share, seed=5):
    """That share of the rows if a float, or that many rows if an int."""
    count = share if isinstance(share, int) else round(share * ROWS)
    allowed = np.zeros(ROWS, bool)
    allowed[np.random.default_rng(seed).choice(ROWS, count, replace=False)] = True
    return allowed


SHARES = (0.99, 0.5, 0.05, 0.005, 1, 0)


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


def test_answers_have_exactly_the_rows_there_are(segments, queries, subtests):
    for state, segment in segments.items():
        for k in (1, 300, ROWS - 1, ROWS + 7):
            with subtests.test(state, k=k):
                answer = segment.search(queries[:3], k, None)
                assert_well_formed(answer, queries[:3], k, np.ones(ROWS, bool))


def test_a_masked_search_finds_only_allowed_rows_and_no_fewer_than_requested(
    segments, queries, subtests
):
    for state, segment in segments.items():
        for share, k in itertools.product(SHARES, (1, 100)):
            with subtests.test(state, share=share, k=k):
                allowed = mask_of(share)
                answer = segment.search(queries[:5], k, RowMask(allowed))
                assert_well_formed(answer, queries[:5], k, allowed)


def test_a_mask_of_all_the_nearest_rows_is_not_a_dead_end(
    segments, queries, vectors, engine, subtests
):
    """The forbidden rows are those that the index finds first."""
    order = np.argsort(brute_force(queries[0], vectors, engine.metric))
    allowed = np.ones(ROWS, bool)
    allowed[order[:1500]] = False
    for state, segment in segments.items():
        with subtests.test(state):
            answer = segment.search(queries[:1], 50, RowMask(allowed))
            assert_well_formed(answer, queries[:1], 50, allowed)


def test_distances_are_those_of_the_metric(segments, queries, vectors, engine, subtests):
    for state, segment in segments.items():
        with subtests.test(state):
            found, rows = segment.search(queries, 20, None)
            for query, query_distances, query_rows in zip(queries, found, rows, strict=True):
                expected = brute_force(query, vectors[query_rows], engine.metric)
                np.testing.assert_allclose(query_distances, expected, rtol=1e-5, atol=1e-6)


def test_distances_equal_the_definition_bit_for_bit(segments, queries, vectors, engine, subtests):
    for state, segment in segments.items():
        with subtests.test(state):
            found, rows = segment.search(queries, 20, RowMask(mask_of(0.5)))
            for query, query_distances, query_rows in zip(queries, found, rows, strict=True):
                expected = distances(query, vectors, engine.metric)[query_rows]
                np.testing.assert_array_equal(query_distances, expected)


def test_an_exact_search_is_a_stable_sort_of_all_distances(
    segments, queries, vectors, engine, subtests
):
    for state, segment in segments.items():
        for share in (None, 0.5, 0.005):
            with subtests.test(state, share=share):
                allowed = np.ones(ROWS, bool) if share is None else mask_of(share)
                mask = None if share is None else RowMask(allowed)
                found, rows = segment.search_exactly(queries[:5], 50, mask)
                for query, query_distances, query_rows in zip(
                    queries[:5], found, rows, strict=True
                ):
                    measured = np.where(allowed, distances(query, vectors, engine.metric), np.nan)
                    expected = np.argsort(measured, kind="stable")[: len(query_rows)]
                    np.testing.assert_array_equal(query_rows, expected)
                    np.testing.assert_array_equal(query_distances, measured[expected])
                if segment.exact:
                    np.testing.assert_array_equal(segment.search(queries[:5], 50, mask)[1], rows)


def test_a_segment_describes_itself(segments, case, subtests):
    for state, segment in segments.items():
        with subtests.test(state):
            assert segment.description
            assert segment.exact == case.exact


def test_equal_distances_come_in_row_order(segments, queries, subtests):
    for state, segment in segments.items():
        with subtests.test(state):
            found, rows = segment.search(queries, 200, None)
            tied = np.diff(found, axis=1) == 0
            assert tied.any()
            assert (np.diff(rows, axis=1)[tied] > 0).all()


def test_recall_is_what_the_engine_owes(segments, queries, vectors, case, subtests):
    for state, segment in segments.items():
        with subtests.test(state):
            _, rows = segment.search(queries, 10, None)
            assert recall(rows, queries, vectors, case, np.ones(ROWS, bool)) >= case.recall


def test_recall_holds_under_a_mask(segments, queries, vectors, case, subtests):
    for state, segment in segments.items():
        for share in SHARES:
            with subtests.test(state, share=share):
                allowed = mask_of(share)
                _, rows = segment.search(queries, 10, RowMask(allowed))
                assert recall(rows, queries, vectors, case, allowed) >= case.recall


def recall(rows, queries, vectors, case, allowed):
    """The share of answers that are not farther than the true last one."""
    if not rows.size:
        return 1.0
    good = 0
    for query, query_rows in zip(queries, rows, strict=True):
        truth = distances(query, vectors, case.engine.metric)
        limit = np.sort(truth[allowed])[len(query_rows) - 1]
        good += int(np.count_nonzero(truth[query_rows] <= limit))
    return good / rows.size


def test_a_batch_is_answered_as_its_queries_alone(segments, queries, subtests):
    for state, segment in segments.items():
        with subtests.test(state):
            found, rows = segment.search(queries, 10, None)
            for position in range(len(queries)):
                alone = segment.search(queries[position : position + 1], 10, None)
                np.testing.assert_array_equal(alone[1][0], rows[position])
                np.testing.assert_array_equal(alone[0][0], found[position])


def test_an_empty_batch_has_an_empty_answer(segments, subtests):
    for state, segment in segments.items():
        with subtests.test(state):
            found, rows = segment.search(np.empty((0, DIM), np.float32), 10, None)
            assert found.shape == rows.shape == (0, 10)


def test_threads_get_the_answers_they_would_get_alone(segments, queries, subtests):
    searches = [
        (queries[start : start + 3], k, None if share is None else RowMask(mask_of(share)))
        for start in range(0, 30, 3)
        for k in (1, 40)
        for share in (None, 0.5, 0.1, 0.005)
    ]
    for state, segment in segments.items():
        with subtests.test(state):
            expected = [segment.search(*search) for search in searches]
            with ThreadPoolExecutor(4) as pool:
                answers = list(pool.map(lambda search, at=segment: at.search(*search), searches))
            for (found, rows), (expected_found, expected_rows) in zip(
                answers, expected, strict=True
            ):
                np.testing.assert_array_equal(rows, expected_rows)
                np.testing.assert_array_equal(found, expected_found)


def test_a_loaded_segment_answers_like_the_saved_one(both, queries):
    built, loaded = both
    for share in (None, 0.5, 0.05):
        allowed = None if share is None else RowMask(mask_of(share))
        for ours, theirs in zip(
            built.search(queries, 10, allowed), loaded.search(queries, 10, allowed), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)


def test_few_rows_are_all_found(engine, tmp_path, subtests):
    query = prepared(np.ones((1, DIM)), engine.metric)
    for rows in (0, 1, 20, 150):
        few = prepared(np.random.default_rng(3).standard_normal((rows, DIM)), engine.metric)
        folder = tmp_path / str(rows)
        folder.mkdir()
        everything, nothing = np.ones(rows, bool), np.zeros(rows, bool)
        for state, segment in {
            "built": engine.build(few),
            "loaded": saved_and_loaded(engine, few, folder),
        }.items():
            with subtests.test(state, rows=rows):
                assert_well_formed(segment.search(query, 200, None), query, 200, everything)
                answer = segment.search(query, 5, RowMask(nothing))
                assert_well_formed(answer, query, 5, nothing)


def test_a_saved_folder_may_be_renamed_under_a_loaded_segment(engine, vectors, tmp_path):
    folder = tmp_path / "new"
    folder.mkdir()
    segment = saved_and_loaded(engine, vectors[:400], folder)
    queries = near(vectors, engine.metric, 3)
    before = segment.search(queries, 10, None)
    folder.rename(tmp_path / "current")
    np.testing.assert_array_equal(segment.search(queries, 10, None)[1], before[1])


def test_identical_rows_are_found_in_order(engine):
    same = prepared(np.ones((600, DIM)), engine.metric)
    found, rows = engine.build(same).search(same[:1], 20, None)
    assert (found == found[0, 0]).all()
    assert (np.diff(rows) > 0).all()


def test_the_build_options_are_json(engine):
    assert json.loads(json.dumps(dict(engine.build_options))) == dict(engine.build_options)
