"""UnindexedRows: an array that grows, with views that stay."""

from __future__ import annotations

import numpy as np

from euclidesdb_server.index.unindexed_rows import FIRST_CAPACITY, UnindexedRows, UnindexedView


def add(rows: UnindexedRows, start: int, stop: int, at_a_time: int = 1) -> None:
    """Row i has the label i + 1, the id "i", and the vector (i, -i)."""
    for first in range(start, stop, at_a_time):
        numbers = range(first, min(first + at_a_time, stop))
        vectors = np.array([(number, -number) for number in numbers], np.float32)
        rows.append([number + 1 for number in numbers], [str(n) for n in numbers], vectors)


def filled(count: int, at_a_time: int = 1) -> UnindexedRows:
    rows = UnindexedRows(2)
    add(rows, 0, count, at_a_time)
    return rows


def seen(view: UnindexedView) -> list[str]:
    """The ids of a view's rows that may be found; checks that each stands with its vector."""
    count = len(view.vectors)
    assert [str(int(value)) for value in view.vectors[:, 0]] == view.ids[:count]
    np.testing.assert_array_equal(view.squares, (view.vectors * view.vectors).sum(axis=1))
    allowed = np.ones(count, np.bool_) if view.allowed is None else view.allowed.as_bool()
    return [view.ids[row] for row in np.flatnonzero(allowed)]


def test_no_rows_have_a_shape():
    rows = UnindexedRows(2)
    assert rows.view().vectors.shape == (0, 2)
    assert rows.view().allowed is None
    assert (len(rows), rows.alive) == (0, 0)


def test_rows_keep_their_order_over_every_growth():
    count = FIRST_CAPACITY * 5
    for at_a_time in (1, 7, FIRST_CAPACITY + 1, count):
        assert seen(filled(count, at_a_time).view()) == [str(row) for row in range(count)]


def test_a_view_stays_valid_while_rows_are_added_and_the_array_grows():
    rows = filled(3)
    view = rows.view()
    add(rows, 3, 3 * FIRST_CAPACITY)
    assert seen(view) == ["0", "1", "2"]


def test_a_deleted_row_stays_in_place_and_is_dead():
    rows = filled(4)
    before = rows.view()
    assert rows.delete(2)
    assert seen(before) == ["0", "1", "2", "3"]
    assert seen(rows.view()) == ["0", "2", "3"]
    assert (len(rows), rows.alive) == (4, 3)


def test_a_view_of_dead_rows_stays_as_it_was():
    rows = filled(3)
    rows.delete(1)
    then = rows.view()
    rows.delete(2)
    assert seen(then) == ["1", "2"]


def test_a_row_is_deleted_once_and_an_unknown_label_is_ignored():
    rows = filled(2)
    assert not rows.delete(9)
    assert rows.delete(1)
    assert not rows.delete(1)
    assert rows.alive == 1


def test_the_rows_after_a_label_are_those_alive_in_their_order():
    rows = filled(2 * FIRST_CAPACITY)
    rows.delete(FIRST_CAPACITY + 2)
    rest = rows.after(FIRST_CAPACITY)
    expected = [row for row in range(FIRST_CAPACITY, 2 * FIRST_CAPACITY)
                if row != FIRST_CAPACITY + 1]  # fmt: skip
    assert seen(rest.view()) == [str(row) for row in expected]
    assert rest.delete(expected[0] + 1)
    assert seen(rest.view()) == [str(row) for row in expected[1:]]
