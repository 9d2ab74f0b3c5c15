"""The contract of `engines/protocol.py`, held against every engine.

Each test runs once per library; within it, every engine of the library, freshly built and loaded,
with every share of allowed rows and every k, is a subtest, which fails under its own name.
"""

from __future__ import annotations

import functools
import itertools
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from euclidesdb_server.engines.distances import distances
from euclidesdb_server.values.metric import MetricKind
from euclidesdb_server.values.row_mask import RowMask
from tests.engines.engine_cases import DIM, ROWS, clustered, near, prepared, saved_and_loaded


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


@functools.cache
def all_distances(metric):
    """Of each query to each row, which are the same for all engines of a metric."""
    vectors = clustered(ROWS, metric)
    return np.stack([distances(query, vectors, metric) for query in near(vectors, metric)])


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


def test_answers_have_exactly_the_rows_there_are(subjects, subtests):
    for subject in subjects:
        for k in (1, 300, ROWS - 1, ROWS + 7):
            with subtests.test(subject.name, k=k):
                answer = subject.segment.search(subject.queries[:3], k, None)
                assert_well_formed(answer, subject.queries[:3], k, np.ones(ROWS, bool))


def test_a_masked_search_finds_only_allowed_rows_and_no_fewer_than_requested(subjects, subtests):
    for subject in subjects:
        for share, k in itertools.product(SHARES, (1, 100)):
            with subtests.test(subject.name, share=share, k=k):
                allowed = mask_of(share)
                answer = subject.segment.search(subject.queries[:5], k, RowMask(allowed))
                assert_well_formed(answer, subject.queries[:5], k, allowed)


def test_a_mask_of_all_the_nearest_rows_is_not_a_dead_end(subjects, subtests):
    """The forbidden rows are those that the index finds first."""
    for subject in subjects:
        with subtests.test(subject.name):
            query = subject.queries[:1]
            order = np.argsort(brute_force(query[0], subject.vectors, subject.metric))
            allowed = np.ones(ROWS, bool)
            allowed[order[:1500]] = False
            answer = subject.segment.search(query, 50, RowMask(allowed))
            assert_well_formed(answer, query, 50, allowed)


def test_distances_are_those_of_the_metric(subjects, subtests):
    for subject in subjects:
        with subtests.test(subject.name):
            found, rows = subject.segment.search(subject.queries, 20, None)
            for query, query_distances, query_rows in zip(
                subject.queries, found, rows, strict=True
            ):
                expected = brute_force(query, subject.vectors[query_rows], subject.metric)
                np.testing.assert_allclose(query_distances, expected, rtol=1e-5, atol=1e-6)


def test_distances_equal_the_definition_bit_for_bit(subjects, subtests):
    for subject in subjects:
        with subtests.test(subject.name):
            found, rows = subject.segment.search(subject.queries, 20, RowMask(mask_of(0.5)))
            expected = np.take_along_axis(all_distances(subject.metric), rows, axis=1)
            np.testing.assert_array_equal(found, expected)


def test_an_exact_search_is_a_stable_sort_of_all_distances(subjects, subtests):
    for subject in subjects:
        for share in (None, 0.5, 0.005):
            with subtests.test(subject.name, share=share):
                check_an_exact_search(subject, share)


def check_an_exact_search(subject, share):
    queries = subject.queries[:5]
    allowed = np.ones(ROWS, bool) if share is None else mask_of(share)
    mask = None if share is None else RowMask(allowed)
    found, rows = subject.segment.search_exactly(queries, 50, mask)
    truths = all_distances(subject.metric)[:5]
    for truth, query_distances, query_rows in zip(truths, found, rows, strict=True):
        measured = np.where(allowed, truth, np.nan)
        expected = np.argsort(measured, kind="stable")[: len(query_rows)]
        np.testing.assert_array_equal(query_rows, expected)
        np.testing.assert_array_equal(query_distances, measured[expected])
    if subject.segment.exact:
        np.testing.assert_array_equal(subject.segment.search(queries, 50, mask)[1], rows)


def test_a_segment_describes_itself(subjects, subtests):
    for subject in subjects:
        with subtests.test(subject.name):
            assert subject.segment.description
            assert subject.segment.exact == subject.case.exact


def test_equal_distances_come_in_row_order(subjects, subtests):
    for subject in subjects:
        with subtests.test(subject.name):
            found, rows = subject.segment.search(subject.queries, 200, None)
            tied = np.diff(found, axis=1) == 0
            assert tied.any()
            assert (np.diff(rows, axis=1)[tied] > 0).all()


def test_recall_is_what_the_engine_owes(subjects, subtests):
    for subject in subjects:
        with subtests.test(subject.name):
            assert recall(subject, None) >= subject.case.recall


def test_recall_holds_under_a_mask(subjects, subtests):
    for subject in subjects:
        for share in SHARES:
            with subtests.test(subject.name, share=share):
                assert recall(subject, mask_of(share)) >= subject.case.recall


def recall(subject, allowed):
    """The share of answers that are not farther than the true last one."""
    mask = None if allowed is None else RowMask(allowed)
    _, rows = subject.segment.search(subject.queries, 10, mask)
    if not rows.size:
        return 1.0
    good = 0
    for truth, query_rows in zip(all_distances(subject.metric), rows, strict=True):
        limit = np.sort(truth if allowed is None else truth[allowed])[len(query_rows) - 1]
        good += int(np.count_nonzero(truth[query_rows] <= limit))
    return good / rows.size


def test_a_batch_is_answered_as_its_queries_alone(subjects, subtests):
    for subject in subjects:
        with subtests.test(subject.name):
            found, rows = subject.segment.search(subject.queries, 10, None)
            for position in range(len(subject.queries)):
                alone = subject.segment.search(subject.queries[position : position + 1], 10, None)
                np.testing.assert_array_equal(alone[1][0], rows[position])
                np.testing.assert_array_equal(alone[0][0], found[position])


def test_an_empty_batch_has_an_empty_answer(subjects, subtests):
    for subject in subjects:
        with subtests.test(subject.name):
            found, rows = subject.segment.search(np.empty((0, DIM), np.float32), 10, None)
            assert found.shape == rows.shape == (0, 10)


def test_threads_get_the_answers_they_would_get_alone(subjects, subtests):
    for subject in subjects:
        with subtests.test(subject.name):
            check_threads(subject)


def check_threads(subject):
    searches = [
        (subject.queries[start : start + 3], k, None if share is None else RowMask(mask_of(share)))
        for start in range(0, 30, 6)
        for k in (1, 40)
        for share in (None, 0.5, 0.1, 0.005)
    ]
    expected = [subject.segment.search(*search) for search in searches]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda search: subject.segment.search(*search), searches))
    for (found, rows), (expected_found, expected_rows) in zip(answers, expected, strict=True):
        np.testing.assert_array_equal(rows, expected_rows)
        np.testing.assert_array_equal(found, expected_found)


def test_a_loaded_segment_answers_like_the_saved_one(saved_and_loaded_segments, subtests):
    for saved, loaded in saved_and_loaded_segments:
        for share in (None, 0.5, 0.05):
            with subtests.test(saved.name, share=share):
                mask = None if share is None else RowMask(mask_of(share))
                expected = saved.segment.search(saved.queries, 10, mask)
                answer = loaded.segment.search(saved.queries, 10, mask)
                for ours, theirs in zip(answer, expected, strict=True):
                    np.testing.assert_array_equal(ours, theirs)


def test_few_rows_are_all_found(engines, tmp_path, subtests):
    for name, engine in engines.items():
        for rows in (0, 1, 20, 150):
            with subtests.test(name, rows=rows):
                folder = tmp_path / f"{name}-{rows}"
                folder.mkdir()
                check_few_rows(engine, rows, folder)


def check_few_rows(engine, rows, folder):
    few = prepared(np.random.default_rng(3).standard_normal((rows, DIM)), engine.metric)
    query = prepared(np.ones((1, DIM)), engine.metric)
    everything, nothing = np.ones(rows, bool), np.zeros(rows, bool)
    for segment in (engine.build(few), saved_and_loaded(engine, few, folder)):
        assert_well_formed(segment.search(query, 200, None), query, 200, everything)
        assert_well_formed(segment.search(query, 5, RowMask(nothing)), query, 5, nothing)


def test_a_saved_folder_may_be_renamed_under_a_loaded_segment(engines, tmp_path, subtests):
    for name, engine in engines.items():
        with subtests.test(name):
            vectors = clustered(ROWS, engine.metric)
            folder = tmp_path / f"{name}-new"
            folder.mkdir()
            segment = saved_and_loaded(engine, vectors[:400], folder)
            queries = near(vectors, engine.metric, 3)
            before = segment.search(queries, 10, None)
            folder.rename(tmp_path / f"{name}-current")
            np.testing.assert_array_equal(segment.search(queries, 10, None)[1], before[1])


def test_identical_rows_are_found_in_order(engines, subtests):
    for name, engine in engines.items():
        with subtests.test(name):
            same = prepared(np.ones((600, DIM)), engine.metric)
            found, rows = engine.build(same).search(same[:1], 20, None)
            assert (found == found[0, 0]).all()
            assert (np.diff(rows) > 0).all()


def test_the_build_options_are_json(engines, subtests):
    for name, engine in engines.items():
        with subtests.test(name):
            assert json.loads(json.dumps(dict(engine.build_options))) == dict(engine.build_options)
