"""ModelSpace answers from its segment and its unindexed rows as if they were one."""

from __future__ import annotations

import numpy as np
import pytest

from euclidesdb_server.engines.scan import search_matrix
from euclidesdb_server.values.metric import L2
from tests.index.fake_engines import GatedEngine, GatedOptions


def test_an_empty_space_answers_nothing(place):
    assert place.found(0, 0) == []
    assert len(place.space) == 0


def test_a_compacted_empty_space_answers_nothing_and_takes_rows(place):
    place.space.compact()
    assert place.found(0, 0) == []
    place.add("a", 3, 4)
    assert place.found(0, 0) == [("a", 5.0)]


def test_a_published_row_is_in_the_next_search(place):
    for compacted in (False, True):
        name = f"after {compacted}"
        place.add(name, 1, 0)
        assert name in place.names()
        place.space.compact()


@pytest.mark.parametrize("compacted", [False, True])
def test_a_deleted_row_is_in_no_later_search(place, compacted):
    place.add("a", 1, 0)
    place.add("b", 2, 0)
    if compacted:
        place.space.compact()
    place.remove("a")
    assert place.found(0, 0) == [("b", 2.0)]
    assert len(place.space) == 1


@pytest.mark.parametrize("compacted", [False, True])
def test_a_replaced_row_is_found_once_with_its_new_vector(place, compacted):
    place.add("a", 1, 0)
    place.add("b", 2, 0)
    if compacted:
        place.space.compact()
    place.add("a", 5, 0)
    assert place.found(0, 0) == [("b", 2.0), ("a", 5.0)]
    assert len(place.space) == 2


def test_a_replaced_row_never_shows_twice_and_never_not_at_all_between(place):
    """One step: a view taken at any moment has the old row or the new one."""
    place.add("a", 1, 0)
    place.space.compact()
    before = place.space._rows.view()
    place.add("a", 2, 0)
    after = place.space._rows.view()
    assert before.allowed == [None]
    assert (len(before.unindexed.vectors), after.allowed[0].count) == (0, 0)
    assert len(after.unindexed.vectors) == 1


def test_deleting_unknown_rows_changes_nothing(place):
    place.add("a", 1, 0)
    place.space.compact()
    place.add("b", 2, 0)
    place.space.delete([4711])
    assert place.names() == ["a", "b"]
    assert len(place.space) == 2


def test_indexed_and_unindexed_rows_are_merged_in_order(place):
    for position in (1, 3, 5, 7):
        place.add(str(position), position, 0)
    place.space.compact()
    for position in (0, 2, 4, 6):
        place.add(str(position), position, 0)
    assert place.found(0, 0) == [(str(position), float(position)) for position in range(8)]
    for k in range(1, 9):
        assert place.names(k=k) == [str(position) for position in range(k)]


def test_rows_at_equal_distance_come_by_age(place):
    for name in ("a", "b", "c"):
        place.add(name, 1, 0)
    place.space.compact()
    for name in ("d", "e"):
        place.add(name, 0, -1)
    assert place.names() == [*"abcde"]
    assert place.names(k=4) == [*"abcd"]
    place.add("b", 0, 1)  # written anew: now the youngest
    assert place.names() == [*"acdeb"]
    place.space.compact()
    assert place.names() == [*"acdeb"]


def test_k_rows_are_found_if_k_live_in_indexed_or_unindexed_rows(place):
    for index in range(20):
        place.add(f"indexed {index}", index, 0)
    place.space.compact()
    for index in range(20):
        place.add(f"unindexed {index}", index, 0)
    for index in range(15):
        place.remove(f"indexed {index}")
        place.remove(f"unindexed {index}")
    assert len(place.space) == 10
    assert len(place.found(0, 0, k=10)) == 10
    assert len(place.found(0, 0, k=11)) == 10
    assert place.names(k=2) == ["indexed 15", "unindexed 15"]


def test_many_queries_at_once_get_each_their_own_answer(place):
    random = np.random.default_rng(0)
    rows = random.integers(-5, 6, (60, 2)).astype(np.float32)
    for index, row in enumerate(rows):
        place.add(str(index), *row)
        if index == 40:
            place.space.compact()
    queries = random.integers(-5, 6, (9, 2)).astype(np.float32)
    found = place.space.search(queries, 7)
    expected_distances, expected_rows = search_matrix(queries, rows, 7, None, L2)
    assert found.distances.tolist() == expected_distances.tolist()
    assert [int(name) for name in found.ids] == expected_rows.ravel().tolist()


def test_rows_and_queries_are_normalized_under_cosine(place):
    place.engine = GatedEngine(GatedOptions("cosine"))
    place.reopen()
    place.add("same direction", 100, 0)
    place.add("zero", 0, 0)
    place.space.compact()
    place.add("opposite", -0.5, 0)
    assert place.found(7, 0) == [("same direction", 0.0), ("zero", 1.0), ("opposite", 2.0)]
    place.reopen()
    assert place.found(7, 0) == [("same direction", 0.0), ("zero", 1.0), ("opposite", 2.0)]


def test_the_distance_of_two_vectors_is_that_of_a_search(place):
    place.add("a", 3, 4)
    ((_, searched),) = place.found(0, 1)
    query, row = np.array([0, 1], np.float32), np.array([3, 4], np.float32)
    assert place.space.distance(query, row) == searched
