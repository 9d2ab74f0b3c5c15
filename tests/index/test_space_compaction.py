"""A segment is built while rows come and go; the engine double decides the interleaving."""

from __future__ import annotations

import threading
from contextlib import ExitStack

import pytest

from euclidesdb_server.errors import DiskFull, StorageError
from euclidesdb_server.store import ItemRecord, ItemWrite
from tests.support.stores import embedding, vector


@pytest.fixture
def busy(place):
    """Two indexed rows and two unindexed ones."""
    for name, position in (("indexed 1", 1), ("indexed 2", 2)):
        place.add(name, position, 0)
    place.space.compact()
    for name, position in (("unindexed 3", 3), ("unindexed 4", 4)):
        place.add(name, position, 0)
    return place


def changed_while_building(place, change, expected):
    """Make a change while a segment is being built; the answer is `expected` from then on."""
    with place.compacting():
        change()
        assert place.names() == expected
    assert place.names() == expected
    assert len(place.space) == len(expected)
    place.reopen()
    assert place.names() == expected
    assert len(place.space) == len(expected)
    place.space.compact()
    assert place.names() == expected
    assert len(place.space) == len(expected)


def test_compacting_changes_no_answer(busy):
    answer = busy.found(0, 0)
    busy.space.compact()
    assert busy.found(0, 0) == answer
    assert busy.space.backlog() == (0, 4)


def test_a_row_added_during_a_build_stays_findable(busy):
    changed_while_building(
        busy,
        lambda: busy.add("new", 2.5, 0),
        ["indexed 1", "indexed 2", "new", "unindexed 3", "unindexed 4"],
    )


@pytest.mark.parametrize("victim", ["indexed 1", "unindexed 3"])
def test_a_row_deleted_during_a_build_stays_gone(busy, victim):
    rest = [
        name for name in ("indexed 1", "indexed 2", "unindexed 3", "unindexed 4") if name != victim
    ]
    changed_while_building(busy, lambda: busy.remove(victim), rest)


@pytest.mark.parametrize("victim", ["indexed 1", "unindexed 3"])
def test_a_row_replaced_during_a_build_is_found_once_and_at_its_new_place(busy, victim):
    rest = [
        name for name in ("indexed 1", "indexed 2", "unindexed 3", "unindexed 4") if name != victim
    ]
    changed_while_building(busy, lambda: busy.add(victim, 9, 0), [*rest, victim])


def test_a_row_added_and_deleted_during_a_build_is_gone(busy):
    def come_and_go() -> None:
        busy.add("brief", 0, 0)
        busy.remove("brief")

    changed_while_building(
        busy, come_and_go, ["indexed 1", "indexed 2", "unindexed 3", "unindexed 4"]
    )


def test_a_row_removed_and_added_again_during_a_build_is_there(busy):
    def again() -> None:
        busy.remove("indexed 2")
        busy.add("indexed 2", 0, 0)

    changed_while_building(busy, again, ["indexed 2", "indexed 1", "unindexed 3", "unindexed 4"])


def test_rows_deleted_before_a_build_are_not_in_the_segment(busy):
    busy.remove("indexed 1")
    busy.remove("unindexed 4")
    busy.space.compact()
    assert busy.space.backlog() == (0, 2)
    assert busy.names() == ["indexed 2", "unindexed 3"]


def test_a_row_being_replaced_is_found_until_its_replacement_is(busy):
    """The store has the new row already, and not the old one any more."""
    number = busy.space.record.number
    before = busy.store.item("indexed 1")
    with busy.store.labels.allocate() as (label,):
        after = ItemRecord(labels={number: label})
        write = ItemWrite("indexed 1", label, before, after, {number: embedding(9, 0)})
        busy.store.write(write)
        busy.space.compact()
        assert len(busy.found(0, 0)) == 4
        busy.space.publish(
            [label], ["indexed 1"], vector(9, 0)[None], replaces=[before.labels[number]]
        )
        assert busy.names() == ["indexed 2", "unindexed 3", "unindexed 4", "indexed 1"]
    assert busy.names() == ["indexed 2", "unindexed 3", "unindexed 4", "indexed 1"]
    busy.reopen()
    assert busy.names() == ["indexed 2", "unindexed 3", "unindexed 4", "indexed 1"]


def test_a_row_whose_label_is_not_below_the_watermark_is_not_covered_by_a_segment(place):
    place.add("before", 1, 0)
    number = place.space.record.number
    with ExitStack() as slow:
        (early,) = slow.enter_context(place.store.labels.allocate())
        place.add("later", 2, 0)
        with place.compacting():  # `early` is under way when the rows are taken
            after = ItemRecord(labels={number: early})
            place.store.write(ItemWrite("slow", early, None, after, {number: embedding(0, 0)}))
            place.space.publish([early], ["slow"], vector(0, 0)[None])
            slow.close()
    assert place.space.backlog() == (2, 1)
    assert place.names() == ["slow", "before", "later"]
    place.reopen()
    assert place.names() == ["slow", "before", "later"]
    place.space.compact()
    assert place.space.backlog() == (0, 3)


def test_after_a_failed_write_segments_cover_only_what_came_before_it(place):
    place.add("before", 1, 0)
    with pytest.raises(StorageError), place.store.labels.allocate():
        raise StorageError("the disk is gone")
    place.add("after", 2, 0)
    place.space.compact()
    assert place.space.backlog() == (1, 1)
    assert place.names() == ["before", "after"]
    place.reopen()  # now it is known what the store holds
    assert place.names() == ["before", "after"]
    place.space.compact()
    assert place.space.backlog() == (0, 2)


def test_tombstones_are_forgotten_once_no_segment_holds_the_label(busy):
    indexed = busy.store.item("indexed 1").labels[busy.space.record.number]
    busy.remove("indexed 1")
    busy.remove("unindexed 3")
    assert indexed in busy.tombstones()
    busy.space.compact()
    assert busy.tombstones() == []


def test_a_deletion_during_a_build_is_remembered(busy):
    with busy.compacting():
        busy.remove("unindexed 3")
    busy.reopen()
    assert busy.names() == ["indexed 1", "indexed 2", "unindexed 4"]
    assert busy.tombstones() == []  # the bitmap of the segment knows
    busy.space.compact()
    assert busy.space.backlog() == (0, 3)


def test_many_deletions_are_remembered_in_bitmaps(place):
    for index in range(3000):
        place.add(str(index), index, 0)
    place.space.compact()
    for index in range(0, 3000, 2):
        place.remove(str(index))
    assert len(place.tombstones()) == 1500
    place.space.rewriter.move_tombstones(threading.Event())
    assert place.tombstones() == []
    place.remove("1")
    expected = [str(index) for index in range(3, 3000, 2)]
    assert place.names(k=3000) == expected
    place.reopen()
    assert place.names(k=3000) == expected


def test_a_deletion_that_is_not_published_yet_keeps_its_tombstone(busy):
    record = busy.store.item("indexed 1")
    busy.store.remove(("indexed 1", record))
    busy.space.rewriter.move_tombstones(threading.Event())
    assert busy.tombstones() == [record.labels[busy.space.record.number]]
    busy.space.compact()  # takes the row along, which is still to be found
    busy.space.delete(record.labels.values())
    assert "indexed 1" not in busy.names()
    busy.reopen()
    assert "indexed 1" not in busy.names()


def test_after_names_that_may_not_have_been_written_deletions_are_kept(busy, monkeypatch):
    """The store has the new names, which the server does not know: it uses the old segments."""
    accept = busy.store.accept_segments

    def fail_late(*names: object) -> None:
        accept(*names)
        raise StorageError("no sync")

    monkeypatch.setattr(busy.store, "accept_segments", fail_late)
    with pytest.raises(StorageError, match="no sync"):
        busy.space.compact()
    monkeypatch.undo()
    busy.remove("indexed 1")
    busy.remove("unindexed 3")
    busy.space.rewriter.move_tombstones(threading.Event())
    assert busy.names() == ["indexed 2", "unindexed 4"]
    busy.reopen()
    assert busy.names() == ["indexed 2", "unindexed 4"]


def test_a_build_that_fails_leaves_searching_as_before(busy):
    generations = busy.generations()
    busy.engine.failure = OSError(28, "No space left on device")
    with pytest.raises(DiskFull, match="No space left"), busy.compacting():  # noqa: PT012  # it is raised when the block ends
        busy.add("new", 0, 0)
        busy.remove("indexed 1")
    expected = ["new", "indexed 2", "unindexed 3", "unindexed 4"]
    assert busy.names() == expected
    assert busy.generations() == generations
    busy.reopen()
    assert busy.names() == expected
    busy.engine.failure = None
    busy.space.compact()
    assert busy.names() == expected
    assert busy.space.backlog() == (0, 4)


def test_a_file_in_the_place_of_a_segment_is_replaced(busy):
    (busy.segments / "2.tmp").write_text("a file where the folder should go")
    busy.space.compact()
    assert busy.space.backlog() == (0, 4)
    assert len(busy.generations()) == 1
