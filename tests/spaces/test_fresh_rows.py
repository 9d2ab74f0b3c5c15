"""FreshRows: an array that grows, with views that stay."""

from __future__ import annotations

import numpy as np

from euclidesdb_server.spaces.fresh import FIRST_CAPACITY, FreshRows


def filled(count: int) -> FreshRows:
    rows = FreshRows(2)
    for index in range(count):
        rows.append(index + 1, np.array([index, -index], np.float32))
    return rows


def test_no_rows_have_a_shape():
    rows = FreshRows(2)
    assert rows.vectors().shape == (0, 2)
    assert rows.labels().shape == (0,)
    assert rows.alive_rows() is None
    assert (len(rows), rows.alive) == (0, 0)


def test_rows_keep_their_order_over_every_growth():
    count = FIRST_CAPACITY * 5
    rows = filled(count)
    assert rows.vectors()[:, 0].tolist() == [*range(count)]
    assert rows.labels().tolist() == [*range(1, count + 1)]


def test_a_view_stays_valid_while_rows_are_added_and_the_array_grows():
    rows = filled(3)
    vectors, labels = rows.vectors(), rows.labels()
    for index in range(3, 3 * FIRST_CAPACITY):
        rows.append(index + 1, np.array([index, -index], np.float32))
        assert vectors.tolist() == [[0, 0], [1, -1], [2, -2]]
        assert labels.tolist() == [1, 2, 3]


def test_a_buried_row_stays_in_place_and_is_dead():
    rows = filled(4)
    before = rows.alive_rows()
    assert rows.bury(2)
    assert before is None
    assert rows.alive_rows().tolist() == [True, False, True, True]
    assert (len(rows), rows.alive) == (4, 3)
    assert rows.labels().tolist() == [1, 2, 3, 4]


def test_what_is_alive_is_a_copy_of_that_moment():
    rows = filled(3)
    rows.bury(1)
    then = rows.alive_rows()
    rows.bury(2)
    assert then.tolist() == [False, True, True]


def test_a_row_is_buried_once_and_only_where_it_is():
    rows = filled(2)
    assert not rows.bury(9)
    assert rows.bury(1)
    assert not rows.bury(1)
    assert rows.alive == 1


def test_the_rows_after_a_label_are_those_alive_in_their_order():
    rows = filled(2 * FIRST_CAPACITY)
    rows.bury(FIRST_CAPACITY + 2)
    rest = rows.after(FIRST_CAPACITY)
    expected = [label for label in range(FIRST_CAPACITY + 1, 2 * FIRST_CAPACITY + 1)
                if label != FIRST_CAPACITY + 2]  # fmt: skip
    assert rest.labels().tolist() == expected
    assert rest.vectors()[:, 0].tolist() == [label - 1 for label in expected]
    assert rest.bury(expected[0])
